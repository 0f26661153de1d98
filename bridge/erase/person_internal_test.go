package erase

import (
	"slices"
	"testing"

	"bpcc-nats/bridge/event"
)

// TestWords: which texts name the person.
func TestWords(t *testing.T) {
	t.Parallel()
	p := newPerson("john", "U-77", "4711", "xy")
	p.learn(nil, []string{"John Smith", "Ädam Öz", " ", "", "7"})
	if want := []string{"john", "john smith", "u-77", "ädam öz"}; !slices.Equal(p.words, want) {
		t.Fatalf("searches for %q, want %q", p.words, want)
	}
	for text, want := range map[string]bool{
		"john": true, "JOHN": true, "Ask john.": true, "(john)": true, "john's queue": true, "team_john": true, "john-direct": true, "a john": true,
		"John Smith direct": true, "johnson": false, "ajohn": false, "john2": false, "john.smith": false, "x.john": false, "john@example.com": false,
		"a. john": true, "Well, john... no": true, "smith john": true, "Smith": false, "u-77": true, "U-771": false, "ädam öz": true, "ÄDAM ÖZ": true, "xädam öz": false,
		"4711": false, "xy": false, "": false, "john.smith and john": true,
	} {
		if got := p.inText(text); got != want {
			t.Errorf("%q names the person: %v, want %v", text, got, want)
		}
	}
}

// TestOwners: whom a message is about.
func TestOwners(t *testing.T) {
	t.Parallel()
	p := newPerson("1001")
	p.learn([]string{"U-77"}, []string{"John Smith"})
	for name, test := range map[string]struct {
		typ, data string
		want      owner
	}{
		"own":                  {"agent.observed", `{"tenant":"acme","poll":1,"revision":1,"agent":{"id":"1001"},"after":{"a":"b"}}`, own},
		"under another id":     {"agent.observed", `{"tenant":"acme","poll":1,"revision":1,"agent":{"id":"old","user_id":"U-77"},"after":{"a":"b"}}`, own},
		"another":              {"agent.observed", `{"tenant":"acme","poll":1,"revision":1,"agent":{"id":"1002","name":"X"},"after":{"calls":"1001"}}`, others},
		"a namesake":           {"agent.observed", `{"tenant":"acme","poll":1,"revision":1,"agent":{"id":"1002","name":"John Smith"},"after":{"first_last_name":"John Smith"}}`, others},
		"in another's reason":  {"agent.observed", `{"tenant":"acme","poll":1,"revision":1,"agent":{"id":"1002"},"after":{"reason":"call for john smith"}}`, shared},
		"an alarm":             {"threshold.raised", `{"tenant":"acme","poll":1,"revision":1,"rule":"r","entity":{"kind":"agent","id":"1001"}}`, own},
		"an alarm of a queue":  {"threshold.raised", `{"tenant":"acme","poll":1,"revision":1,"rule":"r","entity":{"kind":"service","id":"1001"}}`, others},
		"an alarm of a direct": {"threshold.raised", `{"tenant":"acme","poll":1,"revision":1,"rule":"r","entity":{"kind":"service","id":"John Smith"}}`, shared},
		"a queue":              {"service.observed", `{"tenant":"acme","poll":1,"revision":1,"service":"Direct John Smith","after":{"a":"1"}}`, shared},
		"a statistic":          {"service.observed", `{"tenant":"acme","poll":1,"revision":1,"service":"Voice","after":{"calls":"1001"}}`, others},
		"a directory":          {"directory.changed", `{"tenant":"acme","poll":1,"kind":"agents","added":[{"id":"U-9","name":"y"},{"id":"U-77","name":"1001"}],"removed":[],"renamed":[]}`, shared},
		"a namesake's login":   {"directory.changed", `{"tenant":"acme","poll":1,"kind":"agents","added":[{"id":"U-9","name":"John Smith"}],"removed":[],"renamed":[]}`, others},
		"renamed":              {"directory.changed", `{"tenant":"acme","poll":1,"kind":"agents","added":[],"removed":[],"renamed":[{"id":"U-9","from":"1001","to":"z"}]}`, shared},
		"a team":               {"directory.changed", `{"tenant":"acme","poll":1,"kind":"teams","added":[{"id":"5","name":"Team John Smith"}],"removed":[],"renamed":[]}`, shared},
		"written":              {"chat.message_posted", `{"tenant":"acme","poll":1,"app":"wall","message":{"id":"5","login_id":"1001","content":"hello"}}`, own},
		"named in chat":        {"chat.message_posted", `{"tenant":"acme","poll":1,"app":"wall","message":{"id":"5","login_id":"x","content":"Where is John Smith?"}}`, shared},
		"tenant":               {"service.observed", `{"tenant":"John Smith","poll":1,"revision":1,"service":"Voice","after":{"a":"1"}}`, others},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := []byte(`{"id":"acme-1-1-1","type":"bpcc.` + test.typ + `.v1","data":` + test.data + `}`)
			v, err := event.ReadEnvelope(body)
			if err != nil {
				t.Fatal(err)
			}
			e, _ := v.Event() // of some the id is not that of the tenant
			if e.Data == nil {
				t.Fatal("not an event")
			}
			if got := p.ownerOf(&e, body); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
	for body, want := range map[string]bool{`{"x":["John Smith"]}`: true, `John Smith`: true, `{"x":1001}`: false, `hello`: false} {
		if got := p.holds([]byte(body)); got != want {
			t.Errorf("a message that is no event, %s, holds the person: %v", body, got)
		}
	}
}

// TestLearn: ids and names are learnt from what names the person, and from nobody else.
func TestLearn(t *testing.T) {
	t.Parallel()
	p := newPerson("anna")
	events := []event.Event{
		{Name: "directory.changed", Data: &event.DirectoryData{Kind: "agents", Renamed: []event.DirectoryRename{{ID: "U-1", From: "anna.l", To: "anna"}}, Added: []event.DirectoryEntry{{ID: "U-2", Name: "bob"}}}},
		{Name: "directory.changed", Data: &event.DirectoryData{Kind: "teams", Added: []event.DirectoryEntry{{ID: "anna", Name: "A team"}}}},
		{Name: "agent.observed", Data: &event.AgentData{Agent: event.AgentRef{ID: "anna.l", LoginID: "anna.l", Name: "Anna Lopez"}}},
		{Name: "agent.observed", Data: &event.AgentData{Agent: event.AgentRef{ID: "bob", Name: "Bob Marley"}}},
		{Name: "chat.message_posted", Data: &event.ChatData{Message: event.ChatMessage{LoginID: "anna.l", FirstName: "Ann", LastName: "L"}}},
		{Name: "chat.message_posted", Data: &event.ChatData{Message: event.ChatMessage{LoginID: "bob", FirstName: "Bob", LastName: "M"}}},
		{Name: "feed.stopped", Data: &event.FeedData{}},
	}
	for more := true; more; {
		more = false
		for i := range slices.Backward(events) { // whatever the order
			more = p.learnFrom(&events[i]) || more
		}
	}
	if want := []string{"ann l", "anna", "anna lopez", "anna.l", "u-1"}; !slices.Equal(p.words, want) {
		t.Errorf("learnt %q, want %q", p.words, want)
	}
}

// TestErasures: what is found is stated as ranges, in as many events as the server's limit makes
// necessary.
func TestErasures(t *testing.T) {
	t.Parallel()
	s := search{found: Found{Keys: make([]Key, 2)}}
	for seq := uint64(1); seq <= 400; seq++ {
		if seq%4 != 0 {
			s.found.Messages = append(s.found.Messages, Message{Seq: seq})
		}
	}
	for size, want := range map[int]int{1 << 20: 1, envelopeSize + 6 + 25*rangeSize: 4, envelopeSize + 6 + 30*rangeSize: 4, envelopeSize + 6 + 99*rangeSize: 2, 1: 100} {
		all := s.erasures("reason", size)
		var messages, next uint64
		keys := 0
		for _, d := range all {
			keys += d.Keys
			for _, r := range d.Sequences {
				if r.First != next+1 || r.Last != r.First+2 {
					t.Errorf("the range is %v after %d", r, next)
				}
				messages, next = messages+r.Last-r.First+1, r.Last+1
			}
			if d.Messages != uint64(3*len(d.Sequences)) || d.Reason != "reason" {
				t.Errorf("an event counts %d messages of %d ranges, reason %q", d.Messages, len(d.Sequences), d.Reason)
			}
		}
		if len(all) != want || messages != 300 || keys != 2 {
			t.Errorf("with %d bytes: %d events, %d messages, %d keys; want %d, 300, 2", size, len(all), messages, keys, want)
		}
	}
	s.found.Messages = nil
	if all := s.erasures("", 1<<20); len(all) != 1 || all[0].Messages != 0 || all[0].Keys != 2 || all[0].Sequences == nil {
		t.Errorf("of a key alone: %+v", all)
	}
}
