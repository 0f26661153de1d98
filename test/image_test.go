package test

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestImage builds the container image with buildah, which needs root, and runs it.
func TestImage(t *testing.T) {
	needScripts(t)
	bridge := findBridge(t)
	env := cleanEnv()
	server := startServer(t, env)
	url, id, secret := startTenant(t, env, bridge, "")
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	settings := ""
	for _, v := range []string{
		"BPCC_URL=" + url, "BPCC_CLIENT_ID=" + id, "BPCC_CLIENT_SECRET=" + secret, "BPCC_POLL_INTERVAL=200ms",
		"NATS_URL=" + server, "BRIDGE_TENANT=image", "BRIDGE_HTTP=" + freeAddress(t),
	} {
		settings += "--env " + v + " "
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/image",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(append(e.Vars, env...), "CI_BRIDGE="+bridge, "ROOT="+top, "SETTINGS="+settings)
			return nil
		},
	})
}
