package main

import (
	"encoding/json"
	"strings"
	"testing"

	"bpcc-nats/bridge/audit"
)

// TestVerifyPart: verify judges a part of the stream, and an export of one, by what it can prove.
func TestVerifyPart(t *testing.T) {
	t.Parallel()
	_, env := serverWithDay(t)
	const states = "bpcc.v1.*.agent.*.state_changed"
	export := func(args ...string) []string {
		r := runCommand(t, t.Context(), env, append([]string{"replay"}, args...)...)
		if r.status != exitOK {
			t.Fatal(r.stderr)
		}
		return strings.SplitAfter(strings.TrimSuffix(r.stdout, "\n"), "\n")
	}
	file := func(lines []string) string { return writeFile(t, "export", []byte(strings.Join(lines, ""))) }
	without := func(lines []string, i int) []string { return append(lines[:i:i], lines[i+1:]...) }
	plain, meta, anna := export("--subject", states), export("--type", "agent.state_changed", "--with-meta"), export("--subject", "bpcc.v1.acme.agent.anna=2Elopez.>")
	withFeed := export("--subject", "bpcc.v1.acme.agent.>,bpcc.v1.acme.feed.>", "--with-meta")
	tests := map[string]struct {
		args     []string
		status   int
		want     string   // begins the last line
		complete []string // checks made of all events, beside those of every part
		inferred bool
	}{
		"of the stream":            {[]string{"--subject", states}, exitOK, "SOUND as far as checked", []string{"stored", "header", "state_revision"}, false},
		"of a type":                {[]string{"--type", "agent.state_changed"}, exitOK, "SOUND as far as checked", []string{"stored", "header", "state_revision"}, false},
		"of a tenant":              {[]string{"--tenant", "acme", "--type", "feed.*"}, exitOK, "SOUND as far as checked", []string{"time", "stored", "header", "checkpoint", "term", "gap"}, false},
		"an export":                {[]string{file(plain)}, exitOK, "SOUND as far as checked", []string{"state_revision"}, true},
		"an export, named":         {[]string{"--subject", states, file(plain)}, exitOK, "SOUND as far as checked", []string{"state_revision"}, false},
		"an export that says so":   {[]string{file(meta)}, exitOK, "SOUND as far as checked", []string{"stored", "header", "state_revision"}, false},
		"of a complete export":     {[]string{"--subject", states, file(export())}, exitOK, "SOUND as far as checked", []string{"state_revision"}, false},
		"a change is missing":      {[]string{file(without(plain, 2))}, exitFailed, "UNSOUND  revision 1", []string{"state_revision"}, true},
		"missing in one that says": {[]string{file(without(meta, 2))}, exitFailed, "UNSOUND  revision 1", []string{"stored", "header", "state_revision"}, false},
		"one agent":                {[]string{"--subject", "bpcc.v1.*.agent.anna=2Elopez.>", file(anna)}, exitOK, "SOUND as far as checked", []string{"revision", "state_revision"}, false},
		"of one agent, the second": {[]string{file(without(anna, 1))}, exitFailed, "UNSOUND  revision 1", []string{"state_revision"}, true},
		"agents and feed":          {[]string{file(withFeed)}, exitOK, "SOUND as far as checked", []string{"time", "stored", "header", "revision", "state_revision", "checkpoint", "term", "gap"}, false},
		"cut by half":              {[]string{"--subject", "bpcc.v1.acme.agent.>", file(withFeed)}, exitOK, "SOUND as far as checked", []string{"stored", "header", "revision", "state_revision"}, false},
		"different exports":        {[]string{file(append(meta[:len(meta):len(meta)], withFeed...))}, exitUsage, "", nil, false},
		"one that says nothing":    {[]string{file(append(meta[:len(meta):len(meta)], plain...))}, exitUsage, "", nil, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runCommand(t, t.Context(), env, append([]string{"verify"}, test.args...)...)
			lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
			if r.status != test.status || !strings.HasPrefix(lines[len(lines)-1], test.want) {
				t.Fatalf("status %d\n%s%s", r.status, r.stdout, r.stderr)
			}
			if test.status == exitUsage {
				return
			}
			for _, title := range []string{"CHECKED", "NOT CHECKED"} {
				if !strings.Contains(r.stdout, "\n"+title+"\n") {
					t.Errorf("no %s in\n%s", title, r.stdout)
				}
			}
			r = runCommand(t, t.Context(), env, append([]string{"verify", "--json"}, test.args...)...)
			var report audit.Report
			if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
				t.Fatalf("%v\n%s", err, r.stdout)
			}
			var complete []string
			for _, c := range report.Checks {
				if c.Complete() && c.Check != "event" && c.Check != "order" {
					complete = append(complete, c.Check)
				}
			}
			if strings.Join(complete, " ") != strings.Join(test.complete, " ") || report.Part == nil || report.Part.Inferred != test.inferred {
				t.Errorf("complete: %v, part %+v", complete, report.Part)
			}
		})
	}
	// A complete export without some of its events may be one of some subjects; who knows can say so.
	r := runCommand(t, t.Context(), env, "verify", file(export("--subject", "bpcc.v1.acme.agent.>,bpcc.v1.acme.feed.>")))
	if r.status != exitFailed || !strings.Contains(r.stderr, "name them with --subject or --type") {
		t.Errorf("status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
}
