package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// part is a file of a bundle that is made for a test.
type part struct {
	name   string
	text   string
	header func(*tar.Header)
}

// goldenParts are the files of a bundle of the golden day, as somebody else might write them.
func goldenParts(t testing.TB) []part {
	t.Helper()
	text, err := os.ReadFile("../../../../bridge/testdata/golden/events.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	var events strings.Builder
	for line := range strings.Lines(string(text)) {
		_, e, _ := strings.Cut(line, " ")
		events.WriteString(e)
	}
	return []part{{name: reportFile, text: "{}\n"}, {name: headsFile}, {name: keysFile}, {name: beforeFile}, {name: erasuresFile},
		{name: "schemas/feed.checkpoint.json", text: "{}"}, {name: eventsFile, text: events.String()}}
}

// manifestOf describes files.
func manifestOf(parts []part) Manifest {
	m := Manifest{Format: format, Version: "test", Made: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), Stream: "BPCC_EVENTS"}
	for _, p := range parts {
		sum := sha256.Sum256([]byte(p.text))
		m.Files = append(m.Files, File{p.name, int64(len(p.text)), hex.EncodeToString(sum[:])})
	}
	return m
}

// tarOf is the archive of files.
func tarOf(t testing.TB, parts []part) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, p := range parts {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: p.name, Size: int64(len(p.text)), Mode: 0o600}
		if p.header != nil {
			p.header(header)
		}
		err := w.WriteHeader(header)
		if err == nil && header.Size > 0 {
			_, err = io.WriteString(w, p.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zipped is a text, compressed.
func zipped(t testing.TB, text []byte, options ...zstd.EOption) []byte {
	t.Helper()
	zip, err := zstd.NewWriter(nil, options...)
	if err != nil {
		t.Fatal(err)
	}
	return zip.EncodeAll(text, nil)
}

// withManifest puts the manifest before files.
func withManifest(t testing.TB, m Manifest, parts []part) []part {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat([]part{{name: manifestFile, text: string(text)}}, parts)
}

func bundleOf(t testing.TB, parts []part) []byte {
	t.Helper()
	return zipped(t, tarOf(t, withManifest(t, manifestOf(parts), parts)))
}

// withHoles is an archive whose second file is a sparse one by its extended header: a few bytes in it expand to its
// size.
func withHoles(t *testing.T, archive []byte) []byte {
	t.Helper()
	holes := tarOf(t, []part{{name: "x", text: "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n31 GNU.sparse.name=report.json\n25 GNU.sparse.realsize=3\n"}})
	begin := bytes.Index(archive, []byte(reportFile+"\x00"))
	holes = holes[:1024]
	holes[156] = 'x'
	copy(holes[148:156], "        ")
	sum := 0
	for _, b := range holes[:512] {
		sum += int(b)
	}
	copy(holes[148:156], fmt.Sprintf("%06o\x00 ", sum))
	file := tarOf(t, []part{{name: reportFile, text: "0\n" + strings.Repeat("\x00", 510)}})[:1024]
	return slices.Concat(archive[:begin], holes, file, archive[begin+1024:])
}

// TestHostileBundles reads bundles that are damaged, or made to do harm: each is refused with what is wrong and where.
func TestHostileBundles(t *testing.T) {
	t.Parallel()
	good := goldenParts(t)
	whole := bundleOf(t, good)
	// edited is the bundle with another file, which the manifest describes.
	edited := func(i int, p part) []byte {
		parts := slices.Clone(good)
		parts[i] = p
		return bundleOf(t, parts)
	}
	// described is the bundle with another manifest.
	described := func(edit func(*Manifest)) []byte {
		m := manifestOf(good)
		edit(&m)
		return zipped(t, tarOf(t, withManifest(t, m, good)))
	}
	events := len(good) - 1
	lines := strings.SplitAfter(good[events].text, "\n")
	withLines := func(name string, text ...string) []byte {
		return edited(slices.IndexFunc(good, func(p part) bool { return p.name == name }), part{name: name, text: strings.Join(text, "")})
	}
	typed := func(kind byte) []byte {
		return edited(0, part{name: reportFile, header: func(h *tar.Header) { h.Typeflag, h.Linkname = kind, "/etc/passwd" }})
	}
	for name, test := range map[string]struct {
		bundle []byte
		want   string
	}{
		"not compressed":                 {tarOf(t, good), "invalid input"},
		"not a tar":                      {zipped(t, []byte(good[events].text)), "manifest.json: "},
		"empty":                          {zipped(t, nil), "manifest.json: the bundle ends too early"},
		"no manifest":                    {zipped(t, tarOf(t, good)), `the file "report.json" is there, want manifest.json`},
		"another format":                 {described(func(m *Manifest) { m.Format = 2 }), "manifest.json: bundle_format is 2, want 1"},
		"a manifest that is no JSON":     {zipped(t, tarOf(t, append([]part{{name: manifestFile, text: "{"}}, good...))), "manifest.json: the bundle ends too early"},
		"two manifests":                  {zipped(t, tarOf(t, append([]part{{name: manifestFile, text: `{"bundle_format":1}{}`}}, good...))), "manifest.json: there is more than one object"},
		"a large manifest":               {zipped(t, tarOf(t, append([]part{{name: manifestFile, text: strings.Repeat(" ", maxManifest+1)}}, good...))), "manifest.json: larger than 1048576 bytes"},
		"a path out of the directory":    {described(func(m *Manifest) { m.Files[0].Name = "../../etc/cron.d/x" }), "names the file \"../../etc/cron.d/x\", which is not a name"},
		"an absolute path":               {described(func(m *Manifest) { m.Files[0].Name = "/etc/passwd" }), "not a name of a file in a bundle"},
		"a path with a detour":           {described(func(m *Manifest) { m.Files[0].Name = "schemas/../../x" }), "not a name of a file in a bundle"},
		"a name that controls terminals": {described(func(m *Manifest) { m.Files[0].Name = "\x1b[2Jx" }), "not a name of a file in a bundle"},
		"a name for Windows":             {described(func(m *Manifest) { m.Files[0].Name = `c:\x` }), "not a name of a file in a bundle"},
		"a name twice":                   {described(func(m *Manifest) { m.Files[0].Name = headsFile }), "names the file heads.json twice"},
		"the manifest in itself":         {described(func(m *Manifest) { m.Files[0].Name = manifestFile }), "names the file manifest.json twice"},
		"another name in the tar":        {described(func(m *Manifest) { m.Files[5].Name = "schemas/x.json" }), `the file "schemas/feed.checkpoint.json" is there, want schemas/x.json`},
		"no events":                      {bundleOf(t, good[:events]), "manifest.json: does not name events.ndjson"},
		"events before others":           {bundleOf(t, append([]part{good[events]}, good[:events]...)), "the last file is schemas/feed.checkpoint.json, want events.ndjson"},
		"many files":                     {described(func(m *Manifest) { m.Files = make([]File, maxFiles+1) }), "names 1001 files, more than 1000"},
		"a large small file":             {described(func(m *Manifest) { m.Files[1].Size = 1 << 40 }), "heads.json: the size is 1099511627776, at most 16777216 is allowed"},
		"a negative size":                {described(func(m *Manifest) { m.Files[events].Size = -1 }), "events.ndjson: the size is -1"},
		"another size":                   {described(func(m *Manifest) { m.Files[events].Size = 1 << 62 }), "the manifest has 4611686018427387904"},
		"another sum":                    {described(func(m *Manifest) { m.Files[events].SHA256 = strings.Repeat("0", 64) }), "events.ndjson: the SHA-256 is "},
		"no sum":                         {described(func(m *Manifest) { m.Files[events].SHA256 = "" }), `events.ndjson: sha256 is ""`},
		"a symbolic link":                {typed(tar.TypeSymlink), `report.json: not a plain file (type '2')`},
		"a hard link":                    {typed(tar.TypeLink), `report.json: not a plain file (type '1')`},
		"a device":                       {typed(tar.TypeChar), `report.json: not a plain file (type '3')`},
		"a named pipe":                   {typed(tar.TypeFifo), `report.json: not a plain file (type '6')`},
		"a directory":                    {edited(0, part{name: reportFile, header: func(h *tar.Header) { h.Typeflag = tar.TypeDir }}), "report.json: not a plain file (type '5')"},
		"a file with holes":              {zipped(t, withHoles(t, tarOf(t, withManifest(t, manifestOf(good), good)))), "report.json: a file with holes"},
		"one file more":                  {zipped(t, tarOf(t, append(withManifest(t, manifestOf(good), good), part{name: "x"}))), `"x" comes after the last file of the manifest`},
		"bytes after the end":            {slices.Concat(whole, zipped(t, []byte("x"))), "after the last file: there are more bytes"},
		"two bundles":                    {slices.Concat(whole, whole), "after the last file: there are more bytes"},
		"no compression after the end":   {slices.Concat(whole, []byte("x")), "after the last file: "},
		"a larger window":                {zipped(t, tarOf(t, withManifest(t, manifestOf(good), slices.Concat(good[:events], []part{{name: eventsFile, text: strings.Repeat("\n", 9<<20)}}))), zstd.WithWindowSize(64<<20)), " exceed"},
		"a bomb of lines":                {edited(events, part{name: eventsFile, text: strings.Repeat("\n", maxExpanded+1<<20)}), "expands to more than 1000 times its size"},
		"other heads":                    {withLines(headsFile, `{"tenant":"acme"}`+"\n"), "heads.json: these are not the last checkpoints of the events"},
		"other keys":                     {withLines(keysFile, `{"key":"UA"}`+"\n"), "keys.json: these are not the keys that the events name"},
		"no checkpoint before":           {withLines(beforeFile, lines[0]), "message 1 of those before the range is no checkpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "day.tar.zst")
			if err := os.WriteFile(file, test.bundle, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := verify(t.Context(), file, audit.Options{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestBundle verifies a bundle, from a file and from a pipe, and each of its readings ends with the context.
func TestBundle(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "day.tar.zst")
	if err := os.WriteFile(file, bundleOf(t, goldenParts(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Audit(t.Context(), file, audit.Options{})
	if err != nil || !r.OK || r.Events != 66 || r.Bundle == nil || r.Bundle.Version != "test" {
		t.Errorf("%v: %+v", err, r)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Audit(ended, file, audit.Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := Audit(t.Context(), file+"x", audit.Options{}); !errors.Is(err, reader.ErrUsage) {
		t.Error(err)
	}
}

// TestDamagedBundle cuts a bundle off at any byte, and changes bits of it.
func TestDamagedBundle(t *testing.T) {
	t.Parallel()
	whole := bundleOf(t, goldenParts(t))
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	plain, err := decoder.DecodeAll(whole, nil)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, i int, text []byte) {
		t.Helper()
		if _, err := read(t.Context(), bytes.NewReader(text), func([]byte) {}); errors.Is(err, ErrBundle) {
			return
		}
		// Some bits of the compression have no meaning.
		if got, err := decoder.DecodeAll(text, nil); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s at %d of %d is read: %v", what, i, len(whole), err)
		}
	}
	for i := 0; i < len(whole); i += 7 {
		try("cut", i, whole[:i])
		changed := bytes.Clone(whole)
		changed[i] ^= 1 << (i % 8)
		try("changed", i, changed)
	}
	try("cut", len(whole)-1, whole[:len(whole)-1])
}

// TestMemoryOfBundles: what expands to much is not kept.
func TestMemoryOfBundles(t *testing.T) {
	parts := goldenParts(t)
	parts[len(parts)-1].text = strings.Repeat("{}\n", 10<<20)
	bomb := bundleOf(t, parts)
	parts = nil
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n := 0
	if _, err := read(t.Context(), bytes.NewReader(bomb), func([]byte) { n++ }); err != nil || n != 10<<20 {
		t.Errorf("%d lines: %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 20 {
		t.Errorf("30 MiB of events took %d MiB", got)
	}
}

// TestOutput: a bundle never replaces a file, and nothing is left of one that was not completed.
func TestOutput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "day.tar.zst")
	list := func() (names []string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	out, err := NewOutput(name)
	if err != nil {
		t.Fatal(err)
	}
	out.Close()
	if left := list(); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	if out, err = NewOutput(name); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := out.commit(); !errors.Is(err, os.ErrExist) {
		t.Error(err)
	}
	out.Close()
	if text, err := os.ReadFile(name); err != nil || string(text) != "mine" || len(list()) != 1 {
		t.Errorf("%v: %q, and %q are left", err, text, list())
	}
	for _, name := range []string{name, filepath.Join(dir, "none", "day.tar.zst")} {
		if _, err := NewOutput(name); !errors.Is(err, reader.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzArchive reads any archive.
func FuzzArchive(f *testing.F) {
	parts := goldenParts(f)
	parts[len(parts)-1].text = parts[len(parts)-1].text[:2000]
	whole := tarOf(f, withManifest(f, manifestOf(parts), parts))
	f.Add(whole)
	f.Add(whole[:700])
	f.Fuzz(func(t *testing.T, text []byte) {
		in := &source{ctx: t.Context(), from: bytes.NewReader(nil)}
		r := &archive{ctx: t.Context(), expanded: &expanded{from: bytes.NewReader(text), in: in}, handle: func([]byte) {}}
		r.tar = tar.NewReader(r.expanded)
		c, err := r.read()
		if err != nil {
			return
		}
		for _, file := range c.manifest.Files {
			if !filepath.IsLocal(file.Name) {
				t.Errorf("%q is accepted", file.Name)
			}
		}
	})
}
