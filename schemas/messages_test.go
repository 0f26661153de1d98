package schemas_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"bpcc-nats/schemas"
)

// messages lists the schemas of requests and replies.
func messages() []string {
	var names []string
	for _, name := range schemas.Names() {
		if strings.HasPrefix(name, "svc/") {
			names = append(names, name)
		}
	}
	return names
}

func TestExamplesOfMessages(t *testing.T) {
	t.Parallel()
	for _, name := range messages() {
		for _, e := range valueAt(t, schema(t, name), "/examples").([]any) {
			for _, asked := range []string{name, strings.TrimPrefix(name, "svc/")} {
				if err := schemas.ValidateMessage(asked, marshal(t, e)); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// TestRequiredInMessages takes each field out of the first example of each reply: whatever is not optional is
// missed, by its place.
func TestRequiredInMessages(t *testing.T) {
	t.Parallel()
	optional := map[string]string{
		"svc/availability.reply":   "",
		"svc/availabilities.reply": "/services/0/reason",
		"svc/state.reply": "/event/state_revision /agent /agent/login_id /agent/name /agent/team /state /state/state /state/reason /image " +
			"/image/login_id /image/first_last_name /image/team_name /image/acd_state /image/acd_next_state /image/reason",
	}
	v := validator(t)
	for name, may := range optional {
		for _, at := range pointers(example(t, name)) {
			if strings.HasSuffix(at, "/0") || strings.HasSuffix(at, "/1") {
				continue // an item of a list
			}
			err := v.Message(name, marshal(t, setAt(t, example(t, name), at, nil, true)))
			switch {
			case strings.Contains(" "+may+" ", " "+at+" "):
				if err != nil {
					t.Errorf("%s without %s: %v", name, at, err)
				}
			case !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), at):
				t.Errorf("%s without %s: %v", name, at, err)
			}
		}
	}
}

// TestUnknownKeysInMessages: a reply may gain fields, a request may not have others.
func TestUnknownKeysInMessages(t *testing.T) {
	t.Parallel()
	for _, name := range messages() {
		err := schemas.ValidateMessage(name, marshal(t, setAt(t, example(t, name), "/of_the_future", "text", false)))
		if request := strings.HasSuffix(name, ".request"); (err != nil) != request {
			t.Errorf("%s with an unknown key: %v", name, err)
		}
	}
}

func TestMessagesThatAreWrong(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, body string }{
		{"availability.request", `{"service":""}`},
		{"availability.request", `{"service":1}`},
		{"availability.request", `[]`},
		{"availability.request", `{`},
		{"state.request", `{"kind":"feed","id":"x"}`},
		{"state.request", `{"kind":"threshold","id":"x"}`},
		{"state.request", `{"kind":"agent","id":"x","rule":"y"}`},
		{"availability.reply", `{}`},
	} {
		if err := schemas.ValidateMessage(test.name, json.RawMessage(test.body)); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s %s: %v, want ErrInvalid", test.name, test.body, err)
		}
	}
	if err := schemas.ValidateMessage("feed", nil); !errors.Is(err, schemas.ErrUnknown) {
		t.Errorf("an unknown name: %v", err)
	}
}
