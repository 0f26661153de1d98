package bundle

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"bpcc-nats/cmd/bridge/internal/reader"
)

// Output is the file that a bundle becomes when it is complete, and not before. Events hold personal data: only the
// owner may read them.
type Output struct {
	name string
	file *os.File // beside it, under another name
}

// NewOutput makes a file beside the name that it will have, which must not exist. It must be closed. The error is
// [reader.ErrUsage].
func NewOutput(name string) (*Output, error) {
	if _, err := os.Lstat(name); err == nil {
		return nil, fmt.Errorf("%w: %s exists", reader.ErrUsage, name)
	}
	file, err := temporary(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", reader.ErrUsage, err)
	}
	return &Output{name, file}, nil
}

// temporary makes a file beside another one, on the same disk.
func temporary(name string) (*os.File, error) {
	return os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
}

// commit gives the file its name, unless another file has it by now.
func (o *Output) commit() error {
	if err := o.file.Sync(); err != nil {
		return err
	}
	err := os.Link(o.file.Name(), o.name)
	if err != nil && !errors.Is(err, fs.ErrExist) { // a file system without links
		err = os.Rename(o.file.Name(), o.name)
	}
	return err
}

// Close removes the file unless it was completed.
func (o *Output) Close() {
	o.file.Close()
	os.Remove(o.file.Name())
}

// spool keeps the events until their size is known, which a tar has before them.
type spool struct {
	file *os.File
	zip  *zstd.Encoder
	sum  summedWriter
}

// newSpool makes a spool beside a file. It has no name, so nothing is left of it whatever happens.
func newSpool(name string) (*spool, error) {
	file, err := temporary(name)
	if err != nil {
		return nil, err
	}
	os.Remove(file.Name())
	zip, err := zstd.NewWriter(file, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window/2))
	if err != nil {
		file.Close()
		return nil, err
	}
	return &spool{file: file, zip: zip, sum: summedWriter{sha256.New(), 0}}, nil
}

// Write adds to the events.
func (s *spool) Write(b []byte) (int, error) {
	if _, err := s.sum.Write(b); err != nil {
		return 0, err
	}
	return s.zip.Write(b)
}

// copyTo writes the events, after the last one.
func (s *spool) copyTo(w io.Writer) error {
	if err := s.zip.Close(); err != nil {
		return err
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	events, err := zstd.NewReader(s.file)
	if err != nil {
		return err
	}
	defer events.Close()
	_, err = io.Copy(w, events)
	return err
}

func (s *spool) close() { s.file.Close() }

// summedWriter computes the sum and the size of what is written.
type summedWriter struct {
	hash interface {
		io.Writer
		Sum(b []byte) []byte
	}
	n int64
}

func (s *summedWriter) Write(b []byte) (int, error) {
	s.n += int64(len(b))
	return s.hash.Write(b)
}

// entry describes a file by what was written.
func (s *summedWriter) entry(name string) File {
	return File{Name: name, Size: s.n, SHA256: hex.EncodeToString(s.hash.Sum(nil))}
}

// small is a file that is kept in memory.
type small struct {
	name string
	text []byte
}

// write writes a bundle: small files, and the events. It adds them to the manifest.
func write(w io.Writer, m Manifest, files []small, events *spool) error {
	zip, err := zstd.NewWriter(w, zstd.WithWindowSize(window))
	if err != nil {
		return err
	}
	for _, f := range files {
		if len(f.text) > maxSmall {
			return fmt.Errorf("%s has %d bytes, more than %d", f.name, len(f.text), maxSmall)
		}
		sum := summedWriter{sha256.New(), 0}
		sum.Write(f.text)
		m.Files = append(m.Files, sum.entry(f.name))
	}
	m.Files = append(m.Files, events.sum.entry(eventsFile))
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	t := tar.NewWriter(zip)
	header := func(name string, size int64) error {
		return t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: m.Made})
	}
	for _, f := range append([]small{{manifestFile, append(text, '\n')}}, files...) {
		if err := header(f.name, int64(len(f.text))); err != nil {
			return err
		}
		if _, err := t.Write(f.text); err != nil {
			return err
		}
	}
	if err := header(eventsFile, events.sum.n); err != nil {
		return err
	}
	if err := events.copyTo(t); err != nil {
		return err
	}
	return errors.Join(t.Close(), zip.Close())
}
