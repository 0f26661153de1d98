package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"bpcc-nats/bridge/event"
)

// Ledger is a file with one line for each change, whose id it begins with. Where
// you have a database it is a table, and the id its primary key: what matters is
// that the effect and the id are stored together.
type Ledger struct {
	file *os.File
	done map[string]bool // ids that are in the file
}

// Line is one change in the ledger.
type Line struct {
	ID    string `json:"id"`
	Agent string `json:"agent"`
	From  string `json:"from"`
	To    string `json:"to"`
	// After and By bound when it happened; it is not known more exactly. After is
	// null if there was no poll before.
	event.Window
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

// Write adds a change of an agent's state, unless it is there already.
func (l *Ledger) Write(e *event.Event, d *event.AgentData) error {
	id := e.MsgID()
	if l.done[id] {
		return nil
	}
	text, err := json.Marshal(Line{id, d.Agent.ID, d.From.State, d.To.State, d.Observed})
	if err == nil {
		_, err = l.file.Write(append(text, '\n'))
	}
	if err == nil {
		err = l.file.Sync() // an acknowledged event must outlive a power cut
	}
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	l.done[id] = true
	return nil
}

// Close closes the file.
func (l *Ledger) Close() error { return l.file.Close() }
