package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// messages is a snapshot that shows chat messages with these ids.
func messages(ids ...string) snapshot {
	s := snapshot{chat: []row{}}
	for _, id := range ids {
		s.chat = append(s.chat, row{"id": id, "login_id": "anna", "first_name": "Anna", "last_name": "Doe", "send_time": "12:00", "content": "hello " + id, "is_urgent": fmt.Sprint(id == "2")})
	}
	return s
}

// TestChat: each message is published once by its id, over restarts too.
func TestChat(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.expect("the first", b.poll(messages("1")), "chat/1 message_posted")
	b.expect("shown again", b.poll(messages("1")), "")
	seen := b.sent()
	e := b.only("a second one", b.poll(messages("1", "2")), "chat/2 message_posted")
	want := &event.ChatData{
		Base: event.Base{Tenant: "acme", Poll: 4}, App: "bridge", Observed: event.Between(seen, b.now),
		Message: event.ChatMessage{ID: "2", LoginID: "anna", FirstName: "Anna", LastName: "Doe", SendTime: "12:00", Urgent: true, Content: "hello 2"},
	}
	if d := cmp.Diff(want, dataOf[*event.ChatData](b, e)); d != "" || e.Subject() != "bpcc.v1.acme.chat.message_posted" {
		t.Errorf("message on %s (-want +got)\n%s", e.Subject(), d)
	}
	b.stop()
	b.restart()
	e = b.only("after a restart", b.poll(messages("1", "2", "3")), "chat/3 message_posted")
	if d := dataOf[*event.ChatData](b, e); !d.AfterGap || d.Message.Urgent {
		t.Errorf("after a restart: %+v", d)
	}
	b.expect("gone and back", append(b.poll(messages("3")), b.poll(messages("1", "2", "3"))...), "")
	b.expect("without an id", b.poll(messages("")), "")
}

// TestUrgentChat: how the source writes that a message is urgent.
func TestUrgentChat(t *testing.T) {
	t.Parallel()
	b := start(t)
	var got []string
	for text, urgent := range map[string]bool{"1": true, "true": true, "0": false, "false": false, "": false} {
		e := b.only(text, b.poll(snapshot{chat: []row{{"id": "is " + text, "is_urgent": text}}}), "chat/is "+text+" message_posted")
		if d := dataOf[*event.ChatData](b, e); d.Message.Urgent != urgent {
			got = append(got, text)
		}
	}
	if len(got) > 0 {
		t.Errorf("read wrong: %q", got)
	}
}

// TestChatOfTwoApps: ids are those of an app.
func TestChatOfTwoApps(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *engine.Options) {
		o.Layout.Lists = append(o.Layout.Lists, o.Layout.Lists[0])
		o.Layout.Lists[1].App = "other"
		o.ChatApps = []string{"bridge", "other"}
	})
	o := b.answer(messages("1"))
	o.Body = []byte(strings.TrimSuffix(string(o.Body), "}") + `,"other":{"chat_messages":[{"id":"1"}]}}`)
	var got []string
	for _, e := range b.observe(o) {
		got = append(got, dataOf[*event.ChatData](b, &e).App)
	}
	if d := cmp.Diff([]string{"bridge", "other"}, got); d != "" {
		t.Errorf("apps (-want +got)\n%s", d)
	}
	b.restart()
	o = b.answer(messages("1"))
	o.Body = []byte(strings.TrimSuffix(string(o.Body), "}") + `,"other":{"chat_messages":[{"id":"1"}]}}`)
	b.expect("after a restart", b.observe(o), "")
}

// TestOldChatIsForgotten: so many ids are remembered, the oldest go.
func TestOldChatIsForgotten(t *testing.T) {
	t.Parallel()
	b := start(t)
	var ids []string
	for i := range 4096 {
		ids = append(ids, fmt.Sprintf("m%04d", i))
	}
	b.poll(messages(ids...))
	b.expect("one more", b.poll(messages("new")), "chat/new message_posted")
	b.expect("the oldest is new", b.poll(messages("m0000")), "chat/m0000 message_posted")
	b.expect("a later one is not", b.poll(messages("m0002", "m4095")), "")
	if n := len(b.engine.Published().Chat); n != 4096 {
		t.Errorf("%d ids are remembered", n)
	}
}

// TestChatPrivacy: pseudonyms and what is redacted of messages.
func TestChatPrivacy(t *testing.T) {
	t.Parallel()
	pseudonyms := event.NewPseudonyms("0123456789abcdef-key")
	b := start(t, func(o *engine.Options) {
		o.Pseudonyms = pseudonyms
		o.Redacted = func(field string) bool { return field == "content" || field == "last_name" }
	})
	e := b.only("a message", b.poll(messages("2")), "chat/2 message_posted")
	want := event.ChatMessage{ID: "2", LoginID: pseudonyms.Hash("anna"), FirstName: pseudonyms.Hash("Anna"), SendTime: "12:00", Urgent: true}
	if d := cmp.Diff(want, dataOf[*event.ChatData](b, e).Message); d != "" || strings.Contains(strings.ToLower(want.LoginID+want.FirstName), "anna") {
		t.Errorf("message (-want +got)\n%s", d)
	}
}
