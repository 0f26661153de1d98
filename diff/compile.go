package diff

import (
	"slices"
	"strings"

	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
	"bpcc-nats/internal/jsonscan"
)

// gridSet holds indexes of the layout's grids.
type gridSet []int

// compiledLayout is a layout prepared for parsing.
type compiledLayout struct {
	*layout.Layout
	kinds    []compiledKind
	grids    []compiledGrid
	apps     []string
	sections []layout.Section
}

// compiledKind holds the names of a kind's statistics, each once, in the layout's order.
type compiledKind struct {
	kind     image.Kind
	stats    []string
	fields   *image.Fields
	volatile []bool // by index of stats
	grids    gridSet
}

// statIndex returns the index of a statistic, -1 if the kind lacks it.
func (k *compiledKind) statIndex(stat string) int { return slices.Index(k.stats, stat) }

// compiledGrid describes the rows of a grid: their members are the columns, each id once.
type compiledGrid struct {
	kind        int // index of compiledLayout.kinds
	members     []member
	key         int   // index of the member that names the row, -1 if it has none
	clock       int   // index of the clock's member, -1 if it has none
	statMembers []int // by statistic of the kind: index of the member that holds it, -1 if none does
	// plainIDs reports whether no column id could be mistaken for what is between two strings.
	plainIDs bool
	// order is the order of the members in the rows read so far: the index of the nth member, -1
	// for one that is not in the layout. It is a guess for the next row.
	order []int
}

type member struct {
	id      string
	quoted  string    // as most bodies write it: "id":
	status  rowStatus // of a row in which it differs
	hasStat bool      // it is the text of a statistic
}

// compile prepares a layout.
func compile(l *layout.Layout) *compiledLayout {
	p := &compiledLayout{Layout: l, apps: l.Apps(), sections: l.Sections()}
	for _, kind := range l.Kinds() {
		k := compiledKind{kind: kind}
		for i, g := range l.Grids {
			if g.Kind != kind {
				continue
			}
			k.grids = append(k.grids, i)
			for _, c := range g.Columns {
				if c.Stat != "" && !slices.Contains(k.stats, c.Stat) {
					k.stats = append(k.stats, c.Stat)
					k.volatile = append(k.volatile, slices.Contains(l.Volatile, c.Stat))
				}
			}
		}
		k.fields = image.NewFields(k.stats...)
		p.kinds = append(p.kinds, k)
	}
	for _, g := range l.Grids {
		p.grids = append(p.grids, p.compileGrid(g))
	}
	return p
}

// compileGrid prepares a grid.
func (p *compiledLayout) compileGrid(g layout.Grid) compiledGrid {
	kind := slices.IndexFunc(p.kinds, func(k compiledKind) bool { return k.kind == g.Kind })
	stats := &p.kinds[kind]
	out := compiledGrid{kind: kind, key: -1, clock: -1, statMembers: slices.Repeat([]int{-1}, len(stats.stats))}
	at := func(id string) int {
		i := slices.IndexFunc(out.members, func(m member) bool { return m.id == id })
		if i < 0 {
			i = len(out.members)
			out.members = append(out.members, member{id: id, quoted: string(image.AppendText(nil, id)) + ":", status: rowVolatileOnly})
		}
		return i
	}
	for _, c := range g.Columns {
		i := at(c.ID)
		stat := stats.statIndex(c.Stat)
		if stat < 0 || out.statMembers[stat] >= 0 {
			continue
		}
		out.statMembers[stat] = i
		out.members[i].hasStat = true
		switch {
		case slices.Contains(p.State, c.Stat):
			out.members[i].status = rowStateChanged
		case !stats.volatile[stat]:
			out.members[i].status = max(out.members[i].status, rowChanged)
		}
		if c.Stat == p.Clock {
			out.clock = i
		}
	}
	if g.ID != "" {
		out.key = at(g.Key)
	}
	out.plainIDs = len(out.members) > 0 && !slices.ContainsFunc(out.members, func(m member) bool {
		return m.id == "" || strings.Trim(m.id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") != ""
	})
	return out
}

// textOf returns the text of a value of a statistic as it is published.
func (p *compiledLayout) textOf(kind image.Kind, stat string, token []byte) []byte {
	text := cutText(jsonscan.Unquote(token))
	if p.Rewrite != nil {
		text = []byte(p.Rewrite(kind, stat, string(text)))
	}
	return text
}
