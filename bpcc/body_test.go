package bpcc_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"bpcc-nats/bpcc"
)

// objectOfSize is a JSON object of n bytes.
func objectOfSize(n int) []byte {
	return []byte(`{"a":"` + strings.Repeat("x", n-8) + `"}`)
}

func TestDataIsReadIntoReusedMemory(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"length", "chunked", "gzip"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			var body []byte
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch way {
				case "length":
					w.Header().Set("Content-Length", strconv.Itoa(len(body)))
					_, _ = w.Write(body)
				case "chunked":
					_, _ = w.Write(body[:len(body)/2])
					_ = http.NewResponseController(w).Flush()
					_, _ = w.Write(body[len(body)/2:])
				case "gzip":
					if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
						t.Error("the client does not accept gzip")
					}
					w.Header().Set("Content-Encoding", "gzip")
					z := gzip.NewWriter(w)
					_, _ = z.Write(body)
					_ = z.Close()
				}
			}))
			defer server.Close()
			client, err := bpcc.New(bpcc.Config{URL: server.URL, MaxBody: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			takeOnce := func(n int) []byte {
				t.Helper()
				body = objectOfSize(n)
				response, err := client.Data(t.Context())
				if err != nil {
					t.Fatalf("%d bytes: %v", n, err)
				}
				if !bytes.Equal(response.Body, body) {
					t.Fatalf("%d bytes: the response has %d, or others", n, len(response.Body))
				}
				return response.Body
			}
			first := takeOnce(100_000)
			reused := takeOnce(100_000)
			if &first[0] == &reused[0] {
				t.Fatal("a body that was not given back was overwritten")
			}
			client.Recycle(first)
			for _, n := range []int{100_100, 50, 99_000, 100_000} {
				again := takeOnce(n)
				if &again[0] != &first[0] {
					t.Errorf("%d bytes: not read into the memory that was given back", n)
				}
				client.Recycle(again)
			}
			if !bytes.Equal(reused, objectOfSize(100_000)) {
				t.Error("a body that was kept has changed")
			}
			takeOnce(1 << 20) // all that is allowed
			body = objectOfSize(1<<20 + 1)
			if _, err := client.Data(t.Context()); err == nil || !strings.Contains(err.Error(), fmt.Sprint(1<<20)) {
				t.Errorf("a body above the cap: %v, want an error that names the cap", err)
			}
		})
	}
}
