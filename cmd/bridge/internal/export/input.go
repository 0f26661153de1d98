package export

import (
	"context"
	"fmt"
	"io"
	"os"

	"bpcc-nats/cmd/bridge/internal/reader"
)

// Open opens a file, or standard input if the name is -. A signal ends neither the
// opening of a named pipe nor a read of a pipe or a terminal; the end of ctx ends both here.
// The goroutines then end with the program.
func Open(ctx context.Context, name string) (io.ReadCloser, error) {
	in := os.Stdin
	if name != "-" {
		var err error
		opened := make(chan struct{})
		go func() {
			defer close(opened)
			in, err = os.Open(name)
		}()
		select {
		case <-opened:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", reader.ErrUsage, err)
		}
	}
	text, pipe := io.Pipe()
	go func() {
		_, err := io.Copy(pipe, in)
		pipe.CloseWithError(err)
	}()
	stop := context.AfterFunc(ctx, func() { pipe.CloseWithError(ctx.Err()) })
	return &input{PipeReader: text, file: in, stop: stop}, nil
}

// input is what is read of a file.
type input struct {
	*io.PipeReader
	file *os.File
	stop func() bool
}

// Close ends the reading.
func (i *input) Close() error {
	i.stop()
	err := i.PipeReader.Close()
	if i.file == os.Stdin {
		return err
	}
	return i.file.Close()
}
