package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

// The program where the unit has it, and in a package: iproute2 has a program bridge.
const (
	copied    = "/usr/local/bin/bridge"
	installed = "/usr/bin/" + product
)

// writePackages writes the packages for Debian and for RPM, which install the program and its unit.
func (r *release) writePackages(ctx context.Context, name, goarch, program string, licences []byte) error {
	unit, err := os.ReadFile(filepath.Join(r.source, "deploy/systemd", product+".service"))
	if err != nil {
		return err
	}
	// Without the instructions for those who copy it.
	_, unit, _ = bytes.Cut(unit, []byte("\n\n"))
	if !bytes.Contains(unit, []byte(copied)) {
		return fmt.Errorf("the unit does not run %s", copied)
	}
	unit = bytes.Replace(unit, []byte(copied), []byte(installed), 1)
	documents, err := r.tracked(ctx, "README.md", "CHANGELOG.md", "SECURITY.md", "docs")
	if err != nil {
		return err
	}
	terms, err := os.ReadFile(filepath.Join(r.source, "LICENSE"))
	if err != nil {
		return err
	}
	docs := "usr/share/doc/" + product
	texts := []file{
		{name: "usr/lib/systemd/system/" + product + ".service", content: unit},
		{name: docs + "/copyright", content: append(append(terms, '\n'), licences...)},
	}
	for _, d := range documents {
		texts = append(texts, file{name: path.Join(docs, d.name), content: d.content})
	}
	dir := filepath.Join(r.tempDir, "package-"+goarch)
	list := files.Contents{
		{Source: program, Destination: installed, FileInfo: &files.ContentFileInfo{Mode: 0o755, MTime: r.at}},
		{Destination: "/etc/" + product, Type: files.TypeDir, FileInfo: &files.ContentFileInfo{Mode: 0o750, MTime: r.at}},
		{
			Source: filepath.Join(r.source, "deploy/systemd/bridge.env"), Destination: "/etc/" + product + "/bridge.env",
			Type: files.TypeConfigNoReplace, FileInfo: &files.ContentFileInfo{Mode: 0o640, MTime: r.at},
		},
	}
	for _, f := range texts {
		from := filepath.Join(dir, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(from), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(from, f.content, 0o644); err != nil {
			return err
		}
		list = append(list, &files.Content{Source: from, Destination: "/" + f.name, FileInfo: &files.ContentFileInfo{Mode: 0o644, MTime: r.at}})
	}
	scripts := filepath.Join(r.source, "deploy/release/scripts")
	for _, packager := range []struct {
		nfpm.Packager
		format string
	}{{deb.Default, "deb"}, {rpm.DefaultRPM, "rpm"}} {
		info := nfpm.WithDefaults(&nfpm.Info{
			Name: product, Arch: goarch, Platform: "linux", Version: r.version, MTime: r.at,
			Section: "net", Priority: "optional", Maintainer: "The maintainers of " + product, License: license,
			Description:     "Bright Pattern contact centre to NATS JetStream\nPublishes what changes in a contact centre as events, each once and in order.",
			DisableGlobbing: true,
			Overridables: nfpm.Overridables{
				Contents: list,
				Scripts: nfpm.Scripts{
					PostInstall: filepath.Join(scripts, "postinstall.sh"),
					PreRemove:   filepath.Join(scripts, "preremove.sh"),
					PostRemove:  filepath.Join(scripts, "postremove.sh"),
				},
				RPM: nfpm.RPM{BuildHost: "localhost", Summary: "Bright Pattern contact centre to NATS JetStream"},
			},
		})
		if err := nfpm.PrepareForPackager(info, packager.format); err != nil {
			return err
		}
		var out bytes.Buffer
		if err := packager.Package(info, &out); err != nil {
			return err
		}
		if err := r.addFile(name+"."+packager.format, out.Bytes()); err != nil {
			return err
		}
	}
	return nil
}
