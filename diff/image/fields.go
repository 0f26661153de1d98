package image

import "encoding/binary"

// Fields is the statistics that images of a kind may know, in their order. Images that share it are
// stored without the names, and compared fastest.
type Fields struct {
	names    []string
	keys     []string // what precedes a member of a JSON object: ,"name":
	jsonSize int      // size of a JSON object of them all, without the texts
}

// NewFields returns the fields of these names. Each must be there once.
func NewFields(names ...string) *Fields {
	f := &Fields{names: names, jsonSize: len("{}"), keys: make([]string, len(names))}
	for i, name := range names {
		f.keys[i] = "," + string(AppendText(nil, name)) + ":"
		f.jsonSize += len(f.keys[i]) + len(`""`)
	}
	return f
}

// Share returns an image that shares the fields, or the image itself if it knows other statistics, or
// has them in another order.
func (f *Fields) Share(m Image) Image {
	if m.IsZero() {
		return m
	}
	if shared := m.under(f); shared.Equal(m) {
		return shared
	}
	return m
}

// Like returns the image with the fields of another one, or the image itself if it knows other
// statistics, or has them in another order.
func (m Image) Like(other Image) Image {
	if other.IsZero() || m.fields == other.fields {
		return m
	}
	return other.fields.Share(m)
}

// under returns an image as one of other fields: with their texts, as far as it knows them.
func (m Image) under(fields *Fields) Image {
	if m.fields == fields {
		return m
	}
	var pack []byte
	for _, name := range fields.names {
		text, known := m.Get(name)
		pack = appendText(pack, text, known)
	}
	return Image{fields, string(pack)}
}

// Editor makes images of the same fields out of others. It goes through the statistics one by one: Next
// gives the text of the next one, and Put replaces it. The zero Editor is ready for Reset. It keeps its
// memory for the next image.
type Editor struct {
	fields         *Fields
	own, rest      string // the pack of the image, and what of it Next has not given yet
	from, replaced int    // in own: where the last text begins, and up to where pack replaces it
	pack           []byte
}

// Reset begins a new image that is as m as far as the fields go.
func (e *Editor) Reset(fields *Fields, m Image) {
	own := m.under(fields).pack
	*e = Editor{fields: fields, own: own, rest: own, pack: e.pack[:0]}
}

// Next returns the text of the next statistic of the fields, and whether it is known.
func (e *Editor) Next() (text string, known bool) {
	e.from = len(e.own) - len(e.rest)
	text, known, e.rest = nextText(e.rest)
	return text, known
}

// Put replaces the text that Next has returned.
func (e *Editor) Put(text []byte) {
	e.pack = appendText(append(e.pack, e.own[e.replaced:e.from]...), text, true)
	e.replaced = len(e.own) - len(e.rest)
}

// Image returns the image with the texts that were put.
func (e *Editor) Image() Image {
	n := len(e.pack)
	e.pack = append(e.pack, e.own[e.replaced:]...)
	m := Image{e.fields, string(e.pack)}
	e.pack = e.pack[:n]
	return m
}

// A pack is a sequence of texts, each preceded by its length plus one, 0 for a statistic that is not
// known. Images are stored as packs: without the names, which all images of a kind share, and without
// a pointer for each text.

// appendText adds a text to a pack, or that it is not known.
func appendText[T string | []byte](pack []byte, text T, known bool) []byte {
	if !known {
		return append(pack, 0)
	}
	return append(binary.AppendUvarint(pack, uint64(len(text))+1), text...)
}

// nextText splits off the first text of a pack.
func nextText(pack string) (text string, known bool, rest string) {
	n, i := uint(pack[0]), 1
	if n >= 0x80 { // rare: a long text
		n &= 0x7f
		for shift := 7; ; shift += 7 {
			c := pack[i]
			i++
			n |= uint(c&0x7f) << shift
			if c < 0x80 {
				break
			}
		}
	}
	if n == 0 {
		return "", false, pack[i:]
	}
	end := i + int(n) - 1
	return pack[i:end], true, pack[end:]
}
