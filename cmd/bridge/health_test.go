package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealthQueriesTheBridge(t *testing.T) {
	t.Parallel()
	status := map[string]int{"ready": http.StatusOK, "not ready": http.StatusServiceUnavailable}
	tests := map[string]struct {
		status int
		want   string
	}{
		"ready":     {exitOK, `{"ready":true}`},
		"not ready": {exitFailed, "503"},
		"no server": {exitFailed, "refused"},
		"off":       {exitUsage, "BRIDGE_HTTP is off"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/readyz" {
					t.Errorf("it asks for %s", r.URL.Path)
				}
				w.WriteHeader(status[name])
				io.WriteString(w, `{"ready":true}`)
			}))
			defer server.Close()
			_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "http://"), ":")
			listen := "0.0.0.0:" + port
			switch name {
			case "no server":
				server.Close()
			case "off":
				listen = "off"
			}
			r := runCommand(t, t.Context(), []string{"BRIDGE_HTTP=" + listen}, "health")
			if r.status != test.status || !strings.Contains(r.stdout+r.stderr, test.want) {
				t.Errorf("status %d, want %d and %q in\n%s%s", r.status, test.status, test.want, r.stdout, r.stderr)
			}
		})
	}
}
