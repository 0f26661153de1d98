package schemas_test

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"bpcc-nats/schemas"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write README.md anew")

// TestReference: README.md is what the schemas say, and its links lead somewhere.
func TestReference(t *testing.T) { // not parallel: -update writes
	want := reference(t)
	if *update {
		if err := os.WriteFile("README.md", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("README.md is not what the schemas say; run go test ./schemas -run TestReference -update (-want +got):\n%s", diff)
	}
	headings := map[string]int{}
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(want), -1) {
		headings[slug(h[1])]++
	}
	for anchor, n := range headings {
		if n > 1 {
			t.Errorf("%d headings for #%s", n, anchor)
		}
	}
	for _, link := range regexp.MustCompile(`\]\(([^)]*)\)`).FindAllStringSubmatch(string(want), -1) {
		if anchor, inside := strings.CutPrefix(link[1], "#"); inside {
			if headings[anchor] == 0 {
				t.Errorf("no heading for #%s", anchor)
			}
		} else if _, err := os.Stat(link[1]); err != nil && !strings.HasPrefix(link[1], "https://") {
			t.Errorf("link: %v", err)
		}
	}
}

// What the template testdata/reference.md.tmpl is given.
type (
	page struct {
		Families []family
		Images   []image
		Personal []personalRow
		Tokens   []struct{ ID, Token string }
	}
	family struct {
		Title, Description string
		Events             []eventPage
	}
	eventPage struct {
		Name, Type, Description, Subject, Key, About, Data, Example string

		Fields []field
	}
	image struct {
		Title  string
		Events []string
		Fields []field
	}
	personalRow struct {
		Events []string
		Fields string
	}
)

// kinds lists the kinds of events in the order of the page.
func kinds() []string {
	var all []string
	for _, p := range promised {
		kind, _, _ := strings.Cut(p.name, ".")
		if !slices.Contains(all, kind) {
			all = append(all, kind)
		}
	}
	return all
}

func reference(t *testing.T) []byte {
	t.Helper()
	where, doc := addresses(t), asyncapi(t)
	p := page{Tokens: []struct{ ID, Token string }{
		{"john.smith", "john=2Esmith"}, {"Voice Inbound", "Voice=20Inbound"}, {"jo@example.com", "jo=40example=2Ecom"}, {"Zoë", "Zo=C3=AB"},
	}}
	described := 0
	for _, kind := range kinds() {
		f := family{
			Title:       valueAt(t, doc, "/channels/"+kind+"/title").(string),
			Description: valueAt(t, doc, "/channels/"+kind+"/description").(string),
		}
		stats := image{Title: "Statistics of " + strings.ToLower(f.Title)}
		for i := range promised {
			name := promised[i].name
			if !strings.HasPrefix(name, kind+".") {
				continue
			}
			described++
			d := parseDocument(t, name)
			e := eventPage{
				Name: name, Type: schemas.Type(name), Example: d.example,
				Description: valueAt(t, d.root, "/description").(string),
				About:       escapeCell(valueAt(t, d.root, "/properties/subject/description").(string)),
				Subject:     withAngleBrackets(where[name].Subject), Key: withAngleBrackets(where[name].Key),
			}
			data, about := d.follow(t, "/properties/data")
			e.Data, e.Fields = about["description"].(string), d.fields(t, data, "", slug(stats.Title))
			f.Events = append(f.Events, e)
			var described []field
			if at := statistics(t, d.root); at != "" {
				described = d.fields(t, at, "", "")
				if diff := cmp.Diff(stats.Fields, described); stats.Fields != nil && diff != "" {
					t.Errorf("%s describes its statistics unlike the %s before (-before +it):\n%s", name, kind, diff)
				}
				stats.Fields = described
				stats.Events = append(stats.Events, name)
			}
			p.personal(t, kind, name, e.Fields, described)
		}
		p.Families = append(p.Families, f)
		if stats.Fields != nil {
			p.Images = append(p.Images, stats)
		}
	}
	if described != len(events()) {
		t.Errorf("the reference describes %d of %d events; the others are not promised", described, len(events()))
	}
	text, err := os.ReadFile("testdata/reference.md.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	funcs := template.FuncMap{"slug": slug, "lower": strings.ToLower}
	var b bytes.Buffer
	if err := template.Must(template.New("reference").Funcs(funcs).Parse(string(text))).Execute(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Fields that name a person, of an event and of an agent's image, and words that
// give such a field away, so that a new one is not forgotten here.
var (
	personalField = regexp.MustCompile(`^(agent\.(id|login_id|user_id|name)|entity\.id|message\.(login_id|first_name|last_name|content)` +
		`|(added|removed)\[\]\.(id|name)|renamed\[\]\.(id|from|to))$`)
	personalStat     = regexp.MustCompile(`^(login_id|user_id|firstname|lastname|first_last_name|last_first_name|extension)$`)
	personalWord     = regexp.MustCompile(`(?i)username|(first|last|display) name|guid of the user|phone|login id|of the (agent|sender)[.;]|personal`)
	notPersonalField = regexp.MustCompile(`^is_agent$`)
)

// personal adds the fields of an event that name a person, beside events that
// have the same ones.
func (p *page) personal(t *testing.T, kind, name string, fields, stats []field) {
	t.Helper()
	pick := func(fields []field, personal *regexp.Regexp) string {
		var names []string
		for _, f := range fields {
			if personal.MatchString(f.Name) {
				names = append(names, "`"+f.Name+"`")
			} else if personalWord.MatchString(f.Description) && !notPersonalField.MatchString(f.Name) {
				t.Errorf("%s: is %s personal? %s", name, f.Name, f.Description)
			}
		}
		return strings.Join(names, ", ")
	}
	text := pick(fields, personalField)
	if in := pick(stats, personalStat); in != "" {
		text += "; in `before` and `after` " + in
	}
	if text == "" {
		return
	}
	switch kind {
	case "threshold":
		text += " where `entity.kind` is `agent`"
	case "directory":
		text += " where `kind` is `agents`"
	}
	for i, row := range p.Personal {
		if row.Fields == text {
			p.Personal[i].Events = append(row.Events, name)
			return
		}
	}
	p.Personal = append(p.Personal, personalRow{[]string{name}, text})
}
