// Package control changes a simulated tenant over HTTP, for people who run it as a process of its own.
// The requests need no login, so do not serve them on an open network:
//
//	GET    /sim/counts                   the Counts so far
//	PUT    /sim/agents/{login}           {"state":"ready","services":["Sales"],"stats":{"extension":"7"},…}
//	PUT    /sim/agents/{login}/state_duration  {"duration":"5s"}; the clock of the state runs on from there
//	POST   /sim/agents/{login}/calls     {"in":-1,"out":0} is added to the calls handled today
//	DELETE /sim/agents/{login}
//	PUT    /sim/services/{name}          {"stats":{"in_calls_waiting":"7"},…}
//	DELETE /sim/services/{name}
//	PUT    /sim/availability/{service}   {"available":true}, false, or null to compute it again
//	POST   /sim/faults                   {"status":503,"retry_after":"5","times":3,"delay":"2s",…}, as [bpcctest] lists them
//	DELETE /sim/faults                   also releases a filled pool of subscriptions
//	POST   /sim/reset                    the daily reset
//	POST   /sim/tokens/expire            every token expires now
//	POST   /sim/subscriptions/drop       every subscription is dropped: 404
//	POST   /sim/subscriptions/replace    another program subscribes as the same user
//	POST   /sim/subscriptions/fill       others use up the pool: 409
//
// Field names are those of the JSON tags of [bpcctest.Agent], [bpcctest.Service] and [bpcctest.Fault].
// PUT merges: fields that are not given keep their value, and so do entries of stats. The response for
// agents and services is their present state; the other verbs return 204. A body that is wrong gets 400.
package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"bpcc-nats/bpcc/bpcctest"
)

// maxBody limits a request's body, in bytes.
const maxBody = 1 << 20

// Handler serves a tenant, and the requests of the package comment beside it.
func Handler(t *bpcctest.Tenant) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", t)
	// handle answers a request with the JSON of a value, or with 204 if it is nil.
	handle := func(pattern string, do func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			answer, err := do(r)
			status := http.StatusOK
			if err != nil {
				status, answer = http.StatusBadRequest, map[string]string{"error_code": "400", "error_message": err.Error()}
			}
			if answer == nil {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			// The values are plain structs that always encode; who has gone needs no answer.
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	action := func(pattern string, do func()) {
		handle(pattern, func(*http.Request) (any, error) { do(); return nil, nil })
	}
	handle("GET /sim/counts", func(*http.Request) (any, error) { return t.Counts(), nil })
	handle("PUT /sim/agents/{login}", func(r *http.Request) (any, error) {
		login := r.PathValue("login")
		return merge(t, r, func(w *bpcctest.World) (bpcctest.Agent, bool) { return w.Agent(login) },
			func(w *bpcctest.World, a bpcctest.Agent) { a.Login = login; w.SetAgent(a) })
	})
	handle("DELETE /sim/agents/{login}", func(r *http.Request) (any, error) { t.RemoveAgent(r.PathValue("login")); return nil, nil })
	handle("PUT /sim/agents/{login}/state_duration", func(r *http.Request) (any, error) {
		in, err := read[struct{ Duration string }](r)
		if err != nil {
			return nil, err
		}
		d, err := time.ParseDuration(in.Duration)
		if err != nil {
			return nil, fmt.Errorf("duration: %w", err)
		}
		t.SetStateDuration(r.PathValue("login"), d)
		return nil, nil
	})
	handle("POST /sim/agents/{login}/calls", func(r *http.Request) (any, error) {
		in, err := read[struct{ In, Out int }](r)
		if err == nil {
			t.AddCalls(r.PathValue("login"), in.In, in.Out)
		}
		return nil, err
	})
	handle("PUT /sim/services/{name}", func(r *http.Request) (any, error) {
		name := r.PathValue("name")
		return merge(t, r, func(w *bpcctest.World) (bpcctest.Service, bool) { return w.Service(name) },
			func(w *bpcctest.World, s bpcctest.Service) { s.Name = name; w.SetService(s) })
	})
	handle("DELETE /sim/services/{name}", func(r *http.Request) (any, error) { t.RemoveService(r.PathValue("name")); return nil, nil })
	handle("PUT /sim/availability/{service}", func(r *http.Request) (any, error) {
		in, err := read[struct{ Available *bool }](r)
		if err == nil {
			t.SetAvailability(r.PathValue("service"), in.Available)
		}
		return nil, err
	})
	handle("POST /sim/faults", func(r *http.Request) (any, error) {
		f, err := read[bpcctest.Fault](r)
		if err == nil {
			t.Inject(f)
		}
		return nil, err
	})
	action("DELETE /sim/faults", t.ClearFaults)
	action("POST /sim/reset", t.ResetDaily)
	action("POST /sim/tokens/expire", t.ExpireTokens)
	action("POST /sim/subscriptions/drop", t.DropSubscriptions)
	action("POST /sim/subscriptions/replace", t.ReplaceSubscription)
	action("POST /sim/subscriptions/fill", t.FillSubscriptions)
	return mux
}

// read decodes a request's body.
func read[T any](r *http.Request) (v T, err error) {
	err = decode(r.Body, &v)
	return v, err
}

// decode decodes a body strictly: a misspelt field would otherwise silently do nothing.
func decode(body io.Reader, into any) error {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	return nil
}

// merge decodes the body over the stored value, stores the result in one change, and returns what is
// stored then.
func merge[T any](t *bpcctest.Tenant, r *http.Request, get func(*bpcctest.World) (T, bool), set func(*bpcctest.World, T)) (stored T, err error) {
	// The body is read before the tenant is locked, so that a slow client blocks no other.
	body, err := read[json.RawMessage](r)
	if err != nil {
		return stored, err
	}
	t.Update(func(w *bpcctest.World) {
		v, _ := get(w)
		if err = decode(bytes.NewReader(body), &v); err == nil {
			set(w, v)
			stored, _ = get(w)
		}
	})
	return stored, err
}
