package bpcctest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// addControls adds the control endpoints of the package comment.
func (t *Tenant) addControls() {
	t.handle("GET /sim/counts", func(*http.Request, Fault) reply { return asJSON(t.Counts()) })
	t.handle("PUT /sim/agents/{login}", t.putAgent)
	t.handle("DELETE /sim/agents/{login}", func(r *http.Request, _ Fault) reply {
		t.RemoveAgent(r.PathValue("login"))
		return noContent()
	})
	t.handle("PUT /sim/agents/{login}/state_duration", t.putStateDuration)
	t.handle("POST /sim/agents/{login}/calls", t.postCalls)
	t.handle("PUT /sim/services/{name}", t.putService)
	t.handle("DELETE /sim/services/{name}", func(r *http.Request, _ Fault) reply {
		t.RemoveService(r.PathValue("name"))
		return noContent()
	})
	t.handle("PUT /sim/availability/{service}", t.putAvailability)
	t.handle("POST /sim/faults", t.postFault)
	t.handle("DELETE /sim/faults", t.controlHandler(t.ClearFaults))
	t.handle("POST /sim/reset", t.controlHandler(t.ResetDaily))
	t.handle("POST /sim/tokens/expire", t.controlHandler(t.ExpireTokens))
	t.handle("POST /sim/subscriptions/drop", t.controlHandler(t.DropSubscriptions))
	t.handle("POST /sim/subscriptions/replace", t.controlHandler(t.ReplaceSubscription))
	t.handle("POST /sim/subscriptions/fill", t.controlHandler(t.FillSubscriptions))
}

func (t *Tenant) controlHandler(do func()) handler {
	return func(*http.Request, Fault) reply {
		do()
		return noContent()
	}
}

func noContent() reply { return reply{status: http.StatusNoContent} }

func asJSON(v any) reply {
	// Only this package's plain structs are passed; they always encode.
	b, _ := json.Marshal(v)
	return jsonReply(http.StatusOK, append(b, '\n'))
}

// decodeBody decodes a control request's body strictly: a misspelt field would
// otherwise silently do nothing.
func decodeBody(r *http.Request, into any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	return nil
}

func (t *Tenant) putAgent(r *http.Request, _ Fault) reply {
	login := r.PathValue("login")
	return mergeStored(t, r, func(w *World) Agent {
		a, _ := w.Agent(login)
		return a
	}, func(w *World, a Agent) Agent {
		a.Login = login
		w.SetAgent(a)
		a, _ = w.Agent(login)
		return a
	})
}

func (t *Tenant) putService(r *http.Request, _ Fault) reply {
	name := r.PathValue("name")
	return mergeStored(t, r, func(w *World) Service {
		s, _ := w.Service(name)
		return s
	}, func(w *World, s Service) Service {
		s.Name = name
		w.SetService(s)
		s, _ = w.Service(name)
		return s
	})
}

// mergeStored decodes the body over the stored value and stores the result, in one change.
func mergeStored[T any](t *Tenant, r *http.Request, get func(*World) T, set func(*World, T) T) reply {
	body, status, err := readBody(r)
	if err != nil {
		return jsonReply(status, badRequest(err).body)
	}
	r.Body = body
	var answer reply
	t.Update(func(w *World) {
		v := get(w)
		if err := decodeBody(r, &v); err != nil {
			answer = badRequest(err)
			return
		}
		answer = asJSON(set(w, v))
	})
	return answer
}

func (t *Tenant) putStateDuration(r *http.Request, _ Fault) reply {
	var in struct {
		Duration string `json:"duration"`
	}
	if err := decodeBody(r, &in); err != nil {
		return badRequest(err)
	}
	d, err := time.ParseDuration(in.Duration)
	if err != nil {
		return badRequest(fmt.Errorf("duration: %w", err))
	}
	t.SetStateDuration(r.PathValue("login"), d)
	return noContent()
}

func (t *Tenant) postCalls(r *http.Request, _ Fault) reply {
	var in struct {
		In  int `json:"in"`
		Out int `json:"out"`
	}
	if err := decodeBody(r, &in); err != nil {
		return badRequest(err)
	}
	t.AddCalls(r.PathValue("login"), in.In, in.Out)
	return noContent()
}

func (t *Tenant) putAvailability(r *http.Request, _ Fault) reply {
	var in struct {
		Available *bool `json:"available"`
	}
	if err := decodeBody(r, &in); err != nil {
		return badRequest(err)
	}
	t.SetAvailability(r.PathValue("service"), in.Available)
	return noContent()
}

func (t *Tenant) postFault(r *http.Request, _ Fault) reply {
	var f Fault
	if err := decodeBody(r, &f); err != nil {
		return badRequest(err)
	}
	t.Inject(f)
	return noContent()
}
