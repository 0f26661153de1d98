// Package bounds says where a range of a stream begins and ends, by the checkpoints of a tenant, and what
// is not proved for that reason.
package bounds

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"bpcc-nats/bridge/event"
)

// Checkpoint is a checkpoint of a range.
type Checkpoint struct {
	ID   string    `json:"id"`
	Seq  uint64    `json:"sequence,omitempty"` // 0 if it is not known
	Time time.Time `json:"time"`
	// Follows is the id of the checkpoint before; "" if there is none.
	Follows string `json:"follows,omitempty"`
}

// Wanted says after which checkpoint the range of a tenant begins, and with which it ends, by their ids;
// "" is not bounded.
type Wanted struct{ From, To string }

// ErrWanted is returned for ids that bound no range.
var ErrWanted = errors.New("bounds of a range")

// ParseWanted returns what is wanted, by tenant. The error is [ErrWanted].
func ParseWanted(from, to []string) (map[string]Wanted, error) {
	all := map[string]Wanted{}
	for _, id := range from {
		tenant, err := tenantOf(id)
		w := all[tenant]
		if err == nil && w.From != "" {
			err = fmt.Errorf("%w: %s and %s are of one tenant", ErrWanted, w.From, id)
		}
		if err != nil {
			return nil, err
		}
		w.From = id
		all[tenant] = w
	}
	for _, id := range to {
		tenant, err := tenantOf(id)
		w := all[tenant]
		switch {
		case err != nil:
		case w.To != "":
			err = fmt.Errorf("%w: %s and %s are of one tenant", ErrWanted, w.To, id)
		case w.From != "" && !before(tenant, w.From, id):
			err = fmt.Errorf("%w: %s does not come after %s", ErrWanted, id, w.From)
		}
		if err != nil {
			return nil, err
		}
		w.To = id
		all[tenant] = w
	}
	return all, nil
}

// tenantOf returns the tenant of an event id: what comes before epoch, poll and index.
func tenantOf(id string) (string, error) {
	tenant := id
	for range 3 {
		tenant = tenant[:max(strings.LastIndexByte(tenant, '-'), 0)]
	}
	if _, err := event.ParseID(tenant, id); err != nil || tenant == "" {
		return "", fmt.Errorf("%w: %q is not the id of a checkpoint, such as acme-1-17-4", ErrWanted, id)
	}
	return tenant, nil
}

// before reports whether one id of a tenant comes before another.
func before(tenant, id, other string) bool {
	a, errA := event.ParseID(tenant, id)
	b, errB := event.ParseID(tenant, other)
	return errA == nil && errB == nil && a.Compare(b) < 0
}

// Range is the range of one tenant.
type Range struct {
	Wanted
	// First and Last are its first and its last checkpoint; nil if there is none.
	First, Last *Checkpoint
	// After is the id of the checkpoint before, if its message is known; else "".
	After string

	begun, ended bool
}

// Place is where a message is.
type Place int

// Places of messages.
const (
	Outside Place = iota // before the range, or after it
	Before               // the checkpoint before the range
	Inside
)

// Place returns where the next message is. The id is "" unless it is a checkpoint.
func (r *Range) Place(id string) Place {
	switch {
	case r.begun || r.From == "":
		r.begun = true
		if r.ended {
			return Outside
		}
		r.ended = r.To != "" && id == r.To
		return Inside
	case id == r.From:
		r.begun = true
		return Before
	}
	return Outside
}

// Begin begins the range after a checkpoint.
func (r *Range) Begin(after string) {
	r.First, r.Last, r.After = nil, nil, after
	r.begun, r.ended = r.begun || r.From == "" || r.From == after, r.To != "" && r.To == after
}

// Add adds the next checkpoint inside.
func (r *Range) Add(c Checkpoint) {
	if r.First == nil {
		r.First = &c
	}
	r.Last = &c
}

// Missing says which of the wanted checkpoints the range does not hold.
func (r *Range) Missing() (missing []string) {
	if r.From != "" && !r.begun {
		missing = append(missing, r.From)
	}
	if r.To != "" && !r.ended {
		missing = append(missing, r.To)
	}
	return missing
}

// NotProved says what the range does not prove of its tenant. Of the heads those are known whose ids are in found;
// signed says that each checkpoint must be signed by given keys.
func (r *Range) NotProved(tenant string, heads []event.Head, found map[string]bool, signed bool) (list []string) {
	head := ""
	for _, h := range heads {
		if h.Tenant == tenant && found[h.ID] && (head == "" || before(tenant, head, h.ID)) {
			head = h.ID
		}
	}
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if r.First == nil {
		add("the range holds no checkpoint, so nothing says which events belong to it")
		return list
	}
	switch {
	case r.After != "":
		add("the beginning: the range begins after checkpoint %s; what was before that is not in the range", r.After)
	case r.First.Follows != "":
		add("the beginning: the first checkpoint %s follows %s, which is not in the range; neither what was before, nor the first chain is proved",
			r.First.ID, r.First.Follows)
	}
	switch {
	case r.To != "" && r.ended, head == r.Last.ID:
	case head != "":
		add("the end: the newest head given is %s; what was cut off after it would not be seen", head)
	default:
		add("the end: neither a head nor --to was given, so what was cut off after %s would not be seen", r.Last.ID)
	}
	switch {
	case signed:
	case head == "":
		add("the author: neither a head nor --signed-by was given, so whoever can write the stream may have recomputed every chain")
	case head != r.Last.ID:
		add("the author: --signed-by was not given, so whoever can write the stream may have recomputed every chain after the head %s", head)
	}
	return list
}
