package bridge

import (
	"bpcc-nats/bpcc"
	"bpcc-nats/diff"
)

// chatMemory is how many chat messages are remembered as told. A subscription
// shows the newest few, so that a message comes back only if newer ones go.
const chatMemory = 4096

type chatMessage struct {
	ID        string `json:"id"`
	LoginID   string `json:"login_id,omitempty"`
	FirstName string `json:"first_name,omitempty"`
	LastName  string `json:"last_name,omitempty"`
	SendTime  string `json:"send_time,omitempty"`
	Urgent    bool   `json:"urgent"`
	Content   string `json:"content,omitempty"`
}

type chatData struct {
	common
	Observed window      `json:"observed"`
	AfterGap bool        `json:"after_gap,omitempty"`
	App      string      `json:"app"`
	Message  chatMessage `json:"message"`
}

// told remembers ids, the oldest of them only up to chatMemory.
type toldIDs struct {
	known map[string]bool
	order []string
}

func (t *toldIDs) add(id string) {
	if t.known[id] {
		return
	}
	if t.known == nil {
		t.known = map[string]bool{}
	}
	t.known[id] = true
	if t.order = append(t.order, id); len(t.order) > chatMemory {
		delete(t.known, t.order[0])
		t.order = t.order[1:]
	}
}

// chatEvents tells the messages that were not told before, each once by its id.
func (e *engine) chatEvents(snap *diff.Snapshot, a bpcc.Answer, gap bool) []event {
	var out []event
	for i, messages := range snap.Lists {
		app := e.chatApps[i]
		for _, m := range messages {
			id := m["id"]
			told := app + "/" + id
			if id == "" || e.chat.known[told] {
				continue
			}
			out = append(out, event{
				name: "chat.message_posted", subject: "chat.message_posted", about: "chat/" + id, at: a.Received,
				data: chatData{
					common: e.common(), App: app, AfterGap: gap,
					Observed: between(e.observedUntil, a.Received),
					Message:  e.message(id, m),
				},
				applied: func(e *engine) { e.chat.add(told) },
			})
		}
	}
	return out
}

// message reads a message as far as privacy lets it be told.
func (e *engine) message(id string, m map[string]string) chatMessage {
	text := func(name string) string {
		if e.redacted(name) {
			return ""
		}
		return m[name]
	}
	return chatMessage{
		ID: id, LoginID: e.pseudonyms.of(text("login_id")),
		FirstName: e.pseudonyms.of(text("first_name")), LastName: e.pseudonyms.of(text("last_name")),
		SendTime: text("send_time"), Urgent: m["is_urgent"] == "1" || m["is_urgent"] == "true", Content: text("content"),
	}
}
