package bpcc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"testing"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/internal/hostile"
)

// TestHostileAnswers puts every kind of wrong value in every place of every response of
// the API. A method may accept it or fail with an error of one of the kinds; it must not
// panic, and never be logged in for a time that is none.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	sim := startTenant(t, bpcctest.Config{CookieLogin: true})
	target, err := url.Parse(sim.URL)
	if err != nil {
		t.Fatal(err)
	}
	var change func(body []byte) []byte // of the next response; nil = none
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Set("Accept-Encoding", "identity") // else it answers in gzip
	}}
	proxy.ModifyResponse = func(r *http.Response) error {
		body, err := io.ReadAll(r.Body)
		if err != nil || change == nil {
			r.Body = io.NopCloser(bytes.NewReader(body))
			return err
		}
		body = change(body)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
		return nil
	}
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	client := newClient(t, bpcc.Config{URL: front.URL, Username: "sim", Password: "sim-secret"})
	ctx := t.Context()
	methods := map[string]func(context.Context) error{
		"get access token": func(ctx context.Context) error {
			token, err := client.AccessToken(ctx)
			if token.TTL < 0 || token.TTL > 100*366*24*time.Hour {
				t.Errorf("a token for %v", token.TTL)
			}
			return err
		},
		"authenticate": func(ctx context.Context) error { _, err := client.Authenticate(ctx); return err },
		"get data":     func(ctx context.Context) error { _, err := client.Data(ctx); return err },
		"get teams":    func(ctx context.Context) error { _, err := client.Teams(ctx); return err },
		"get services": func(ctx context.Context) error { _, err := client.Services(ctx); return err },
		"get agents":   func(ctx context.Context) error { _, err := client.Agents(ctx); return err },
		"get dispositions": func(ctx context.Context) error {
			_, err := client.Dispositions(ctx, bpcc.DispositionQuery{})
			return err
		},
		"check available agents": func(ctx context.Context) error { _, err := client.Available(ctx, "Sales"); return err },
	}
	for name, method := range methods {
		change = nil
		if _, err := client.AccessToken(ctx); err != nil {
			t.Fatal(err)
		}
		if err := client.Subscribe(ctx, testSubscription); err != nil {
			t.Fatal(err)
		}
		var right []byte
		change = func(body []byte) []byte { right = body; return body }
		if err := method(ctx); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		n := 0
		for c := range hostile.Changes(right) {
			n++
			change = c.Apply
			var e *bpcc.Error
			if err := method(ctx); err != nil && !errors.As(err, &e) {
				t.Errorf("%s: %v: the error is no *bpcc.Error: %v", name, c, err)
			}
		}
		if n == 0 {
			t.Errorf("%s: nothing to change in %q", name, right)
		}
		t.Logf("%s: %d answers", name, n)
	}
}
