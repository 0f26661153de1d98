package reader_test

import (
	"testing"

	"bpcc-nats/internal/bridgetest"
)

func TestMain(m *testing.M) { bridgetest.Main(m, 8) }
