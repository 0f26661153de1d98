package audit_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/audit/bounds"
	"bpcc-nats/bridge/event"
)

// TestBounds verifies a part of a stream from one checkpoint to another, and says what that does not prove.
func TestBounds(t *testing.T) {
	t.Parallel()
	// The messages: 0 started, 1 checkpoint; 2 anna, 3 Voice, 4 checkpoint; 5 anna, 6 checkpoint; 7 Voice, 8 checkpoint.
	all := chained(t, 1)
	early, late := headOf(t, all[4]), headOf(t, all[8])
	tampered := func(i int) []message {
		changed := slices.Clone(all)
		changed[i].body = bytes.Replace(changed[i].body, []byte(`"time":"`), []byte(`"time":  "`), 1)
		return changed
	}
	for name, test := range map[string]struct {
		options  audit.Options
		from, to []string
		stream   []message
		faults   []string
		first    string
		after    string
		last     string
		chains   string // which are compared
		unproved []string
	}{
		"all": {stream: all, first: "acme-1-1-2", last: "acme-1-4-2", chains: "all", unproved: []string{"the end: neither", "the author: neither"}},
		"a cut beginning": {
			stream: all[5:], first: "acme-1-3-2", last: "acme-1-4-2", chains: "all",
			unproved: []string{"the beginning: the first checkpoint acme-1-3-2 follows acme-1-2-3, which is not in the range", "the end: neither", "the author"},
		},
		"from one": {
			from: []string{"acme-1-2-3"}, stream: all, first: "acme-1-3-2", after: "acme-1-2-3", last: "acme-1-4-2", chains: "all",
			unproved: []string{"the beginning: the range begins after checkpoint acme-1-2-3", "the end: neither", "the author"},
		},
		"from one to another": {
			from: []string{"acme-1-1-2"}, to: []string{"acme-1-3-2"}, stream: all, first: "acme-1-2-3", after: "acme-1-1-2", last: "acme-1-3-2", chains: "all",
			unproved: []string{"the beginning", "the author"},
		},
		"from the newest":                {from: []string{"acme-1-4-2"}, stream: all, faults: []string{"empty "}},
		"no such beginning":              {from: []string{"acme-1-2-2"}, stream: all, faults: []string{"empty ", "bound acme-1-2-2"}},
		"no such end":                    {to: []string{"acme-1-4-3"}, stream: all, faults: []string{"bound acme-1-4-3"}, first: "acme-1-1-2", last: "acme-1-4-2", chains: "all", unproved: []string{"the end: neither", "the author"}},
		"another tenant":                 {to: []string{"globex-1-4-3"}, stream: all, faults: []string{"bound globex-1-4-3"}, first: "acme-1-1-2", last: "acme-1-4-2", chains: "all", unproved: []string{"the end", "the author"}},
		"a tenant that is not asked for": {options: audit.Options{Tenant: "acme"}, to: []string{"globex-1-4-3"}, stream: all, faults: []string{"bound globex-1-4-3"}, first: "acme-1-1-2", last: "acme-1-4-2", chains: "all", unproved: []string{"the end", "the author"}},
		"changed before":                 {from: []string{"acme-1-2-3"}, stream: tampered(2), first: "acme-1-3-2", after: "acme-1-2-3", last: "acme-1-4-2", chains: "all", unproved: []string{"the beginning", "the end", "the author"}},
		"changed behind":                 {to: []string{"acme-1-3-2"}, stream: tampered(7), first: "acme-1-1-2", last: "acme-1-3-2", chains: "all", unproved: []string{"the author"}},
		"changed in the first batch": {
			from: []string{"acme-1-2-3"}, stream: tampered(5), faults: []string{"digest acme-1-3-2"}, first: "acme-1-3-2", after: "acme-1-2-3", last: "acme-1-4-2", chains: "all",
			unproved: []string{"the beginning", "the end", "the author"},
		},
		"the checkpoint before is changed": {
			from: []string{"acme-1-2-3"}, stream: tampered(4), faults: []string{"digest acme-1-3-2"}, first: "acme-1-3-2", after: "acme-1-2-3", last: "acme-1-4-2", chains: "all",
			unproved: []string{"the beginning", "the end", "the author"},
		},
		"a message is missing outside": {from: []string{"acme-1-2-3"}, stream: slices.Delete(slices.Clone(all), 2, 3), first: "acme-1-3-2", after: "acme-1-2-3", last: "acme-1-4-2", chains: "all", unproved: []string{"the beginning", "the end", "the author"}},
		"the first message is missing": {from: []string{"acme-1-2-3"}, stream: slices.Delete(slices.Clone(all), 5, 6), faults: []string{"sequence acme-1-3-2", "missing acme-1-3-2", "count acme-1-3-2", "digest acme-1-3-2"}, first: "acme-1-3-2", after: "acme-1-2-3", last: "acme-1-4-2", chains: "all", unproved: []string{"the beginning", "the end", "the author"}},
		"with the newest head":         {options: audit.Options{Heads: []event.Head{early, late}}, stream: all, first: "acme-1-1-2", last: "acme-1-4-2", chains: "all"},
		"with an older head": {
			options: audit.Options{Heads: []event.Head{early}}, stream: all, first: "acme-1-1-2", last: "acme-1-4-2", chains: "all",
			unproved: []string{"the end: the newest head given is acme-1-2-3", "the author: --signed-by was not given, so whoever can write the stream may have recomputed every chain after the head acme-1-2-3"},
		},
		"no checkpoint": {stream: all[2:4], faults: []string{"uncovered "}, unproved: []string{"the range holds no checkpoint"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var err error
			if test.options.Bounds, err = bounds.ParseWanted(test.from, test.to); err != nil {
				t.Fatal(err)
			}
			test.options.Whole = test.options.Tenant == ""
			r := judge(t, test.options, test.stream)
			if d := cmp.Diff(test.faults, codes(r.Faults)); d != "" {
				t.Errorf("faults (-want +got)\n%s%+v", d, r.Faults)
			}
			if len(r.Tenants) != 1 {
				if test.first != "" {
					t.Fatalf("%+v", r.Tenants)
				}
				return
			}
			got := r.Tenants[0]
			if id(got.First) != test.first || id(got.Last) != test.last || got.After != test.after {
				t.Errorf("from %s after %s to %s, want %s after %s to %s", id(got.First), got.After, id(got.Last), test.first, test.after, test.last)
			}
			for i, text := range got.NotProved {
				if i >= len(test.unproved) || !strings.HasPrefix(text, test.unproved[i]) {
					t.Errorf("not proved: %s", text)
				}
			}
			if len(got.NotProved) != len(test.unproved) {
				t.Errorf("not proved: %q, want %q", got.NotProved, test.unproved)
			}
			if made(r, "chain") != test.chains {
				t.Errorf("%s chains are compared, want %s", made(r, "chain"), test.chains)
			}
		})
	}
}

func id(c *bounds.Checkpoint) string {
	if c == nil {
		return ""
	}
	return c.ID
}

// made says for how much a check was made; "" if it is not there.
func made(r audit.Report, check string) string {
	for _, c := range r.Checks {
		if c.Check == check {
			return c.Made
		}
	}
	return ""
}

// TestBefore compares the first batch of a range with the checkpoint before, which is not in it.
func TestBefore(t *testing.T) {
	t.Parallel()
	all := chained(t, 1)
	for name, test := range map[string]struct {
		before message
		is     bool
		from   []string
		faults []string
		chains int
	}{
		"the one before":           {all[4], true, nil, nil, 2},
		"which is the bound":       {all[4], true, []string{"acme-1-2-3"}, nil, 2},
		"another one":              {all[1], true, nil, []string{"missing acme-1-3-2"}, 1},
		"no checkpoint":            {all[3], false, nil, nil, 1},
		"a checkpoint, changed":    {message{seq: 5, subject: all[4].subject, header: all[4].header, body: bytes.Replace(all[4].body, []byte(`"time":"`), []byte(`"time": "`), 1)}, true, nil, []string{"digest acme-1-3-2"}, 2},
		"one of another id":        {message{seq: 5, subject: all[4].subject, header: all[1].header, body: all[4].body}, false, nil, nil, 1},
		"one that is no JSON":      {message{seq: 5, subject: all[4].subject, header: all[4].header, body: []byte("x")}, false, nil, nil, 1},
		"the first batch is after": {all[4], true, []string{"acme-1-3-2"}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wanted, err := bounds.ParseWanted(test.from, nil)
			if err != nil {
				t.Fatal(err)
			}
			a, err := audit.New(audit.Options{Bounds: wanted})
			if err != nil {
				t.Fatal(err)
			}
			if is := a.AddBefore(test.before.message()); is != test.is {
				t.Errorf("it is a checkpoint: %v", is)
			}
			for _, m := range all[5:] {
				a.Add(m.message())
			}
			r := a.Report()
			if d := cmp.Diff(test.faults, codes(r.Faults)); d != "" {
				t.Errorf("faults (-want +got)\n%s%+v", d, r.Faults)
			}
			if len(r.Notes) > 0 || r.Events != 4 && test.from == nil || r.Tenants[0].Checkpoints > 2 {
				t.Errorf("%+v", r)
			}
			if len(test.faults) == 0 && made(r, "chain") != "all" {
				t.Errorf("chains: %+v", r.Checks)
			}
		})
	}
}

// TestSignedFrom: the checkpoint before a range may be from before the first key.
func TestSignedFrom(t *testing.T) {
	t.Parallel()
	own := newSigner(t)
	wanted, err := bounds.ParseWanted([]string{"acme-1-2-3"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[int][]string{5: nil, 7: {"signature acme-1-3-2"}} {
		r := judge(t, audit.Options{SignedBy: []string{own.public}, Bounds: wanted}, own.sign(t, chained(t, 1), from))
		if d := cmp.Diff(want, codes(r.Faults)); d != "" {
			t.Errorf("faults (-want +got)\n%s%+v", d, r.Faults)
		}
	}
}

// TestParseWanted refuses ids that bound no range.
func TestParseWanted(t *testing.T) {
	t.Parallel()
	for want, test := range map[string][2][]string{
		"":                                {{"my-tenant-1-2-3", "acme-1-2-3"}, {"my-tenant-1-2-4"}},
		"not the id of a checkpoint":      {{"acme"}, nil},
		`"-1-2-3" is not`:                 {nil, {"-1-2-3"}},
		"acme-1-1-3 does not come after":  {{"acme-1-2-3"}, {"acme-1-1-3"}},
		"acme-1-2-3 does not come after":  {{"acme-1-2-3"}, {"acme-1-2-3"}},
		"acme-1-2-3 and acme-1-2-4 are":   {{"acme-1-2-3", "acme-1-2-4"}, nil},
		"acme-1-2-3 and acme-1-2-5 are":   {nil, {"acme-1-2-3", "acme-1-2-5"}},
		`"acme-1-two-3" is not the id of`: {{"acme-1-two-3"}, nil},
	} {
		got := ""
		if _, err := bounds.ParseWanted(test[0], test[1]); err != nil {
			got = err.Error()
		}
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", test, got, want)
		}
	}
}
