package bpcctest_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
)

// What was captured of a response to Create Subscription: nothing at all, chunked.
func TestSubscribeHasNoBody(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{})
	x.login("sim", "sim-secret")
	a := x.expectStatus(200, "POST", "/statsapi/subscription", agents)
	_, typed := a.Header["Content-Type"]
	if a.body != "" || typed || a.ContentLength != -1 || !slices.Equal(a.TransferEncoding, []string{"chunked"}) {
		t.Errorf("body %q, typed %v, length %d, encoding %v; want an empty chunked body without type",
			a.body, typed, a.ContentLength, a.TransferEncoding)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	afternoon := &fakeClock{time.Date(2026, 3, 1, 17, 23, 21, 0, time.UTC)}
	x := startTester(t, bpcctest.Config{Now: afternoon.Now, NotReadyPolls: -1})
	x.subscribe(agents)
	for _, path := range []string{data, "/statsapi/cfg/teams"} {
		a := x.expectStatus(200, "GET", path, "")
		for name, want := range map[string]string{
			"Content-Type":                     "application/json",
			"Server":                           "nginx/1.15.12",
			"Access-Control-Allow-Methods":     "GET, POST, DELETE, PUT",
			"Access-Control-Allow-Headers":     "Accept, Origin, Content-type, Authorization",
			"Access-Control-Allow-Credentials": "true",
			"Last-Modified":                    "Sun, 01 Mar 2026 05:23:21 GMT",
			"Expires":                          "Sat, 26 Jul 1997 05:00:00 GMT",
			"Cache-Control":                    "no-store, no-cache, max-age=0, must-revalidate",
			"Etag":                             "",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
}

func TestGzip(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{NotReadyPolls: -1})
	x.SetAgent(bpcctest.Agent{Login: "diana.yeh"})
	x.subscribe(agents)
	plain := x.data()
	for header, zipped := range map[string]bool{
		"gzip": true, "br, gzip": true, "gzip;q=0.5": true, "gzip;q=0": false, "br": false, "": false,
	} {
		a := x.expectStatus(200, "GET", data, "", "Accept-Encoding", header)
		body := a.body
		if got := a.Header.Get("Content-Encoding") == "gzip"; got != zipped {
			t.Errorf("accepting %q: compressed %v, want %v", header, got, zipped)
			continue
		}
		if zipped {
			z, err := gzip.NewReader(strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			body = string(b)
		}
		if body != plain {
			t.Errorf("accepting %q: %s, want %s", header, body, plain)
		}
	}
}

// Captured: https://github.com/sergey-lozhkin/statsapi-samples, 3-data.sh.
func TestDataIsCompact(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{NotReadyPolls: -1})
	x.SetAgent(bpcctest.Agent{Login: "diana.yeh", First: "Diana", Last: "Yeh"})
	x.subscribe(`{"1":{"agent_grids":[{"id":"1","columns":[{"id":"1","stat_name":"login_id"},{"id":"3","stat_name":"lastname"},` +
		`{"id":"4","stat_name":"firstname"},{"id":"5","stat_name":"acd_state"},{"id":"6","stat_name":"reason"}],"logged_in_agents_only":"false"}]}}`)
	want := `{"1":{"agent_grids":[{"id":"1","values":[{"1":"diana.yeh","3":"Yeh","4":"Diana","5":"","6":""}]}]}}`
	if got := x.data(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSectionsAndVariants(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{NotReadyPolls: -1})
	x.SetAgent(bpcctest.Agent{Login: "a", State: "ready"})
	x.SetService(bpcctest.Service{Name: `Böse "Tricks" \ <&>` + "\n\x01\u2028"})
	x.AddChatMessage(bpcctest.ChatMessage{ID: "1", LoginID: "boss", FirstName: "Bo", LastName: "Ss", Content: "old", Sent: time.Unix(0, 0)})
	x.AddChatMessage(bpcctest.ChatMessage{ID: "2", LoginID: "boss", Content: "newer", Urgent: true, Sent: time.Unix(1, 0)})
	x.AddChatMessage(bpcctest.ChatMessage{ID: "3", LoginID: "boss", Content: "none of it", Sent: time.Unix(2, 0)})
	x.subscribe(`{"z":{"stats_totals":["agents_ready","in_average_speed_of_answer","no_such","agents_ready"],"stats_totals_service_ids":[],"chat_messages":{"filter":"","limit":"1"}},
		"b":{"chat_messages":{"filter":"e","limit":2},"service_grids":[{"id":7,"columns":[{"id":5,"statName":"name"},{"id":"6","statName":"in_calls_waiting"}]}],
		"agent_grids":[{"id":"g","columns":[{"id":"c","statName":"acd_state"}]}]}}`)
	got := x.data()
	want := `{"b":{"agent_grids":[{"id":"g","values":[{"c":"ready"}]}],` +
		`"service_grids":[{"id":"7","values":[{"5":"Böse \"Tricks\" \\ <&>\n\u0001` + "\u2028" + `","6":"0"}]}],` +
		`"chat_messages":[{"id":"3","login_id":"boss","first_name":"","last_name":"","send_time":"1970-01-01T00:00:02Z","is_urgent":"0","content":"none of it"},` +
		`{"id":"2","login_id":"boss","first_name":"","last_name":"","send_time":"1970-01-01T00:00:01Z","is_urgent":"1","content":"newer"}]},` +
		`"z":{"stats_totals":{"agents_ready":"1","in_average_speed_of_answer":"","no_such":""},` +
		`"chat_messages":[{"id":"3","login_id":"boss","first_name":"","last_name":"","send_time":"1970-01-01T00:00:02Z","is_urgent":"0","content":"none of it"}]}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !json.Valid([]byte(got)) {
		t.Error("that is no JSON")
	}
}

// Captured configuration responses are laid out by Jackson's pretty printer.
func TestConfigurationIsPretty(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{})
	x.login("sim", "sim-secret")
	for _, path := range []string{"teams", "services", "agents"} {
		if a := x.expectStatus(200, "GET", "/statsapi/cfg/"+path, ""); a.body != "[ ]" {
			t.Errorf("%s of an empty tenant: %s", path, a.body)
		}
	}
	x.SetTeams("Customer Service")
	x.SetService(bpcctest.Service{Name: "Callback", ID: "B0D5A5F0-0000-4000-8000-000000000001"})
	x.SetAgent(bpcctest.Agent{Login: "diana.yeh", UserID: "B0D5A5F0-0000-4000-8000-000000000002"})
	x.SetAgent(bpcctest.Agent{Login: "admin", UserID: "B0D5A5F0-0000-4000-8000-000000000003"})
	item := func(id, name string) string { return "{\n  \"id\" : \"" + id + "\",\n  \"name\" : \"" + name + "\"\n}" }
	one, two := item("B0D5A5F0-0000-4000-8000-000000000002", "diana.yeh"), item("B0D5A5F0-0000-4000-8000-000000000003", "admin")
	for path, want := range map[string][]string{
		"teams":    {"[ " + item(bpcctest.TeamID("Customer Service"), "Customer Service") + " ]"},
		"services": {"[ " + item("B0D5A5F0-0000-4000-8000-000000000001", "Callback") + " ]"},
		"agents":   {"[ " + one + ", " + two + " ]", "[ " + two + ", " + one + " ]"},
	} {
		if a := x.expectStatus(200, "GET", "/statsapi/cfg/"+path, ""); !slices.Contains(want, a.body) {
			t.Errorf("%s:\n%s\nwant\n%s", path, a.body, want[0])
		}
	}
	x.SetDispositions(bpcctest.Disposition{Name: "Product sold", AgentCanSelect: true, Outbound: true},
		bpcctest.Disposition{Name: "Silence", Inbound: true}, bpcctest.Disposition{Name: "Wrong number", AgentCanSelect: true, Inbound: true, Preview: true})
	for query, want := range map[string]string{
		"":                            `[ "Product sold", "Silence", "Wrong number" ]`,
		"?agentCanSelect=1":           `[ "Product sold", "Wrong number" ]`,
		"?inbound=1":                  `[ "Silence", "Wrong number" ]`,
		"?outbound=1":                 `[ "Product sold" ]`,
		"?preview=1&agentCanSelect=1": `[ "Wrong number" ]`,
		"?outbound=1&inbound=1":       `[ ]`,
		"?inbound=0":                  `[ "Product sold", "Silence", "Wrong number" ]`,
	} {
		if a := x.expectStatus(200, "GET", "/statsapi/cfg/dispositions"+query, ""); a.body != want {
			t.Errorf("dispositions%s: %s, want %s", query, a.body, want)
		}
	}
}

func TestAvailability(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{})
	check := func(service string, want bool) {
		t.Helper()
		a := x.expectStatus(200, "GET", "/statsapi/info/check_available_agents?tenantUrl=acme&service="+service, "")
		if got := a.body == `{"availability": true}`; got != want || !got && a.body != `{"availability": false}` {
			t.Errorf("%s: %s, want %v", service, a.body, want)
		}
	}
	yes, no := true, false
	x.SetAgent(bpcctest.Agent{Login: "a", State: "ready", Services: []string{"Sales", "Web Chat"}})
	check("Sales", true)
	check("Web+Chat", true)
	check("Nobody's", false)
	x.SetState("a", "busy", "")
	check("Sales", false)
	x.SetAvailability("Sales", &yes)
	check("Sales", true)
	x.SetAvailability("Sales", nil)
	check("Sales", false)
	x.SetState("a", "ready", "")
	x.SetAvailability("Sales", &no)
	check("Sales", false)
	x.RemoveService("Web Chat")
	check("Web+Chat", false)
}
