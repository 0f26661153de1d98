package config

import (
	"time"

	"bpcc-nats/bridge/event"
)

// Stream is what the bridge makes in JetStream: the names of streams and buckets, their copies, and
// how long the events are kept.
type Stream struct {
	Name        string `env:"BRIDGE_STREAM" envDefault:"BPCC_EVENTS"`
	StateBucket string `env:"BRIDGE_STATE_BUCKET" envDefault:"bpcc_state"`
	Lease       Lease
	Replicas    int           `env:"BRIDGE_REPLICAS" envDefault:"1"`
	Retention   time.Duration `env:"BRIDGE_RETENTION" envDefault:"720h" min:"1m" max:"87600h"`
	// Audit makes the server refuse to delete or purge events. A stream cannot be changed back.
	Audit bool `env:"BRIDGE_AUDIT" envDefault:"true"`
	// MaxBytes is the most that the stream of events holds of each copy, counted before compression;
	// beyond it the oldest events are deleted. 0 is no limit.
	MaxBytes Size `env:"BRIDGE_MAX_BYTES"`
	// PlacementCluster and PlacementTags say which servers hold the streams; empty is any.
	PlacementCluster   string        `env:"BRIDGE_PLACEMENT_CLUSTER"`
	PlacementTags      List          `env:"BRIDGE_PLACEMENT_TAGS"`
	CheckpointInterval time.Duration `env:"BRIDGE_CHECKPOINT_INTERVAL" envDefault:"30s" min:"100ms" max:"1h"`
}

// maxBytesLeast is the minimum BRIDGE_MAX_BYTES: a smaller value probably lacks its unit.
const maxBytesLeast Size = 1 << 20

// BucketStream is the name of the stream that NATS keeps a key-value bucket in.
func BucketStream(bucket string) string { return "KV_" + bucket }

// Lease is the bucket of the leases, and how long a lease lasts that is not renewed.
type Lease struct {
	Bucket string        `env:"BRIDGE_LEASE_BUCKET" envDefault:"bpcc_lease"`
	TTL    time.Duration `env:"BRIDGE_LEASE_TTL" envDefault:"5s" min:"1s" max:"10m"`
}

func (c *Stream) check(fault faultFunc) {
	if c.Replicas < 1 || c.Replicas > 5 {
		fault("BRIDGE_REPLICAS", "%d is not between 1 and 5", c.Replicas)
	}
	if c.MaxBytes != 0 && c.MaxBytes < maxBytesLeast {
		fault("BRIDGE_MAX_BYTES", "%d bytes is below %v; give a size with its unit, such as 50GB or 50GiB", int64(c.MaxBytes), maxBytesLeast)
	}
	names := []struct{ variable, value, stream string }{
		{"BRIDGE_STREAM", c.Name, c.Name},
		{"BRIDGE_STATE_BUCKET", c.StateBucket, BucketStream(c.StateBucket)},
		{"BRIDGE_LEASE_BUCKET", c.Lease.Bucket, BucketStream(c.Lease.Bucket)},
	}
	for i, n := range names {
		if n.value == "" || event.Token(n.value) != n.value {
			fault(n.variable, "%q has characters other than A-Z, a-z, 0-9, _ and -", n.value)
			continue
		}
		for _, other := range names[:i] {
			if n.stream == other.stream {
				fault(n.variable, "%q is the stream %s, and so is %s; give each a name of its own", n.value, n.stream, other.variable)
			}
		}
	}
}
