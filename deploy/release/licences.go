package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	classifier "github.com/google/licenseclassifier/v2"
	"github.com/google/licenseclassifier/v2/assets"
)

// license is that of the bridge.
const license = "Apache-2.0"

// licence is what a module says of its licence.
type licence struct {
	ids  []string // of SPDX, sorted
	text string   // of all its files, for those who get the program
}

// licenceReader finds the licences of modules, and remembers them for the other systems of a release.
type licenceReader struct {
	texts *classifier.Classifier
	known map[debug.Module]licence
}

func newLicenceReader() (*licenceReader, error) {
	texts, err := assets.DefaultClassifier()
	return &licenceReader{texts, map[debug.Module]licence{}}, err
}

// read returns the licences of modules by their paths, from their sources.
func (l *licenceReader) read(ctx context.Context, source string, env []string, modules []debug.Module) (map[string]licence, error) {
	var missing []string
	dirs := map[string]string{}
	for _, m := range modules {
		if _, ok := l.known[m]; !ok && m.Path != "std" {
			missing = append(missing, m.Path+"@"+m.Version)
		}
	}
	goroot, err := runCommand(ctx, source, env, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	dirs["std"] = goroot
	if len(missing) > 0 {
		list, err := runCommand(ctx, source, env, "go", append([]string{"mod", "download", "-json"}, missing...)...)
		if err != nil {
			return nil, err
		}
		for decoder := json.NewDecoder(strings.NewReader(list)); ; {
			var m struct{ Path, Dir string }
			if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, err
			}
			dirs[m.Path] = m.Dir
		}
	}
	found := map[string]licence{}
	for _, m := range modules {
		if _, ok := l.known[m]; !ok {
			if l.known[m], err = l.readDir(dirs[m.Path]); err != nil {
				return nil, fmt.Errorf("licence of %s: %w", m.Path, err)
			}
		}
		found[m.Path] = l.known[m]
	}
	return found, nil
}

var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[cs]es?|copying|unlicense)([.-].*)?$`)
	noticeFile  = regexp.MustCompile(`(?i)^notice([.-].*)?$`)
)

// readDir reads the licence of the module in a directory.
func (l *licenceReader) readDir(dir string) (licence, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return licence{}, err
	}
	var found licence
	for _, entry := range entries {
		isLicence := licenceFile.MatchString(entry.Name())
		if entry.IsDir() || !isLicence && !noticeFile.MatchString(entry.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return licence{}, err
		}
		found.text += string(bytes.TrimSpace(text)) + "\n\n"
		if !isLicence {
			continue
		}
		for _, m := range l.texts.Match(text).Matches {
			if m.MatchType == "License" && !slices.Contains(found.ids, m.Name) {
				found.ids = append(found.ids, m.Name)
			}
		}
	}
	if len(found.ids) == 0 {
		return licence{}, fmt.Errorf("%s has no file with a known licence", dir)
	}
	slices.Sort(found.ids)
	return found, nil
}

// licenceTexts returns the texts of the licences of modules, which those must get who get the program.
func licenceTexts(modules []debug.Module, licences map[string]licence) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "The program contains these modules, under their own licences.\n\n")
	for _, m := range modules {
		l := licences[m.Path]
		fmt.Fprintf(&b, "==== %s %s: %s\n\n%s", m.Path, m.Version, strings.Join(l.ids, ", "), l.text)
	}
	return b.Bytes()
}
