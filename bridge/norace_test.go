//go:build !race

package bridge_test

// testsAtOnce is larger than the number of cores, since tests wait more than they compute.
const testsAtOnce = "16"
