package event

import (
	"bytes"
	"strconv"
	"time"

	"bpcc-nats/diff/image"
	"bpcc-nats/internal/jsonscan"
)

// Decoder reads events as [ReadEnvelope] and [Envelope.Event] do. It reads the most frequent events
// without reflection, and leaves the others to encoding/json. Images with the same statistics share
// these. The zero Decoder is ready for use, and a nil one shares nothing. It is safe for concurrent use.
type Decoder struct{ images image.Decoder }

// Decode decodes a body. The error is [ErrForeign]; envelope and event then hold what could be decoded.
func (d *Decoder) Decode(body []byte) (Envelope, Event, error) {
	if d == nil {
		d = new(Decoder)
	}
	r := plainReader{body, &d.images}
	if v, e, ok := r.event(); ok {
		return v, e, nil
	}
	v, err := ReadEnvelope(body)
	if err != nil {
		return v, Event{}, err
	}
	e, err := v.Event()
	return v, e, err
}

// plainReader reads an event about a row if it is as an [Encoder] writes it, perhaps with blanks and in
// another order: no member is there twice, unknown, or null where an encoder writes none. The methods
// take the index where a value begins and return its end, or -1 if it is not plain, valid or not.
type plainReader struct {
	b      []byte
	images *image.Decoder
}

// event reads the event; false if it is not plain.
func (r *plainReader) event() (v Envelope, e Event, ok bool) {
	end := r.object(0, func(name []byte, i int) int {
		switch string(name) {
		case "id":
			return r.text(i, &v.ID)
		case "type":
			return r.text(i, &v.Type)
		case "time":
			return r.time(i, &v.Time)
		case "data":
			name, known := v.Name()
			if !known {
				return -1
			}
			e.Name = name
			end := r.data(i, &e)
			if end > 0 {
				v.Data = r.b[i:end]
			}
			return end
		case "specversion", "source", "subject", "datacontenttype", "dataschema":
			return jsonscan.String(r.b, i)
		}
		return -1
	})
	if end < 0 || jsonscan.SkipSpace(r.b, end) != len(r.b) || e.Data == nil {
		return v, e, false
	}
	e.Time = v.Time
	var err error
	e.ID, err = ParseID(e.Tenant(), v.ID)
	return v, e, err == nil
}

// data reads the data of an event about a row.
func (r *plainReader) data(i int, e *Event) int {
	switch e.Kind() {
	case string(Agent):
		d := &AgentData{}
		e.Data = d
		return r.object(i, func(name []byte, i int) int { return r.agentMember(name, i, d) })
	case string(Service):
		d := &ServiceData{}
		e.Data = d
		return r.object(i, func(name []byte, i int) int {
			if string(name) == "service" {
				return r.text(i, &d.Service)
			}
			return r.rowMember(name, i, &d.EntityBase, &d.RowData)
		})
	case string(Totals):
		d := &TotalsData{}
		e.Data = d
		return r.object(i, func(name []byte, i int) int {
			if string(name) == "app" {
				return r.text(i, &d.App)
			}
			return r.rowMember(name, i, &d.EntityBase, &d.RowData)
		})
	}
	return -1
}

func (r *plainReader) agentMember(name []byte, i int, d *AgentData) int {
	switch string(name) {
	case "agent":
		return r.object(i, func(name []byte, i int) int {
			switch string(name) {
			case "id":
				return r.text(i, &d.Agent.ID)
			case "login_id":
				return r.text(i, &d.Agent.LoginID)
			case "user_id":
				return r.text(i, &d.Agent.UserID)
			case "name":
				return r.text(i, &d.Agent.Name)
			case "team":
				return r.text(i, &d.Agent.Team)
			}
			return -1
		})
	case "from":
		d.From = &AgentState{}
		return r.state(i, d.From)
	case "to":
		d.To = &AgentState{}
		return r.state(i, d.To)
	case "since":
		return r.time(i, &d.Since)
	case "previous_duration":
		return r.object(i, func(name []byte, i int) int {
			switch string(name) {
			case "min":
				return r.duration(i, &d.PreviousDuration.Min)
			case "max":
				return r.duration(i, &d.PreviousDuration.Max)
			}
			return -1
		})
	case "reentered":
		return r.bool(i, &d.Reentered)
	}
	return r.rowMember(name, i, &d.EntityBase, &d.RowData)
}

func (r *plainReader) state(i int, s *AgentState) int {
	return r.object(i, func(name []byte, i int) int {
		switch string(name) {
		case "state":
			return r.text(i, &s.State)
		case "next_state":
			return r.text(i, &s.NextState)
		case "reason":
			return r.text(i, &s.Reason)
		}
		return -1
	})
}

// rowMember reads a member that the events about all rows have.
func (r *plainReader) rowMember(name []byte, i int, e *EntityBase, row *RowData) int {
	switch string(name) {
	case "tenant":
		return r.text(i, &e.Tenant)
	case "poll":
		return r.uint(i, &e.Poll)
	case "revision":
		return r.uint(i, &e.Revision)
	case "state_revision":
		return r.uint(i, &e.StateRevision)
	case "observed":
		return r.object(i, func(name []byte, i int) int {
			switch string(name) {
			case "after":
				if end := jsonscan.Null(r.b, i); end > 0 {
					return end
				}
				return r.time(i, &e.Observed.After.Time)
			case "by":
				return r.time(i, &e.Observed.By.Time)
			}
			return -1
		})
	case "after_gap":
		return r.bool(i, &e.AfterGap)
	case "changed":
		return r.texts(i, &row.Changed)
	case "before":
		return r.image(i, &row.Before)
	case "after":
		return r.image(i, &row.After)
	case "reset":
		return r.texts(i, &row.Reset)
	}
	return -1
}

// object reads an object. It calls member with the name and the index of each value.
func (r *plainReader) object(i int, member func(name []byte, i int) int) int {
	var buf [24][]byte
	names := buf[:0]
	if !jsonscan.Has(r.b, i, '{') {
		return -1
	}
	if i = jsonscan.SkipSpace(r.b, i+1); jsonscan.Has(r.b, i, '}') {
		return i + 1
	}
	for {
		end := jsonscan.String(r.b, i)
		if end < 0 {
			return -1
		}
		name := r.b[i+1 : end-1]
		for _, other := range names {
			if bytes.Equal(name, other) {
				return -1
			}
		}
		names = append(names, name)
		if i = jsonscan.Expect(r.b, end, ':'); i < 0 {
			return -1
		}
		if i = member(name, i); i < 0 {
			return -1
		}
		if i = jsonscan.SkipSpace(r.b, i); jsonscan.Has(r.b, i, '}') {
			return i + 1
		}
		if i = jsonscan.Expect(r.b, i, ','); i < 0 {
			return -1
		}
	}
}

func (r *plainReader) text(i int, to *string) int {
	end := jsonscan.String(r.b, i)
	if end > 0 {
		*to = string(jsonscan.Unquote(r.b[i:end]))
	}
	return end
}

func (r *plainReader) texts(i int, to *[]string) int {
	*to = []string{}
	return jsonscan.Array(r.b, i, func(i int) int {
		*to = append(*to, "")
		return r.text(i, &(*to)[len(*to)-1])
	})
}

func (r *plainReader) time(i int, to *time.Time) int {
	end := jsonscan.String(r.b, i)
	if end < 0 || to.UnmarshalJSON(r.b[i:end]) != nil {
		return -1
	}
	return end
}

func (r *plainReader) uint(i int, to *uint64) int {
	end := i
	for end < len(r.b) && r.b[end] >= '0' && r.b[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(string(r.b[i:end]), 10, 64)
	if err != nil || r.b[i] == '0' && end > i+1 {
		return -1
	}
	*to = n
	return end
}

// duration reads a duration without a sign and an exponent.
func (r *plainReader) duration(i int, to *Duration) int {
	var whole uint64
	end := r.uint(i, &whole)
	if end > 0 && jsonscan.Has(r.b, end, '.') {
		for end++; end < len(r.b) && r.b[end] >= '0' && r.b[end] <= '9'; end++ {
		}
	}
	if end < 0 || r.b[end-1] == '.' || to.UnmarshalJSON(r.b[i:end]) != nil {
		return -1
	}
	return end
}

func (r *plainReader) bool(i int, to *bool) int {
	for _, value := range []bool{true, false} {
		if text := strconv.FormatBool(value); bytes.HasPrefix(r.b[i:], []byte(text)) {
			*to = value
			return i + len(text)
		}
	}
	return -1
}

func (r *plainReader) image(i int, to *image.Image) int {
	var end int
	*to, end = r.images.Decode(r.b, i)
	return end
}
