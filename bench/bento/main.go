// Command bento is Bento with the few components that the two configurations in this directory
// need. It is a separate module, so that Bento's dependencies stay out of the bridge's go.mod.
package main

import (
	"context"

	"github.com/warpstreamlabs/bento/public/service"

	_ "github.com/warpstreamlabs/bento/public/components/io"   // the http processor
	_ "github.com/warpstreamlabs/bento/public/components/nats" // the nats_jetstream output
	_ "github.com/warpstreamlabs/bento/public/components/pure" // mappings, generate, caches in memory
)

func main() { service.RunCLI(context.Background()) }
