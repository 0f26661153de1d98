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

// checker checks a subscription's text against the rules and collects the faults.
type checker struct {
	body   []byte
	isFile bool // the text is a file, so its lines are meaningful
	faults []fault
}

func (c *checker) addFault(at int, format string, args ...any) {
	c.faults = append(c.faults, fault{at, fmt.Sprintf(format, args...)})
}

// lineSuffix returns the line of an offset in a file, as the end of a text.
func (c *checker) lineSuffix(at int) string {
	if !c.isFile {
		return ""
	}
	line, _ := lineAndColumn(c.body, at)
	return fmt.Sprintf(" in line %d", line)
}

// fields are the members of an object by name. A null member counts as missing.
type fields struct {
	at     int // of the object
	values map[string]node
	// suppressed holds names that are missing because of a fault already found, such as a misspelt
	// key, so that their absence is not a second fault.
	suppressed map[string]bool
}

func (f fields) has(name string) bool { _, ok := f.values[name]; return ok }

// missing reports whether a name is missing and no fault found before explains that.
func (f fields) missing(name string) bool { return !f.has(name) && !f.suppressed[name] }

// text is the text of a scalar, "" when there is none.
func (f fields) text(name string) flexString { return f.values[name].text }

// offset returns the offset of a member's value, or of the object if the member is missing.
func (f fields) offset(name string) int {
	if n, ok := f.values[name]; ok {
		return n.at
	}
	return f.at
}

// readObject reads an object that may have the known keys, each once.
func (c *checker) readObject(n node, where string, known []string) (fields, bool) {
	f := fields{at: n.at, values: map[string]node{}, suppressed: map[string]bool{}}
	if n.kind != '{' {
		c.addFault(n.at, "%s is %s; want an object with %s", where, n.typeName(), strings.Join(known, ", "))
		return f, false
	}
	seen := c.findDuplicates(n, where)
	for _, m := range n.members {
		switch {
		case !slices.Contains(known, m.name):
			closest := closestKey(m.name, known)
			if closest == "" {
				c.addFault(m.at, "%s: unknown key %q; remove it (known are %s)", where, m.name, strings.Join(known, ", "))
				continue
			}
			f.suppressed[closest] = true
			c.addFault(m.at, "%s: unknown key %q; the closest known key is %q", where, m.name, closest)
		case seen[m.name] == m.at && m.value.kind != 'n':
			f.values[m.name] = m.value
		}
	}
	return f, true
}

// findDuplicates reports duplicate keys and returns the offset of the first of each.
func (c *checker) findDuplicates(n node, where string) map[string]int {
	seen := map[string]int{}
	for _, m := range n.members {
		if first, duplicate := seen[m.name]; duplicate {
			c.addFault(m.at, "%s: duplicate key %q, first%s; keep one", where, m.name, c.lineSuffix(first))
			continue
		}
		seen[m.name] = m.at
	}
	return seen
}

// checkSubscription checks the complete subscription.
func (c *checker) checkSubscription(n node) {
	if n.kind != '{' && n.kind != 'n' {
		c.addFault(n.at, `the subscription is %s; want an object {"app id": {"agent_grids": [ … ]}}`, n.typeName())
		return
	}
	if len(n.members) == 0 {
		c.addFault(n.at, `it names no app id; want {"app id": {"agent_grids": [ … ]}}`)
	}
	c.findDuplicates(n, "the subscription")
	for _, m := range n.members {
		switch {
		case m.name == "":
			c.addFault(m.at, "an app id is empty; any text will do")
		case m.value.kind == '{':
			c.checkApp(m)
		case slices.Contains(appKeys, m.name):
			c.addFault(m.at, `%q stands where an app id should; put it inside of one: {"app id": {%q: … }}`, m.name, m.name)
		default:
			c.addFault(m.value.at, "app %q is %s; want an object with %s", m.name, m.value.typeName(), strings.Join(appKeys, ", "))
		}
	}
}

func (c *checker) checkApp(m member) {
	where := fmt.Sprintf("app %q", m.name)
	f, _ := c.readObject(m.value, where, appKeys)
	requested := f.has("chat_messages") || len(f.suppressed) > 0
	requested = c.checkNames(f, "stats_totals", where) > 0 || requested
	c.checkNames(f, "stats_totals_service_ids", where)
	c.checkNames(f, "stats_totals_dispositions", where)
	requested = c.checkGrids(f, "service_grids", where, "service grid") || requested
	requested = c.checkGrids(f, "agent_grids", where, "agent grid") || requested
	if !requested {
		c.addFault(m.at, "%s requests nothing; add stats_totals, service_grids, agent_grids or chat_messages", where)
	}
	if n, ok := f.values["chat_messages"]; ok {
		chat, _ := c.readObject(n, where+", chat_messages", chatKeys)
		c.checkScalar(chat, "filter", where+", chat_messages", `"`, "text")
		c.checkLimit(chat, where+", chat_messages")
	}
}

// checkGrids checks a section of grids and reports whether there is any.
func (c *checker) checkGrids(f fields, name, where, kind string) bool {
	grids := c.readArray(f, name, where)
	first := map[flexString]int{}
	for i, n := range grids {
		at := fmt.Sprintf("%s, %s %d", where, kind, i+1)
		if id := n.member("id").text; id != "" {
			at = fmt.Sprintf("%s, %s %q", where, kind, string(id))
		}
		g, ok := c.readObject(n, at, gridKeys)
		if !ok {
			continue
		}
		c.checkGrid(g, at)
		if !c.checkScalar(g, "id", at, `"0`, "text or a number") || g.suppressed["id"] {
			continue
		}
		id := g.text("id")
		other, duplicate := first[id]
		switch {
		case id == "" && c.isFile:
			c.addFault(g.offset("id"), `%s has no id; give it one, such as "id": "%d"`, at, i+1)
		case duplicate:
			c.addFault(g.offset("id"), "%s: another one%s has the same id; give each its own", at, c.lineSuffix(other))
		default:
			first[id] = g.offset("id")
		}
	}
	return len(grids) > 0 || f.has(name) && f.values[name].kind != '['
}

func (c *checker) checkGrid(g fields, where string) {
	columns := c.checkColumns(g, where)
	c.checkOrder(g, columns, where)
	c.checkLimit(g, where)
	c.checkFilter(g, columns, where)
	c.checkNames(g, "team_ids", where)
	c.checkNames(g, "service_ids", where)
	for _, name := range []string{"my_subteam_only", "logged_in_agents_only"} {
		if !c.checkScalar(g, name, where, `"0t`, "true or false") {
			continue
		}
		if _, err := g.text(name).asBool(); err != nil {
			c.addFault(g.offset(name), "%s: %s: %v", where, name, err)
		}
	}
}

// checkColumns checks the columns of a grid and returns their statistics by id; nil if they are too
// faulty for further checks.
func (c *checker) checkColumns(g fields, where string) map[flexString]flexString {
	list := c.readArray(g, "columns", where)
	if len(list) == 0 {
		if g.missing("columns") || g.values["columns"].kind == '[' {
			c.addFault(g.offset("columns"), `%s has no columns; give it some: "columns": [{"id": "1", "stat_name": "login_id"}, … ]`, where)
		}
		return nil
	}
	stats, first, complete := map[flexString]flexString{}, map[flexString]int{}, true
	for i, n := range list {
		at := fmt.Sprintf("%s, column %d", where, i+1)
		f, ok := c.readObject(n, at, columnKeys)
		if !ok {
			complete = false
			continue
		}
		stat := c.checkStatistic(f, at)
		c.checkNames(f, "dispositions", at)
		id := f.text("id")
		other, duplicate := first[id]
		switch {
		case !c.checkScalar(f, "id", at, `"0`, "text or a number") || f.suppressed["id"]:
			complete = false
		case id == "":
			complete = false
			c.addFault(f.offset("id"), `%s has no id; give it one, such as "id": "%d"`, at, i+1)
		case duplicate:
			c.addFault(f.offset("id"), "%s: the column%s has the id %q too; give each its own", at, c.lineSuffix(other), string(id))
		default:
			stats[id], first[id] = stat, f.offset("id")
		}
	}
	if !complete {
		return nil
	}
	return stats
}

// checkStatistic checks the two spellings of a column's statistic and returns the statistic.
func (c *checker) checkStatistic(f fields, where string) flexString {
	name := "stat_name"
	switch {
	case f.has("stat_name") && f.has("statName"):
		c.addFault(f.offset("statName"), "%s has both stat_name and statName, two spellings of one key; keep one", where)
	case f.has("statName"):
		name = "statName"
	case f.suppressed["stat_name"] || f.suppressed["statName"]:
		return ""
	}
	if c.checkScalar(f, name, where, `"`, "text, the name of a statistic") && f.text(name) == "" {
		c.addFault(f.offset(name), `%s has no stat_name; name a statistic: "stat_name": "acd_state"`, where)
	}
	return f.text(name)
}

// checkOrder checks both spellings of how a grid is sorted.
func (c *checker) checkOrder(g fields, columns map[flexString]flexString, where string) {
	list := c.readArray(g, "order", where)
	if g.has("order") && g.has("order_by") {
		c.addFault(g.offset("order_by"), "%s has both order and order_by, two spellings of one thing; keep one", where)
	}
	for i, n := range list {
		at := fmt.Sprintf("%s, order %d", where, i+1)
		o, ok := c.readObject(n, at, orderKeys)
		if !ok {
			continue
		}
		if o.missing("by") {
			c.addFault(o.at, `%s has no "by"; name the id of the column to sort by`, at)
		}
		c.checkColumnRef(o, "by", columns, at)
		c.checkDirection(o, "dir", at)
	}
	if g.text("order_by") != "" {
		c.checkColumnRef(g, "order_by", columns, where)
	} else if c.checkScalar(g, "order_by", where, `"0`, "a column id") && g.text("order_dir") != "" && g.missing("order_by") {
		c.addFault(g.offset("order_dir"), "%s has an order_dir without an order_by; name the id of the column to sort by, or remove it", where)
	}
	c.checkDirection(g, "order_dir", where)
}

func (c *checker) checkDirection(f fields, name, where string) {
	if !c.checkScalar(f, name, where, `"`, "ASC or DESC") {
		return
	}
	if d := normalizeDirection(f.text(name)); d != "ASC" && d != "DESC" {
		c.addFault(f.offset(name), "%s: the direction %q is neither ASC nor DESC", where, string(f.text(name)))
	}
}

// checkFilter checks that a filter is complete.
func (c *checker) checkFilter(g fields, columns map[flexString]flexString, where string) {
	operations := []string{"EQ", "NE", "LT", "GT", "LE", "GE"}
	plain := c.checkScalar(g, "filter_operation", where, `"`, "one of "+strings.Join(operations, ", "))
	c.checkScalar(g, "filter_value", where, `"0t`, "text, a number or a boolean")
	operation := string(g.text("filter_operation"))
	if g.text("filter_by") == "" {
		if !c.checkScalar(g, "filter_by", where, `"0`, "a column id") || g.suppressed["filter_by"] {
			return
		}
		for _, name := range []string{"filter_operation", "filter_value"} {
			if g.text(name) != "" {
				c.addFault(g.offset(name), "%s has a %s without a filter_by; name the id of the column to filter by, or remove it", where, name)
			}
		}
		return
	}
	c.checkColumnRef(g, "filter_by", columns, where)
	switch {
	case !plain || slices.Contains(operations, operation):
	case operation != "":
		c.addFault(g.offset("filter_operation"), "%s: the filter_operation %q is not one of %s", where, operation, strings.Join(operations, ", "))
	case !g.suppressed["filter_operation"]:
		c.addFault(g.offset("filter_by"), "%s has a filter_by without a filter_operation; add one of %s", where, strings.Join(operations, ", "))
	}
}

// checkColumnRef checks that a member holds the id of a column.
func (c *checker) checkColumnRef(f fields, name string, columns map[flexString]flexString, where string) {
	if !c.checkScalar(f, name, where, `"0`, "a column id") || !f.has(name) || columns == nil {
		return
	}
	id := f.text(name)
	if _, ok := columns[id]; ok {
		return
	}
	ids := make([]string, 0, len(columns))
	for other, stat := range columns {
		if stat == id {
			c.addFault(f.offset(name), "%s: %s takes the id of a column, not a statistic; write %q for %s", where, name, string(other), string(id))
			return
		}
		ids = append(ids, fmt.Sprintf("%q", string(other)))
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	c.addFault(f.offset(name), "%s: %s names the column %q, which the grid does not have; its columns are %s", where, name, string(id), strings.Join(ids, ", "))
}

func (c *checker) checkLimit(f fields, where string) {
	if !c.checkScalar(f, "limit", where, `"0`, "a whole number") {
		return
	}
	switch n, err := f.text("limit").asInt(); {
	case err != nil:
		c.addFault(f.offset("limit"), "%s: the limit %q is not a whole number", where, string(f.text("limit")))
	case n < 0:
		c.addFault(f.offset("limit"), "%s: the limit %d is negative; remove it for no limit", where, n)
	}
}

// checkNames checks a list of names or GUIDs and returns their number, faulty ones included.
func (c *checker) checkNames(f fields, name, where string) int {
	list := c.readArray(f, name, where)
	for i, n := range list {
		switch {
		case n.kind != '"':
			c.addFault(n.at, "%s: item %d of %s is %s; want text", where, i+1, name, n.typeName())
		case n.text == "":
			c.addFault(n.at, "%s: item %d of %s is empty; remove it", where, i+1, name)
		}
	}
	if len(list) == 0 && f.has(name) && f.values[name].kind != '[' {
		return 1
	}
	return len(list)
}

// readArray returns the items of a member that must be an array.
func (c *checker) readArray(f fields, name, where string) []node {
	n, ok := f.values[name]
	if ok && n.kind != '[' {
		c.addFault(n.at, "%s: %s is %s; want an array, even of one: [ … ]", where, name, n.typeName())
	}
	return n.items
}

// checkScalar reports whether a member is missing or of one of the kinds.
func (c *checker) checkScalar(f fields, name, where, kinds, want string) bool {
	n, ok := f.values[name]
	if !ok || strings.IndexByte(kinds, n.kind) >= 0 {
		return true
	}
	c.addFault(n.at, "%s: %s is %s; want %s", where, name, n.typeName(), want)
	return false
}

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
