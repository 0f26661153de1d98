package config

import (
	"reflect"
	"slices"
)

// Same reports whether two lists of configurations have the same effect on bridges, the content of their files
// included. The connection to NATS and the HTTP server, which are the process's, do not count.
func Same(a, b []*Config) bool {
	return slices.EqualFunc(a, b, func(a, b *Config) bool {
		// A pool of certificates has functions, which cannot be compared.
		if (a.BPCC.RootCAs == nil) != (b.BPCC.RootCAs == nil) || a.BPCC.RootCAs != nil && !a.BPCC.RootCAs.Equal(b.BPCC.RootCAs) {
			return false
		}
		x, y := *a, *b
		x.BPCC.RootCAs, y.BPCC.RootCAs = nil, nil
		x.NATS, y.NATS, x.HTTP, y.HTTP = NATS{}, NATS{}, HTTP{}, HTTP{}
		return reflect.DeepEqual(x, y)
	})
}
