package config

import (
	"errors"
	"strings"
	"testing"
)

// TestRedactionOfIDs: what identifies a row stays in its subject, so that redacting it is a fault
// that names the cure. Pseudonyms are that cure.
func TestRedactionOfIDs(t *testing.T) {
	t.Parallel()
	const (
		key    = "BRIDGE_PSEUDONYM_KEY=0123456789abcdef"
		agents = `BPCC_SUBSCRIPTION={"x":{"agent_grids":[{"id":"a","columns":[{"id":"1","statName":"login_id"},{"id":"2","statName":"first_last_name"}]}]}}`
		chat   = `BPCC_SUBSCRIPTION={"x":{"agent_grids":[{"id":"a","columns":[{"id":"1","stat_name":"user_id"}]}],"chat_messages":{"limit":5}}}`
		rules  = `BRIDGE_THRESHOLDS=[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">","value":5}}]`
		when   = `BRIDGE_THRESHOLDS=[{"name":"backlog","kind":"agent","stat":"state_duration","when":{"team_name":["Sales"]},"raise":{"op":">","value":5}}]`
		cure   = "set BRIDGE_PSEUDONYM_KEY"
	)
	for name, test := range map[string]struct {
		env     []string
		fault   []string // none = accepted
		warning string
	}{
		"login id":                {[]string{"BRIDGE_REDACT_STATS=login_id"}, []string{`"login_id" redacts login_id`, cure}, ""},
		"one of several":          {[]string{"BRIDGE_REDACT_STATS=extension, login_id"}, []string{`"login_id" redacts login_id`}, ""},
		"a JSON array":            {[]string{`BRIDGE_REDACT_STATS=["login_id"]`}, []string{`"login_id" redacts login_id`}, ""},
		"a pattern":               {[]string{"BRIDGE_REDACT_STATS=*_id"}, []string{`"*_id" redacts login_id`, cure}, ""},
		"everything":              {[]string{"BRIDGE_REDACT_STATS=*"}, []string{`"*" redacts login_id`, `"*" redacts name`}, ""},
		"a key that is not added": {[]string{"BRIDGE_REDACT_STATS=login_id", agents}, []string{`"login_id" redacts login_id`}, ""},
		"the other id":            {[]string{"BRIDGE_REDACT_STATS=user_id"}, nil, ""},
		"user id as key":          {[]string{"BRIDGE_REDACT_STATS=user_id", "BRIDGE_AGENT_KEY=user_id"}, []string{`"user_id" redacts user_id`, cure}, ""},
		"login id beside user id": {[]string{"BRIDGE_REDACT_STATS=login_id", "BRIDGE_AGENT_KEY=user_id"}, nil, ""},
		"a pattern with user id":  {[]string{"BRIDGE_REDACT_STATS=*_id", "BRIDGE_AGENT_KEY=user_id"}, []string{`"*_id" redacts user_id`}, ""},
		"pseudonyms":              {[]string{"BRIDGE_REDACT_STATS=login_id", key}, nil, ""},
		"pseudonyms, a pattern":   {[]string{"BRIDGE_REDACT_STATS=*_id", key}, nil, ""},
		"a service's name":        {[]string{"BRIDGE_REDACT_STATS=name"}, []string{`"name" redacts name, which identifies services`}, ""},
		"with pseudonyms too":     {[]string{"BRIDGE_REDACT_STATS=name", key}, []string{`"name" redacts name, which identifies services`}, ""},
		"a pattern with name":     {[]string{"BRIDGE_REDACT_STATS=*name"}, []string{`"*name" redacts name`, "first_last_name"}, ""},
		"no grid of services":     {[]string{"BRIDGE_REDACT_STATS=*name", agents}, nil, ""},
		"an agent's name":         {[]string{"BRIDGE_REDACT_STATS=*_name"}, nil, ""},
		"misspelled":              {[]string{"BRIDGE_REDACT_STATS=Login_ID,extension"}, nil, `"Login_ID" matches no subscribed statistic`},
		"not subscribed":          {[]string{"BRIDGE_REDACT_STATS=lastname"}, nil, `"lastname" matches no subscribed statistic`},
		"a field of chat":         {[]string{"BRIDGE_REDACT_STATS=content,login_id", "BRIDGE_AGENT_KEY=user_id", chat}, nil, ""},
		"a rule's statistic":      {[]string{"BRIDGE_REDACT_STATS=in_*", rules}, []string{`rule "backlog" reads in_calls_waiting, which BRIDGE_REDACT_STATS removes`}, ""},
		"a condition of a rule":   {[]string{"BRIDGE_REDACT_STATS=team_name", when}, []string{`rule "backlog" reads team_name, which BRIDGE_REDACT_STATS removes`}, ""},
		"a trailing comma":        {[]string{"BRIDGE_REDACT_STATS=extension,"}, nil, ""},
		"metrics":                 {[]string{"BRIDGE_METRICS_STATS=in_*,agents_ready,"}, nil, ""},
		"metrics of agents":       {[]string{"BRIDGE_METRICS_STATS=acd_state"}, nil, `BRIDGE_METRICS_STATS: "acd_state" matches no subscribed statistic of services or totals`},
		"an escaped star":         {[]string{`BRIDGE_REDACT_STATS=login\*`}, nil, `matches no subscribed statistic`},
	} {
		environ := append([]string{"BPCC_URL=https://acme.brightpattern.com", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b"}, test.env...)
		for _, purpose := range []Purpose{ForSource, ForBridge} {
			_, warnings, err := Parse(environ, purpose)
			if (err != nil) != (test.fault != nil) || err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: error %v", name, err)
			}
			for _, want := range test.fault {
				if err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("%s: no %q in %v", name, want, err)
				}
			}
			if text := strings.Join(warnings, "\n"); (text == "") != (test.warning == "") || !strings.Contains(text, test.warning) {
				t.Errorf("%s: warnings %q, want %q", name, text, test.warning)
			}
		}
	}
}
