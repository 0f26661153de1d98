// Package test runs what the repository gives to its readers as they would: the commands of the
// documents and the examples are scripts of testscript, in testdata. It also holds the documents'
// text to the repository.
package test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// document is a file with prose or comments that tell people what to type.
type document struct{ name, text string }

// files returns the files that are, or would be, in the repository.
func files(t *testing.T, patterns ...string) []string {
	t.Helper()
	args := append([]string{"-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"}, patterns...)
	var found []string
	for _, file := range strings.Split(output(t, os.Environ(), "git", args...), "\x00") {
		if _, err := os.Stat(filepath.Join(root, file)); file != "" && err == nil && !slices.Contains(found, file) {
			found = append(found, file)
		}
	}
	return found
}

func readDocument(t *testing.T, name string) document {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return document{name, string(text)}
}

// readDocuments returns all documents in Markdown.
func readDocuments(t *testing.T) []document {
	t.Helper()
	var all []document
	for _, name := range files(t, "*.md") {
		all = append(all, readDocument(t, name))
	}
	if len(all) == 0 {
		t.Fatal("no documents")
	}
	return all
}

// line is one line of a document, with the language of the block that it stands in. In prose inBlock is
// false.
type line struct {
	text, language string
	inBlock        bool
}

var (
	htmlComment = regexp.MustCompile(`(?s)<!--.*?-->`)
	fence       = regexp.MustCompile("^\\s*```(.*)$")
)

// lines returns the lines of a document without the fences of its blocks.
func (d document) lines() []line {
	var (
		found    []line
		language string
		inBlock  bool
	)
	// A comment of HTML is for those who edit the document.
	for text := range strings.SplitSeq(htmlComment.ReplaceAllString(d.text, ""), "\n") {
		if m := fence.FindStringSubmatch(text); m != nil {
			inBlock = !inBlock
			language = strings.TrimSpace(m[1])
			continue
		}
		found = append(found, line{text, language, inBlock})
	}
	return found
}

// prose returns the text outside of blocks.
func (d document) prose() string {
	var b strings.Builder
	for _, l := range d.lines() {
		if !l.inBlock {
			b.WriteString(l.text + "\n")
		}
	}
	return b.String()
}

var (
	// commandWord is what a line begins with that is meant to be typed.
	commandWord  = regexp.MustCompile(`^(?:[A-Z][A-Z0-9_]*=\S+ +)*(?:go|gofmt|node|npm|npx|bash|git|cd|export|source|curl|docker|kubectl|helm|systemctl|nats|nats-server|bridge|bin/bridge) \S`)
	continuation = regexp.MustCompile(`\s*\\\n\s*`)
	shellComment = regexp.MustCompile(`(^|\s)#\s.*$`)
	indented     = regexp.MustCompile(`^ {3,}`)
	markdown     = regexp.MustCompile(`\.md$`)
	deployed     = regexp.MustCompile(`(Dockerfile|\.(ya?ml|conf|service|env))$`)
)

// documentedCommands returns every command that a document tells people to type: those of its blocks of
// sh and the lines of its transcripts that begin with $, or of a file that is deployed, those in the
// comments at its top.
func documentedCommands(t *testing.T, d document) []string {
	t.Helper()
	var found []string
	if !markdown.MatchString(d.name) {
		var comments []string
		for text := range strings.SplitSeq(d.text, "\n") {
			if comment, ok := strings.CutPrefix(text, "#"); ok {
				comments = append(comments, comment)
			}
		}
		for text := range strings.SplitSeq(continuation.ReplaceAllString(strings.Join(comments, "\n"), " "), "\n") {
			if command := strings.TrimSpace(text); indented.MatchString(text) && commandWord.MatchString(command) {
				found = append(found, command)
			}
		}
		return found
	}
	var typed []string
	for _, l := range d.lines() {
		if command, ok := strings.CutPrefix(l.text, "$ "); ok && l.language == "text" && l.inBlock {
			typed = append(typed, command)
		} else if l.language == "sh" && l.inBlock {
			typed = append(typed, l.text)
		}
	}
	for text := range strings.SplitSeq(continuation.ReplaceAllString(strings.Join(typed, "\n"), " "), "\n") {
		if command := strings.TrimSpace(shellComment.ReplaceAllString(text, "")); command != "" {
			found = append(found, command)
		}
	}
	return found
}

// TestBlocks looks for what would not be recognised: blocks of no language, and commands outside of
// blocks of sh. Blocks of JSON must be JSON.
func TestBlocks(t *testing.T) {
	t.Parallel()
	jsonBlock := regexp.MustCompile("(?ms)^```json\n(.*?)^```$")
	for _, d := range readDocuments(t) {
		for _, l := range d.lines() {
			switch command := strings.TrimSpace(l.text); {
			case l.inBlock && l.language == "":
				t.Errorf("%s: a block without a language; sh is for commands, text for what they print: %s", d.name, l.text)
			case !l.inBlock && strings.HasPrefix(l.text, "    ") && commandWord.MatchString(command):
				t.Errorf("%s: a command outside of a block of sh: %s", d.name, command)
			case l.language == "text" && l.inBlock && commandWord.MatchString(l.text):
				t.Errorf("%s: a command without $ in a transcript: %s", d.name, command)
			}
		}
		for _, block := range jsonBlock.FindAllStringSubmatch(d.text, -1) {
			if !json.Valid([]byte(block[1])) {
				t.Errorf("%s: a block of JSON cannot be read:\n%s", d.name, block[1])
			}
		}
	}
}

var (
	markup     = regexp.MustCompile("[`*]|\\[|\\]\\([^)]*\\)")
	notAnchor  = regexp.MustCompile(`[^\p{L}\p{N}\s_-]`)
	whitespace = regexp.MustCompile(`\s`)
	heading    = regexp.MustCompile(`^#+ (.*)$`)
	namedPlace = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
)

// anchors returns the fragments that links may have into a document, as the places that show
// repositories make them of headings.
func (d document) anchors() []string {
	var found []string
	for _, m := range namedPlace.FindAllStringSubmatch(d.text, -1) {
		found = append(found, m[1])
	}
	seen := map[string]int{}
	for _, l := range d.lines() {
		m := heading.FindStringSubmatch(l.text)
		if l.inBlock || m == nil {
			continue
		}
		name := strings.ToLower(strings.TrimSpace(markup.ReplaceAllString(m[1], "")))
		name = whitespace.ReplaceAllString(notAnchor.ReplaceAllString(name, ""), "-")
		if n := seen[name]; n > 0 {
			found = append(found, fmt.Sprintf("%s-%d", name, n))
		} else {
			found = append(found, name)
		}
		seen[name]++
	}
	return found
}

func TestLinks(t *testing.T) {
	t.Parallel()
	documents := readDocuments(t)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	elsewhere := regexp.MustCompile(`^(https?|mailto):`)
	n := 0
	for _, d := range documents {
		for _, m := range link.FindAllStringSubmatch(d.prose(), -1) {
			if elsewhere.MatchString(m[1]) {
				continue
			}
			n++
			file, fragment, _ := strings.Cut(m[1], "#")
			target := d.name
			if file != "" {
				target = path.Join(path.Dir(d.name), file)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil || strings.HasPrefix(target, "..") {
				t.Errorf("%s: %s: there is no %s", d.name, m[1], target)
				continue
			}
			if fragment == "" {
				continue
			}
			wanted, err := url.PathUnescape(fragment)
			if err != nil {
				t.Errorf("%s: %s: %v", d.name, m[1], err)
			}
			i := slices.IndexFunc(documents, func(d document) bool { return d.name == target })
			if i < 0 || !slices.Contains(documents[i].anchors(), wanted) {
				t.Errorf("%s: %s: %s has no such heading", d.name, m[1], target)
			}
		}
	}
	if n == 0 {
		t.Error("no document has a link")
	}
}

// TestVariables checks that docs/running.md has every variable that the bridge reads, with its default.
func TestVariables(t *testing.T) {
	t.Parallel()
	var rows []string
	for text := range strings.SplitSeq(readDocument(t, "docs/running.md").text, "\n") {
		if strings.HasPrefix(text, "| ") {
			rows = append(rows, text)
		}
	}
	variable := regexp.MustCompile(`env:"([A-Z_]+)[^"]*"(?: +envDefault:"([^"]*)")?`)
	n := 0
	for _, file := range files(t, "bridge/config/*.go") {
		for _, m := range variable.FindAllStringSubmatch(readDocument(t, file).text, -1) {
			n++
			i := slices.IndexFunc(rows, func(row string) bool { return strings.Contains(row, "`"+m[1]+"`") })
			if i < 0 {
				t.Errorf("docs/running.md: %s is in no table", m[1])
				continue
			}
			for value := range strings.SplitSeq(m[2], ",") {
				if m[2] != "" && !strings.Contains(rows[i], "`"+value+"`") {
					t.Errorf("docs/running.md: %s has the default %s, which its row does not say", m[1], value)
				}
			}
		}
	}
	if n == 0 {
		t.Error("bridge/config: no field has a variable")
	}
}

// quoted returns the pieces of text between backticks, outside of blocks.
func (d document) quoted() []string {
	var found []string
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(d.prose(), -1) {
		found = append(found, strings.ReplaceAll(m[1], "\n", " "))
	}
	return found
}

// TestNames looks for names in the documents that nothing else knows: variables, tests and files.
func TestNames(t *testing.T) {
	t.Parallel()
	var source strings.Builder
	top := map[string]bool{}
	for _, file := range files(t) {
		top[strings.Split(file, "/")[0]] = true
	}
	for _, file := range files(t, "*.go", "*.mjs", "deploy", ".ci/run") {
		if !markdown.MatchString(file) {
			source.WriteString(readDocument(t, file).text)
		}
	}
	variables := map[string]bool{}
	variable := regexp.MustCompile(`\b(?:BPCC|BRIDGE|NATS)_[A-Z][A-Z0-9_]*\b`)
	for _, name := range variable.FindAllString(source.String(), -1) {
		variables[name] = true
	}
	test := regexp.MustCompile(`\bTest[A-Z]\w+`)
	file := regexp.MustCompile(`^[\w.-]+(/[\w.-]+)+$`)
	n := 0
	for _, d := range readDocuments(t) {
		for _, name := range variable.FindAllString(d.text, -1) {
			n++
			if base := strings.TrimSuffix(name, "_FILE"); !variables[base] && !variables[base+"_FILE"] {
				t.Errorf("%s: there is no variable %s", d.name, name)
			}
		}
		for _, name := range test.FindAllString(d.text, -1) {
			n++
			if !strings.Contains(source.String(), "func "+name+"(") {
				t.Errorf("%s: there is no test %s", d.name, name)
			}
		}
		for _, piece := range d.quoted() {
			name := strings.TrimSuffix(piece, "/")
			if !file.MatchString(name) || !top[strings.Split(name, "/")[0]] {
				continue
			}
			n++
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("%s: there is no file %s", d.name, name)
			}
		}
	}
	if n == 0 {
		t.Error("the documents name nothing")
	}
}
