package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestDurationBounds: every duration of the configuration has a floor and a ceiling, and a value
// beyond them is a fault that names the variable, the value and the bounds.
func TestDurationBounds(t *testing.T) {
	t.Parallel()
	base := []string{
		"BPCC_URL=http://localhost", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b",
		"BPCC_AVAILABILITY_INTERVAL=100ms", // shorter than any time after which availability may be unknown
	}
	parse := func(name string, d time.Duration) error {
		_, _, err := Parse(append(base, name+"="+d.String()), ForBridge)
		return err
	}
	durations := 0
	for _, f := range fieldsOf(reflect.ValueOf(Config{})) {
		if f.Type != reflect.TypeFor[time.Duration]() {
			continue
		}
		durations++
		name := f.Tag.Get("env")
		least, leastErr := time.ParseDuration(f.Tag.Get("min"))
		most, mostErr := time.ParseDuration(f.Tag.Get("max"))
		if err := errors.Join(leastErr, mostErr); err != nil || most <= least || least < 0 || name == "" {
			t.Errorf("%s has no bounds: %v", f.Name, err)
			continue
		}
		for _, d := range []time.Duration{least, most} {
			if err := parse(name, d); err != nil {
				// At a bound of its own it may contradict another one.
				if !strings.Contains(err.Error(), "BPCC_AVAILABILITY_UNKNOWN_AFTER") && !strings.Contains(err.Error(), "BPCC_MAX_REQUESTS") {
					t.Errorf("%s=%v: %v", name, d, err)
				}
			}
		}
		refused := []time.Duration{least - 1, most + 1, -time.Second, 1<<63 - 1}
		if zero := f.Tag.Get("zero"); zero != "" {
			if err := parse(name, 0); err != nil {
				t.Errorf("%s=0s, which is %s: %v", name, zero, err)
			}
		} else if least > 0 {
			refused = append(refused, 0)
		}
		for _, d := range refused {
			want := fmt.Sprintf("%s: %v is not between %s and %s", name, d, f.Tag.Get("min"), f.Tag.Get("max"))
			if err := parse(name, d); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s=%v: %v, want %s", name, d, err, want)
			}
		}
	}
	if durations < 9 {
		t.Errorf("only %d durations", durations)
	}
}

// TestUnreadableValues: a value that cannot be parsed is a fault of its own variable, whichever part of
// the configuration it belongs to.
func TestUnreadableValues(t *testing.T) {
	t.Parallel()
	parsed := 0
	for _, f := range fieldsOf(reflect.ValueOf(Config{})) {
		name := f.Tag.Get("env")
		if name == "" || f.Type.Kind() == reflect.String {
			continue
		}
		parsed++
		_, _, err := Parse([]string{"BPCC_URL=http://localhost", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b", "NATS_URL=nats://localhost", name + "=[x"}, ForBridge)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "\n"+name+": ") || !strings.Contains(err.Error(), ": want ") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// It is one fault, and no other check judges a value that nobody gave.
		if n := strings.Count(err.Error(), "\n"); n != 1 {
			t.Errorf("%s: %d faults\n%v", name, n, err)
		}
	}
	if parsed < 15 {
		t.Errorf("only %d variables are parsed", parsed)
	}
}

// TestRateBounds: settings that bound one another.
func TestRateBounds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env   []string
		fault string // "" = none
	}{
		"the default":                {nil, ""},
		"named":                      {[]string{"BPCC_MAX_REQUESTS=0"}, ""},
		"one, with slow polls":       {[]string{"BPCC_MAX_REQUESTS=1"}, ""},
		"negative":                   {[]string{"BPCC_MAX_REQUESTS=-1"}, "BPCC_MAX_REQUESTS: -1 is not between 1 and 1000"},
		"too many":                   {[]string{"BPCC_MAX_REQUESTS=1001"}, "BPCC_MAX_REQUESTS: 1001 is not between 1 and 1000"},
		"polls take more than half":  {[]string{"BPCC_MAX_REQUESTS=3", "BPCC_POLL_INTERVAL=500ms"}, "BPCC_MAX_REQUESTS: 3 is too few for polls every 500ms"},
		"unknown between two checks": {[]string{"BPCC_AVAILABILITY_UNKNOWN_AFTER=3s"}, "BPCC_AVAILABILITY_UNKNOWN_AFTER: 3s is below two intervals"},
		"unknown after two checks":   {[]string{"BPCC_AVAILABILITY_UNKNOWN_AFTER=4s"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _, err := Parse(append([]string{"BPCC_URL=http://localhost", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b"}, test.env...), ForBridge)
			if test.fault != "" {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.fault) {
					t.Errorf("%v, want %s", err, test.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.BPCC.MaxRequests == 0 {
				t.Error("no bound of requests")
			}
		})
	}
}

// TestUnknownAfter: three intervals and at least 5 s, unless it is configured; never less than two.
func TestUnknownAfter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ configured, interval, want time.Duration }{
		{0, 2 * time.Second, 6 * time.Second},
		{0, 100 * time.Millisecond, 5 * time.Second},
		{0, 20 * time.Second, time.Minute},
		{10 * time.Second, 2 * time.Second, 10 * time.Second},
		{10 * time.Second, 20 * time.Second, 40 * time.Second},
	} {
		c := Config{BPCC: BPCC{AvailabilityUnknownAfter: test.configured}}
		if got := c.BPCC.UnknownAfter(test.interval); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// TestFaultTexts: a fault names the variable, the value, what is wanted and an example.
func TestFaultTexts(t *testing.T) {
	t.Parallel()
	for variable, want := range map[string]string{
		"BPCC_POLL_INTERVAL=2":              `BPCC_POLL_INTERVAL: "2": want a duration with its unit, such as 2s`,
		"BPCC_POLL_INTERVAL=1ms":            "BPCC_POLL_INTERVAL: 1ms is not between 100ms and 10m; the default is 2s",
		"BRIDGE_HEAD_LOG_INTERVAL=1":        `BRIDGE_HEAD_LOG_INTERVAL: "1": want a duration with its unit, such as 5m`,
		"BPCC_MAX_REQUESTS=1.5":             `BPCC_MAX_REQUESTS: "1.5": want a whole number such as 50`,
		"BRIDGE_AUDIT=maybe":                `BRIDGE_AUDIT: "maybe": want true or false`,
		"BRIDGE_MAX_BYTES=much":             `BRIDGE_MAX_BYTES: "much" is not a size: want a size such as 50GB or 50GiB`,
		"BRIDGE_LEASE_BUCKET=bpcc_state":    `BRIDGE_LEASE_BUCKET: "bpcc_state" is the stream KV_bpcc_state, and so is BRIDGE_STATE_BUCKET; give each a name of its own`,
		"BRIDGE_STATE_BUCKET=bpcc_lease":    `BRIDGE_LEASE_BUCKET: "bpcc_lease" is the stream KV_bpcc_lease, and so is BRIDGE_STATE_BUCKET; give each a name of its own`,
		"BRIDGE_STREAM=KV_bpcc_state":       `BRIDGE_STATE_BUCKET: "bpcc_state" is the stream KV_bpcc_state, and so is BRIDGE_STREAM; give each a name of its own`,
		"BPCC_AVAILABILITY_INTERVAL=banana": `BPCC_AVAILABILITY_INTERVAL: "banana": want a duration with its unit, such as 2s`,
	} {
		_, _, err := Parse([]string{"BPCC_URL=http://localhost", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b", variable}, ForBridge)
		if err == nil || err.Error() != "configuration:\n"+want {
			t.Errorf("%s: error %v, want %s", variable, err, want)
		}
	}
}

// TestNearestName: prefixes are mistaken for each other; a name that is like no other one has no suggestion.
func TestNearestName(t *testing.T) {
	t.Parallel()
	known, err := knownNames()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"BPCC_TENAT": "BRIDGE_TENANT", "BPCC_STREAM": "BRIDGE_STREAM", "BRIDGE_URL": "BPCC_URL", "BRIDGE_POLL_INTERVAL": "BPCC_POLL_INTERVAL",
		"BPCC_POLL_INTERVALL": "BPCC_POLL_INTERVAL", "BPCC_SECRET": "BPCC_CLIENT_SECRET", "BRIDGE_STORE": "BRIDGE_STORE_DIR", "BRIDGE_FOO": "", "BPCC_XYZZY": "",
	} {
		if got := nearestName(name, known); got != want {
			t.Errorf("%s: nearest %q, want %q", name, got, want)
		}
	}
}
