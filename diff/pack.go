package diff

import "encoding/binary"

// A pack holds texts one behind the other, each with its length before it. It
// is how images are kept: without the names, which the layout has, and without
// a pointer to each text.

// appendKnown adds a text to a pack.
func appendKnown(pack []byte, text string) []byte {
	return append(binary.AppendUvarint(pack, uint64(len(text))+1), text...)
}

// appendUnknown adds that there is no text.
func appendUnknown(pack []byte) []byte { return append(pack, 0) }

// cutFirst takes the first text off a pack.
func cutFirst(pack string) (text string, known bool, rest string) {
	n := uint(pack[0])
	i := 1
	if n >= 0x80 { // seldom: a long text
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

// packed packs an image of a kind, and tells whether that can be done: whether
// it has no other statistics than those of the kind, in their order.
func (k *kindPlan) packed(buf []byte, image Image) ([]byte, bool) {
	at := 0
	for _, stat := range k.stats {
		if at < len(image) && image[at].Name == stat {
			buf = appendKnown(buf, image[at].Text)
			at++
		} else {
			buf = appendUnknown(buf)
		}
	}
	return buf, at == len(image)
}

// running picks the volatile texts out of a pack.
func (k *kindPlan) running(buf []byte, pack string) []byte {
	for _, volatile := range k.volatile {
		var text string
		var known bool
		text, known, pack = cutFirst(pack)
		switch {
		case !volatile:
		case known:
			buf = appendKnown(buf, text)
		default:
			buf = appendUnknown(buf)
		}
	}
	return buf
}

// differences names the statistics that differ between two packs, less the
// volatile ones: the words of [Differences], for packs.
func (k *kindPlan) differences(names []string, before, after string) []string {
	for i, volatile := range k.volatile {
		var was, is string
		var told, known bool
		was, told, before = cutFirst(before)
		is, known, after = cutFirst(after)
		if !volatile && known && (!told || was != is) {
			names = append(names, k.stats[i])
		}
	}
	return names
}

// slab hands out memory for images that live about as long as each other.
type slab struct {
	stats []Stat
	names []string
}

// image unpacks a pack. The texts are parts of it.
func (s *slab) image(k *kindPlan, pack string) Image {
	if s.stats == nil || cap(s.stats)-len(s.stats) < len(k.stats) {
		s.stats = make([]Stat, 0, max(512, len(k.stats)))
	}
	from := len(s.stats)
	for _, stat := range k.stats {
		var text string
		var known bool
		if text, known, pack = cutFirst(pack); known {
			s.stats = append(s.stats, Stat{stat, text})
		}
	}
	return Image(s.stats[from:len(s.stats):len(s.stats)])
}

// differences is that of the plan, in the slab's memory; nil if there are none.
func (s *slab) differences(k *kindPlan, before, after string) []string {
	if cap(s.names)-len(s.names) < len(k.stats) {
		s.names = make([]string, 0, max(256, len(k.stats)))
	}
	from := len(s.names)
	if s.names = k.differences(s.names, before, after); len(s.names) == from {
		return nil
	}
	return s.names[from:len(s.names):len(s.names)]
}
