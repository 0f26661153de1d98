package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// errUnreadable is wrapped by errors about events that no repetition would mend.
var errUnreadable = errors.New("not an event that this service knows")

// Ledger is a file with one line for each change, whose id it begins with. Where
// you have a database it is a table, and the id its primary key: what matters is
// that the effect and the id are stored in one act.
type Ledger struct {
	file *os.File
	done map[string]bool // ids that are in the file
}

// Line is what the ledger tells of one change.
type Line struct {
	ID    string `json:"id"`
	Agent string `json:"agent"`
	From  string `json:"from"`
	To    string `json:"to"`
	// After and By bound when it happened; no one knows it more exactly. After is
	// nil if nobody looked before.
	After *time.Time `json:"after"`
	By    time.Time  `json:"by"`
}

// OpenLedger opens or makes the file and reads what is done.
func OpenLedger(name string) (*Ledger, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	l := &Ledger{file: file, done: map[string]bool{}}
	complete, lines := int64(0), bufio.NewReader(file)
	for {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			break // the end, or a line that a crash has cut off: its event comes again
		}
		var line Line
		if err := json.Unmarshal(text, &line); err != nil {
			file.Close()
			return nil, fmt.Errorf("read the ledger: %q: %w", bytes.TrimSpace(text), err)
		}
		l.done[line.ID] = true
		complete += int64(len(text))
	}
	if err := file.Truncate(complete); err != nil {
		file.Close()
		return nil, fmt.Errorf("cut off the unfinished line of the ledger: %w", err)
	}
	return l, nil
}

// Len is the number of changes in the ledger.
func (l *Ledger) Len() int { return len(l.done) }

// Write adds a state_changed event, unless it is there already. The error wraps
// errUnreadable if it is none.
func (l *Ledger) Write(body []byte) error {
	var event struct {
		ID   string
		Type string
		Data struct {
			Agent    struct{ ID string }
			From, To struct{ State string }
			Observed struct {
				After *time.Time
				By    time.Time
			}
		}
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	// Fields may be added within v1; another meaning would be another type.
	if event.Type != "bpcc.agent.state_changed.v1" || event.ID == "" {
		return fmt.Errorf("%w: type %q, id %q", errUnreadable, event.Type, event.ID)
	}
	if l.done[event.ID] {
		return nil
	}
	d := event.Data
	text, err := json.Marshal(Line{event.ID, d.Agent.ID, d.From.State, d.To.State, d.Observed.After, d.Observed.By})
	if err == nil {
		_, err = l.file.Write(append(text, '\n'))
	}
	if err == nil {
		err = l.file.Sync() // an acknowledged event must outlive a power cut
	}
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	l.done[event.ID] = true
	return nil
}

// Close closes the file.
func (l *Ledger) Close() error { return l.file.Close() }
