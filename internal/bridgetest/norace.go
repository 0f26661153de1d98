//go:build !race

package bridgetest

// race says that the race detector is on.
const race = false
