package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"

	"bpcc-nats/cmd/bridge/internal/export"
)

// contents is what was read of a bundle beside its events.
type contents struct {
	manifest         Manifest
	heads, keys      []byte
	before, erasures []export.Message
}

// Is reports whether a file begins as a bundle does.
func Is(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false // whoever reads it reports this
	}
	defer f.Close()
	var magic [4]byte
	_, err = io.ReadFull(f, magic[:])
	return err == nil && magic == [4]byte{0x28, 0xb5, 0x2f, 0xfd}
}

// read reads a bundle once: it compares each file with the manifest, and calls handle with each line of the events.
// Nothing of it is kept but what it returns. The error is [ErrBundle].
func read(ctx context.Context, from io.Reader, handle func(line []byte)) (c *contents, err error) {
	err = open(ctx, from, func(r *archive) (err error) {
		r.handle = handle
		c, err = r.read()
		return err
	})
	return c, err
}

// readManifest reads the manifest alone. The error is [ErrBundle].
func readManifest(ctx context.Context, from io.Reader) (m Manifest, err error) {
	err = open(ctx, from, func(r *archive) (err error) {
		m, err = r.manifest()
		return err
	})
	return m, err
}

// open reads something of a bundle.
func open(ctx context.Context, from io.Reader, use func(*archive) error) error {
	in := &source{ctx: ctx, from: from}
	// With one goroutine the bytes read and the bytes unpacked are of the same moment, and their ratio shows a bomb.
	decoder, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window), zstd.WithDecoderLowmem(true))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBundle, err)
	}
	defer decoder.Close()
	r := &archive{ctx: ctx, expanded: &expanded{from: decoder, in: in}}
	r.tar = tar.NewReader(r.expanded)
	err = use(r)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%w: %w; %d bytes of the bundle are read, %d unpacked", ErrBundle, err, in.n, r.expanded.n)
	}
	return nil
}

// source counts the bytes that are read of a file, and ends with the context.
type source struct {
	ctx  context.Context
	from io.Reader
	n    int64
}

func (s *source) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.from.Read(b)
	s.n += int64(n)
	return n, err
}

// errExpands is returned for what expands to so much that it is no bundle.
var errExpands = fmt.Errorf("expands to more than %d times its size", maxRatio)

// expanded is what a bundle expands to.
type expanded struct {
	from io.Reader
	in   *source
	n    int64
}

func (x *expanded) Read(b []byte) (int, error) {
	n, err := x.from.Read(b)
	if x.n += int64(n); x.n > maxExpanded && x.n/maxRatio > x.in.n {
		return n, errExpands
	}
	return n, err
}

// archive reads the files of a bundle, in their order.
type archive struct {
	ctx      context.Context
	expanded *expanded
	tar      *tar.Reader
	handle   func(line []byte)
}

// manifest reads the first file.
func (r *archive) manifest() (Manifest, error) {
	if err := r.next(manifestFile, -1); err != nil {
		return Manifest{}, err
	}
	text, err := io.ReadAll(io.LimitReader(r.tar, maxManifest+1))
	if err == nil && len(text) > maxManifest {
		err = fmt.Errorf("larger than %d bytes", maxManifest)
	}
	if err != nil {
		return Manifest{}, about(manifestFile, err)
	}
	m, err := parseManifest(text)
	return m, about(manifestFile, err)
}

// read reads all files.
func (r *archive) read() (*contents, error) {
	var c contents
	var err error
	if c.manifest, err = r.manifest(); err != nil {
		return nil, err
	}
	for _, f := range c.manifest.Files {
		if err := r.next(f.Name, f.Size); err != nil {
			return nil, err
		}
		if err := r.file(&c, f); err != nil {
			return nil, about(f.Name, err)
		}
	}
	switch header, err := r.tar.Next(); {
	case err == nil:
		return nil, fmt.Errorf("%.100q comes after the last file of the manifest", header.Name)
	case !errors.Is(err, io.EOF):
		return nil, about("after the last file", err)
	}
	return &c, about("after the last file", r.drain())
}

// about names a file in an error of reading it.
func about(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, early(err))
}

// early says what the end of the bundle means where more must come.
func early(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("the bundle ends too early")
	}
	return err
}

// next goes to the next file, which must be a plain one of this name and size; a negative size is not known.
func (r *archive) next(name string, size int64) error {
	header, err := r.tar.Next()
	if err != nil {
		return about(name, err)
	}
	switch {
	case header.Name != name:
		return fmt.Errorf("the file %.100q is there, want %s", header.Name, name)
	case header.Typeflag != tar.TypeReg:
		return fmt.Errorf("%s: not a plain file (type %q)", name, header.Typeflag)
	case size >= 0 && header.Size != size:
		return fmt.Errorf("%s: the size is %d, the manifest has %d", name, header.Size, size)
	}
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return fmt.Errorf("%s: a file with holes", name)
		}
	}
	return nil
}

// file reads one file.
func (r *archive) file(c *contents, f File) error {
	summed := &summed{from: r.tar, sum: sha256.New()}
	var err error
	switch f.Name {
	case eventsFile:
		err = export.Scan(r.ctx, summed, r.handle)
	case headsFile:
		c.heads, err = io.ReadAll(summed)
	case keysFile:
		c.keys, err = io.ReadAll(summed)
	case beforeFile:
		c.before, err = messages(r.ctx, summed)
	case erasuresFile:
		c.erasures, err = messages(r.ctx, summed)
	default:
		_, err = io.Copy(io.Discard, summed)
	}
	if err != nil {
		return fmt.Errorf("byte %d of %d: %w", summed.n, f.Size, early(err))
	}
	if got := hex.EncodeToString(summed.sum.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("the SHA-256 is %s, the manifest has %s", got, f.SHA256)
	}
	return nil
}

// messages reads messages with their metadata.
func messages(ctx context.Context, from io.Reader) (all []export.Message, err error) {
	err = export.Scan(ctx, from, func(line []byte) { all = append(all, export.Parse(bytes.Clone(line))) })
	return all, err
}

// drain reads what follows the archive: zeros, and the checksum of the compression.
func (r *archive) drain() error {
	block := make([]byte, 4096)
	for {
		n, err := r.expanded.Read(block)
		if len(bytes.Trim(block[:n], "\x00")) > 0 {
			return errors.New("there are more bytes")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// summed is a file whose sum is computed while it is read.
type summed struct {
	from io.Reader
	sum  hash.Hash
	n    int64
}

func (s *summed) Read(b []byte) (int, error) {
	n, err := s.from.Read(b)
	s.sum.Write(b[:n])
	s.n += int64(n)
	return n, err
}
