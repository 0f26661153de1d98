package svc

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// Age is how long ago something was. It is seconds in JSON, rounded up to whole milliseconds, and null
// for [NoAge].
type Age time.Duration

// NoAge is the age of what has never been.
const NoAge Age = -1

// Known reports whether there is an age.
func (a Age) Known() bool { return a >= 0 }

// Within reports whether there is an age, and whether it is at most limit.
func (a Age) Within(limit Age) bool { return a.Known() && a <= limit }

// plus returns the age after some more time.
func (a Age) plus(d time.Duration) Age {
	if !a.Known() {
		return a
	}
	return a + Age(d)
}

// String returns the age as a duration, "unknown" if there is none.
func (a Age) String() string {
	if !a.Known() {
		return "unknown"
	}
	return time.Duration(a).String()
}

// MarshalJSON writes seconds.
func (a Age) MarshalJSON() ([]byte, error) {
	if !a.Known() {
		return []byte("null"), nil
	}
	const ms = Age(time.Millisecond)
	return strconv.AppendFloat(nil, float64((a+ms-1)/ms)/1000, 'f', -1, 64), nil
}

// UnmarshalJSON reads seconds.
func (a *Age) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		*a = NoAge
		return nil
	}
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return err
	}
	*a = Age(seconds * float64(time.Second))
	return nil
}
