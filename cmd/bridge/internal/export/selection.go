package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/rule"
)

// Selection is which events a command reads: by subject and by type. The zero Selection is all of them.
type Selection struct {
	// Subjects are patterns with the wildcards of NATS; none selects every event.
	Subjects []string `json:"subjects,omitempty"`
	// Types are globs on names such as agent.state_changed; none selects every event.
	Types []string `json:"types,omitempty"`

	types *regexp.Regexp // nil = all
}

// AllSubjects is the pattern of the subjects of every event.
const AllSubjects = event.SubjectPrefix + ".>"

// AddSubjects selects the events on subjects, separated by commas.
func (s *Selection) AddSubjects(list string) error {
	for subject := range strings.SplitSeq(list, ",") {
		subject = strings.TrimSpace(subject)
		if subject == "" {
			return errors.New("a subject is empty")
		}
		s.Subjects = append(s.Subjects, subject)
	}
	if slices.Contains(s.Subjects, AllSubjects) {
		s.Subjects = nil
	}
	return nil
}

// AddTypes selects the events of types, separated by commas.
func (s *Selection) AddTypes(list string) error {
	for glob := range strings.SplitSeq(list, ",") {
		glob = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(glob), "bpcc."), ".v1")
		if glob == "" {
			return errors.New("a type is empty")
		}
		s.Types = append(s.Types, glob)
	}
	s.types = rule.Globs(s.Types)
	return nil
}

// All reports whether every event is selected.
func (s *Selection) All() bool { return len(s.Subjects) == 0 && s.types == nil }

// Patterns are the subjects to read.
func (s *Selection) Patterns() []string {
	if len(s.Subjects) == 0 {
		return []string{AllSubjects}
	}
	return s.Subjects
}

// includes reports whether the events on a subject are selected.
func (s *Selection) includes(subject string) bool {
	matches := func(pattern string) bool { return event.MatchSubject(pattern, subject) }
	if len(s.Subjects) > 0 && !slices.ContainsFunc(s.Subjects, matches) {
		return false
	}
	return s.IncludesType(subject)
}

// IncludesType reports whether the type of the events on a subject is selected.
func (s *Selection) IncludesType(subject string) bool {
	if s.types == nil {
		return true
	}
	name, ok := event.NameOf(subject)
	return ok && s.IncludesName(name)
}

// IncludesName reports whether the events of a kind and verb, such as "agent.state_changed", are selected
// by their type.
func (s *Selection) IncludesName(name string) bool {
	return s.types == nil || s.types.MatchString(name)
}

// IncludesCheckpoints reports whether checkpoints of a tenant are selected.
func (s *Selection) IncludesCheckpoints() bool {
	const anyTenant = "=00"
	for _, pattern := range s.Patterns() {
		tenant := anyTenant
		if tokens := strings.Split(pattern, "."); len(tokens) > 2 && tokens[2] != "*" && tokens[2] != ">" {
			tenant = tokens[2]
		}
		if s.includes(event.SubjectPrefix + "." + tenant + "." + event.Checkpoint) {
			return true
		}
	}
	return false
}

// String names what is selected.
func (s *Selection) String() string {
	text := strings.Join(s.Patterns(), ", ")
	if s.types != nil {
		text += ", of the types " + strings.Join(s.Types, ", ")
	}
	return text
}

// Part is what is selected of a stream; nil if that is every event.
func (s *Selection) Part() *audit.Part {
	if s.All() {
		return nil
	}
	return &audit.Part{Name: s.String(), Includes: s.includes}
}

// parseSelection parses what an export says that it holds.
func parseSelection(text json.RawMessage) (*Selection, error) {
	var s, out Selection
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	for _, list := range []struct {
		items []string
		add   func(string) error
	}{{s.Subjects, out.AddSubjects}, {s.Types, out.AddTypes}} {
		for _, item := range list.items {
			if err := list.add(item); err != nil {
				return nil, fmt.Errorf("filter: %w", err)
			}
		}
	}
	return &out, nil
}
