package bpcc

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// The keys of each object of a subscription, the usual spelling first.
var (
	appKeys = []string{
		"stats_totals", "stats_totals_service_ids", "stats_totals_dispositions",
		"service_grids", "agent_grids", "chat_messages",
	}
	gridKeys = []string{
		"id", "columns", "order", "order_by", "order_dir", "limit", "filter_by", "filter_operation", "filter_value",
		"team_ids", "service_ids", "my_subteam_only", "logged_in_agents_only",
	}
	columnKeys = []string{"id", "stat_name", "statName", "dispositions"}
	orderKeys  = []string{"by", "dir"}
	chatKeys   = []string{"filter", "limit"}
)

// checker holds a subscription's text against the rules and collects what it
// finds.
type checker struct {
	body  []byte
	file  bool // somebody wrote the text, so that its lines mean something
	found []finding
}

func (c *checker) fault(at int, format string, args ...any) {
	c.found = append(c.found, finding{at, fmt.Sprintf(format, args...)})
}

// inLine says in which line of a file something stands.
func (c *checker) inLine(at int) string {
	if !c.file {
		return ""
	}
	line, _ := position(c.body, at)
	return fmt.Sprintf(" in line %d", line)
}

// fields are the members of an object by name. A null is as good as nothing.
type fields struct {
	at     int // of the object
	values map[string]node
	// excused holds names that are not there because of a fault already found,
	// such as a misspelt key, so that their absence is not another.
	excused map[string]bool
}

func (f fields) has(name string) bool { _, ok := f.values[name]; return ok }

// lacks tells whether a name is missing for no reason found before.
func (f fields) lacks(name string) bool { return !f.has(name) && !f.excused[name] }

// text is the text of a scalar, "" when there is none.
func (f fields) text(name string) text { return f.values[name].text }

// place is where a member's value stands, or the object if there is none.
func (f fields) place(name string) int {
	if n, ok := f.values[name]; ok {
		return n.at
	}
	return f.at
}

// object reads an object that may have the known keys, each once.
func (c *checker) object(n node, where string, known []string) (fields, bool) {
	f := fields{at: n.at, values: map[string]node{}, excused: map[string]bool{}}
	if n.kind != '{' {
		c.fault(n.at, "%s is %s; want an object with %s", where, n.what(), strings.Join(known, ", "))
		return f, false
	}
	seen := c.distinct(n, where)
	for _, m := range n.members {
		switch {
		case !slices.Contains(known, m.name):
			near := nearest(m.name, known)
			if near == "" {
				c.fault(m.at, "%s: unknown key %q; take it out (known are %s)", where, m.name, strings.Join(known, ", "))
				continue
			}
			f.excused[near] = true
			c.fault(m.at, "%s: unknown key %q; did you mean %q?", where, m.name, near)
		case seen[m.name] == m.at && m.value.kind != 'n':
			f.values[m.name] = m.value
		}
	}
	return f, true
}

// distinct finds keys that come twice, and tells where each first stands.
func (c *checker) distinct(n node, where string) map[string]int {
	seen := map[string]int{}
	for _, m := range n.members {
		if first, twice := seen[m.name]; twice {
			c.fault(m.at, "%s: the key %q stands here a second time, first%s; keep one", where, m.name, c.inLine(first))
			continue
		}
		seen[m.name] = m.at
	}
	return seen
}

// subscription checks the whole.
func (c *checker) subscription(n node) {
	if n.kind != '{' && n.kind != 'n' {
		c.fault(n.at, `the subscription is %s; want an object {"app id": {"agent_grids": [ … ]}}`, n.what())
		return
	}
	if len(n.members) == 0 {
		c.fault(n.at, `it names no app id; want {"app id": {"agent_grids": [ … ]}}`)
	}
	c.distinct(n, "the subscription")
	for _, m := range n.members {
		switch {
		case m.name == "":
			c.fault(m.at, "an app id is empty; any text will do")
		case m.value.kind == '{':
			c.app(m)
		case slices.Contains(appKeys, m.name):
			c.fault(m.at, `%q stands where an app id should; put it inside of one: {"app id": {%q: … }}`, m.name, m.name)
		default:
			c.fault(m.value.at, "app %q is %s; want an object with %s", m.name, m.value.what(), strings.Join(appKeys, ", "))
		}
	}
}

func (c *checker) app(m member) {
	where := fmt.Sprintf("app %q", m.name)
	f, _ := c.object(m.value, where, appKeys)
	asked := f.has("chat_messages") || len(f.excused) > 0
	asked = c.names(f, "stats_totals", where) > 0 || asked
	c.names(f, "stats_totals_service_ids", where)
	c.names(f, "stats_totals_dispositions", where)
	asked = c.grids(f, "service_grids", where, "service grid") || asked
	asked = c.grids(f, "agent_grids", where, "agent grid") || asked
	if !asked {
		c.fault(m.at, "%s asks for nothing; give it stats_totals, service_grids, agent_grids or chat_messages", where)
	}
	if n, ok := f.values["chat_messages"]; ok {
		chat, _ := c.object(n, where+", chat_messages", chatKeys)
		c.scalar(chat, "filter", where+", chat_messages", `"`, "text")
		c.limit(chat, where+", chat_messages")
	}
}

// grids checks a section of grids and tells whether there is any.
func (c *checker) grids(f fields, name, where, kind string) bool {
	grids := c.array(f, name, where)
	first := map[text]int{}
	for i, n := range grids {
		at := fmt.Sprintf("%s, %s %d", where, kind, i+1)
		if id := n.get("id").text; id != "" {
			at = fmt.Sprintf("%s, %s %q", where, kind, string(id))
		}
		g, ok := c.object(n, at, gridKeys)
		if !ok {
			continue
		}
		c.grid(g, at)
		if !c.scalar(g, "id", at, `"0`, "text or a number") || g.excused["id"] {
			continue
		}
		id := g.text("id")
		other, twice := first[id]
		switch {
		case id == "" && c.file:
			c.fault(g.place("id"), `%s has no id; give it one, such as "id": "%d"`, at, i+1)
		case twice:
			c.fault(g.place("id"), "%s: another one%s has the same id; give each its own", at, c.inLine(other))
		default:
			first[id] = g.place("id")
		}
	}
	return len(grids) > 0 || f.has(name) && f.values[name].kind != '['
}

func (c *checker) grid(g fields, where string) {
	columns := c.columns(g, where)
	c.order(g, columns, where)
	c.limit(g, where)
	c.filter(g, columns, where)
	c.names(g, "team_ids", where)
	c.names(g, "service_ids", where)
	for _, name := range []string{"my_subteam_only", "logged_in_agents_only"} {
		if !c.scalar(g, name, where, `"0t`, "true or false") {
			continue
		}
		if _, err := g.text(name).flag(); err != nil {
			c.fault(g.place(name), "%s: %s: %v", where, name, err)
		}
	}
}

// columns checks the columns of a grid and gives their statistics by id; nil if
// they are too faulty to hold anything else against them.
func (c *checker) columns(g fields, where string) map[text]text {
	list := c.array(g, "columns", where)
	if len(list) == 0 {
		if g.lacks("columns") || g.values["columns"].kind == '[' {
			c.fault(g.place("columns"), `%s has no columns; give it some: "columns": [{"id": "1", "stat_name": "login_id"}, … ]`, where)
		}
		return nil
	}
	stats, first, whole := map[text]text{}, map[text]int{}, true
	for i, n := range list {
		at := fmt.Sprintf("%s, column %d", where, i+1)
		f, ok := c.object(n, at, columnKeys)
		if !ok {
			whole = false
			continue
		}
		stat := c.statistic(f, at)
		c.names(f, "dispositions", at)
		id := f.text("id")
		other, twice := first[id]
		switch {
		case !c.scalar(f, "id", at, `"0`, "text or a number") || f.excused["id"]:
			whole = false
		case id == "":
			whole = false
			c.fault(f.place("id"), `%s has no id; give it one, such as "id": "%d"`, at, i+1)
		case twice:
			c.fault(f.place("id"), "%s: the column%s has the id %q too; give each its own", at, c.inLine(other), string(id))
		default:
			stats[id], first[id] = stat, f.place("id")
		}
	}
	if !whole {
		return nil
	}
	return stats
}

// statistic checks the two spellings of a column's statistic and gives it.
func (c *checker) statistic(f fields, where string) text {
	name := "stat_name"
	switch {
	case f.has("stat_name") && f.has("statName"):
		c.fault(f.place("statName"), "%s has both stat_name and statName, two spellings of one key; keep one", where)
	case f.has("statName"):
		name = "statName"
	case f.excused["stat_name"] || f.excused["statName"]:
		return ""
	}
	if c.scalar(f, name, where, `"`, "text, the name of a statistic") && f.text(name) == "" {
		c.fault(f.place(name), `%s has no stat_name; name a statistic: "stat_name": "acd_state"`, where)
	}
	return f.text(name)
}

// order checks both spellings of how a grid is sorted.
func (c *checker) order(g fields, columns map[text]text, where string) {
	list := c.array(g, "order", where)
	if g.has("order") && g.has("order_by") {
		c.fault(g.place("order_by"), "%s has both order and order_by, two spellings of one thing; keep one", where)
	}
	for i, n := range list {
		at := fmt.Sprintf("%s, order %d", where, i+1)
		o, ok := c.object(n, at, orderKeys)
		if !ok {
			continue
		}
		if o.lacks("by") {
			c.fault(o.at, `%s has no "by"; name the id of the column to sort by`, at)
		}
		c.refers(o, "by", columns, at)
		c.direction(o, "dir", at)
	}
	if g.text("order_by") != "" {
		c.refers(g, "order_by", columns, where)
	} else if c.scalar(g, "order_by", where, `"0`, "a column id") && g.text("order_dir") != "" && g.lacks("order_by") {
		c.fault(g.place("order_dir"), "%s has an order_dir without an order_by; name the id of the column to sort by, or take it out", where)
	}
	c.direction(g, "order_dir", where)
}

func (c *checker) direction(f fields, name, where string) {
	if !c.scalar(f, name, where, `"`, "ASC or DESC") {
		return
	}
	if d := direction(f.text(name)); d != "ASC" && d != "DESC" {
		c.fault(f.place(name), "%s: the direction %q is neither ASC nor DESC", where, string(f.text(name)))
	}
}

// filter checks that a filter is whole.
func (c *checker) filter(g fields, columns map[text]text, where string) {
	operations := []string{"EQ", "NE", "LT", "GT", "LE", "GE"}
	plain := c.scalar(g, "filter_operation", where, `"`, "one of "+strings.Join(operations, ", "))
	c.scalar(g, "filter_value", where, `"0t`, "text, a number or a boolean")
	operation := string(g.text("filter_operation"))
	if g.text("filter_by") == "" {
		if !c.scalar(g, "filter_by", where, `"0`, "a column id") || g.excused["filter_by"] {
			return
		}
		for _, name := range []string{"filter_operation", "filter_value"} {
			if g.text(name) != "" {
				c.fault(g.place(name), "%s has a %s without a filter_by; name the id of the column to filter by, or take it out", where, name)
			}
		}
		return
	}
	c.refers(g, "filter_by", columns, where)
	switch {
	case !plain || slices.Contains(operations, operation):
	case operation != "":
		c.fault(g.place("filter_operation"), "%s: the filter_operation %q is not one of %s", where, operation, strings.Join(operations, ", "))
	case !g.excused["filter_operation"]:
		c.fault(g.place("filter_by"), "%s has a filter_by without a filter_operation; give it one of %s", where, strings.Join(operations, ", "))
	}
}

// refers checks that a member holds the id of a column.
func (c *checker) refers(f fields, name string, columns map[text]text, where string) {
	if !c.scalar(f, name, where, `"0`, "a column id") || !f.has(name) || columns == nil {
		return
	}
	id := f.text(name)
	if _, ok := columns[id]; ok {
		return
	}
	ids := make([]string, 0, len(columns))
	for other, stat := range columns {
		if stat == id {
			c.fault(f.place(name), "%s: %s takes the id of a column, not a statistic; write %q for %s", where, name, string(other), string(id))
			return
		}
		ids = append(ids, fmt.Sprintf("%q", string(other)))
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	c.fault(f.place(name), "%s: %s names the column %q, which the grid does not have; its columns are %s", where, name, string(id), strings.Join(ids, ", "))
}

func (c *checker) limit(f fields, where string) {
	if !c.scalar(f, "limit", where, `"0`, "a whole number") {
		return
	}
	switch n, err := f.text("limit").count(); {
	case err != nil:
		c.fault(f.place("limit"), "%s: the limit %q is not a whole number", where, string(f.text("limit")))
	case n < 0:
		c.fault(f.place("limit"), "%s: the limit %d is negative; leave it out for no limit", where, n)
	}
}

// names checks a list of names or GUIDs and tells how many there are, or should be.
func (c *checker) names(f fields, name, where string) int {
	list := c.array(f, name, where)
	for i, n := range list {
		switch {
		case n.kind != '"':
			c.fault(n.at, "%s: item %d of %s is %s; want text", where, i+1, name, n.what())
		case n.text == "":
			c.fault(n.at, "%s: item %d of %s is empty; take it out", where, i+1, name)
		}
	}
	if len(list) == 0 && f.has(name) && f.values[name].kind != '[' {
		return 1
	}
	return len(list)
}

// array gives the items of a member that must be an array.
func (c *checker) array(f fields, name, where string) []node {
	n, ok := f.values[name]
	if ok && n.kind != '[' {
		c.fault(n.at, "%s: %s is %s; want an array, even of one: [ … ]", where, name, n.what())
	}
	return n.items
}

// scalar tells whether a member is of one of the kinds, or not there.
func (c *checker) scalar(f fields, name, where, kinds, want string) bool {
	n, ok := f.values[name]
	if !ok || strings.IndexByte(kinds, n.kind) >= 0 {
		return true
	}
	c.fault(n.at, "%s: %s is %s; want %s", where, name, n.what(), want)
	return false
}

// nearest gives the known key that a misspelt one stands for, "" if none is near.
func nearest(name string, known []string) string {
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }
	name = plain(name)
	// An edit in four letters is a slip; more make another word.
	best, least := "", (len(name)+2)/4+1
	for _, k := range known {
		if d := levenshtein.ComputeDistance(name, plain(k)); d < least {
			best, least = k, d
		}
	}
	return best
}
