package control_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bpcc/bpcctest/control"
)

// subscription asks for all that the requests change of agents and services.
const subscription = `{"a":{
	"agent_grids":[{"id":"g","columns":[{"id":"1","stat_name":"login_id"},{"id":"2","stat_name":"acd_state"},{"id":"3","stat_name":"state_duration"},
		{"id":"4","stat_name":"in_calls_handled_per_day"},{"id":"5","stat_name":"extension"}]}],
	"service_grids":[{"id":"s","columns":[{"id":"1","stat_name":"name"},{"id":"2","stat_name":"in_calls_waiting"},{"id":"3","stat_name":"in_max_wait_time"},
		{"id":"4","stat_name":"in_calls_received_per_day"}]}]}}`

func TestControl(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	tenant := bpcctest.New(bpcctest.Config{NotReadyPolls: -1, Now: func() time.Time { return now }})
	server := httptest.NewServer(control.Handler(tenant))
	defer server.Close()
	sub, err := bpcc.ParseSubscription([]byte(subscription))
	if err != nil {
		t.Fatal(err)
	}
	shows := func(agents, services string) {
		t.Helper()
		want := `{"a":{"agent_grids":[{"id":"g","values":[` + agents + `]}],"service_grids":[{"id":"s","values":[` + services + `]}]}}`
		if got := string(tenant.Snapshot(sub)); got != want {
			t.Errorf("it shows %s, want %s", got, want)
		}
	}
	token := ""
	request := func(status int, method, path, body string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		if strings.HasPrefix(body, "grant_type=") {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != status {
			t.Errorf("%s %s: status %d, want %d: %s (%v)", method, path, response.StatusCode, status, text, err)
		}
		return string(text)
	}
	agent := func(body string) (a bpcctest.Agent) {
		t.Helper()
		if err := json.Unmarshal([]byte(request(200, "PUT", "/sim/agents/diana.yeh", body)), &a); err != nil {
			t.Error(err)
		}
		return a
	}

	if a := agent(`{"first":"Diana","state":"ready","services":["Sales"],"stats":{"extension":"7"}}`); a.Login != "diana.yeh" || a.UserID == "" {
		t.Errorf("agent %+v", a)
	}
	if a := agent(`{"state":"busy","stats":{"mood":"calm"}}`); a.First != "Diana" || a.State != "busy" || len(a.Services) != 1 || a.Stats["extension"] != "7" || a.Stats["mood"] != "calm" {
		t.Errorf("merged agent %+v", a)
	}
	request(204, "PUT", "/sim/agents/diana.yeh/state_duration", `{"duration":"49m56s"}`)
	request(204, "POST", "/sim/agents/diana.yeh/calls", `{"in":41}`)
	request(204, "POST", "/sim/agents/diana.yeh/calls", `{"in":-1}`)
	shows(`{"1":"diana.yeh","2":"busy","3":"2996","4":"40","5":"7"}`, "")
	request(204, "DELETE", "/sim/agents/diana.yeh", "")

	request(200, "PUT", "/sim/services/A%2FB", `{"stats":{"in_max_wait_time":"5","in_calls_received_per_day":"9"}}`)
	request(200, "PUT", "/sim/services/A%2FB", `{"stats":{"in_calls_waiting":"7"}}`)
	shows("", `{"1":"A/B","2":"7","3":"5","4":"9"}`)
	request(204, "POST", "/sim/reset", "")
	shows("", `{"1":"A/B","2":"7","3":"5","4":"0"}`)
	const available = "/statsapi/info/check_available_agents?service=A/B"
	request(204, "PUT", "/sim/availability/A%2FB", `{"available":true}`)
	if got := request(200, "GET", available, ""); !strings.Contains(got, "true") {
		t.Errorf("availability %s", got)
	}
	request(204, "PUT", "/sim/availability/A%2FB", `{"available":null}`)
	if got := request(200, "GET", available, ""); !strings.Contains(got, "false") {
		t.Errorf("availability %s", got)
	}
	request(204, "DELETE", "/sim/services/A%2FB", "")
	shows("", "")

	for _, wrong := range [][3]string{
		{"PUT", "/sim/agents/ann", `{"sate":"busy"}`}, {"PUT", "/sim/agents/ann", ``}, {"PUT", "/sim/services/S", `{"stats":7}`}, {"PUT", "/sim/availability/S", `{"is":true}`},
		{"PUT", "/sim/agents/ann/state_duration", `{"duration":5}`}, {"PUT", "/sim/agents/ann/state_duration", `{"duration":"5"}`}, {"POST", "/sim/agents/bob/calls", `{"inn":1}`},
		{"POST", "/sim/faults", `{"status":99}`}, {"POST", "/sim/faults", `{"stats":500}`}, {"POST", "/sim/faults", `"` + strings.Repeat("x", 1<<20) + `"`},
	} {
		if got := request(400, wrong[0], wrong[1], wrong[2]); !strings.HasPrefix(got, `{"error_code":"400","error_message":"`) {
			t.Errorf("error %s", got)
		}
	}
	shows("", "")

	const data = "/statsapi/subscription/data"
	var login struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(request(200, "POST", "/configapi/v2/oauth/token", "grant_type=client_credentials&client_id=sim&client_secret=sim-secret")), &login); err != nil {
		t.Fatal(err)
	}
	token = login.Token
	request(200, "POST", "/statsapi/subscription", subscription)
	request(204, "POST", "/sim/faults", `{"status":503,"times":-1,"delay":"1ms"}`)
	request(503, "GET", data, "")
	request(204, "DELETE", "/sim/faults", "")
	request(200, "GET", data, "")
	request(204, "POST", "/sim/subscriptions/replace", "")
	if got := request(200, "GET", data, ""); !strings.Contains(got, "wallboard-7") {
		t.Errorf("replaced: %s", got)
	}
	request(204, "POST", "/sim/subscriptions/drop", "")
	request(404, "GET", data, "")
	request(204, "POST", "/sim/subscriptions/fill", "")
	request(409, "POST", "/statsapi/subscription", subscription)
	request(204, "POST", "/sim/tokens/expire", "")
	request(401, "GET", data, "")

	var c bpcctest.Counts
	if err := json.Unmarshal([]byte(request(200, "GET", "/sim/counts", "")), &c); err != nil {
		t.Fatal(err)
	}
	if c.Logins != 1 || c.Subscribes != 2 || c.Data[200] != 2 || c.Data[503] != 1 || c.Data[404] != 1 || c.Data[401] != 1 || c.Availability != 2 {
		t.Errorf("counts %+v", c)
	}
}
