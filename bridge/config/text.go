package config

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrUTF16 is returned for a text that begins with the byte order mark of UTF-16.
var ErrUTF16 = errors.New("text is in UTF-16; save it as UTF-8")

// markLen is the length of the byte order mark of UTF-8.
const markLen = len("\ufeff")

// ReadFile reads a text file. A byte order mark of UTF-8 at its beginning is no part of the text:
// editors that write one do not show it. The error is [ErrUTF16] for a file in another encoding.
func ReadFile(name string) ([]byte, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	n, err := markOf(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return content[n:], nil
}

// NewTextReader reads a text piece by piece, plain or compressed by gzip, as [ReadFile] reads a file.
func NewTextReader(r io.Reader) (*bufio.Reader, error) {
	const size = 64 << 10
	text := bufio.NewReaderSize(r, size)
	if magic, err := text.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		unzipped, err := gzip.NewReader(text)
		if err != nil {
			return nil, err
		}
		text = bufio.NewReaderSize(unzipped, size)
	}
	return text, skipMark(text)
}

// skipMark skips the byte order mark at the beginning of a text.
func skipMark(r *bufio.Reader) error {
	// An error of reading is returned again by the next read.
	begin, _ := r.Peek(markLen)
	n, err := markOf(begin)
	if err != nil {
		return err
	}
	_, err = r.Discard(n)
	return err
}

// markOf returns the length of the byte order mark at the beginning of a text.
func markOf(text []byte) (int, error) {
	switch {
	case bytes.HasPrefix(text, []byte("\ufeff")):
		return markLen, nil
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		return 0, ErrUTF16
	}
	return 0, nil
}
