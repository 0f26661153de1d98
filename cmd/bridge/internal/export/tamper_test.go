package export_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/publish"
	"bpcc-nats/cmd/bridge/internal/export"
	"bpcc-nats/schemas"
)

var update = flag.Bool("update", false, "rewrite testdata/tampered.txt instead of comparing with it")

// tampering is a way to change an export.
type tampering struct {
	name   string
	change func(d *day)
}

// edit replaces a text in the first message of that name, or in the one after n others, of acme.
func edit(name string, n int, old, text string) func(*day) {
	return func(d *day) { d.replace(d.find("acme", name, n), old, text) }
}

// all replaces a text in all events of acme.
func all(old, text string) func(*day) {
	return func(d *day) {
		for i := range d.messages {
			if m := &d.messages[i]; strings.HasPrefix(m.Subject, event.Prefix("acme")) {
				m.Event = bytes.ReplaceAll(m.Event, []byte(old), []byte(text))
			}
		}
	}
}

// both makes one change after the other.
func both(changes ...func(*day)) func(*day) {
	return func(d *day) {
		for _, c := range changes {
			c(d)
		}
	}
}

// covered are the ways that change what the newest checkpoints stand for. Each is judged as it is, and once more after the
// attacker has recomputed all chains and has signed the checkpoints with a key of their own: then a key and a head find it.
var covered = []tampering{
	{name: "agent.observed: team", change: edit("agent.observed", 0, `"team":"Sales"`, `"team":"Other"`)},
	{name: "agent.appeared: name", change: edit("agent.appeared", 0, `"name":"Name of carol"`, `"name":"Name of dave"`)},
	{name: "agent.state_changed: another state", change: edit("agent.state_changed", 0, `"to":{"state":"busy"`, `"to":{"state":"away"`)},
	{name: "agent.state_changed: from", change: edit("agent.state_changed", 0, `"from":{"state":"ready"`, `"from":{"state":"away"`)},
	{name: "agent.stats_changed: after", change: edit("agent.stats_changed", 0, `"in_calls_handled_per_day":"4"`, `"in_calls_handled_per_day":"9"`)},
	{name: "agent.disappeared: name", change: edit("agent.disappeared", 0, `"name":"Name of carol"`, `"name":"Name of dave"`)},
	{name: "service.observed: a count", change: edit("service.observed", 0, `"in_calls_received_per_day":"7"`, `"in_calls_received_per_day":"9"`)},
	{name: "service.appeared: a count", change: edit("service.appeared", 0, `"in_calls_received_per_day":"7"`, `"in_calls_received_per_day":"9"`)},
	{name: "service.stats_changed: a count", change: edit("service.stats_changed", 0, `"in_calls_waiting":"8"`, `"in_calls_waiting":"6"`)},
	{name: "service.disappeared: a count", change: edit("service.disappeared", 0, `"in_calls_received_per_day":"7"`, `"in_calls_received_per_day":"9"`)},
	{name: "totals.observed: a count", change: edit("totals.observed", 0, `"in_calls_waiting":"1"`, `"in_calls_waiting":"2"`)},
	{name: "totals.stats_changed: a count", change: edit("totals.stats_changed", 0, `"in_calls_waiting":"8"`, `"in_calls_waiting":"6"`)},
	{name: "availability.observed: the other value", change: edit("availability.observed", 0, `"available":true`, `"available":false`)},
	{name: "availability.changed: the other value", change: edit("availability.changed", 0, `"available":false`, `"available":true`)},
	{name: "threshold.raised: severity", change: edit("threshold.raised", 0, `"severity":"warning"`, `"severity":"info"`)},
	{name: "threshold.raised: pending earlier", change: edit("threshold.raised", 0, `"pending_since":"2026-11-23T10:00:06`, `"pending_since":"2026-11-23T10:00:01`)},
	{name: "threshold.raised: pending later", change: edit("threshold.raised", 0, `"pending_since":"2026-11-23T10:00:06`, `"pending_since":"2026-11-23T10:00:09`)},
	{name: "threshold.cleared: why", change: edit("threshold.cleared", 0, `"cleared_by":"condition"`, `"cleared_by":"rule_removed"`)},
	{name: "threshold.cleared: pending", change: edit("threshold.cleared", 0, `"pending_since":"2026-11-23T10:00:06`, `"pending_since":"2026-11-23T10:00:02`)},
	{name: "directory.changed: a name", change: edit("directory.changed", 0, `"Support"`, `"Supporters"`)},
	{name: "chat.message_posted: the text", change: edit("chat.message_posted", 0, `"hello"`, `"goodbye"`)},
	{name: "feed.started: version", change: edit("feed.started", 0, `"version":"test"`, `"version":"v9"`)},
	{name: "feed.stopped: reason", change: edit("feed.stopped", 0, `"reason":"shutdown"`, `"reason":"handover"`)},
	{name: "feed.interrupted: cause", change: edit("feed.interrupted", 0, `"cause":"source"`, `"cause":"auth"`)},
	{name: "feed.interrupted: since when", change: edit("feed.interrupted", 0, `"observed_until":"2026-11-23T10:00`, `"observed_until":"2026-11-23T09:10`)},
	{name: "feed.resumed: a shorter gap", change: edit("feed.resumed", 0, `"after":"2026-11-23T10:00:25`, `"after":"2026-11-23T10:00:30`)},
	{name: "feed.erased: reason", change: edit("feed.erased", 0, `"reason":"asked"`, `"reason":"court"`)},
	{name: "feed.erased: another message", change: edit("feed.erased", 0, `"sequences":[{"first":`, `"sequences":[{"first":1,"last":1},{"first":`)},
	{name: "feed.checkpoint: instance", change: edit("feed.checkpoint", 4, `"instance":"vm-1"`, `"instance":"vm-2"`)},
	{name: "the newest feed.checkpoint: instance", change: edit("feed.checkpoint", -1, `"instance":"vm-1"`, `"instance":"vm-2"`)},
	{name: "feed.checkpoint: agents", change: edit("feed.checkpoint", 4, `"agents":2`, `"agents":3`)},
	{name: "white space", change: edit("agent.observed", 0, `"data":`, `"data": `)},
	{name: "a name everywhere", change: all("Name of anna", "Name of anne")},
	{name: "a count before and after, everywhere", change: all(`"in_calls_handled_per_day":"4"`, `"in_calls_handled_per_day":"5"`)},
	{name: "the id in the header", change: func(d *day) {
		d.messages[d.find("acme", "agent.observed", 0)].Header.Set(nats.MsgIdHdr, "acme-1-2-77")
	}},
	{name: "the subject", change: func(d *day) {
		d.messages[d.find("acme", "agent.observed", 0)].Subject = "bpcc.v1.acme.agent.dave.observed"
	}},

	{name: "the beginning is cut, and the first checkpoint follows none", change: func(d *day) {
		d.remove(d.batch("acme", 0))
		i := d.find("acme", event.Checkpoint, 0)
		d.messages[i].Event = regexp.MustCompile(`"follows":"[^"]*",`).ReplaceAll(d.messages[i].Event, nil)
	}},
	{name: "an event is removed", change: func(d *day) { d.remove(d.find("acme", "agent.stats_changed", 0), 1) }},
	{name: "an event is removed, all is numbered again", change: both(func(d *day) { d.remove(d.find("acme", "chat.message_posted", 0), 1) }, renumber("1-7"))},
	{name: "a batch is removed", change: func(d *day) { d.remove(d.batch("acme", 4)) }},
	{name: "a batch is removed, all is numbered again", change: both(func(d *day) {
		i := d.find("acme", "chat.message_posted", 0)
		d.remove(i, d.find("acme", event.Checkpoint, 6)-i+1)
	}, renumber("1-7"))},
	{name: "an event is added, all is numbered again", change: both(func(d *day) {
		i := d.find("acme", "chat.message_posted", 0)
		forged := d.messages[i]
		forged.Header = maps.Clone(forged.Header)
		forged.Event = bytes.Replace(bytes.ReplaceAll(forged.Event, []byte(`"id":"1"`), []byte(`"id":"2"`)), []byte("hello"), []byte("forged"), 1)
		forged.Event = bytes.Replace(forged.Event, []byte(`"subject":"chat/1"`), []byte(`"subject":"chat/2"`), 1)
		d.messages = slices.Insert(d.messages, i, forged)
	}, renumber("1-7"))},
	{name: "a change is added, all is numbered again", change: both(func(d *day) {
		i := d.find("acme", "agent.stats_changed", -1)
		forged := d.messages[i]
		forged.Header = maps.Clone(forged.Header)
		images := regexp.MustCompile(`"before":(.*),"after":(.*"in_calls_handled_per_day":")20(.*)}}$`)
		forged.Event = images.ReplaceAll(forged.Event, []byte(`"before":${2}20$3,"after":${2}21$3}}`))
		d.messages = slices.Insert(d.messages, i+1, forged)
	}, renumber("4-30"))},
	{name: "two batches are exchanged", change: func(d *day) { d.exchange("acme", 3, "acme", 4) }},
	{name: "a batch is moved", change: func(d *day) {
		i, n := d.batch("acme", 3)
		moved := slices.Clone(d.messages[i : i+n])
		d.messages = slices.Delete(d.messages, i, i+n)
		at, _ := d.batch("acme", 6)
		d.messages = slices.Insert(d.messages, at, moved...)
	}},
	{name: "a batch is stored twice", change: func(d *day) {
		i, n := d.batch("acme", 3)
		d.messages = slices.Insert(d.messages, i+n, slices.Clone(d.messages[i:i+n])...)
	}},
	{name: "events of two batches are exchanged", change: func(d *day) {
		a, b := d.find("acme", "chat.message_posted", 0), d.find("acme", "agent.disappeared", 0)
		d.messages[a], d.messages[b] = d.messages[b], d.messages[a]
	}},
	{name: "two events of a batch are exchanged", change: func(d *day) {
		i, _ := d.batch("acme", 1)
		d.messages[i], d.messages[i+1] = d.messages[i+1], d.messages[i]
	}},

	{name: "an event's time", change: edit("agent.stats_changed", 0, `"time":"2026-11-23T10:00:04.000Z"`, `"time":"2026-11-23T10:00:03.000Z"`)},
	{name: "the time of a check", change: edit("availability.changed", 0, `"time":"2026-11-23T10:00:06.000Z"`, `"time":"2026-11-23T10:00:04.000Z"`)},
	{name: "the end of a gap", change: both(edit("feed.resumed", 0, `"time":"2026-11-23T10:00:36.000Z"`, `"time":"2026-11-23T10:00:35.000Z"`),
		edit("feed.resumed", 0, `"by":"2026-11-23T10:00:36.000Z"`, `"by":"2026-11-23T10:00:35.000Z"`))},
	{name: "all times, three hours later", change: func(d *day) { d.shift("acme", 3*time.Hour, 0) }},
	{name: "all times, three hours earlier", change: func(d *day) { d.shift("acme", -3*time.Hour, 0) }},
	{name: "all times of the last polls, three hours earlier", change: func(d *day) { d.shift("acme", -3*time.Hour, -2) }},
	{name: "and the clock is said to be set", change: both(func(d *day) {
		d.shift("acme", -3*time.Hour, -2)
	}, edit("feed.checkpoint", -2, `,"chain":`, `,"clock_set":-10800,"chain":`))},
	{name: "a window begins hours earlier", change: edit("service.stats_changed", 0, `"observed":{"after":"2026-11-23T10:`, `"observed":{"after":"2026-11-23T06:`)},
	{name: "a window of a rule begins hours earlier", change: edit("threshold.cleared", 0, `"observed":{"after":"2026-11-23T10:`, `"observed":{"after":"2026-11-23T06:`)},
	{name: "a window ends earlier", change: edit("totals.stats_changed", 0, `"by":"2026-11-23T10:00:06.000Z"`, `"by":"2026-11-23T10:00:05.000Z"`)},
	{name: "observed_until in the future", change: edit("feed.checkpoint", -1, `"observed_until":"2026-11-23T10:`, `"observed_until":"2026-11-23T12:`)},
	{name: "observed_until hours earlier", change: edit("feed.checkpoint", -1, `"observed_until":"2026-11-23T10:`, `"observed_until":"2026-11-23T06:`)},
	{name: "since before the window", change: edit("agent.state_changed", 0, `"changed":["acd_state"]`, `"since":"2026-11-23T09:00:00Z","changed":["acd_state"]`)},
	{name: "a chain is another one", change: edit("feed.checkpoint", 4, `"chain":"`, `"chain":"0123456789abcdef`)},
	{name: "a chain is left out", change: edit("feed.checkpoint", 4, `,"chain":`, `,"chained":`)},
	{name: "all chains are left out from one on", change: func(d *day) {
		for n := 4; n < d.count("acme"); n++ {
			d.replace(d.find("acme", event.Checkpoint, n), `,"chain":`, `,"chained":`)
		}
	}},
	{name: "the chains of two checkpoints are exchanged", change: func(d *day) {
		a, b := d.find("acme", event.Checkpoint, 4), d.find("acme", event.Checkpoint, 5)
		chainOfA, chainOfB := chainOf(d.messages[a].Event), chainOf(d.messages[b].Event)
		d.replace(a, chainOfA, chainOfB)
		d.replace(b, chainOfB, chainOfA)
	}},
	{name: "another history, with its signatures", change: func(d *day) { d.messages = newDay(d.t, newKey(d.t), 1).messages }},
}

// others are the ways that change what is before or after what the checkpoints stand for, or beside it.
var others = []tampering{
	{name: "the beginning is cut at a batch", change: func(d *day) { d.remove(d.batch("acme", 0)) }},
	{name: "the beginning is cut within a batch", change: func(d *day) { i, _ := d.batch("acme", 0); d.remove(i, 1) }},
	{name: "the end is cut at a batch", change: func(d *day) { d.remove(d.batch("acme", -1)) }},
	{name: "the end is cut within a batch", change: func(d *day) { i, n := d.batch("acme", -1); d.remove(i+n-1, 1) }},
	{name: "an older backup", change: func(d *day) { i, _ := d.batch("acme", -5); d.messages = d.messages[:i] }},
	{name: "batches of two tenants are exchanged", change: func(d *day) { d.exchange("acme", 3, "globex", 3) }},
	{name: "a batch is replayed later", change: func(d *day) {
		i, n := d.batch("acme", 3)
		d.messages = append(d.messages, slices.Clone(d.messages[i:i+n])...)
	}},
	{name: "the beginning is replayed at the end", change: func(d *day) { d.messages = append(d.messages, slices.Clone(d.messages[:40])...) }},
	{name: "stored in 2020, one message", change: func(d *day) {
		d.messages[d.find("acme", "chat.message_posted", 0)].Stored = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	}},
	{name: "stored in 2020, all messages", change: func(d *day) {
		for i := range d.messages {
			d.messages[i].Stored = d.messages[i].Stored.AddDate(-6, 0, 0)
		}
	}},
	{name: "in a batch of which a message is erased: a count", change: edit("totals.stats_changed", 2, `"in_calls_waiting":"2"`, `"in_calls_waiting":"3"`)},
	{name: "in a batch of which a message is erased: white space", change: edit("totals.stats_changed", 2, `"data":`, `"data": `)},
	{name: "stored hours later", change: func(d *day) {
		for i := range d.messages {
			d.messages[i].Stored = d.messages[i].Stored.Add(3 * time.Hour)
		}
	}},
	{name: "the text of a chat; all is recomputed and signed with the own key, which was stolen", change: both(edit("chat.message_posted", 0, "hello", "goodbye"), func(d *day) {
		d.rechain(d.key, len(d.messages))
	})},
	{name: "the chain of one checkpoint is recomputed", change: both(edit("chat.message_posted", 0, "hello", "goodbye"), func(d *day) {
		d.rechain(nil, 7)
	})},
	{name: "a signature is edited", change: onHeader(4, event.SignatureHeader, func(text string) string {
		return text[:7] + map[bool]string{true: "B", false: "A"}[text[7] == 'A'] + text[8:]
	})},
	{name: "the named key is no key", change: onHeader(4, event.SigningKeyHeader, func(text string) string { return text[1:] })},
	{name: "a signature is removed", change: func(d *day) { d.unsign(4, 5) }},
	{name: "all signatures are removed", change: func(d *day) { d.unsign(0, d.count("acme")) }},
	{name: "a signature is that of another checkpoint", change: func(d *day) {
		other := d.messages[d.find("acme", event.Checkpoint, 5)].Header.Get(event.SignatureHeader)
		d.messages[d.find("acme", event.Checkpoint, 4)].Header.Set(event.SignatureHeader, other)
	}},
	{name: "no headers", change: func(d *day) {
		for i := range d.messages {
			d.messages[i].Header, d.messages[i].Subject = nil, ""
		}
	}},
}

// onHeader changes a header of one of acme's checkpoints.
func onHeader(n int, name string, change func(string) string) func(*day) {
	return func(d *day) {
		h := d.messages[d.find("acme", event.Checkpoint, n)].Header
		h.Set(name, change(h.Get(name)))
	}
}

// of reports whether a message is an event of a tenant; name "" is any.
func of(m *export.Message, tenant, name string) bool {
	return strings.HasPrefix(m.Subject, event.Prefix(tenant)) && (name == "" || bytes.Contains(m.Event, []byte(`"type":"`+schemas.Type(name)+`"`)))
}

// find returns the index of a tenant's message of that name, after n others, or the n-th from the end.
func (d *day) find(tenant, name string, n int) int {
	d.t.Helper()
	var found []int
	for i := range d.messages {
		if of(&d.messages[i], tenant, name) {
			found = append(found, i)
		}
	}
	if n < 0 {
		n += len(found)
	}
	if n < 0 || n >= len(found) {
		d.t.Fatalf("%s has %d %s", tenant, len(found), name)
	}
	return found[n]
}

// batch returns where a tenant's batch begins, and how many messages it has.
func (d *day) batch(tenant string, n int) (begin, length int) {
	d.t.Helper()
	end := d.find(tenant, event.Checkpoint, n)
	for begin = end; begin > 0 && of(&d.messages[begin-1], tenant, "") && !of(&d.messages[begin-1], tenant, event.Checkpoint); begin-- {
	}
	return begin, end - begin + 1
}

// replace replaces a text in a message.
func (d *day) replace(i int, old, text string) {
	d.t.Helper()
	m := &d.messages[i]
	if !bytes.Contains(m.Event, []byte(old)) {
		d.t.Errorf("%s has no %s", m.Event, old)
	}
	m.Event = bytes.Replace(m.Event, []byte(old), []byte(text), 1)
}

// count counts a tenant's checkpoints.
func (d *day) count(tenant string) (n int) {
	for i := range d.messages {
		if of(&d.messages[i], tenant, event.Checkpoint) {
			n++
		}
	}
	return n
}

func (d *day) remove(i, n int) { d.messages = slices.Delete(d.messages, i, i+n) }

// exchange exchanges two batches, of which the second one is later.
func (d *day) exchange(tenantA string, a int, tenantB string, b int) {
	d.t.Helper()
	i, n := d.batch(tenantA, a)
	j, m := d.batch(tenantB, b)
	d.messages = slices.Concat(d.messages[:i], d.messages[j:j+m], d.messages[i+n:j], d.messages[i:i+n], d.messages[j+m:])
}

// unsign removes the signatures of some of acme's checkpoints.
func (d *day) unsign(from, to int) {
	for n := from; n < to; n++ {
		h := d.messages[d.find("acme", event.Checkpoint, n)].Header
		h.Del(event.SignatureHeader)
		h.Del(event.SigningKeyHeader)
	}
}

// times are the times in a body.
var times = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[0-9:.]+Z"`)

// shift shifts all times of a tenant's events, from a batch on.
func (d *day) shift(tenant string, by time.Duration, batch int) {
	d.t.Helper()
	from, _ := d.batch(tenant, batch)
	for i := from; i < len(d.messages); i++ {
		if m := &d.messages[i]; of(m, tenant, "") {
			m.Event = times.ReplaceAllFunc(m.Event, func(text []byte) []byte {
				at, err := time.Parse(`"`+time.RFC3339+`"`, string(text))
				if err != nil {
					d.t.Fatal(err)
				}
				layout := "2006-01-02T15:04:05.000Z"
				if !bytes.ContainsRune(text, '.') {
					layout = "2006-01-02T15:04:05Z"
				}
				return []byte(`"` + at.Add(by).Format(layout) + `"`)
			})
		}
	}
}

// revisions matches the revision of an event.
var revisions = regexp.MustCompile(`"revision":(\d+)`)

// renumber gives the events of one of acme's polls ids, revisions and counts without a hole, and lets the checkpoints follow
// each other.
func renumber(poll string) func(*day) {
	return func(d *day) {
		member := func(body []byte, name, value string) []byte {
			return regexp.MustCompile(`"`+name+`":("[^"]*"|\d+)`).ReplaceAll(body, []byte(`"`+name+`":`+value))
		}
		index, revision, follows := 0, 0, ""
		for i := range d.messages {
			m := &d.messages[i]
			if !of(m, "acme", "") {
				continue
			}
			checkpoint := of(m, "acme", event.Checkpoint)
			if id := m.Header.Get(nats.MsgIdHdr); strings.HasPrefix(id, "acme-"+poll+"-") {
				index++
				next := fmt.Sprintf("acme-%s-%d", poll, index)
				m.Header.Set(nats.MsgIdHdr, next)
				m.Event = bytes.Replace(m.Event, []byte(`"id":"`+id+`"`), []byte(`"id":"`+next+`"`), 1)
				if n := revisions.FindSubmatch(m.Event); n != nil { // of one entity
					given, _ := strconv.Atoi(string(n[1]))
					revision = max(given, revision+1)
					m.Event = member(m.Event, "revision", strconv.Itoa(revision))
				}
				if checkpoint {
					m.Event = member(m.Event, "events", strconv.Itoa(index-1))
				}
			}
			if !checkpoint {
				continue
			}
			if follows != "" {
				m.Event = member(m.Event, "follows", `"`+follows+`"`)
			}
			follows = m.Header.Get(nats.MsgIdHdr)
		}
	}
}

// chains matches the chain of a checkpoint.
var chains = regexp.MustCompile(`"chain":"[0-9a-f]*"`)

func chainOf(body []byte) string { return string(chains.Find(body)) }

// rechain recomputes acme's chains up to a checkpoint, and signs its signed checkpoints by a key, if there is one.
func (d *day) rechain(key *config.SigningKey, until int) {
	d.t.Helper()
	var c event.Chain
	c.Begin("", "", nil)
	for i := range d.messages {
		m := &d.messages[i]
		if !of(m, "acme", "") {
			continue
		}
		id := m.Header.Get(nats.MsgIdHdr)
		if !of(m, "acme", event.Checkpoint) {
			c.Add([]byte(m.Subject), []byte(id), m.Event)
			continue
		}
		if until--; until >= 0 {
			m.Event = chains.ReplaceAll(m.Event, []byte(`"chain":"`+c.Sum()+`"`))
		}
		c.Begin(m.Subject, id, m.Event)
		if key != nil && m.Header.Get(event.SigningKeyHeader) != "" {
			if err := publish.Sign(key, &nats.Msg{Data: m.Event, Header: m.Header}); err != nil {
				d.t.Fatal(err)
			}
		}
	}
}

// export is the day as bridge replay --with-meta writes it, with sequences in order; without headers, as it writes it
// without the flag.
func (d *day) export() []byte {
	var text []byte
	var sequences []uint64
	for i := range d.messages {
		sequences = append(sequences, d.messages[i].Seq)
	}
	slices.Sort(sequences)
	var last uint64
	for i := range d.messages {
		m := &d.messages[i]
		if m.Header == nil {
			text = append(append(text, m.Event...), '\n')
			continue
		}
		m.Seq = max(sequences[i], last+1)
		last = m.Seq
		text = append(m.AppendJSON(text), '\n')
	}
	return text
}

// clone returns a copy that can be changed.
func (d *day) clone() *day {
	c := *d
	c.messages = slices.Clone(d.messages)
	for i := range c.messages {
		m := &c.messages[i]
		m.Header, m.Event = maps.Clone(m.Header), slices.Clone(m.Event)
		for name, values := range m.Header {
			m.Header[name] = slices.Clone(values)
		}
	}
	return &c
}

// heads are the newest checkpoints of the day.
func (d *day) heads() (all []event.Head) {
	d.t.Helper()
	for _, tenant := range []string{"acme", "globex"} {
		m := d.messages[d.find(tenant, event.Checkpoint, -1)]
		h, err := event.NewHead(tenant, m.Subject, m.Header.Get(nats.MsgIdHdr), m.Seq, m.Header.Get(event.SignatureHeader), m.Header.Get(event.SigningKeyHeader), m.Event)
		if err != nil {
			d.t.Fatal(err)
		}
		all = append(all, h)
	}
	return all
}

// python runs docs/verify_chain.py on each file, in one process.
const python = `
import runpy, sys
for name in sys.argv[2:]:
    print("file:", name)
    sys.stdin = open(name)
    try:
        runpy.run_path(sys.argv[1])
    except SystemExit:
        pass`

// comparePython compares the checkpoints with a wrong chain, by file, with those that docs/verify_chain.py finds.
func comparePython(t *testing.T, want map[string][]string) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Log("NOT TESTED: docs/verify_chain.py, since there is no python3")
		return
	}
	files := slices.Sorted(maps.Keys(want))
	out, err := exec.CommandContext(t.Context(), "python3", append([]string{"-c", python, "../../../../docs/verify_chain.py"}, files...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, file := map[string][]string{}, ""
	for line := range strings.Lines(string(out)) {
		switch what, name, _ := strings.Cut(strings.TrimSpace(line), ": "); what {
		case "file":
			file = name
			got[file] = nil
		case "wrong chain", "no chain":
			got[file] = append(got[file], name)
		}
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("wrong chains (-bridge verify +verify_chain.py)\n%s", d)
	}
}

// TestTampered changes a day in many ways. What finds each of them, and by which codes, is in testdata/tampered.txt.
// docs/verify_chain.py finds the same chains to be wrong as bridge verify; of all else it knows nothing.
func TestTampered(t *testing.T) {
	t.Parallel()
	own, attacker := newKey(t), newKey(t)
	sound := newDay(t, own, 0)
	for _, name := range schemas.Names() {
		has := func(m export.Message) bool { return of(&m, "acme", name) }
		if !strings.Contains(name, "/") && !slices.ContainsFunc(sound.messages, has) {
			t.Errorf("the day has no %s", name)
		}
	}
	ways := []tampering{{"nothing", func(*day) {}}}
	for _, c := range covered {
		ways = append(ways, c, tampering{c.name + recomputed, func(d *day) {
			c.change(d)
			d.rechain(attacker, len(d.messages))
		}})
	}
	ways = append(ways, others...)
	dir, heads := t.TempDir(), sound.heads()
	lines, wrong := make([]string, len(ways)), map[string][]string{}
	var mu sync.Mutex // guards wrong
	judge := func(i int) error {
		way, d := ways[i], sound.clone()
		way.change(d)
		file := filepath.Join(dir, fmt.Sprintf("%03d %s", i, strings.ReplaceAll(way.name, "/", " ")))
		if err := os.WriteFile(file, d.export(), 0o600); err != nil {
			return err
		}
		plain, digests := faults(t, file, audit.Options{})
		both, _ := faults(t, file, audit.Options{SignedBy: []string{own.Public()}, Heads: heads})
		signed := slices.DeleteFunc(slices.Clone(both), func(code string) bool { return code == "head" })
		head := plain
		if slices.Contains(both, "head") {
			head = slices.Sorted(slices.Values(append(slices.Clone(plain), "head")))
		}
		if strings.HasSuffix(way.name, recomputed) && (!slices.Contains(signed, "signature") || !slices.Contains(head, "head")) {
			t.Errorf("%s: not found by a key and by a head: %v", way.name, both)
		}
		if d.messages[0].Header != nil {
			mu.Lock()
			wrong[file] = digests
			mu.Unlock()
		}
		columns := []string{way.name}
		for _, codes := range [][]string{plain, signed, head} {
			columns = append(columns, cmp.Or(strings.Join(codes, " "), "-"))
		}
		lines[i] = strings.Join(columns, " | ")
		return nil
	}
	var judging errgroup.Group
	judging.SetLimit(runtime.GOMAXPROCS(0))
	for i := range ways {
		judging.Go(func() error { return judge(i) })
	}
	if err := judging.Wait(); err != nil {
		t.Fatal(err)
	}
	comparePython(t, wrong)
	const golden = "testdata/tampered.txt"
	text := "what is done | bridge verify | --signed-by | --head\n" + strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), text); diff != "" {
		t.Errorf("what finds it (-golden +got); -update accepts it\n%s", diff)
	}
}

// faults verifies an export, and returns the codes of its faults, and the ids of the checkpoints with a wrong chain.
func faults(t *testing.T, file string, o audit.Options) (codes, digests []string) {
	t.Helper()
	r, err := export.Audit(t.Context(), file, o)
	if err != nil {
		t.Error(err)
	}
	for _, f := range r.Faults {
		if f.Code == "digest" {
			digests = append(digests, f.ID)
		}
	}
	return slices.Sorted(maps.Keys(r.ByCode)), digests
}

// recomputed ends the names of the ways with which all chains are recomputed.
const recomputed = "; chains recomputed"

// TestFork: of two histories that go on from one head, each has its own heads, and none of the other's.
func TestFork(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	first, second := newDay(t, key, 0), newDay(t, key, 1)
	common := first.clone()
	common.remove(common.find("acme", event.Checkpoint, -3)+1, len(common.messages)-1-common.find("acme", event.Checkpoint, -3))
	for name, test := range map[string]struct {
		heads []event.Head
		want  []string
	}{
		"before the fork":     {common.heads()[:1], nil},
		"its own":             {first.heads(), nil},
		"the other one's":     {second.heads(), []string{"head"}},
		"those of both, once": {append(first.heads(), second.heads()...), []string{"head"}},
	} {
		file := filepath.Join(t.TempDir(), "export.ndjson")
		if err := os.WriteFile(file, first.export(), 0o600); err != nil {
			t.Fatal(err)
		}
		if found, _ := faults(t, file, audit.Options{Heads: test.heads, SignedBy: []string{key.Public()}}); !slices.Equal(found, test.want) {
			t.Errorf("%s: %v, want %v", name, found, test.want)
		}
	}
}
