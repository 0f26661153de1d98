// Package bundle writes and verifies bundles of evidence: the events of a range of a stream with what their
// verification needs, in one file.
//
// A bundle is a tar in zstd. Its files are, in this order:
//
//	manifest.json     what the bundle is, and the name, the size and the SHA-256 of each other file
//	report.json       the report of the verification when the bundle was made
//	heads.json        the last checkpoint of each tenant, as bridge head prints it
//	keys.json         the public keys that the signatures of the checkpoints name
//	before.ndjson     the checkpoint before the range of each tenant, if it was still stored
//	erasures.ndjson   messages outside of the range that state erasures in it
//	schemas/          the schemas of the events
//	events.ndjson     the events, as bridge replay --with-meta prints them
package bundle

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

// Names of files in a bundle.
const (
	manifestFile = "manifest.json"
	reportFile   = "report.json"
	headsFile    = "heads.json"
	keysFile     = "keys.json"
	beforeFile   = "before.ndjson"
	erasuresFile = "erasures.ndjson"
	eventsFile   = "events.ndjson"
	schemasDir   = "schemas/"
)

// Limits of what is read of a bundle that somebody else may have made.
const (
	maxManifest = 1 << 20
	maxFiles    = 1000
	// maxSmall is the maximum size of a file that is kept in memory, in bytes.
	maxSmall = 16 << 20
	// window is how far back the compression may refer, in bytes: every decoder must support it.
	window = 8 << 20
	// maxRatio is to how many times its size a bundle may expand, beyond the first maxExpanded bytes.
	maxRatio    = 1000
	maxExpanded = 64 << 20
)

// format is the version of the format.
const format = 1

// ErrBundle is returned for a bundle that is damaged, or that is none.
var ErrBundle = errors.New("read the bundle")

// Manifest says what a bundle is.
type Manifest struct {
	Format int `json:"bundle_format"`
	// Version is that of the program which made it.
	Version string    `json:"bridge"`
	Made    time.Time `json:"made"`
	Stream  string    `json:"stream"`
	// Tenant is the only tenant; "" for all.
	Tenant string `json:"tenant,omitempty"`
	// Asked is which range was asked for. The bundle has whole batches.
	Asked Asked `json:"asked"`
	// Settings are those of the stream and its bridge on which the verification depends.
	Settings Settings `json:"settings"`
	Files    []File   `json:"files"`
}

// Asked is a range, by time or by sequences.
type Asked struct {
	Since   time.Time `json:"since,omitzero"`
	Until   time.Time `json:"until,omitzero"`
	FromSeq uint64    `json:"from_sequence,omitempty"`
	ToSeq   uint64    `json:"to_sequence,omitempty"`
}

// Settings are settings of the bridge.
type Settings struct {
	CheckpointInterval float64  `json:"checkpoint_interval_s"`
	Retention          float64  `json:"retention_s"`
	Volatile           []string `json:"volatile_stats"`
}

// File is a file of a bundle.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// validName reports whether a file may have a name: it has no characters of terminals and shells, and stays in the
// directory in which a bundle is unpacked.
func validName(name string) bool {
	other := func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789_./", r) }
	return fs.ValidPath(name) && name != "." && len(name) <= 100 && strings.IndexFunc(name, other) < 0
}

// parseManifest reads and checks a manifest.
func parseManifest(text []byte) (Manifest, error) {
	var m Manifest
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&m); err != nil {
		return m, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return m, errors.New("there is more than one object")
	}
	if m.Format != format {
		return m, fmt.Errorf("bundle_format is %d, want %d", m.Format, format)
	}
	if len(m.Files) > maxFiles {
		return m, fmt.Errorf("names %d files, more than %d", len(m.Files), maxFiles)
	}
	names := map[string]bool{manifestFile: true}
	for _, f := range m.Files {
		sum, err := hex.DecodeString(f.SHA256)
		switch {
		case !validName(f.Name):
			return m, fmt.Errorf("names the file %q, which is not a name of a file in a bundle", f.Name)
		case names[f.Name]:
			return m, fmt.Errorf("names the file %s twice", f.Name)
		case err != nil || len(sum) != 32:
			return m, fmt.Errorf("%s: sha256 is %.70q", f.Name, f.SHA256)
		case f.Size < 0 || f.Name != eventsFile && f.Size > maxSmall:
			return m, fmt.Errorf("%s: the size is %d, at most %d is allowed", f.Name, f.Size, maxSmall)
		}
		names[f.Name] = true
	}
	for _, name := range []string{reportFile, headsFile, keysFile, beforeFile, erasuresFile, eventsFile} {
		if !names[name] {
			return m, fmt.Errorf("does not name %s", name)
		}
	}
	if last := m.Files[len(m.Files)-1].Name; last != eventsFile {
		return m, fmt.Errorf("the last file is %s, want %s", last, eventsFile)
	}
	return m, nil
}
