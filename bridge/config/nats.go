package config

import (
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/nats-io/nkeys"
)

// NATS is the NATS server that the bridge connects to, and how it authenticates.
type NATS struct {
	URL      string `env:"NATS_URL"`
	Context  string `env:"NATS_CONTEXT"`
	Creds    string `env:"NATS_CREDS"`
	NKey     string `env:"NATS_NKEY"`
	User     string `env:"NATS_USER"`
	Password Secret `env:"NATS_PASSWORD"`
	Token    Secret `env:"NATS_TOKEN"`
	CA       string `env:"NATS_CA"`
	Cert     string `env:"NATS_CERT"`
	Key      string `env:"NATS_KEY"`
	// InboxPrefix begins the subjects of replies, by default _INBOX. With a prefix for each
	// user, a server can keep replies from other users.
	InboxPrefix string `env:"NATS_INBOX_PREFIX"`
	// APIPrefix begins the subjects of the JetStream API where it is imported from another
	// account; empty means $JS.API.
	APIPrefix string `env:"NATS_JS_API_PREFIX"`
	// Domain is the JetStream domain of the streams; empty is that of the server.
	Domain string `env:"NATS_JS_DOMAIN"`
	// TLSFirst begins TLS before the server has sent anything, as a server with handshake_first wants it.
	TLSFirst bool `env:"NATS_TLS_FIRST"`

	files secretFiles
}

// Embedded reports whether the bridge runs its own NATS server because none is configured.
func (c *NATS) Embedded() bool { return c.URL == "" && c.Context == "" }

// CurrentPassword returns a function that returns the present password. It may be called concurrently.
func (c *NATS) CurrentPassword(log *slog.Logger) func() string {
	return c.files.current("NATS_PASSWORD", c.Password, log)
}

// CurrentToken returns a function that returns the present token. It may be called concurrently.
func (c *NATS) CurrentToken(log *slog.Logger) func() string {
	return c.files.current("NATS_TOKEN", c.Token, log)
}

// servers returns the addresses of NATS_URL; false if one is none.
func (c *NATS) servers() (all []*url.URL, ok bool) {
	for server := range strings.SplitSeq(c.URL, ",") {
		server = strings.TrimSpace(server)
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		u, err := url.Parse(server)
		if err != nil {
			return nil, false
		}
		all = append(all, u)
	}
	return all, true
}

// check checks the authentication settings for the NATS server.
func (c *NATS) check(vars map[string]string, fault faultFunc) {
	// The library's own error would contain a password of the URL.
	if _, ok := c.servers(); !ok {
		fault("NATS_URL", "an address is not of the form nats://host:4222 (percent-encode a password in it, or better use NATS_PASSWORD_FILE)")
	}
	if c.Embedded() {
		if set := serverSettings(vars); len(set) > 0 {
			fault("NATS_URL", "not set, but %s; name the server in NATS_URL, or in a context in NATS_CONTEXT", strings.Join(set, ", "))
		}
	}
	switch {
	case c.User != "" && c.Password == "":
		fault("NATS_PASSWORD", "not set, but NATS_USER is")
	case c.User == "" && c.Password != "":
		fault("NATS_USER", "not set, but NATS_PASSWORD is")
	}
	if c.User != "" && c.Token != "" {
		fault("NATS_TOKEN", "set, and NATS_USER too; keep one")
	}
	if c.Creds != "" && c.NKey != "" {
		fault("NATS_NKEY", "set, and NATS_CREDS too; keep one")
	}
	checkKeyPair(fault, "NATS_CERT", c.Cert, "NATS_KEY", c.Key)
	if c.CA != "" {
		if _, err := readCA(c.CA); err != nil {
			fault("NATS_CA", "%v", err)
		}
	}
	if c.Creds != "" {
		if err := checkCreds(c.Creds); err != nil {
			fault("NATS_CREDS", "%v", err)
		}
	}
	if c.NKey != "" {
		if _, err := PublicKey(c.NKey); err != nil {
			fault("NATS_NKEY", "%v", err)
		}
	}
	switch {
	case c.Domain != "" && c.APIPrefix != "":
		fault("NATS_JS_DOMAIN", "set, and NATS_JS_API_PREFIX too; keep one")
	case strings.Contains(c.Domain, "."):
		fault("NATS_JS_DOMAIN", "%q is not a domain: want one token such as hub", c.Domain)
	}
	checkSubject(fault, "NATS_JS_DOMAIN", c.Domain, "hub")
	checkSubject(fault, "NATS_INBOX_PREFIX", c.InboxPrefix, "_INBOX_bridge")
	checkSubject(fault, "NATS_JS_API_PREFIX", c.APIPrefix, "ACME.API")
}

// serverSettings lists the variables that are set for a NATS server of one's own, each with what it may
// have been meant to be.
func serverSettings(vars map[string]string) (set []string) {
	known := natsNames()
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		switch {
		case vars[name] == "" || !strings.HasPrefix(name, natsPrefix):
		case slices.Contains(known, name):
			if vars[name] != "false" {
				set = append(set, name+" is")
			}
		case slices.Contains(fileNames(), strings.TrimSuffix(name, "_FILE")): // its content is set, or a fault
		case !isServiceLink(name) && namesServer(name):
			set = append(set, fmt.Sprintf("%s is, which is unknown (%s?)", name, nearestNATSName(name)))
		}
	}
	return set
}

// namesServer reports whether the name of an unknown variable suggests an address or credentials.
func namesServer(name string) bool {
	for word := range strings.SplitSeq(strings.TrimPrefix(name, natsPrefix), "_") {
		if word == "CA" || slices.ContainsFunc([]string{
			"URL", "SERVER", "HOST", "ADDR", "ENDPOINT", "CONTEXT", "CRED", "NKEY", "SEED", "JWT", "USER", "PASS", "TOKEN", "CACERT", "CERT", "KEY", "TLS", "AUTH",
		}, func(part string) bool { return strings.HasPrefix(word, part) }) {
			return true
		}
	}
	return false
}

// warnings returns warnings about passwords that others may read on their way.
func (c *NATS) warnings() (warnings []string) {
	servers, _ := c.servers()
	for _, u := range servers {
		_, inURL := u.User.Password()
		secret := ""
		switch {
		case c.CA != "" || c.Cert != "" || c.TLSFirst || u.Scheme == "tls" || u.Scheme == "wss" || u.Hostname() == "" || IsLoopback(u.Hostname()):
		case c.Password != "" || inURL:
			secret = "password"
		case c.Token != "" || u.User != nil:
			secret = "token"
		}
		if secret != "" {
			warnings = append(warnings, fmt.Sprintf("the %s for NATS goes to %s without encryption if the server does not demand TLS: use tls:// in NATS_URL, or set NATS_CA", secret, u.Hostname()))
		}
	}
	return warnings
}

// checkSubject checks a subject prefix, if it is set.
func checkSubject(fault faultFunc, name, subject, example string) {
	for token := range strings.SplitSeq(subject, ".") {
		if subject != "" && (token == "" || strings.ContainsAny(token, "*> \t\r\n")) {
			fault(name, "%q is not a subject: want tokens without wildcards or spaces, such as %s", subject, example)
			return
		}
	}
}

// checkCreds checks a file of NATS credentials.
func checkCreds(file string) error {
	if _, err := UserJWT(file); err != nil {
		return err
	}
	pair, err := UserKey(file)
	if err != nil {
		return fmt.Errorf("no nsc credentials in %s: %w", file, err)
	}
	pair.Wipe()
	return nil
}

// UserJWT returns the token in a file of NATS credentials.
func UserJWT(file string) (string, error) {
	content, err := ReadFile(file)
	if err != nil {
		return "", err
	}
	defer clear(content)
	token, err := nkeys.ParseDecoratedJWT(content)
	if err != nil {
		return "", fmt.Errorf("no nsc credentials in %s: %w", file, err)
	}
	return token, nil
}

// UserKey returns the key of a NATS user whose seed a file holds. The caller wipes it.
func UserKey(file string) (nkeys.KeyPair, error) {
	content, err := ReadFile(file)
	if err != nil {
		return nil, err
	}
	defer clear(content)
	return nkeys.ParseDecoratedUserNKey(content)
}

// PublicKey returns the public key of a file that holds the seed of a NATS user.
func PublicKey(file string) (string, error) {
	pair, err := UserKey(file)
	if err != nil {
		return "", fmt.Errorf("no user seed in %s: %w", file, err)
	}
	defer pair.Wipe()
	return pair.PublicKey()
}
