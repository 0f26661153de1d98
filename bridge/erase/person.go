package erase

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// person is what identifies a person in events.
type person struct {
	// ids are login ids and user ids: each is of this person alone. names are full names, which others may
	// have, too; they are in lower case.
	ids, names map[string]bool
	// words are the ids and names that are searched for in text, in lower case.
	words []string
}

// newPerson returns a person of whom ids are known.
func newPerson(ids ...string) *person {
	p := &person{ids: map[string]bool{}, names: map[string]bool{}}
	p.learn(ids, nil)
	return p
}

// learn adds what identifies the person, and reports whether any of it is new.
func (p *person) learn(ids, names []string) (more bool) {
	add := func(to map[string]bool, text string) {
		if text = strings.TrimSpace(text); text != "" && !to[text] {
			to[text], more = true, true
		}
	}
	for _, id := range ids {
		add(p.ids, id)
	}
	for _, name := range names {
		add(p.names, strings.ToLower(name))
	}
	if !more {
		return false
	}
	words := map[string]bool{}
	for text := range maps.Keys(p.ids) {
		words[strings.ToLower(text)] = true
	}
	maps.Copy(words, p.names)
	p.words = slices.DeleteFunc(slices.Sorted(maps.Keys(words)), func(word string) bool { return !searchable(word) })
	return true
}

// minWord is the length from which on a text is searched for among others, in characters.
const minWord = 3

// searchable reports whether a text identifies a person among other words: a number may be any
// statistic.
func searchable(word string) bool {
	return utf8.RuneCountInString(word) >= minWord && strings.ContainsFunc(word, unicode.IsLetter)
}

// learnFrom learns from an event that names the person, and reports whether it taught anything.
func (p *person) learnFrom(e *event.Event) bool {
	switch d := e.Data.(type) {
	case *event.AgentData:
		if !p.isAgent(d) {
			return false
		}
		ids, names := []string{d.Agent.ID, d.Agent.LoginID, d.Agent.UserID}, []string{d.Agent.Name}
		for _, image := range []interface{ Text(string) string }{d.Before, d.After} {
			ids = append(ids, image.Text("login_id"), image.Text("user_id"))
			names = append(names, image.Text("first_last_name"), image.Text("last_first_name"))
			if first, last := image.Text("firstname"), image.Text("lastname"); first != "" && last != "" {
				names = append(names, first+" "+last)
			}
		}
		return p.learn(ids, names)
	case *event.DirectoryData:
		if d.Kind != engine.Agents {
			return false
		}
		var ids []string // an entry is a user id and a login id
		for _, entry := range slices.Concat(d.Added, d.Removed) {
			if p.ids[entry.ID] || p.ids[entry.Name] {
				ids = append(ids, entry.ID, entry.Name)
			}
		}
		for _, entry := range d.Renamed {
			if p.ids[entry.ID] || p.ids[entry.From] || p.ids[entry.To] {
				ids = append(ids, entry.ID, entry.From, entry.To)
			}
		}
		return p.learn(ids, nil)
	case *event.ChatData:
		if m := d.Message; p.ids[m.LoginID] && m.FirstName != "" && m.LastName != "" {
			return p.learn(nil, []string{m.FirstName + " " + m.LastName})
		}
	}
	return false
}

func (p *person) isAgent(d *event.AgentData) bool {
	return p.ids[d.Agent.ID] || p.ids[d.Agent.LoginID] || p.ids[d.Agent.UserID]
}

// Owners of a message.
type owner int

const (
	others owner = iota // the message does not hold the person
	shared              // it holds the person, and others too
	own                 // it is about the person alone
)

// ownerOf judges a message.
func (p *person) ownerOf(e *event.Event, body []byte) owner {
	whole := false
	switch d := e.Data.(type) {
	case *event.AgentData:
		if p.isAgent(d) {
			return own
		}
	case *event.ThresholdData:
		if d.Entity.Kind == string(event.Agent) && p.ids[d.Entity.ID] {
			return own
		}
	case *event.ChatData:
		if p.ids[d.Message.LoginID] {
			return own
		}
	case *event.DirectoryData:
		whole = d.Kind == engine.Agents
	}
	var envelope struct{ Data any }
	if json.Unmarshal(body, &envelope) == nil && p.within(envelope.Data, whole) {
		return shared
	}
	return others
}

// holds reports whether a message that is no event holds the person.
func (p *person) holds(body []byte) bool {
	var v any
	if json.Unmarshal(body, &v) == nil {
		return p.within(v, false)
	}
	return p.inText(string(body))
}

// within reports whether a value of JSON holds the person. Texts that identify are compared whole: they are
// of somebody else who may have a similar id, or the same name.
func (p *person) within(v any, whole bool) bool {
	switch v := v.(type) {
	case string:
		if whole {
			return p.ids[v]
		}
		return p.inText(v)
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { return p.within(item, whole) })
	case map[string]any:
		ofAgent := v["kind"] == string(event.Agent)
		for name, member := range v {
			if !notSearched(name) && p.within(member, whole || identifies(name) || ofAgent && name == "id") {
				return true
			}
		}
	}
	return false
}

// notSearched reports whether a member holds a name of the installation, and of nobody.
func notSearched(name string) bool { return name == "tenant" || name == "instance" }

// identifies reports whether a member, or a statistic, holds what identifies an agent.
func identifies(name string) bool {
	switch name {
	case "agent", "login_id", "user_id", "firstname", "lastname", "first_last_name", "last_first_name":
		return true
	}
	return false
}

// inText reports whether a text contains an id or a name of the person as words of its own.
func (p *person) inText(text string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc(p.words, func(word string) bool { return containsWord(text, word) })
}

func containsWord(text, word string) bool {
	for at := 0; ; {
		i := strings.Index(text[at:], word)
		if i < 0 {
			return false
		}
		i += at
		if !continues(reversed(text[:i])) && !continues(text[i+len(word):]) {
			return true
		}
		at = i + 1
	}
}

// continues reports whether a text continues the word before it: john is not in john.smith, but it is
// in "Ask john."
func continues(rest string) bool {
	r, size := utf8.DecodeRuneInString(rest)
	if r == '.' || r == '@' {
		r, _ = utf8.DecodeRuneInString(rest[size:])
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r)
}

// reversed returns the last two characters of a text, the last one first.
func reversed(text string) string {
	r, size := utf8.DecodeLastRuneInString(text)
	if size == 0 {
		return ""
	}
	before, size := utf8.DecodeLastRuneInString(text[:len(text)-size])
	if size == 0 {
		return string(r)
	}
	return string([]rune{r, before})
}
