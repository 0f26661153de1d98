package bpcc

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/agnivade/levenshtein"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

//go:embed subscription.json
var subscriptionJSON []byte

// subscriptionSchema is the shape of a subscription, compiled once at the first use.
var subscriptionSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(subscriptionJSON))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("subscription.json", doc); err != nil {
		return nil, err
	}
	return c.Compile("subscription.json")
})

// fault is a fault in a value, at an offset.
type fault struct {
	at   int
	path path
	text string // follows the name of the value
}

// checker checks a subscription's text, which is valid JSON, and collects the faults: the shape by
// subscription.json, and here what a schema cannot express.
type checker struct {
	body   []byte
	isFile bool // the text is a file, so its lines are meaningful
	schema *jsonschema.Schema
	values map[string]located
	faults []fault
}

// checkSubscription returns the document without the members that count as missing, or its faults.
func checkSubscription(body []byte, isFile bool) (any, error) {
	schema, err := subscriptionSchema()
	if err != nil {
		return nil, err
	}
	c := checker{body: body, isFile: isFile, schema: schema, values: map[string]located{}}
	doc := c.read(json.NewDecoder(bytes.NewReader(body)), nil, located{})
	if err, ok := errors.AsType[*jsonschema.ValidationError](schema.Validate(doc)); ok {
		c.addShapeFaults(err)
	}
	for app := range object(doc) {
		c.checkGrids(path{app, "service_grids"})
		c.checkGrids(path{app, "agent_grids"})
	}
	return doc, c.err()
}

// err returns all faults in the order of the text.
func (c *checker) err() error {
	slices.SortFunc(c.faults, func(a, b fault) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.text, b.text)) })
	var all faults
	for _, f := range c.faults {
		found := &SubscriptionFault{Text: c.name(f.path) + f.text}
		if c.isFile {
			found.Line, found.Column = lineAndColumn(c.body, f.at)
		}
		all = append(all, found)
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

func (c *checker) add(at int, p path, format string, args ...any) {
	c.faults = append(c.faults, fault{at, p, fmt.Sprintf(format, args...)})
}

// addShapeFaults adds what the schema's library has found.
func (c *checker) addShapeFaults(e *jsonschema.ValidationError) {
	p := path(e.InstanceLocation)
	self, unknown := c.values[p.key()], c.unknownKeys(p)
	switch k := e.ErrorKind.(type) {
	case *kind.MinProperties:
		c.add(self.at, p, " names no app id; want %s", c.want(p))
	case *kind.PropertyNames:
		c.add(c.values[p.with(k.Property).key()].keyAt, p, ": an app id is empty; any text will do")
	case *kind.AnyOf:
		if strings.Join(slices.Collect(maps.Values(unknown)), "") == "" {
			c.add(self.keyAt, p, " requests nothing; want %s", c.want(p))
		}
	case *kind.AdditionalProperties:
		for name, closest := range unknown {
			at := c.values[p.with(name).key()].keyAt
			if closest != "" {
				c.add(at, p, ": unknown key %q; the closest known key is %q", name, closest)
			} else {
				c.add(at, p, ": unknown key %q; remove it (known are %s)", name, strings.Join(c.knownKeys(p), ", "))
			}
		}
	case *kind.Required:
		for _, name := range k.Missing {
			c.addMissing(p, name)
		}
	case *kind.DependentRequired:
		for _, name := range k.Missing {
			if !slices.Contains(slices.Collect(maps.Values(unknown)), name) {
				c.add(c.values[p.with(k.Prop).key()].at, p, " has %s without %s; add %[2]s (%s) or remove %[1]s", k.Prop, name, c.want(p.with(name)))
			}
		}
	default:
		for _, cause := range e.Causes {
			c.addShapeFaults(cause)
		}
		switch {
		case len(e.Causes) > 0:
		case len(p) == 1 && c.subschema(path{"", p[0]}) != nil:
			c.add(self.keyAt, nil, `: %q stands where an app id should; put it inside of one: {"app id": {%[1]q: … }}`, p[0])
		default:
			c.add(self.at, p, " is %s; want %s", typeName(self.value), c.want(p))
		}
	}
}

// addMissing adds that a member is missing, unless a misspelt key explains that.
func (c *checker) addMissing(p path, name string) {
	if slices.Contains(slices.Collect(maps.Values(c.unknownKeys(p))), name) {
		return
	}
	at := c.values[p.key()].at
	if empty, ok := c.values[p.with(name).key()]; ok {
		at = empty.at
	}
	c.add(at, p, " has no %q; want %s", name, c.want(p.with(name)))
}

// unknownKeys returns the keys of an object that the schema does not have, each with the known key
// that it probably stands for.
func (c *checker) unknownKeys(p path) map[string]string {
	unknown := map[string]string{}
	for name := range object(c.value(p)) {
		if c.subschema(p.with(name)) == nil {
			unknown[name] = closestKey(name, c.knownKeys(p))
		}
	}
	return unknown
}

// knownKeys returns the keys that the schema has for an object, sorted.
func (c *checker) knownKeys(p path) []string {
	return slices.Sorted(maps.Keys(c.subschema(p).Properties))
}

// want returns what the schema says of a value.
func (c *checker) want(p path) string { return c.subschema(p).Description }

// subschema returns the part of the schema for a value, nil if there is none.
func (c *checker) subschema(p path) *jsonschema.Schema {
	s := c.schema
	for _, token := range p {
		switch {
		case s == nil:
			return nil
		case s.Properties[token] != nil:
			s = s.Properties[token]
		case s.Items2020 != nil:
			s = s.Items2020
		default:
			s, _ = s.AdditionalProperties.(*jsonschema.Schema)
		}
		if s != nil && s.Ref != nil {
			s = s.Ref
		}
	}
	return s
}

// checkGrids checks the ids of a section of grids and what refers to them.
func (c *checker) checkGrids(p path) {
	c.checkIDs(p, c.isFile)
	for i, grid := range list(c.value(p)) {
		g := p.item(i)
		columns := c.checkIDs(g.with("columns"), true)
		if object(grid)["order"] != nil && object(grid)["order_by"] != nil {
			c.add(c.values[g.with("order_by").key()].at, g, " has both order and order_by, two spellings of one thing; keep one")
		}
		for j := range list(object(grid)["order"]) {
			c.checkReference(g.with("order").item(j), "by", columns)
		}
		c.checkReference(g, "order_by", columns)
		c.checkReference(g, "filter_by", columns)
	}
}

// checkIDs checks that each item of an array has an id of its own, and returns the items by their
// ids; nil if an id is missing or of the wrong type.
func (c *checker) checkIDs(p path, required bool) map[string]map[string]any {
	items, complete := map[string]map[string]any{}, true
	first := map[string]int{}
	for i, item := range list(c.value(p)) {
		member, ok := item.(map[string]any)
		value := c.values[p.item(i).with("id").key()]
		id, isText := text(member["id"])
		other, isDuplicate := first[id]
		switch {
		case !ok || member["id"] != nil && !isText:
			complete = false
		case id == "" && required:
			complete = false
			c.addMissing(p.item(i), "id")
		case isDuplicate:
			c.add(value.at, p.item(i), ": another one%s has the same id %q; give each its own", c.lineSuffix(other), id)
		default:
			items[id], first[id] = member, value.at
		}
	}
	if !complete {
		return nil
	}
	return items
}

// checkReference checks that a member, if there is one, is the id of a column.
func (c *checker) checkReference(p path, name string, columns map[string]map[string]any) {
	member := c.values[p.with(name).key()]
	id, isText := text(member.value)
	if _, ok := columns[id]; ok || !isText || len(columns) == 0 {
		return
	}
	var ids []string
	for other, column := range columns {
		if column["stat_name"] == id {
			c.add(member.at, p, ": %s takes the id of a column, not a statistic; write %q for %s", name, other, id)
			return
		}
		ids = append(ids, fmt.Sprintf("%q", other))
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	c.add(member.at, p, ": %s names the column %q, which the grid does not have; its columns are %s", name, id, strings.Join(ids, ", "))
}

// value returns the value at a path, nil if it is missing or empty.
func (c *checker) value(p path) any { return c.values[p.key()].value }

// name names a value for people, such as: app "wall", agent grid "agents", column 2, stat_name.
func (c *checker) name(p path) string {
	if len(p) == 0 {
		return "the subscription"
	}
	nouns := map[string]string{"service_grids": "service grid", "agent_grids": "agent grid", "columns": "column", "order": "order"}
	name := fmt.Sprintf("app %q", p[0])
	for i := 1; i < len(p); i++ {
		if i+1 == len(p) || list(c.value(p[:i+1])) == nil {
			name += ", " + p[i]
			continue
		}
		key := p[i]
		i++
		n, _ := strconv.Atoi(p[i])
		switch id, _ := text(object(c.value(p[:i+1]))["id"]); {
		case nouns[key] == "":
			name += fmt.Sprintf(", item %d of %s", n+1, key)
		case i == 2 && id != "":
			name += fmt.Sprintf(", %s %q", nouns[key], id)
		default:
			name += fmt.Sprintf(", %s %d", nouns[key], n+1)
		}
	}
	return name
}

// lineSuffix returns the line of an offset in a file, as the end of a text.
func (c *checker) lineSuffix(at int) string {
	if !c.isFile {
		return ""
	}
	line, _ := lineAndColumn(c.body, at)
	return fmt.Sprintf(" in line %d", line)
}

// typeName names the kind of a value.
func typeName(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	case string:
		if v == "" {
			return "empty"
		}
		return fmt.Sprintf("the text %.60q", v)
	}
	b, _ := json.Marshal(v) // null, a number or a boolean
	return string(b)
}

// text returns a text or a number as text.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}

func object(v any) map[string]any { m, _ := v.(map[string]any); return m }

func list(v any) []any { l, _ := v.([]any); return l }

// closestKey returns the known key that a misspelt one probably stands for, "" if none is close.
func closestKey(name string, known []string) string {
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }
	name = plain(name)
	// One edit in four letters is a misspelling; more make another word.
	best, minDistance := "", (len(name)+2)/4+1
	for _, k := range known {
		if d := levenshtein.ComputeDistance(name, plain(k)); d < minDistance {
			best, minDistance = k, d
		}
	}
	return best
}
