package image

import (
	"slices"
	"sync"
	"sync/atomic"

	"bpcc-nats/internal/jsonscan"
)

// Decoder reads images from JSON. Images of the same statistics in the same order share their [Fields].
// The zero Decoder is ready for use. It is safe for concurrent use.
type Decoder struct {
	mu    sync.Mutex
	known atomic.Pointer[[]*Fields]
}

// fieldsLimit bounds the fields that a decoder keeps: a tenant has a few kinds of entities, and another
// subscription now and then.
const fieldsLimit = 256

// decodeLimit bounds the statistics of an image that is read fastest.
const decodeLimit = 128

// Decode reads the object of statistic name to text that begins at i, keeping its order. It returns the
// index of its end, -1 if it is not such an object.
func (d *Decoder) Decode(b []byte, i int) (Image, int) {
	var buf [decodeLimit][2]int
	var packed [1024]byte
	names, pack := buf[:0], packed[:0]
	if !jsonscan.Has(b, i, '{') {
		return Image{}, -1
	}
	i = jsonscan.SkipSpace(b, i+1)
	if jsonscan.Has(b, i, '}') {
		return Image{d.fields(b, nil), ""}, i + 1
	}
	for {
		end := jsonscan.String(b, i)
		if end < 0 {
			return Image{}, -1
		}
		names = append(names, [2]int{i, end})
		if i = jsonscan.Expect(b, end, ':'); i < 0 {
			return Image{}, -1
		}
		if end = jsonscan.String(b, i); end < 0 {
			return Image{}, -1
		}
		pack = appendText(pack, jsonscan.Unquote(b[i:end]), true)
		i = jsonscan.SkipSpace(b, end)
		if jsonscan.Has(b, i, '}') {
			return Image{d.fields(b, names), string(pack)}, i + 1
		}
		if i = jsonscan.Expect(b, i, ','); i < 0 {
			return Image{}, -1
		}
	}
}

// fields returns the fields with these names, by where they are in b with their quotes.
func (d *Decoder) fields(b []byte, names [][2]int) *Fields {
	var known []*Fields
	if d != nil {
		if p := d.known.Load(); p != nil {
			known = *p
		}
	}
	for _, f := range known {
		if f.written(b, names) {
			return f
		}
	}
	all := make([]string, len(names))
	for i, at := range names {
		all[i] = string(jsonscan.Unquote(b[at[0]:at[1]]))
	}
	f := NewFields(all...)
	if d == nil {
		return f
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.known.Load(); p != nil {
		known = *p
		for _, other := range known { // added meanwhile, or written in another way
			if slices.Equal(other.names, f.names) {
				return other
			}
		}
	}
	if len(known) < fieldsLimit {
		more := append(slices.Clip(known), f)
		d.known.Store(&more)
	}
	return f
}

// written reports whether the names are the fields', as [Image.AppendJSON] writes them.
func (f *Fields) written(b []byte, names [][2]int) bool {
	if len(f.keys) != len(names) {
		return false
	}
	for i, key := range f.keys {
		if string(b[names[i][0]:names[i][1]]) != key[len(","):len(key)-len(":")] {
			return false
		}
	}
	return true
}
