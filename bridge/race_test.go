//go:build race

package bridge_test

// testsAtOnce is smaller with the race detector, which makes the tests compute
// several times as long: more of them at once would miss their deadlines.
const testsAtOnce = "8"
