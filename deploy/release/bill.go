package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// archive packs files into a directory of a tar.gz, the first of them executable, without any data
// of this machine, its user or the time of day.
func archive(dir string, at time.Time, files ...string) ([]byte, error) {
	var out bytes.Buffer
	packed, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(packed)
	for i, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		mode := int64(0o644)
		if i == 0 {
			mode = 0o755
		}
		h := &tar.Header{Name: dir + "/" + filepath.Base(file), Mode: mode, Size: int64(len(content)), ModTime: at, Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := t.Write(content); err != nil {
			return nil, err
		}
	}
	if err := cmp.Or(t.Close(), packed.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func sha256Hex(content []byte) string {
	hash := sha256.Sum256(content)
	return hex.EncodeToString(hash[:])
}

// component is a part of a bill of materials.
type component struct {
	Type       string             `json:"type"`
	Ref        string             `json:"bom-ref,omitempty"`
	Name       string             `json:"name"`
	Version    string             `json:"version"`
	Hashes     []componentHash    `json:"hashes,omitempty"`
	Licenses   []componentLicense `json:"licenses,omitempty"`
	PURL       string             `json:"purl,omitempty"`
	Properties []property         `json:"properties,omitempty"`
}

type componentHash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"`
}

type componentLicense struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// bom returns the bill of materials of a program: the modules that it contains according to the Go
// toolchain, not all those in go.mod.
func bom(program, version string, at time.Time) ([]byte, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, err
	}
	if info.Main.Version != version {
		return nil, fmt.Errorf("version of the program is %s, not %s", info.Main.Version, version)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	digest := sha256Hex(content)
	apache := componentLicense{}
	apache.License.ID = "Apache-2.0"
	main := moduleComponent(info.Main)
	main.Type, main.Name, main.Hashes, main.Licenses = "application", product, []componentHash{{"SHA-256", digest}}, []componentLicense{apache}
	for _, s := range info.Settings {
		main.Properties = append(main.Properties, property{"go:build:" + s.Key, s.Value})
	}
	std := debug.Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}
	parts := []component{moduleComponent(std)}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		parts = append(parts, moduleComponent(*m))
	}
	slices.SortFunc(parts, func(a, b component) int { return cmp.Compare(a.Ref, b.Ref) })
	uses := dependency{Ref: main.Ref}
	graph := []dependency{}
	for _, p := range parts {
		uses.DependsOn = append(uses.DependsOn, p.Ref)
		graph = append(graph, dependency{Ref: p.Ref})
	}
	bill := map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "serialNumber": "urn:uuid:" + uuid(digest),
		"metadata":     map[string]any{"timestamp": at.Format(time.RFC3339), "component": main},
		"components":   parts,
		"dependencies": append(graph, uses),
	}
	text, err := json.MarshalIndent(bill, "", "  ")
	return append(text, '\n'), err
}

func moduleComponent(m debug.Module) component {
	purl := "pkg:golang/" + m.Path + "@" + url.QueryEscape(m.Version)
	c := component{Type: "library", Ref: purl, Name: m.Path, Version: m.Version, PURL: purl}
	if m.Sum != "" {
		c.Properties = []property{{"go:sum", m.Sum}}
	}
	return c
}

// uuid makes a UUID from a digest, of the version for custom content.
func uuid(digest string) string {
	d := digest[:12] + "8" + digest[13:16] + "8" + digest[17:32]
	return strings.Join([]string{d[:8], d[8:12], d[12:16], d[16:20], d[20:32]}, "-")
}
