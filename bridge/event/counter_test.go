package event_test

import (
	"testing"

	"bpcc-nats/bridge/event"
)

func TestIsDailyCounter(t *testing.T) {
	t.Parallel()
	for stat, want := range map[string]bool{
		"in_calls_handled_per_day":                true,
		"calls_dispositions_per_day":              true,
		"calls_dispositions_per_day[Sale]":        true,
		"calls_dispositions_per_day[Sale,Offer]":  true,
		"calls_dispositions_per_day[]":            true,
		"calls_dispositions_per_day[[x]]":         true,
		"calls_dispositions_per_day[Operation]":   true, // has "ratio" in it
		"calls_dispositions_per_day[average_day]": true,
		"calls_duration_per_day":                  true, // likewise
		"in_calls_generated_per_day":              true,
		"agent_total_ready_time":                  true,
		"agent_total_ACW_time":                    true,
		"agent_total_break_time[Lunch]":           true,

		"":                     false,
		"in_calls_waiting":     false,
		"in_max_wait_time":     false,
		"service_level":        false,
		"state_duration":       false,
		"login_time":           false,
		"per_day":              false,
		"in_calls_per_day_max": false,
		"agents_logged":        false,
		"my_agent_total_time":  false,
		"in_calls_waiting[in_calls_handled_per_day]":      false,
		"calls_average_handling_time_per_day":             false,
		"calls_average_handling_time_per_day[Sale]":       false,
		"in_calls_abandoned_in_queue_ratio_per_day":       false,
		"in_calls_short_abandoned_in_queue_ratio_per_day": false,
		"in_calls_abandoned_percent_per_day":              false,
		"agent_total_percent_ready":                       false,
		"service_level_per_day":                           false,
		"answer_rate_per_day":                             false,
	} {
		if got := event.IsDailyCounter(stat); got != want {
			t.Errorf("%q is a daily counter: %v, want %v", stat, got, want)
		}
	}
}

func TestCounterReset(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		before, after string
		want          bool
	}{
		{"4", "0", true},
		{"4", "", true},
		{"4", "0.0", true},
		{"1", "0", true},
		{"1", "", true},
		{"4", "1", true},
		{"41", "20", true},
		{"28800", "2", true},
		{"1e2", "49", true},
		{"100", "4.9e1", true},
		{"0.5", "0", true},

		{"41", "40", false},
		{"4", "2", false}, // half of it, not below
		{"41", "21", false},
		{"4", "4", false},
		{"4", "4.0", false},
		{"4", "5", false},
		{"0", "0", false},
		{"0", "", false},
		{"", "", false},
		{"", "0", false},
		{"", "4", false},
		{"-4", "0", false},
		{"-4", "-9", false},

		// What is no finite decimal number shows nothing.
		{"NaN", "0", false},
		{"4", "NaN", false},
		{"Inf", "0", false},
		{"+Inf", "4", false},
		{"4", "-Inf", false},
		{"infinity", "", false},
		{"1e999", "0", false},
		{"0x1p4", "0", false},
		{"4", "0x0", false},
		{"1_000", "0", false},
		{"1,234", "0", false},
		{"00:05:12", "0", false},
		{"87%", "", false},
		{"N/A", "", false},
		{"4", "N/A", false},
		{"4", "e", false},
		{"4", ".", false},
	} {
		if got := event.CounterReset(test.before, test.after); got != test.want {
			t.Errorf("%q → %q is a reset: %v, want %v", test.before, test.after, got, test.want)
		}
	}
}
