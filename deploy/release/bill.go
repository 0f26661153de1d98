package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

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

// readBuild returns what the Go toolchain has recorded in a program, and the modules that the program contains,
// which are not all those in go.mod. The standard library is the module std.
func readBuild(program, version string) (info *buildinfo.BuildInfo, modules []debug.Module, err error) {
	if info, err = buildinfo.ReadFile(program); err != nil {
		return nil, nil, err
	}
	if info.Main.Version != version {
		return nil, nil, fmt.Errorf("version of the program is %s, not %s", info.Main.Version, version)
	}
	modules = []debug.Module{{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		modules = append(modules, *m)
	}
	return info, modules, nil
}

// bom returns the bill of materials of a program with the modules and the licences that it contains.
func bom(program string, info *buildinfo.BuildInfo, modules []debug.Module, licences map[string]licence, at time.Time) ([]byte, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	digest := sha256Hex(content)
	main := moduleComponent(info.Main, licence{ids: []string{license}})
	main.Type, main.Name, main.Hashes = "application", product, []componentHash{{"SHA-256", digest}}
	for _, s := range info.Settings {
		main.Properties = append(main.Properties, property{"go:build:" + s.Key, s.Value})
	}
	var parts []component
	for _, m := range modules {
		parts = append(parts, moduleComponent(m, licences[m.Path]))
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

func moduleComponent(m debug.Module, l licence) component {
	purl := "pkg:golang/" + m.Path + "@" + url.QueryEscape(m.Version)
	c := component{Type: "library", Ref: purl, Name: m.Path, Version: m.Version, PURL: purl}
	for _, id := range l.ids {
		var found componentLicense
		found.License.ID = id
		c.Licenses = append(c.Licenses, found)
	}
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
