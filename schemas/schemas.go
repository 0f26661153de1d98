// Package schemas holds the promise to everyone who reads the stream: one JSON
// Schema (2020-12) for each type of event, one for each configuration file, and
// an AsyncAPI document that puts the events on their subjects. README.md, made
// of them, is the reference for readers.
//
// The naming law: an event has one name, and the file, the CloudEvents type and
// the id of the schema are made of nothing else.
//
//	name   agent.state_changed
//	file   v1/agent.state_changed.json
//	type   bpcc.agent.state_changed.v1               title, const of "type"
//	id     urn:bpcc:schema:v1:agent.state_changed    $id, const of "dataschema"
//
// Every file stands alone: whoever loads one needs no other. The schemas of
// configuration live beside them: config/thresholds.json has the name
// config/thresholds and the id urn:bpcc:schema:config:thresholds.
//
// The compatibility promise: within v1 optional fields are added, and nothing
// else changes but the words that describe them. It binds both ways. A reader
// relies on what is there, so no field is removed, renamed, retyped, given
// another unit or made optional, and no enum gains or loses a word: a set that
// may grow is never an enum but plain text, and its description says that it is
// open. Stored events are judged again when they are replayed, so nothing that
// was valid becomes invalid: no field is newly required and no bound narrowed.
// Readers must ignore what they do not know; therefore unknown fields of an
// event are valid. What cannot keep the promise becomes v2, under subjects of
// its own. Configuration is the opposite: an unknown key there is a slip of the
// pen, and refused.
//
// testdata/released holds every event's schema as it was last released, and
// TestReleased refuses what breaks the promise to its readers. To release:
//
//	go test ./schemas -run TestReleased -release
//
// which compares first and copies then. What was added since the last release
// may still be changed or taken back.
//
// The package publishes nothing, decodes nothing into Go types and reads nothing
// but the files it embeds.
package schemas

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed v1/*.json config/*.json asyncapi.yaml
var files embed.FS

// ErrUnknown is returned when no schema has the name, type or id asked for. The
// error's text gives the nearest ones there are.
var ErrUnknown = errors.New("unknown schema")

// AsyncAPI is the name of the AsyncAPI document (YAML), which [Schema] returns
// too. It is no schema and not among the [Names].
const AsyncAPI = "asyncapi"

const (
	typePrefix, typeSuffix = "bpcc.", ".v1"

	eventID  = "urn:bpcc:schema:v1:"
	configID = "urn:bpcc:schema:config:"

	configDir = "config/" // begins the names of configuration schemas
)

// Type returns the CloudEvents type of the event called name:
// "agent.observed" gives "bpcc.agent.observed.v1". It does not ask whether
// there is one.
func Type(name string) string { return typePrefix + name + typeSuffix }

// ID returns the id of the schema called name, which is the dataschema of its
// events: "agent.observed" gives "urn:bpcc:schema:v1:agent.observed", and
// "config/thresholds" gives "urn:bpcc:schema:config:thresholds". It does not ask
// whether there is one.
func ID(name string) string {
	if file, ok := strings.CutPrefix(name, configDir); ok {
		return configID + file
	}
	return eventID + name
}

// Names returns the names of all schemas: the events in order, then the
// configuration files in order. The slice is the caller's.
func Names() []string {
	return append(listSchemas("v1", ""), listSchemas("config", configDir)...)
}

// listSchemas returns the schemas of one embedded folder, in order.
func listSchemas(dir, prefix string) []string {
	found, _ := fs.Glob(files, dir+"/*.json") // fails only for a malformed pattern
	for i, file := range found {
		found[i] = prefix + strings.TrimSuffix(path.Base(file), ".json")
	}
	return found
}

// Schema returns the text of a schema, asked for by its name
// ("agent.state_changed"), type ("bpcc.agent.state_changed.v1") or id
// ("urn:bpcc:schema:v1:agent.state_changed"), or of the document [AsyncAPI]. It
// returns ErrUnknown for any other text. The bytes are the caller's.
func Schema(name string) ([]byte, error) {
	if name == AsyncAPI {
		return files.ReadFile("asyncapi.yaml")
	}
	for _, known := range Names() {
		if name == known || name == ID(known) || isEvent(known) && name == Type(known) {
			return readSchema(known)
		}
	}
	return nil, unknownSchemaError(name, append(Names(), AsyncAPI))
}

func isEvent(name string) bool { return !strings.HasPrefix(name, configDir) }

func readSchema(name string) ([]byte, error) {
	if isEvent(name) {
		name = path.Join("v1", name)
	}
	return files.ReadFile(name + ".json")
}

// unknownSchemaError says what was asked for and which of the names begin most like it.
func unknownSchemaError(requested string, names []string) error {
	shortName := strings.TrimPrefix(strings.TrimPrefix(requested, eventID), configID)
	shortName = truncate(strings.TrimSuffix(strings.TrimPrefix(shortName, typePrefix), typeSuffix))
	names = slices.SortedStableFunc(slices.Values(names), func(a, b string) int {
		return cmp.Compare(commonPrefixLength(shortName, b), commonPrefixLength(shortName, a))
	})
	const maxSuggestions = 3 // enough to hold the one that was meant, few enough to read
	return fmt.Errorf("%w: %q (nearest: %s)", ErrUnknown, truncate(requested), strings.Join(names[:min(maxSuggestions, len(names))], ", "))
}

// commonPrefixLength counts the letters with which a and b begin alike.
func commonPrefixLength(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// truncate bounds what an error repeats of text that came from outside.
func truncate(s string) string {
	const limit = 120 // the longest name is a third of it, and a log line stays a line
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "..."
}
