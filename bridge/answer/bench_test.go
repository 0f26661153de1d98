package answer_test

import (
	"testing"
	"time"
)

// BenchmarkReply makes replies, without the way to the requester and back.
func BenchmarkReply(b *testing.B) {
	s := openDay()
	for name, test := range map[string]struct {
		reply   func([]byte, time.Time) ([]byte, error)
		request string
	}{
		"availability":      {s.Availability, `{"service":"Voice In"}`},
		"state of an agent": {s.State, `{"kind":"agent","id":"john.smith"}`},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := test.reply([]byte(test.request), at(2)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
