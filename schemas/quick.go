package schemas

import (
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"
)

// quickSchema is a schema as far as it can be checked on the text of an event, without decoding it. What
// it accepts is valid. Everything else is left to the library, which decides and names the faults.
type quickSchema struct {
	types      quickTypes // 0 = any
	allowed    []string   // of const and enum: texts; nil = any
	allowTrue  bool       // const is true
	minimum    int64      // of integers
	minLength  int
	pattern    *regexp.Regexp
	format     string
	required   []string
	properties map[string]*quickSchema
	additional *quickSchema // nil = anything
	items      *quickSchema // nil = anything
	minItems   int
	maxItems   int // -1 = any number
	unique     bool
	// condition, then and otherwise are branches: they have only the keywords required and properties,
	// and branches; nil = none.
	condition, then, otherwise *quickSchema
	// dependent are branches that hold if the object has a member with this name.
	dependent map[string]*quickSchema
}

// conditional reports whether only the whole object shows what is valid.
func (s *quickSchema) conditional() bool { return s.condition != nil || len(s.dependent) > 0 }

// quickTypes is a set of types.
type quickTypes uint8

const (
	quickObject quickTypes = 1 << iota
	quickArray
	quickString
	quickNumber
	quickInteger
	quickBoolean
	quickNull
)

var quickTypeNames = map[string]quickTypes{
	"object": quickObject, "array": quickArray, "string": quickString, "number": quickNumber | quickInteger,
	"integer": quickInteger, "boolean": quickBoolean, "null": quickNull,
}

// quickCompiler compiles the schemas of one document.
type quickCompiler struct {
	root map[string]any
	refs map[string]*quickSchema
}

// compileQuick compiles a document; nil if it has a keyword that is not known here.
func compileQuick(text []byte) *quickSchema {
	c := quickCompiler{refs: map[string]*quickSchema{}}
	if json.Unmarshal(text, &c.root) != nil {
		return nil
	}
	s, ok := c.schema(c.root)
	if !ok {
		return nil
	}
	return s
}

// schema compiles a schema. It returns false if it has a keyword that is not known here.
func (c *quickCompiler) schema(value any) (*quickSchema, bool) {
	doc, ok := value.(map[string]any)
	if !ok {
		return nil, false
	}
	if ref, ok := doc["$ref"].(string); ok {
		for keyword := range doc {
			if keyword != "$ref" && !annotation(keyword) {
				return nil, false
			}
		}
		return c.ref(ref)
	}
	s := &quickSchema{minimum: math.MinInt64, maxItems: -1}
	for keyword, v := range doc {
		if annotation(keyword) {
			continue
		}
		if !c.keyword(s, keyword, v) {
			return nil, false
		}
	}
	return s, s.condition != nil || s.then == nil && s.otherwise == nil
}

// annotation reports whether a keyword says nothing about what is valid.
func annotation(keyword string) bool {
	switch keyword {
	case "$schema", "$id", "$defs", "$comment", "title", "description", "examples", "default", "deprecated", "readOnly":
		return true
	}
	return false
}

// ref compiles what a reference into the document points to, once.
func (c *quickCompiler) ref(ref string) (*quickSchema, bool) {
	if s, ok := c.refs[ref]; ok {
		return s, s != nil
	}
	name, ok := strings.CutPrefix(ref, "#/$defs/")
	defs, _ := c.root["$defs"].(map[string]any)
	if !ok || strings.ContainsAny(name, "/~%") || defs[name] == nil {
		return nil, false
	}
	c.refs[ref] = nil // one that refers to itself is not known here
	s, ok := c.schema(defs[name])
	if ok {
		c.refs[ref] = s
	}
	return s, ok
}

// keyword adds a keyword to a schema. It returns false if it, or its value, is not known here.
func (c *quickCompiler) keyword(s *quickSchema, keyword string, v any) (ok bool) {
	number, isNumber := v.(float64)
	whole := isNumber && number == math.Trunc(number) && math.Abs(number) < 1<<53
	text, isText := v.(string)
	switch keyword {
	case "type":
		names, many := v.([]any)
		if !many {
			names = []any{v}
		}
		for _, name := range names {
			name, _ := name.(string)
			t, known := quickTypeNames[name]
			if !known {
				return false
			}
			s.types |= t
		}
		return true
	case "const", "enum":
		values, many := v.([]any)
		if s.allowed != nil || s.allowTrue || keyword == "enum" && !many {
			return false
		}
		if keyword == "const" {
			if v == true {
				s.allowTrue = true
				return true
			}
			values = []any{v}
		}
		s.allowed = []string{}
		for _, value := range values {
			text, isText := value.(string)
			if !isText {
				return false
			}
			s.allowed = append(s.allowed, text)
		}
		return true
	case "minimum":
		s.minimum = int64(number)
		return whole
	case "minLength":
		s.minLength = int(number)
		return whole
	case "minItems":
		s.minItems = int(number)
		return whole
	case "maxItems":
		s.maxItems = int(number)
		return whole
	case "uniqueItems":
		s.unique, ok = v.(bool)
		return ok
	case "format":
		s.format = text
		return text == "date-time" || text == "uri"
	case "pattern":
		var err error
		s.pattern, err = regexp.Compile(text)
		return isText && err == nil
	case "required":
		names, isList := v.([]any)
		for _, name := range names {
			name, _ := name.(string)
			s.required = append(s.required, name)
		}
		return isList && !slices.Contains(s.required, "") && len(s.required) <= 64
	case "properties":
		members, isObject := v.(map[string]any)
		s.properties = map[string]*quickSchema{}
		for name, value := range members {
			if s.properties[name], ok = c.schema(value); !ok {
				return false
			}
		}
		return isObject
	case "additionalProperties":
		if v == true {
			return true
		}
		s.additional, ok = c.schema(v)
		return ok
	case "items":
		s.items, ok = c.schema(v)
		return ok
	case "dependentSchemas":
		members, isObject := v.(map[string]any)
		s.dependent = map[string]*quickSchema{}
		for name, value := range members {
			if s.dependent[name], ok = c.branch(value); !ok {
				return false
			}
		}
		return isObject
	case "if":
		s.condition, ok = c.branch(v)
		return ok
	case "then":
		s.then, ok = c.branch(v)
		return ok
	case "else":
		s.otherwise, ok = c.branch(v)
		return ok
	}
	return false
}

// branch compiles a schema for an object that is an object anyway.
func (c *quickCompiler) branch(v any) (*quickSchema, bool) {
	doc, _ := v.(map[string]any)
	for keyword := range doc {
		switch keyword {
		case "required", "properties", "if", "then", "else", "dependentSchemas":
		default:
			if !annotation(keyword) {
				return nil, false
			}
		}
	}
	return c.schema(v)
}
