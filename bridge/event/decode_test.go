package event

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/diff/image"
	"bpcc-nats/internal/variants"
)

// decodeSlowly decodes as encoding/json does.
func decodeSlowly(body []byte) (Envelope, Event, error) {
	v, err := ReadEnvelope(body)
	if err != nil {
		return v, Event{}, err
	}
	e, err := v.Event()
	return v, e, err
}

// checkDecode compares what is read without reflection with what encoding/json reads, and reports whether
// it was read so.
func checkDecode(t *testing.T, body []byte) bool {
	t.Helper()
	r := plainReader{body, &image.Decoder{}}
	v, e, ok := r.event()
	if !ok {
		return false
	}
	wantV, want, err := decodeSlowly(body)
	if err != nil {
		t.Fatalf("%s: read, but %v", body, err)
	}
	if d := cmp.Diff(want, e) + cmp.Diff(wantV, v); d != "" {
		t.Fatalf("%s (-encoding/json +plain)\n%s", body, d)
	}
	return true
}

// TestDecoder: events are read as encoding/json reads them, those about rows without it.
func TestDecoder(t *testing.T) {
	t.Parallel()
	g := generator{rand.New(rand.NewPCG(3, 4))}
	encoder := NewEncoder("https://acme.example/statsapi")
	plain, events := 0, 4_000
	if variants.RunAll() {
		events = 20_000
	}
	for range events {
		e := g.event()
		e.ID.Poll = e.Poll()
		body, err := encoder.Append(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		if checkDecode(t, body) {
			plain++
		}
		v, got, err := (&Decoder{}).Decode(body)
		wantV, want, wantErr := decodeSlowly(body)
		if d := cmp.Diff(want, got) + cmp.Diff(wantV, v); d != "" || (err == nil) != (wantErr == nil) {
			t.Fatalf("%s: %v, want %v (-want +got)\n%s", body, err, wantErr, d)
		}
	}
	if plain < events/2 {
		t.Errorf("%d events are read without reflection", plain)
	}
}

// TestDecoderKnowsEveryField: an event with all fields is read without reflection, so none was forgotten.
func TestDecoderKnowsEveryField(t *testing.T) {
	t.Parallel()
	encoder := NewEncoder("x")
	for name, data := range map[string]Data{"agent.state_changed": &AgentData{}, "service.stats_changed": &ServiceData{}, "totals.observed": &TotalsData{}} {
		fill(reflect.ValueOf(data).Elem())
		e := Event{Name: name, ID: ID{1, data.base().Poll, 1}, Time: time.Unix(1, 0).UTC(), Data: data}
		body, err := encoder.Append(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		if !checkDecode(t, body) {
			t.Errorf("%s is not read without reflection", body)
		}
		if n := bytes.Count(body, []byte(`":`)); n < 20 {
			t.Errorf("%s: %d members", body, n)
		}
	}
}

// fill sets all fields of a struct.
func fill(v reflect.Value) {
	switch at := v.Addr().Interface().(type) {
	case *Time:
		*at = Time{time.Unix(1, 0).UTC()}
		return
	case *time.Time:
		*at = time.Unix(1, 0).UTC()
		return
	case *Duration:
		*at = Duration(1500 * time.Millisecond)
		return
	case *image.Image:
		*at = image.New(image.Stat{Name: "a", Text: "1"})
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.String:
		v.SetString("ä\"b")
	case reflect.Bool:
		v.SetBool(true)
	default:
		v.SetUint(7)
	}
}

// plainSeeds are events about rows, and what an encoder does not write.
func plainSeeds(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile("../testdata/golden/events.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	var seeds []string
	for line := range strings.Lines(string(text)) {
		_, body, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.Contains(body, `"type":"bpcc.agent`) {
			seeds = append(seeds, body)
		}
	}
	body := seeds[0]
	for _, edit := range [][2]string{
		{`"poll":`, `"poll":0`}, {`"poll":`, `"Poll":1,"poll":`}, {`"poll":`, `"poll":1,"poll":`}, {`"poll":`, `"poll":-`}, {`"agent":`, `"agent":null,"was":`},
		{`,"agent"`, ` , "agent" `}, {`"revision":`, `"revision":1e0,"r":`}, {`"revision":`, `"revision":18446744073709551616,"r":`}, {`"data":`, `"x":[{}],"data":`},
		{`"observed":`, `"after_gap":tru,"observed":`}, {`"observed":`, `"after_gap":false,"reset":[],"observed":`}, {`"id":`, `"\u0069d":`}, {`"after":{`, `"after":{"a":1,`},
		{`}}`, `}}}`}, {`}}`, `}}  `}, {`Z"`, `+01:00"`}, {`Z"`, `"`},
	} {
		seeds = append(seeds, strings.Replace(body, edit[0], edit[1], 1))
	}
	return seeds
}

// FuzzDecoder: what is read without reflection is read as encoding/json reads it.
func FuzzDecoder(f *testing.F) {
	for _, seed := range plainSeeds(f) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if checkDecode(t, body) && !json.Valid(body) {
			t.Errorf("%q is no JSON", body)
		}
	})
}

// BenchmarkDecoder reads an event about an agent.
func BenchmarkDecoder(b *testing.B) {
	body, d := []byte(plainSeeds(b)[3]), &Decoder{}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := d.Decode(body); err != nil {
			b.Fatal(err)
		}
	}
}
