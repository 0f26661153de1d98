//go:build sinks

// With this tag, the program also has the components of the configurations in deploy/sinks.
package main

import (
	_ "github.com/lib/pq"
	_ "github.com/warpstreamlabs/bento/public/components/sql/base"
)
