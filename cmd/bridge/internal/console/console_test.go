package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"

	"bpcc-nats/internal/hostile"
)

func TestVisible(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                         "",
		"Zoë 서연 👍🏽 ❤️ a\\b":        "Zoë 서연 👍🏽 ❤️ a\\b",
		"\x1b[31m":                 `\x1b[31m`,
		"a\nb\rc\td":               `a\nb\rc\td`,
		"\x9b\u009b":               `\x9b\u009b`,
		"\u202e\u2066\u200b\ufeff": `\u202e\u2066\u200b\ufeff`,
		"\u2028\u2029\u00ad\u3164": `\u2028\u2029\u00ad\u3164`,
		"\U000e0041":               `\U000e0041`,
		"\ufffd\xff":               "\ufffd" + `\xff`,
	} {
		if got := Visible(text); got != want {
			t.Errorf("Visible(%q) is %q, want %q", text, got, want)
		}
		if got := Visible(want); got != want {
			t.Errorf("Visible(%q) is %q: it changes what is visible", want, got)
		}
	}
}

func TestConsolePrintf(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &Console{w: &out, Colour: true}
	c.Printf("%s|%-4s|%q|%v|%d|%5.1f|%s\n", "\x1b", "\a", "\x1b", fmt.Errorf("%s", "\n"), 7, 2.25, c.Paint(Red, "\x1bx"))
	if got, want := out.String(), `\x1b|\a  |"\x1b"|\n|7|  2.2|`+"\x1b[31m"+`\x1bx`+"\x1b[0m\n"; got != want {
		t.Errorf("it writes %q, want %q", got, want)
	}
	if got := string(VisibleLines("a\n\x1bb")); got != "a\n"+`\x1bb` {
		t.Errorf("lines are %q", got)
	}
}

// TestAlignment: escapes do not shift the columns of tables.
func TestAlignment(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &Console{w: &out}
	tab := Table{Head: []string{"NAME", "STATE"}}
	tab.Add("", "\x1b]0;x\x07\n\t", "state")
	tab.Add("", "Zoë", "state")
	tab.Write(c)
	aligned, flush := c.Aligned()
	for _, name := range []string{"\x1b]0;x\x07\n\t", "Zoë"} {
		aligned.Printf("%s\tstate\n", name)
	}
	if err := flush(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(out.String()) {
		if at := strings.Index(line, "state"); at >= 0 {
			if n++; runewidth.StringWidth(line[:at]) != len(`\x1b]0;x\a\n\t`)+2 {
				t.Errorf("the second column begins at %d: %q", runewidth.StringWidth(line[:at]), line)
			}
		}
	}
	if n != 4 {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}

// TestLogIsVisible: neither messages nor values of any type act on a terminal, and
// colours remain.
func TestLogIsVisible(t *testing.T) {
	t.Parallel()
	for _, colour := range []bool{true, false} {
		var out bytes.Buffer
		log := (&Console{w: &out, Colour: colour}).Logger("info", "text")
		log = log.With("with", "\x1b[5m")
		log.Warn("message \x1b[5m", "plain", "x", "text", hostile.Text(), "unquoted", "\x1b[5m", "fourcharacters", `a \x1b[5m`, "err", fmt.Errorf("%s", hostile.Text()),
			"list", []string{hostile.Text()}, "url", &net.AddrError{Err: hostile.Text()}, slog.Group("g", "in", hostile.Text()), "n", 7, "for", time.Second, "empty", "")
		if bad := hostile.Controls(out.String()); len(bad) > 0 {
			t.Errorf("colour %v: %s", colour, strings.Join(bad, "\n"))
		}
		for _, want := range []string{`\x1b]0;title`, `\u202e`, "x", "7", "1s", "g.in", "right", `z"`} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("colour %v: no %q in %q", colour, want, out.String())
			}
		}
		if strings.Contains(out.String(), "\x1b") != colour {
			t.Errorf("colour %v: %q", colour, out.String())
		}
	}
}

func TestTableWidths(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	tab := Table{Head: []string{"NAME", "STATE"}}
	tab.Add("", "서연 Whitfield", "ready")
	tab.Add("", "Zoe\u0308", "ready") // two characters in one column
	tab.Add("", "Łukasz", strings.Repeat("long ", 20))
	tab.Write(&Console{w: &out, Width: 30})
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if runewidth.StringWidth(line) > 30 {
			t.Errorf("%d columns: %q", runewidth.StringWidth(line), line)
		}
		if at := strings.Index(line, "ready"); at >= 0 && runewidth.StringWidth(line[:at]) != 16 {
			t.Errorf("the second column begins at %d: %q", runewidth.StringWidth(line[:at]), line)
		}
	}
}

// TestJSONLog: nothing in a log in JSON acts on a terminal, and programs read the text
// as it was logged.
func TestJSONLog(t *testing.T) {
	t.Parallel()
	for _, name := range append(hostile.Names(), hostile.Text(), "\U000e0041\u007f", `\x1b "Zoë" 👍🏽 <&>`) {
		var out bytes.Buffer
		New(&out, nil).Logger("info", "auto").Warn(name, "name", name, "err", fmt.Errorf("a %s", name), name, 1)
		line, found := strings.CutSuffix(out.String(), "\n")
		if strings.ContainsFunc(line, isActive) || !utf8.ValidString(line) || !found {
			t.Errorf("it writes %q", out.String())
		}
		var got map[string]any
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		want := strings.ToValidUTF8(name, "\ufffd")
		if got["msg"] != want || got["name"] != want || got["err"] != "a "+want || got[want] == nil {
			t.Errorf("%q is logged as %q", name, line)
		}
	}
}
