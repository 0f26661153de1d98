package config

import (
	"fmt"
	"math"

	"github.com/dustin/go-humanize"
)

// storeMaxLeast is the minimum BRIDGE_STORE_MAX: a smaller value probably lacks its unit.
const storeMaxLeast Size = 1 << 20

// Size is a number of bytes. Its text may have a decimal or a binary unit, such as 50GB or 50GiB.
type Size int64

// UnmarshalText parses a size such as 50GB, 50 GiB or 1.5TB.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a size", text)
	}
	if n > math.MaxInt64 {
		return fmt.Errorf("%q is too large", text)
	}
	*s = Size(n)
	return nil
}

// String formats the size rounded, with a binary unit.
func (s Size) String() string { return humanize.IBytes(uint64(max(s, 0))) }
