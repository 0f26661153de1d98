package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// file is one of an archive or a package.
type file struct {
	name       string // with slashes, relative
	content    []byte
	executable bool
}

// archive packs files into a directory of a tar.gz, without any data of this machine, its user or the time of day.
func archive(dir string, at time.Time, files []file) ([]byte, error) {
	var out bytes.Buffer
	packed, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(packed)
	for _, f := range files {
		mode := int64(0o644)
		if f.executable {
			mode = 0o755
		}
		h := &tar.Header{Name: dir + "/" + f.name, Mode: mode, Size: int64(len(f.content)), ModTime: at, Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := t.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := cmp.Or(t.Close(), packed.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// tracked returns the files of the commit below the paths, in the order of their names. The content of a link
// is that of the file.
func (r *release) tracked(ctx context.Context, paths ...string) ([]file, error) {
	list, err := runCommand(ctx, "", nil, "git", append([]string{"-C", r.source, "ls-files", "-z", "--"}, paths...)...)
	if err != nil {
		return nil, err
	}
	var files []file
	for name := range strings.SplitSeq(strings.Trim(list, "\x00"), "\x00") {
		path := filepath.Join(r.source, filepath.FromSlash(name))
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		files = append(files, file{name, content, info.Mode()&0o100 != 0})
	}
	return files, nil
}

// documents returns the files that every archive has beside the program: the documents, and what runs the bridge.
func (r *release) documents(ctx context.Context) ([]file, error) {
	return r.tracked(ctx, "LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "docs", "deploy",
		":!deploy/release", ":!"+chartDir+"/ci", ":!deploy/container/Dockerfile")
}

const chartDir = "deploy/helm/" + product

var chartVersion = regexp.MustCompile(`(?m)^(version|appVersion): .*$`)

// writeChart packs the chart, with the version of the release, as `helm package` does.
func (r *release) writeChart(ctx context.Context) error {
	files, err := r.tracked(ctx, chartDir, ":!"+chartDir+"/ci")
	if err != nil {
		return err
	}
	version := strings.TrimPrefix(r.version, "v")
	for i, f := range files {
		files[i].name = strings.TrimPrefix(f.name, chartDir+"/")
		if files[i].name == "Chart.yaml" {
			files[i].content = chartVersion.ReplaceAll(f.content, []byte("$1: "+version))
		}
	}
	packed, err := archive(product, r.at, files)
	if err != nil {
		return err
	}
	return r.addFile(product+"-"+version+".tgz", packed)
}
