package event

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestChain compares sums with the test vector of docs/evidence.md.
func TestChain(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/evidence.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text2, _ := strings.Cut(string(text), "```json\n")
	vector, _, _ := strings.Cut(text2, "```")
	var batches [][]struct{ Subject, ID, Body, Chain string }
	if err := json.Unmarshal([]byte(vector), &batches); err != nil {
		t.Fatalf("the vector: %v", err)
	}
	var c Chain
	subject, id, body := "", "", ""
	for _, batch := range batches {
		c.Begin(subject, id, []byte(body))
		for i, m := range batch {
			if i == len(batch)-1 {
				if got := c.Sum(); got != m.Chain || !strings.Contains(m.Body, `"chain":"`+got+`"`) {
					t.Errorf("%s: %s, want %s", m.ID, got, m.Chain)
				}
				subject, id, body = m.Subject, m.ID, m.Body
				break
			}
			c.Add([]byte(m.Subject), []byte(m.ID), []byte(m.Body))
		}
	}
	if len(batches) < 2 {
		t.Errorf("%d batches", len(batches))
	}
}
