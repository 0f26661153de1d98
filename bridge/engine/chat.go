package engine

import (
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
)

// maxPublishedIDs is how many ids of published chat messages are kept. A subscription shows the
// newest few messages, so an older one comes back only if newer ones disappear.
const maxPublishedIDs = 4096

// publishedIDs keeps the last maxPublishedIDs ids.
type publishedIDs struct {
	known map[string]bool
	order []string
}

func (p *publishedIDs) add(id string) {
	if p.known[id] {
		return
	}
	if p.known == nil {
		p.known = map[string]bool{}
	}
	p.known[id] = true
	if p.order = append(p.order, id); len(p.order) > maxPublishedIDs {
		delete(p.known, p.order[0])
		p.order = p.order[1:]
	}
}

// chatID identifies a message among those of all apps.
func chatID(app, id string) string { return app + "/" + id }

// chatEvents publishes the messages that have not been published yet, by id.
func (e *Engine) chatEvents(snap *diff.Snapshot, o Observation, gap bool) []event.Event {
	var out []event.Event
	for i, messages := range snap.Lists {
		app := e.options.ChatApps[i]
		for _, m := range messages {
			id := m["id"]
			if id == "" || e.published.chat.known[chatID(app, id)] {
				continue
			}
			out = append(out, event.Event{Name: "chat.message_posted", Time: o.Received, Data: &event.ChatData{
				Base: e.base(), App: app, AfterGap: gap, Observed: event.Between(e.observed.until, o.Received), Message: e.chatMessage(id, m),
			}})
		}
	}
	return out
}

// chatMessage reads the fields of a message that privacy settings allow.
func (e *Engine) chatMessage(id string, m map[string]string) event.ChatMessage {
	text := func(field string) string {
		if e.options.Redacted(field) {
			return ""
		}
		return m[field]
	}
	hash := e.options.Pseudonyms.Hash
	return event.ChatMessage{
		ID: id, LoginID: hash(text("login_id")), FirstName: hash(text("first_name")), LastName: hash(text("last_name")),
		SendTime: text("send_time"), Urgent: m["is_urgent"] == "1" || m["is_urgent"] == "true", Content: text("content"),
	}
}
