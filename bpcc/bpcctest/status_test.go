package bpcctest_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
)

// The vendor's table of status codes, walked in the order of a conversation.
func TestStatusCodes(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{})
	x.login("sim", "sim-secret")
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	right := "grant_type=client_credentials&client_id=sim&client_secret=sim-secret&scope=acme"
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		signedIn                 bool
		status                   int
		bodyHas                  string
	}{
		{"token", "POST", "/configapi/v2/oauth/token", right, form, false, 200, `"token_type":"Bearer"`},
		{"token, unknown user", "POST", "/configapi/v2/oauth/token", strings.Replace(right, "id=sim", "id=nobody", 1), form, false, 401, `"error_description":`},
		{"token, bad secret", "POST", "/configapi/v2/oauth/token", strings.Replace(right, "sim-secret", "guess", 1), form, false, 401, `"error":`},
		{"token, wrong grant", "POST", "/configapi/v2/oauth/token", strings.Replace(right, "client_credentials", "password", 1), form, false, 401, `"error":`},
		{"token, JSON instead of a form", "POST", "/configapi/v2/oauth/token", `{"client_id":"sim"}`, []string{"Content-Type", "application/json"}, false, 401, `"error":`},
		{"cookie login is off", "POST", "/statsapi/auth", `{}`, nil, false, 403, `{"error":"illegal login attempt"}`},
		{"no token", "GET", data, "", nil, false, 401, ""},
		{"unknown token", "GET", data, "", []string{"Authorization", "Bearer 0000"}, false, 401, ""},
		{"no subscription", "GET", data, "", nil, true, 404, ""},
		{"subscribe", "POST", "/statsapi/subscription", agents, nil, true, 200, ""},
		{"subscribe, no JSON", "POST", "/statsapi/subscription", `{"a":`, nil, true, 400, `{"error_code":`},
		{"subscribe to nothing", "POST", "/statsapi/subscription", `{"a":{}}`, nil, true, 400, `{"error_code":`},
		{"subscribe without a token", "POST", "/statsapi/subscription", agents, nil, false, 401, ""},
		{"subscribe with too much", "POST", "/statsapi/subscription", strings.Repeat(" ", 1<<20+1), nil, true, 413, ""},
		{"data not ready", "GET", data, "", nil, true, 204, ""},
		{"data", "GET", data, "", nil, true, 200, `{"a":{"agent_grids":[{"id":"g","values":[]}]}}`},
		{"subscribe again", "POST", "/statsapi/subscription", strings.Replace(agents, `"a"`, `"b"`, 1), nil, true, 200, ""},
		{"data not ready again", "GET", data, "", nil, true, 204, ""},
		{"data of the second", "GET", data, "", nil, true, 200, `{"b":`},
		{"delete", "DELETE", "/statsapi/subscription/active", "", nil, true, 200, ""},
		{"delete twice", "DELETE", "/statsapi/subscription/active", "", nil, true, 200, ""},
		{"data after delete", "GET", data, "", nil, true, 404, ""},
		{"delete without a token", "DELETE", "/statsapi/subscription/active", "", nil, false, 401, ""},
		{"teams", "GET", "/statsapi/cfg/teams", "", nil, true, 200, "[ ]"},
		{"teams without a token", "GET", "/statsapi/cfg/teams", "", nil, false, 401, ""},
		{"dispositions without a token", "GET", "/statsapi/cfg/dispositions", "", nil, false, 401, ""},
		{"availability, no login", "GET", "/statsapi/info/check_available_agents?service=X", "", nil, false, 200, `{"availability": false}`},
		{"unknown path", "GET", "/statsapi/nothing", "", nil, true, 404, ""},
		{"the documents' typo", "DELETE", "/subscription/active", "", nil, true, 404, ""},
		{"wrong method", "PUT", "/statsapi/subscription", agents, nil, true, 405, ""},
		{"wrong method on data", "POST", data, "", nil, true, 405, ""},
		{"no control", "GET", "/sim/counts", "", nil, true, 404, ""},
	} {
		t.Run(c.name, func(t *testing.T) { // in order: each case builds on those before
			y := *x
			y.TB = t
			if !c.signedIn {
				y.token = ""
			}
			a := y.expectStatus(c.status, c.method, c.path, c.body, c.header...)
			if !strings.Contains(a.body, c.bodyHas) {
				t.Errorf("body %s, want %s in it", a.body, c.bodyHas)
			}
		})
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	now := &fakeClock{time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	x := startTester(t, bpcctest.Config{Now: now.Now, Tenant: "acme.brightpattern.com"})
	first := x.login("sim", "sim-secret")
	if !regexp.MustCompile(`^[0-9A-F]{64}$`).MatchString(first.Token) || first.Type != "Bearer" ||
		first.Expires != "3600" || first.Scope != "acme.brightpattern.com" {
		t.Fatalf("first token: %+v", first)
	}
	now.now = now.now.Add(336 * time.Second)
	again := x.login("sim", "sim-secret")
	if again.Token != first.Token || again.Expires != "3264" {
		t.Errorf("asked again: %+v, want the same token with 3264 left", again)
	}
	x.expectStatus(404, "GET", data, "", "Authorization", "Bearer "+first.Token)
	x.expectStatus(401, "GET", data, "", "Authorization", first.Token)
	now.now = now.now.Add(3264 * time.Second)
	x.expectStatus(401, "GET", data, "")
	renewed := x.login("sim", "sim-secret")
	if renewed.Token == first.Token || renewed.Expires != "3600" {
		t.Errorf("after its end: %+v, want another token", renewed)
	}
	x.ExpireTokens()
	x.expectStatus(401, "GET", data, "")
	if x.login("sim", "sim-secret").Token == renewed.Token {
		t.Error("ExpireTokens has left the token alive")
	}
}

// The subscription belongs to the user, so it outlives the token.
func TestSubscriptionOutlivesToken(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{NotReadyPolls: -1})
	x.subscribe(agents)
	x.ExpireTokens()
	x.login("sim", "sim-secret")
	x.data()
}

func TestCookieLogin(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{CookieLogin: true})
	login := `{"tenant_url":"acme","username":"sim","password":"sim-secret"}`
	shape := regexp.MustCompile(`^\{"token":"([0-9A-F-]{36})","privileges":\["PUSH_PULL_GLOBAL_WALLBOARDS","CUSTOMIZE_WALLBOARDS","SYS_USE_AGENT_SEAT_MAPS"\],"user_id":"[0-9A-F-]{36}"\}$`)
	a := x.expectStatus(200, "POST", "/statsapi/auth", login)
	m := shape.FindStringSubmatch(a.body)
	if m == nil {
		t.Fatalf("answer %s", a.body)
	}
	if got, want := a.Header.Get("Set-Cookie"), "X-BP-SESSION-ID="+m[1]+"; Path=/"; got != want {
		t.Errorf("cookie %q, want %q", got, want)
	}
	x.expectStatus(404, "GET", data, "", "Cookie", "X-BP-SESSION-ID="+m[1])
	x.expectStatus(404, "GET", data, "", "Cookie", "X-STATSAPI-TOKEN="+m[1]+"; X-STATSAPI-TENANT=acme; X-STATSAPI-LOGIN=sim")
	x.expectStatus(401, "GET", data, "", "Cookie", "X-BP-SESSION-ID=00000000-0000-0000-0000-000000000000")

	next := shape.FindStringSubmatch(x.expectStatus(200, "POST", "/statsapi/auth", login).body)
	x.expectStatus(401, "GET", data, "", "Cookie", "X-BP-SESSION-ID="+m[1])
	x.expectStatus(404, "GET", data, "", "Cookie", "X-BP-SESSION-ID="+next[1])
	x.StealSession()
	x.expectStatus(401, "GET", data, "", "Cookie", "X-BP-SESSION-ID="+next[1])
	x.expectStatus(401, "POST", "/statsapi/auth", strings.Replace(login, "sim-secret", "guess", 1))
	if got := x.Counts().CookieLogins; got != 3 {
		t.Errorf("counted %d cookie logins, want 3", got)
	}
}

func TestPoolOfSubscriptions(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{SubscriptionLimit: 2})
	x.AddUser("b", "b")
	x.AddUser("c", "c")
	tokens := map[string]string{}
	for _, id := range []string{"b", "c"} {
		tokens[id] = "Bearer " + x.login(id, id).Token
	}
	x.token = ""
	x.subscribe(agents)
	post := func(status int, user string) {
		t.Helper()
		x.expectStatus(status, "POST", "/statsapi/subscription", agents, "Authorization", tokens[user])
	}
	post(200, "b")
	post(409, "c")
	x.expectStatus(200, "POST", "/statsapi/subscription", agents) // one's own is replaced
	x.expectStatus(200, "DELETE", "/statsapi/subscription/active", "")
	post(200, "c")

	x.FillSubscriptions()
	x.expectStatus(409, "POST", "/statsapi/subscription", agents)
	post(200, "b")
	x.ClearFaults()
	x.DropSubscriptions()
	x.expectStatus(404, "GET", data, "", "Authorization", tokens["b"])
	x.expectStatus(200, "POST", "/statsapi/subscription", agents)
}

func TestIdleExpiry(t *testing.T) {
	t.Parallel()
	now := &fakeClock{time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	x := startTester(t, bpcctest.Config{Now: now.Now, NotReadyPolls: -1, IdleExpiry: time.Minute, SubscriptionLimit: 1})
	x.subscribe(agents)
	now.now = now.now.Add(59 * time.Second)
	x.data()
	now.now = now.now.Add(time.Minute)
	x.expectStatus(404, "GET", data, "")
}

func TestReplacedByAnotherProgram(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{NotReadyPolls: -1})
	x.subscribe(agents)
	x.ReplaceSubscription()
	if apps := parse(t, []byte(x.data())); len(apps) != 1 || apps["wallboard-7"].Totals == nil {
		t.Errorf("data %v, want another program's app id", apps)
	}
	x.subscribe(agents)
	if apps := parse(t, []byte(x.data())); apps["a"].Agents == nil {
		t.Errorf("data %v, want one's own again", apps)
	}
}
