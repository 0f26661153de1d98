package image_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/diff/image"
)

// imageOf makes an image of names and texts in turn.
func imageOf(pairs ...string) image.Image {
	var stats []image.Stat
	for pair := range slices.Chunk(pairs, 2) {
		stats = append(stats, image.Stat{Name: pair[0], Text: pair[1]})
	}
	return image.New(stats...)
}

// asMap is an image as a map.
func asMap(m image.Image) map[string]string {
	if m.IsZero() {
		return nil
	}
	all := map[string]string{}
	maps.Insert(all, m.All())
	return all
}

func TestImageText(t *testing.T) {
	t.Parallel()
	m := imageOf("state", "ready", "reason", "")
	tests := map[string]struct {
		text  string
		known bool
	}{
		"state":  {"ready", true},
		"reason": {"", true},
		"team":   {"", false},
		"State":  {"", false},
	}
	for name, want := range tests {
		if text, known := m.Get(name); text != want.text || known != want.known || m.Text(name) != want.text {
			t.Errorf("Get(%q) = %q, %v; Text %q; want %q, %v", name, text, known, m.Text(name), want.text, want.known)
		}
	}
	if _, known := (image.Image{}).Get("state"); known {
		t.Error("no image knows a statistic")
	}
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	before := imageOf("a", "1", "b", "2", "c", "")
	tests := map[string]struct {
		after image.Image
		want  []string
	}{
		"same":                {before, nil},
		"same in other order": {imageOf("c", "", "a", "1", "b", "2"), nil},
		"one":                 {imageOf("a", "1", "b", "3", "c", ""), []string{"b"}},
		"in after's order":    {imageOf("c", "0", "b", "2", "a", "0"), []string{"c", "a"}},
		"newly known":         {imageOf("a", "1", "b", "2", "c", "", "d", ""), []string{"d"}},
		"known no more":       {imageOf("a", "1"), nil},
		"nothing":             {image.Image{}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(tt.want, image.Differences(before, tt.after)); d != "" {
				t.Errorf("names (-want +got)\n%s", d)
			}
		})
	}
}

// However one difference is split, the images join: the first step changes
// only what it accepts, and the last one ends where the whole would.
func TestWithJoins(t *testing.T) {
	t.Parallel()
	state := func(name string) bool { return name == "state" || name == "reason" }
	all := func(string) bool { return true }
	images := map[string]image.Image{
		"none":      {},
		"ready":     imageOf("state", "ready", "calls", "1"),
		"not ready": imageOf("calls", "2", "state", "not_ready", "reason", "Lunch"),
		"other":     imageOf("team", "Sales", "reason", ""),
		"stats":     imageOf("team", "", "calls", "1"),
	}
	for from, m := range images {
		for to, after := range images {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				want := asMap(m.With(image.Image{}, state)) // m without what is accepted
				for name, text := range after.All() {
					if state(name) {
						want[name] = text
					}
				}
				step := m.With(after, state)
				if d := cmp.Diff(want, asMap(step)); d != "" {
					t.Errorf("first step (-want +got)\n%s", d)
				}
				if d := cmp.Diff(after, step.With(after, all)); d != "" && !after.IsZero() {
					t.Errorf("both steps (-want +got)\n%s", d)
				}
				if d := cmp.Diff(asMap(m), asMap(m.With(after, func(string) bool { return false }))); d != "" && !m.IsZero() {
					t.Errorf("accepting nothing (-want +got)\n%s", d)
				}
			})
		}
	}
}

func TestImageJSON(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		image image.Image
		want  string
	}{
		"nothing known":      {image.New(), `{}`},
		"in image order":     {imageOf("b", "2", "a", ""), `{"b":"2","a":""}`},
		"as encoding/json":   {imageOf("n/a", "<größe> & \u2028"), `{"n/a":"<größe> & \u2028"}`},
		"quotes and slashes": {imageOf(`"`, `\`), `{"\"":"\\"}`},
		"control characters": {imageOf("x", "\b\f\n\r\t\x00\x1f\x7f"), `{"x":"\b\f\n\r\t\u0000\u001f` + "\x7f" + `"}`},
		"not UTF-8":          {imageOf("x", "a\xffb"), `{"x":"a\ufffdb"}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tt.image.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, string(got)); d != "" {
				t.Errorf("JSON (-want +got)\n%s", d)
			}
		})
	}
}

func TestImageFromJSON(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		want image.Image
		ok   bool
	}{
		"an object":      {` { "b" : "2" , "a" : "\u00fc" } `, imageOf("b", "2", "a", "ü"), true},
		"an empty one":   {`{}`, image.New(), true},
		"null":           {`null`, image.Image{}, true},
		"an array":       {`["a"]`, image.Image{}, false},
		"a text":         {`"a"`, image.Image{}, false},
		"a number in it": {`{"a":1}`, image.Image{}, false},
		"null in it":     {`{"a":null}`, image.Image{}, false},
		"nested":         {`{"a":{"b":"c"}}`, image.Image{}, false},
		"cut":            {`{"a":"b"`, image.Image{}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := imageOf("left", "over")
			err := json.Unmarshal([]byte(tt.text), &got)
			if (err == nil) != tt.ok {
				t.Fatalf("error %v, want success %v", err, tt.ok)
			}
			if d := cmp.Diff(tt.want, got); d != "" && tt.ok {
				t.Errorf("image (-want +got)\n%s", d)
			}
		})
	}
}

// FuzzImage: what an image writes, encoding/json reads as the same texts, and
// so does the image; what encoding/json writes, the image reads.
func FuzzImage(f *testing.F) {
	for _, seed := range []string{"", "ready", "größe", "\x00\x1f\x7f", "\"\\/\b\f\n\r\t", "\u2028\u2029<>&", "\xff\xc3\x28\xed\xa0\x80", "😀\ufffd"} {
		f.Add(seed, seed, "b", seed+"x")
	}
	// through is a text as encoding/json passes it on: valid UTF-8.
	through := func(t *testing.T, s string) (out string) {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	f.Fuzz(func(t *testing.T, name, text, name2, text2 string) {
		m := imageOf(name, text, name2, text2)
		want := imageOf(through(t, name), through(t, text), through(t, name2), through(t, text2))
		direct, err := m.MarshalJSON()
		if err != nil || !json.Valid(direct) {
			t.Fatalf("%q, error %v, is not JSON", direct, err)
		}
		embedded, err := json.Marshal(m) // which escapes further
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{direct, embedded} {
			var got image.Image
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (-want +got)\n%s", b, d)
			}
			var plain map[string]string
			if err := json.Unmarshal(b, &plain); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(asMap(want), plain); d != "" {
				t.Errorf("%s as a map (-want +got)\n%s", b, d)
			}
		}
		plain, err := json.Marshal(map[string]string{name: text})
		if err != nil {
			t.Fatal(err)
		}
		var got image.Image
		if err := json.Unmarshal(plain, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(imageOf(through(t, name), through(t, text)), got); d != "" {
			t.Errorf("%s by encoding/json (-want +got)\n%s", plain, d)
		}
	})
}

// TestLike: an image takes over the fields of one that knows the same statistics in the same order, and
// is the same as before in any case.
func TestLike(t *testing.T) { // not parallel: it counts allocations
	like := imageOf("a", "1", "b", "2")
	for name, m := range map[string]image.Image{
		"the same statistics": imageOf("a", "3", "b", ""),
		"fewer":               imageOf("b", "4"),
		"more":                imageOf("a", "5", "b", "6", "c", "7"),
		"another order":       imageOf("b", "8", "a", "9"),
		"no entity":           {},
	} {
		if got := m.Like(like); !got.Equal(m) || got.IsZero() != m.IsZero() {
			t.Errorf("%s: %v, want %v", name, asMap(got), asMap(m))
		}
		if got := m.Like(image.Image{}); !got.Equal(m) {
			t.Errorf("%s, like none: %v, want %v", name, asMap(got), asMap(m))
		}
	}
	shared := imageOf("a", "3", "b", "4").Like(like)
	if n := testing.AllocsPerRun(10, func() { shared.Like(like) }); n > 0 {
		t.Errorf("%v allocations for an image that has the fields already", n)
	}
}
