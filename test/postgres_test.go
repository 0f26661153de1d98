package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// postgres is a server of this test alone.
type postgres struct {
	bin, dir, address, url string
	server                 *shell
}

// findPostgres returns the directory of PostgreSQL's programs: in the path, or where Debian installs them.
func findPostgres(t *testing.T) string {
	t.Helper()
	if file, err := exec.LookPath("initdb"); err == nil {
		if file, err = filepath.EvalSymlinks(file); err != nil {
			t.Fatal(err)
		}
		return filepath.Dir(file)
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		t.Fatal("PostgreSQL is not installed")
	}
	return filepath.Dir(found[len(found)-1])
}

// startPostgres makes a database and starts its server, by a user who is not root.
func startPostgres(t *testing.T) *postgres {
	t.Helper()
	p := &postgres{bin: findPostgres(t), address: freeAddress(t)}
	// Below the directory for all users: those of the test are for its own user.
	dir, err := os.MkdirTemp("", "bpcc-nats-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	p.dir, p.url = filepath.Join(dir, "data"), "postgres://bridge@"+p.address+"/postgres?sslmode=disable"
	output(t, cleanEnv(), "bash", "-c", asNobody()+p.bin+"/initdb --no-sync --auth=trust --username=bridge --encoding=UTF8 --locale=C.UTF-8 -D "+p.dir)
	p.start(t)
	return p
}

// nobody is the user that has no files.
const nobody = 65534

// asNobody begins a command that root must not run.
func asNobody() string {
	if os.Geteuid() != 0 {
		return ""
	}
	return fmt.Sprintf("exec setpriv --reuid=%d --regid=%[1]d --clear-groups ", nobody)
}

func (p *postgres) start(t *testing.T) {
	t.Helper()
	host, port, _ := strings.Cut(p.address, ":")
	command := fmt.Sprintf("%s%s/postgres -D %s -h %s -p %s -c unix_socket_directories= -c fsync=off", asNobody(), p.bin, p.dir, host, port)
	server, err := startShell("cd / && "+command, "", cleanEnv(), false)
	if err != nil {
		t.Fatal(err)
	}
	p.server = server
	t.Cleanup(func() { server.stop(syscall.SIGINT) })
	if !server.waitFor(regexp.MustCompile("ready to accept connections"), 30*time.Second) {
		t.Fatalf("PostgreSQL does not start\n%s", server.tail())
	}
}

// restart stops the server without waiting for its clients, and starts it.
func (p *postgres) restart(t *testing.T) {
	t.Helper()
	if !p.server.stop(syscall.SIGINT) {
		t.Errorf("PostgreSQL does not stop\n%s", p.server.tail())
	}
	<-time.After(time.Second)
	p.start(t)
}

// run runs psql, and returns what it prints: a line for each row, with | between the values.
func (p *postgres) run(t *testing.T, args ...string) string {
	t.Helper()
	return output(t, cleanEnv(), filepath.Join(p.bin, "psql"), append([]string{p.url, "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "-v", "ON_ERROR_STOP=1"}, args...)...)
}
