package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// ErrInvalid is returned when a body is not JSON, or does not match its schema. The error's text
// names each fault by its JSON pointer and never repeats the body, which may contain personal data.
var ErrInvalid = errors.New("invalid")

// Validator validates events and configuration by the schemas of this package. It is created by
// New and may be used by several goroutines at once.
type Validator struct {
	schemas map[string]*jsonschema.Schema // by name
	quick   map[string]*quickSchema       // by type, of the events whose schemas can be checked so
	uri     *atomic.Pointer[string]       // the source of the last event that the library has validated
}

// New compiles all schemas, with formats (date-time, uri) asserted. That takes some milliseconds:
// [Shared] returns one that is kept. It fails only if a schema of this package is invalid.
func New() (*Validator, error) {
	c := jsonschema.NewCompiler()
	c.UseLoader(noRemoteLoader{})
	c.AssertFormat()
	v := &Validator{schemas: map[string]*jsonschema.Schema{}, quick: map[string]*quickSchema{}, uri: &atomic.Pointer[string]{}}
	for _, name := range Names() {
		text, err := readSchema(name)
		if err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
		if err := c.AddResource(ID(name), doc); err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
		if v.schemas[name], err = c.Compile(ID(name)); err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
		if quick := compileQuick(text); quick != nil && isEvent(name) {
			v.quick[Type(name)] = quick
		}
	}
	return v, nil
}

// noRemoteLoader refuses every reference out of a schema: each file is self-contained.
type noRemoteLoader struct{}

func (noRemoteLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%w: %q (remote schemas are not fetched)", ErrUnknown, url)
}

// Event validates a CloudEvent by the schema of its type. It returns ErrUnknown for a type without
// a schema and ErrInvalid for any other fault of the body.
func (v *Validator) Event(body []byte) error {
	if v.acceptsQuickly(body) {
		return nil
	}
	doc, err := decodeJSON("event", body)
	if err != nil {
		return err
	}
	event, ok := doc.(map[string]any)
	if !ok {
		return fmt.Errorf("validate event: %w: at %q: not an object", ErrInvalid, "")
	}
	typ, ok := event["type"].(string)
	if !ok {
		return fmt.Errorf("validate event: %w: at %q: missing or not a string", ErrInvalid, "/type")
	}
	name := strings.TrimSuffix(strings.TrimPrefix(typ, typePrefix), typeSuffix)
	schema, ok := v.schemas[name]
	if !ok || typ != Type(name) || !isEvent(name) {
		return fmt.Errorf("validate event: at %q: %w", "/type", unknownSchemaError(typ, listSchemas("v1", "")))
	}
	if err := validateDocument(schema, typ, doc, false); err != nil {
		return err
	}
	if source, ok := event["source"].(string); ok {
		v.uri.Store(&source)
	}
	return nil
}

// acceptsQuickly reports whether an event is surely valid.
func (v *Validator) acceptsQuickly(body []byte) bool {
	uri := v.uri.Load()
	if uri == nil {
		return false
	}
	typ, ok := typeOf(body)
	if !ok {
		return false
	}
	quick := v.quick[string(typ)]
	return quick != nil && quick.accepts(body, *uri)
}

// typeOf finds the type of an event that begins as those of a bridge. The schema checks that it is the
// type.
func typeOf(body []byte) ([]byte, bool) {
	_, rest, ok := bytes.Cut(body[:min(len(body), 1000)], []byte(`"type":"`))
	if !ok {
		return nil, false
	}
	typ, _, ok := bytes.Cut(rest, []byte(`"`))
	return typ, ok
}

// Config validates a configuration file, named as in Names or without the
// folder: "config/thresholds" or "thresholds". It returns ErrUnknown for a name
// without a schema and ErrInvalid for a body that is wrong.
func (v *Validator) Config(name string, body []byte) error {
	full := configDir + strings.TrimPrefix(name, configDir)
	schema, ok := v.schemas[full]
	if !ok {
		return fmt.Errorf("validate configuration: %w", unknownSchemaError(name, listSchemas("config", configDir)))
	}
	doc, err := decodeJSON(full, body)
	if err != nil {
		return err
	}
	return validateDocument(schema, full, doc, true)
}

// Message validates a request or a reply, named as in Names or without the folder: "svc/state.reply" or
// "state.reply". It returns ErrUnknown for a name without a schema and ErrInvalid for a body that is wrong.
func (v *Validator) Message(name string, body []byte) error {
	full := svcDir + strings.TrimPrefix(name, svcDir)
	schema, ok := v.schemas[full]
	if !ok {
		return fmt.Errorf("validate message: %w", unknownSchemaError(name, listSchemas("svc", svcDir)))
	}
	doc, err := decodeJSON(full, body)
	if err != nil {
		return err
	}
	return validateDocument(schema, full, doc, false)
}

// sharedValidator is compiled once, at the first use.
var sharedValidator = sync.OnceValues(New)

// Shared returns a validator that the package compiles once. It fails as New does.
func Shared() (*Validator, error) { return sharedValidator() }

// Validate is Validator.Event with the shared validator.
func Validate(body []byte) error {
	v, err := Shared()
	if err != nil {
		return err
	}
	return v.Event(body)
}

// ValidateConfig is Validator.Config with the same shared validator.
func ValidateConfig(name string, body []byte) error {
	v, err := Shared()
	if err != nil {
		return err
	}
	return v.Config(name, body)
}

// ValidateMessage is Validator.Message with the same shared validator.
func ValidateMessage(name string, body []byte) error {
	v, err := sharedValidator()
	if err != nil {
		return err
	}
	return v.Message(name, body)
}

func decodeJSON(subject string, body []byte) (any, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("validate %s: %w: not JSON: %w", subject, ErrInvalid, err)
	}
	return doc, nil
}

// validateDocument validates a document. Faults of a configuration show its values; events and replies may hold
// what is personal.
func validateDocument(schema *jsonschema.Schema, subject string, doc any, showValues bool) error {
	err := schema.Validate(doc)
	if err == nil {
		return nil
	}
	verr, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return fmt.Errorf("validate %s: %w: %w", subject, ErrInvalid, err)
	}
	found := validationFaults(verr, showValues)
	slices.Sort(found) // the library walks maps; the same body must give the same text
	found = slices.Compact(found)
	const limit = 8 // a body of another kind violates every rule; these are enough to see it
	if more := len(found) - limit; more > 0 {
		found = append(found[:limit], fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("validate %s: %w: %s", subject, ErrInvalid, strings.Join(found, "; "))
}

// validationFaults returns the leaves of the library's tree, each with its JSON pointer.
func validationFaults(e *jsonschema.ValidationError, showValues bool) []string {
	if len(e.Causes) > 0 {
		var all []string
		for _, cause := range e.Causes {
			all = append(all, validationFaults(cause, showValues)...)
		}
		return all
	}
	var found []string
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			found = append(found, pointerText(e.InstanceLocation, name)+": missing")
		}
	case *kind.DependentRequired:
		for _, name := range k.Missing {
			found = append(found, pointerText(e.InstanceLocation, name)+": missing")
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			found = append(found, pointerText(e.InstanceLocation, name)+": unknown key")
		}
	default:
		text := pointerText(e.InstanceLocation) + ": " + faultReason(k)
		if value, ok := valueOf(k); ok && showValues {
			text += ", got " + truncate(literal(value))
		}
		found = append(found, text)
	}
	return found
}

// pointerText formats a JSON pointer (RFC 6901), quoted, because keys may contain anything.
func pointerText(location []string, more ...string) string {
	var p strings.Builder
	for _, token := range slices.Concat(location, more) {
		p.WriteString("/" + strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1"))
	}
	return fmt.Sprintf("at %q", truncate(p.String()))
}

// valueOf returns the value that breaks a rule about values.
func valueOf(k jsonschema.ErrorKind) (value any, ok bool) {
	switch k := k.(type) {
	case *kind.Enum:
		return k.Got, true
	case *kind.Pattern:
		return k.Got, true
	}
	return nil, false
}

// faultReason returns what the schema requires. It replaces the library's own text, which repeats
// the value found.
func faultReason(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return fmt.Sprintf("got %s, want %s", k.Got, strings.Join(k.Want, " or "))
	case *kind.Const:
		return "want " + literal(k.Want)
	case *kind.Enum:
		words := make([]string, len(k.Want))
		for i, w := range k.Want {
			words[i] = literal(w)
		}
		return "want one of " + strings.Join(words, ", ")
	case *kind.Minimum:
		return "want at least " + k.Want.RatString()
	case *kind.MinLength:
		return fmt.Sprintf("want a length of at least %d", k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("want a list of at least %d", k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("want a list of at most %d", k.Want)
	case *kind.UniqueItems:
		return fmt.Sprintf("items %d and %d are equal", k.Duplicates[0], k.Duplicates[1])
	case *kind.Pattern:
		return "want text that matches " + k.Want
	case *kind.Format:
		return "want the format " + k.Want
	}
	return "breaks " + strings.Join(k.KeywordPath(), "/")
}

func literal(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // an operator must read ">=", not \u003e=
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(b.String())
}
