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

// tenants is a server of simulated tenants, told apart by the first part of the
// path: /0/statsapi/…, /1/statsapi/…. It speaks as much of the API as a bridge
// needs, checks nothing and costs little: bpcctest is the faithful one.
type tenants struct {
	URL string

	list []*tenant
	http *http.Server
	done sync.WaitGroup
}

// tenant is one simulated tenant, and the notes on who asked for its data.
type tenant struct {
	mu            sync.Mutex
	world         *world
	app           string // the app id that was subscribed
	buffer        []byte
	polls         []poll
	cost          func() time.Duration // read at each data request; nil = not read
	serverCost    func() time.Duration // likewise, together with cost
	targetPolls   int                  // at how many polls full is closed
	targetReached chan struct{}
}

// poll is a note on one data request.
type poll struct {
	// arrived is when the request was there, answered when the last byte of the
	// answer was written.
	arrived, answered time.Time
	// cost is the processor time that the asking process had used at arrived,
	// also that of the NATS server.
	cost, serverCost time.Duration
	// bytes is the size of the answer.
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
		// It ends with an error in any case, and close is the only cause.
		_ = s.http.Serve(l)
	})
	return s, nil
}

func (s *tenants) close() {
	_ = s.http.Close() // the listener's error would tell nothing to mend
	s.done.Wait()
}

// address is where tenant i is, as BPCC_URL has it.
func (s *tenants) address(i int) string { return s.URL + "/" + strconv.Itoa(i) }

// ServeHTTP answers requests of the API.
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
		_, _ = io.WriteString(w, text) // who has gone away needs no answer
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

// subscribe takes the app id, which is all that matters of a subscription here.
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

// serveData answers a poll and notes it.
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
		// Errors of either are the client's going away: its poll counts as none.
		_ = http.NewResponseController(w).Flush()
	}
	p.answered = time.Now()
	t.polls = append(t.polls, p)
	if len(t.polls) == t.targetPolls {
		close(t.targetReached)
	}
}

// serviceList lists the services as the look-up does.
func (t *tenant) serviceList() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := []map[string]string{}
	for i := t.world.agents; i < len(t.world.rows); i++ {
		list = append(list, map[string]string{"id": strconv.Itoa(i), "name": t.world.service(i)[0]})
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic(err) // maps of strings always have a JSON form
	}
	return string(b)
}
