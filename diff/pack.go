package diff

import (
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"
)

// A pack is a sequence of texts, each preceded by its length. Images are stored as packs: without
// the names, which all images of a kind share, and without a pointer for each text. The first byte
// says whether JSON needs escapes for any of the texts.
const (
	asciiPack = 'p' // all texts are ASCII, need no escapes and are shorter than 127 bytes
	anyPack   = 'a'
)

// appendPackText adds a text to a pack.
func appendPackText[T string | []byte](pack []byte, text T) []byte {
	return append(binary.AppendUvarint(pack, uint64(len(text))+1), text...)
}

// appendOptional adds a text, or the mark that there is none.
func appendOptional(pack []byte, text string, known bool) []byte {
	if !known {
		return append(pack, 0)
	}
	return appendPackText(pack, text)
}

// appendChecked is appendOptional for a pack that is an asciiPack as long as its texts allow that.
func appendChecked(pack []byte, text string, known bool) []byte {
	if len(text) >= 0x7f || !isPlain(text) {
		pack[0] = anyPack
	}
	return appendOptional(pack, text, known)
}

// packBody returns the part of a pack after its first byte; "" of no pack.
func packBody(pack string) string {
	if pack == "" {
		return ""
	}
	return pack[1:]
}

// nextText splits off the first text of a pack's body.
func nextText(pack string) (text string, known bool, rest string) {
	n := uint(pack[0])
	i := 1
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

// rawText returns the first text of a pack's body with its length.
func rawText(pack string) string {
	if n := pack[0]; n < 0x80 {
		return pack[:max(1, int(n))]
	}
	_, _, rest := nextText(pack)
	return pack[:len(pack)-len(rest)]
}

// packImage packs an image of a kind. It returns false if the image has other statistics than the kind,
// or another order.
func (k *compiledKind) packImage(image Image) (string, bool) {
	if image.fields == k.fields {
		return strings.Clone(image.pack), true // it may be a part of a packArena
	}
	pack := []byte{anyPack}
	stats := image.stats()
	for _, stat := range k.fields.names {
		if len(stats) > 0 && stats[0].Name == stat {
			pack = appendPackText(pack, stats[0].Text)
			stats = stats[1:]
		} else {
			pack = append(pack, 0)
		}
	}
	return string(pack), len(stats) == 0
}

// volatileTexts appends the volatile texts of a pack to buf.
func (k *compiledKind) volatileTexts(buf []byte, pack string) []byte {
	buf = append(buf, pack[0])
	rest := packBody(pack)
	for _, volatile := range k.volatile {
		text := rawText(rest)
		if rest = rest[len(text):]; volatile {
			buf = append(buf, text...)
		}
	}
	return buf
}

// appendDifferences appends the names of the statistics that differ between two packs, without the
// volatile ones. It is [Differences] for packs.
func (k *compiledKind) appendDifferences(names []string, before, after string) []string {
	before, after = packBody(before), packBody(after)
	for i, volatile := range k.volatile {
		// Most texts are short and the same.
		if n := max(1, int(before[0])); n < 0x80 && n <= len(after) && before[:n] == after[:n] {
			before, after = before[n:], after[n:]
			continue
		}
		var was, is string
		var hadBefore, known bool
		was, hadBefore, before = nextText(before)
		is, known, after = nextText(after)
		if !volatile && known && (!hadBefore || was != is) {
			names = append(names, k.fields.names[i])
		}
	}
	return names
}

// appendFields writes the members of a JSON object from an asciiPack.
func (n *fieldSet) appendFields(b []byte, pack string) []byte {
	b = slices.Grow(b, len(pack)+n.jsonSize+copyWidth+len(jsonKey{}.padded))
	out := b[len(b):cap(b)]
	for i, from, at := 0, 1, 0; ; i++ {
		if at > 0 {
			i, from, at = n.appendFieldsFast(out, pack, i, from, at)
		}
		if i == len(n.keys) {
			if at > 0 {
				at += copy(out[at:], `"`)
			}
			return b[:len(b)+at]
		}
		size := int(pack[from]) - 1
		if from++; size < 0 {
			continue
		}
		if begin := &n.keys[i]; at == 0 {
			at = copy(out, begin.firstKey())
		} else {
			at += copy(out[at:], begin.text)
		}
		at += copy(out[at:], pack[from:from+size])
		from += size
	}
}

// appendFieldsFast does what appendFields does, as long as names and texts are short enough for one
// move each. It stops before the ith member.
func (n *fieldSet) appendFieldsFast(out []byte, pack string, i, from, at int) (int, int, int) {
	const wide = len(jsonKey{}.padded)
	for ; i < len(n.keys); i++ {
		begin, size := &n.keys[i], int(pack[from])-1
		if uint(size) > copyWidth || begin.size == 0 {
			break
		}
		*(*[wide]byte)(out[at:]) = begin.padded
		at += begin.size
		if from++; from+copyWidth <= len(pack) {
			copy(out[at:at+copyWidth], pack[from:from+copyWidth])
		} else {
			for k := range size {
				out[at+k] = pack[from+k]
			}
		}
		from, at = from+size, at+size
	}
	return i, from, at
}

// plainPrefix returns the number of bytes at the beginning of a text that are ASCII and need no
// escape in JSON. It may stop early.
func plainPrefix(s string) int {
	if len(s) < 8 {
		for i := range len(s) {
			if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
				return i
			}
		}
		return len(s)
	}
	i := 0
	for ; i+8 <= len(s); i += 8 {
		if !isPlainWord(s, i) {
			return i
		}
	}
	if isPlainWord(s, len(s)-8) {
		return len(s)
	}
	return i
}

// isPlainWord is isPlain for the eight bytes at i.
func isPlainWord(s string, i int) bool {
	// The compiler makes one load of it.
	w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
		uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
	return w&highBits == 0 && specialIn(w) == 8
}

// isPlain reports whether a text is ASCII and needs no escape in JSON.
func isPlain(s string) bool { return plainPrefix(s) == len(s) }

// AppendText writes s as a JSON string, as encoding/json does without HTML escaping.
func AppendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := plainPrefix(s); i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == '\u2028' || r == '\u2029' || r == utf8.RuneError && size == 1 {
				b = append(b, s[from:i]...)
				b = append(b, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
				from = i + size
			}
			i += size
			continue
		}
		b = append(b, s[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	return append(append(b, s[from:]...), '"')
}
