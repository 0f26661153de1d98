package record_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/record"
)

// TestRecordingWithByteOrderMark opens recordings that a program has copied with a mark, or in UTF-16.
func TestRecordingWithByteOrderMark(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"plain": "\ufeff{}\n", "compressed": string(compressed(t, "\ufeff{}\n"))} {
		// It gets as far as the fields of the first line.
		if _, err := record.Open(name, strings.NewReader(content)); err == nil || !strings.Contains(err.Error(), "format is not") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, content := range [][]byte{[]byte("\xff\xfe{\x00}\x00\n\x00"), compressed(t, "\xfe\xff\x00{\x00}\x00\n")} {
		if _, err := record.Open("x", bytes.NewReader(content)); !errors.Is(err, record.ErrInvalid) || !errors.Is(err, config.ErrUTF16) {
			t.Errorf("UTF-16: %v", err)
		}
	}
}

// compressed is a text as a recorder compresses it.
func compressed(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
