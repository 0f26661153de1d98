package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// tenants is a server of simulated tenants, distinguished by the first part of the path:
// /0/statsapi/…, /1/statsapi/…. It implements as much of the API as a bridge needs, without checks
// and at little cost. bpcctest is the faithful simulation.
type tenants struct {
	URL string

	list []*tenant
	http *http.Server
	done sync.WaitGroup
}

// tenant is one simulated tenant, with a record of its data requests.
type tenant struct {
	mu            sync.Mutex
	world         *world
	app           string // the app id that was subscribed
	buffer        []byte
	polls         []poll
	cost          func() time.Duration // read at each data request; nil = not read
	serverCost    func() time.Duration // read together with cost
	targetPolls   int                  // number of polls at which full is closed
	targetReached chan struct{}
}

// poll is the record of one data request.
type poll struct {
	// arrived is when the request arrived, answered when the last byte of the response was written.
	arrived, answered time.Time
	// cost is the processor time that the polling process, and the NATS server, had used at
	// arrived.
	cost, serverCost time.Duration
	// bytes is the size of the response.
	bytes int
}

// serve starts a server of as many tenants as worlds.
func serve(worlds ...*world) (*tenants, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the simulated tenants: %w", err)
	}
	s := &tenants{URL: "http://" + l.Addr().String()}
	for _, w := range worlds {
		s.list = append(s.list, &tenant{world: w, app: "bench", targetReached: make(chan struct{})})
	}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	s.done.Go(func() {
		// It always returns an error, and close is the only cause.
		_ = s.http.Serve(l)
	})
	return s, nil
}

func (s *tenants) close() {
	_ = s.http.Close() // nothing can be done about the listener's error
	s.done.Wait()
}

// address is the BPCC_URL of tenant i.
func (s *tenants) address(i int) string { return s.URL + "/" + strconv.Itoa(i) }

// ServeHTTP handles requests of the API.
func (s *tenants) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	number, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	i, err := strconv.Atoi(number)
	if err != nil || i < 0 || i >= len(s.list) {
		http.NotFound(w, r)
		return
	}
	t := s.list[i]
	respond := func(text string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, text) // a client that has disconnected needs no response
	}
	switch r.Method + " " + path {
	case "POST configapi/v2/oauth/token":
		respond(`{"access_token":"0000","token_type":"Bearer","expires_in":"86400","scope":"bench"}`)
	case "DELETE statsapi/subscription/active":
	case "POST statsapi/subscription":
		t.subscribe(w, r)
	case "GET statsapi/subscription/data":
		t.serveData(w)
	case "GET statsapi/info/check_available_agents":
		respond(`{"availability":true}`)
	case "GET statsapi/cfg/services":
		respond(t.serviceList())
	case "GET statsapi/cfg/teams", "GET statsapi/cfg/agents", "GET statsapi/cfg/dispositions":
		respond("[]")
	default:
		http.NotFound(w, r)
	}
}

// subscribe reads the app id, the only part of a subscription that matters here.
func (t *tenant) subscribe(w http.ResponseWriter, r *http.Request) {
	var apps map[string]json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&apps); err != nil || len(apps) != 1 {
		http.Error(w, "want one app id", http.StatusBadRequest)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range apps {
		t.app = id
	}
}

// serveData responds to a poll and records it.
func (t *tenant) serveData(w http.ResponseWriter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := poll{arrived: time.Now()}
	if t.cost != nil {
		p.cost, p.serverCost = t.cost(), t.serverCost()
	}
	if len(t.polls) > 0 {
		t.world.advance()
	}
	t.buffer = t.world.body(t.buffer[:0], t.app)
	p.bytes = len(t.buffer)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(p.bytes))
	if _, err := w.Write(t.buffer); err == nil {
		// Either error means that the client has disconnected: its poll does not count.
		_ = http.NewResponseController(w).Flush()
	}
	p.answered = time.Now()
	t.polls = append(t.polls, p)
	if len(t.polls) == t.targetPolls {
		close(t.targetReached)
	}
}

// serviceList lists the services like the look-up.
func (t *tenant) serviceList() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := []map[string]string{}
	for i := t.world.agents; i < len(t.world.rows); i++ {
		list = append(list, map[string]string{"id": strconv.Itoa(i), "name": t.world.service(i)[0]})
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic(err) // maps of strings always encode
	}
	return string(b)
}
