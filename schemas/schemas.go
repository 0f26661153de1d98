// Package schemas holds the contract with readers of the stream: one JSON Schema (2020-12) for each
// type of event, one for each configuration file, one for each request that the bridge answers and its
// reply, and an AsyncAPI document that maps the events to
// their subjects. README.md, generated from them, is the reference for readers.
//
// The file, the CloudEvents type and the id of the schema are derived from the name of an event:
//
//	name   agent.state_changed
//	file   v1/agent.state_changed.json
//	type   bpcc.agent.state_changed.v1               title, const of "type"
//	id     urn:bpcc:schema:v1:agent.state_changed    $id, const of "dataschema"
//
// Every file is self-contained. Each object below the root is in its $defs, under its title. Those of
// one title are equal in all files, so that generators of code give one type for them. v1/event.json is
// any event: it is generated from the others, and each event in it is in its $defs, too.
//
// The schemas of configuration are in the same directory: config/thresholds.json has the name
// config/thresholds and the id urn:bpcc:schema:config:thresholds. So are those of requests and replies:
// svc/state.reply.json has the name svc/state.reply and the id urn:bpcc:schema:svc:state.reply.
//
// Compatibility: within v1 optional fields are added, and nothing else changes but the
// descriptions. That protects both sides. A reader relies on existing fields, so no field is
// removed, renamed, retyped, given another unit or made optional, and no enum gains or loses a
// value: a set that may grow is never an enum but plain text, and its description says that it is
// open. Stored events are validated again when they are replayed, so nothing that was valid becomes
// invalid: no field is newly required and no bound narrowed. Readers must ignore what they do not
// know; therefore unknown fields of an event are valid. An incompatible change becomes v2, under
// its own subjects. Configuration is the opposite: an unknown key there is probably a misspelling,
// and refused. So is an unknown key of a request; replies are as events.
//
// testdata/released holds every event's schema as last released, and TestReleased refuses
// incompatible changes. To release:
//
//	go test ./schemas -run TestReleased -release
//
// which compares first and copies then. Additions since the last release may still be changed or
// removed.
//
// The package publishes nothing, decodes nothing into Go types and reads only the files it embeds.
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

//go:embed v1/*.json config/*.json svc/*.json asyncapi.yaml
var files embed.FS

// ErrUnknown is returned when no schema has the requested name, type or id. The error's text gives
// the most similar names.
var ErrUnknown = errors.New("unknown schema")

const (
	// AnyEvent is the name of the schema of any event, which [Schema] returns too. It is not the
	// schema of a type and not in [Names].
	AnyEvent = "event"
	// AsyncAPI is the name of the AsyncAPI document (YAML), which [Schema] returns too. It is not a
	// schema and not in [Names].
	AsyncAPI = "asyncapi"
)

const (
	typePrefix, typeSuffix = "bpcc.", ".v1"

	eventID  = "urn:bpcc:schema:v1:"
	configID = "urn:bpcc:schema:config:"
	svcID    = "urn:bpcc:schema:svc:"

	configDir = "config/" // begins the names of configuration schemas
	svcDir    = "svc/"    // begins the names of schemas of requests and replies
)

// Type returns the CloudEvents type of the event called name: "agent.observed" gives
// "bpcc.agent.observed.v1". It does not check whether there is one.
func Type(name string) string { return typePrefix + name + typeSuffix }

// ID returns the id of the schema called name, which is the dataschema of its events:
// "agent.observed" gives "urn:bpcc:schema:v1:agent.observed", and "config/thresholds" gives
// "urn:bpcc:schema:config:thresholds"; those of requests and replies are alike. It does not check whether there is one.
func ID(name string) string {
	if file, ok := strings.CutPrefix(name, configDir); ok {
		return configID + file
	}
	if file, ok := strings.CutPrefix(name, svcDir); ok {
		return svcID + file
	}
	return eventID + name
}

// Names returns the names of all schemas: the events in order, then the configuration files in order, then
// the requests and replies in order. The slice is the caller's.
func Names() []string {
	return slices.Concat(listSchemas("v1", ""), listSchemas("config", configDir), listSchemas("svc", svcDir))
}

// listSchemas returns the schemas of one embedded folder, in order, without AnyEvent.
func listSchemas(dir, prefix string) []string {
	found, _ := fs.Glob(files, dir+"/*.json") // fails only for a malformed pattern
	for i, file := range found {
		found[i] = prefix + strings.TrimSuffix(path.Base(file), ".json")
	}
	return slices.DeleteFunc(found, func(name string) bool { return name == AnyEvent })
}

// Schema returns the text of a schema by its name ("agent.state_changed"), type
// ("bpcc.agent.state_changed.v1") or id ("urn:bpcc:schema:v1:agent.state_changed"), that of
// [AnyEvent] by its name or id, or the document [AsyncAPI]. It returns ErrUnknown for any other text.
// The caller owns the bytes.
func Schema(name string) ([]byte, error) {
	switch name {
	case AsyncAPI:
		return files.ReadFile("asyncapi.yaml")
	case AnyEvent, ID(AnyEvent):
		return readSchema(AnyEvent)
	}
	for _, known := range Names() {
		if name == known || name == ID(known) || isEvent(known) && name == Type(known) {
			return readSchema(known)
		}
	}
	return nil, unknownSchemaError(name, append(Names(), AnyEvent, AsyncAPI))
}

func isEvent(name string) bool { return !strings.Contains(name, "/") }

func readSchema(name string) ([]byte, error) {
	if isEvent(name) {
		name = path.Join("v1", name)
	}
	return files.ReadFile(name + ".json")
}

// unknownSchemaError returns an error with the requested text and the names with the longest common
// prefix.
func unknownSchemaError(requested string, names []string) error {
	shortName := requested
	for _, id := range []string{eventID, configID, svcID} {
		shortName = strings.TrimPrefix(shortName, id)
	}
	shortName = truncate(strings.TrimSuffix(strings.TrimPrefix(shortName, typePrefix), typeSuffix))
	names = slices.SortedStableFunc(slices.Values(names), func(a, b string) int {
		return cmp.Compare(commonPrefixLength(shortName, b), commonPrefixLength(shortName, a))
	})
	const maxSuggestions = 3 // enough to include the intended one, few enough to read
	return fmt.Errorf("%w: %q (nearest: %s)", ErrUnknown, truncate(requested), strings.Join(names[:min(maxSuggestions, len(names))], ", "))
}

// commonPrefixLength counts the bytes of the common prefix of a and b.
func commonPrefixLength(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// truncate bounds the part of an error that comes from outside.
func truncate(s string) string {
	const limit = 120 // the longest name is a third of it, and a log line stays a line
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "..."
}
