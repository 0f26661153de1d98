package config_test

import (
	"strings"
	"testing"

	"bpcc-nats/bridge/config"
)

func TestSizeText(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		want config.Size
		ok   bool
	}{
		"1048576": {1 << 20, true}, "50GB": {50e9, true}, "50 GiB": {50 << 30, true}, "1.5TB": {1.5e12, true}, "64mib": {64 << 20, true},
		"": {}, "much": {}, "-5GB": {}, "50 parsecs": {}, "9EiB": {}, "99999999999999999999": {},
	}
	for text, test := range tests {
		var got config.Size
		if err := got.UnmarshalText([]byte(text)); (err == nil) != test.ok || got != test.want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestStoreMaxFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ value, natsURL, fault, warning string }{
		"not set":            {},
		"decimal":            {value: "50GB"},
		"binary":             {value: "50GiB"},
		"least":              {value: "1MiB"},
		"bytes":              {value: "1048576"},
		"follows the disk":   {value: "0"},
		"no size":            {value: "much", fault: `BRIDGE_STORE_MAX: "much" is not a size: want a size such as 50GB or 50GiB`},
		"negative":           {value: "-1GB", fault: `BRIDGE_STORE_MAX: "-1GB" is not a size`},
		"a forgotten unit":   {value: "50", fault: "BRIDGE_STORE_MAX: 50 bytes is below 1.0 MiB; give a size with its unit"},
		"most":               {value: "4EiB"},
		"without a limit":    {value: "9EB", fault: "BRIDGE_STORE_MAX: 7.8 EiB is above 4.0 EiB; without it the limit follows the disk"},
		"a server elsewhere": {value: "50GB", natsURL: "nats://elsewhere", warning: "BRIDGE_STORE_MAX is not used"},
	}
	for name, test := range tests {
		_, warnings, err := config.Parse([]string{"BRIDGE_STORE_MAX=" + test.value, "NATS_URL=" + test.natsURL}, config.ForStream)
		if (err != nil) != (test.fault != "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: %v, want %q", name, err, test.fault)
		}
		if text := strings.Join(warnings, "\n"); (text != "") != (test.warning != "") || !strings.Contains(text, test.warning) {
			t.Errorf("%s: warnings %q, want %q", name, text, test.warning)
		}
	}
}
