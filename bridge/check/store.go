package check

import (
	"fmt"
	"os"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
)

// Store reports how much the embedded server's store may hold and whether its disk has room
// for that. It does not open the store, which a running bridge may use.
func Store(c config.Embedded, report func(Step)) error {
	x := &checkRun{report: report}
	if err := checkStore(c, x); err != nil {
		x.fail("store", err.Error(), "set BRIDGE_STORE_DIR to a directory that this user may write to")
	}
	return x.result()
}

func checkStore(c config.Embedded, x *checkRun) error {
	use, err := stream.EstimateStore(c.StoreDir)
	if err != nil {
		return err
	}
	if info, err := os.Stat(c.StoreDir); err == nil && !info.IsDir() {
		return fmt.Errorf("%s is not a directory", c.StoreDir)
	}
	place := fmt.Sprintf("%s takes %v on a disk with %v free", c.StoreDir, config.Size(use.Disk), config.Size(use.Free))
	switch {
	case c.StoreMax == 0:
		x.reportOK("store", "%s; keeps about %v of streams, counted before compression (BRIDGE_STORE_MAX follows the disk)", place, use.DefaultMax())
	case c.StoreMax > use.MostOnDisk():
		x.reportWarning("store", "lower BRIDGE_STORE_MAX, or give the store a larger disk",
			"%s, which may be full before BRIDGE_STORE_MAX=%v of streams, counted before compression", place, c.StoreMax)
	default:
		x.reportOK("store", "%s; keeps %v of streams, counted before compression (BRIDGE_STORE_MAX)", place, c.StoreMax)
	}
	return nil
}
