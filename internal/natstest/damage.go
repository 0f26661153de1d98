package natstest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// blockFiles lists the files with the messages of a stream, in their order, of a server that is down.
func blockFiles(t testing.TB, dir, stream string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", stream, "msgs", "*.blk"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no messages of stream %s in %s: %v", stream, dir, err)
	}
	return files
}

// FlipBit damages the message of a stream that contains a text, which must be in one message alone,
// in the store of a server that is down.
func FlipBit(t testing.TB, dir, stream string, text []byte) {
	t.Helper()
	for _, file := range blockFiles(t, dir, stream) {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.LastIndex(body, text); at >= 0 {
			flip(t, file, body, at+len(text)/2)
			return
		}
	}
	t.Fatalf("stream %s does not hold %q on disk", stream, text)
}

// WaitCompressed waits until a server that runs has compressed the block of messages with a number, from 1. It
// does that some time after the block is full.
func WaitCompressed(t testing.TB, dir, stream string, number int) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); ; <-time.After(5 * time.Millisecond) {
		file := filepath.Join(filepath.Dir(blockFiles(t, dir, stream)[0]), fmt.Sprintf("%d.blk", number))
		if body, err := os.ReadFile(file); err == nil && bytes.HasPrefix(body, []byte("cmp")) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("block %d of stream %s is not compressed", number, stream)
		}
	}
}

// FlipBitOfBlock damages the block of messages with a number, from 1, in the middle.
func FlipBitOfBlock(t testing.TB, dir, stream string, number int) {
	t.Helper()
	file := filepath.Join(filepath.Dir(blockFiles(t, dir, stream)[0]), fmt.Sprintf("%d.blk", number))
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(body, []byte("cmp")) {
		t.Fatalf("block %d of stream %s is not compressed", number, stream)
	}
	flip(t, file, body, len(body)/2)
}

func flip(t testing.TB, file string, body []byte, at int) {
	t.Helper()
	body[at] ^= 1
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
}

// CutBlock removes the end of the last block of a stream that contains a text, from the text on, in the
// store of a server that is down, and the server's index of the blocks.
func CutBlock(t testing.TB, dir, stream string, text []byte) {
	t.Helper()
	files := blockFiles(t, dir, stream)
	file := files[len(files)-1]
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(body, text)
	if at < 0 {
		t.Fatalf("the last block of stream %s does not hold %q", stream, text)
	}
	if err := os.Truncate(file, int64(at)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(file), "index.db")); err != nil {
		t.Fatal(err)
	}
}
