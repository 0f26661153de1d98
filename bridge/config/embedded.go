package config

import (
	"fmt"
	"math"
	"net"
	"strconv"

	"github.com/dustin/go-humanize"
)

// storeMaxLeast is the minimum BRIDGE_STORE_MAX: a smaller value probably lacks its unit.
const storeMaxLeast Size = 1 << 20

// StoreMaxMost is the maximum BRIDGE_STORE_MAX: the embedded server takes no stream that may hold more.
const StoreMaxMost Size = 1 << 62

// Embedded is the NATS server inside the process, where no other one is configured.
type Embedded struct {
	StoreDir string `env:"BRIDGE_STORE_DIR" envDefault:"./data"`
	Listen   string `env:"BRIDGE_EMBEDDED_LISTEN" envDefault:"127.0.0.1:4222"`
	// StoreMax is the most that the streams of the embedded server hold, in bytes before compression;
	// 0 follows the disk.
	StoreMax Size `env:"BRIDGE_STORE_MAX"`
}

func (c *Embedded) check(fault faultFunc) {
	if err := checkListen(c.Listen); err != nil {
		fault("BRIDGE_EMBEDDED_LISTEN", "%v; want host:port, such as 127.0.0.1:4222", err)
	}
	if c.StoreMax != 0 && c.StoreMax < storeMaxLeast {
		fault("BRIDGE_STORE_MAX", "%d bytes is below %v; give a size with its unit, such as 50GB or 50GiB", int64(c.StoreMax), storeMaxLeast)
	}
	if c.StoreMax > StoreMaxMost {
		fault("BRIDGE_STORE_MAX", "%v is above %v; without it the limit follows the disk", c.StoreMax, StoreMaxMost)
	}
}

// checkListen checks an address to listen on; port 0 selects a free one.
func checkListen(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	return nil
}

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
