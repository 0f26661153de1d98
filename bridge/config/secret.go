package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// Secret is text that is never shown: printed or logged it is "[redacted]".
type Secret string

// String hides the secret.
func (Secret) String() string { return "[redacted]" }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return "[redacted]" }

// MarshalText hides the secret from JSON and structured logs.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// reloadable is a secret or a certificate in files that may be replaced while the bridge runs. It
// is read at each use. While it cannot be read, for example during a replacement, the last good one
// is used.
type reloadable[T any] struct {
	variable string // the variable that names it
	read     func() (T, error)
	log      *slog.Logger

	mu         sync.Mutex // guards the fields below
	last       T
	lastLogged string // the last logged reason why it could not be read
}

func (k *reloadable[T]) current() T {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, err := k.read()
	switch {
	case err == nil:
		if k.lastLogged != "" {
			k.log.Info("file is readable again", "variable", k.variable)
		}
		k.last, k.lastLogged = v, ""
	case err.Error() != k.lastLogged:
		k.lastLogged = err.Error()
		k.log.Warn("cannot read file of variable", "variable", k.variable, "err", err, "hint", "the last good value stays in use")
	}
	return k.last
}

// secretFiles are the files of the variables that were given as NAME_FILE, by NAME.
type secretFiles map[string]string

// current returns a function that returns the present text of a variable, from its file if it was
// given as one. The function may be called concurrently.
func (f secretFiles) current(name string, initial Secret, log *slog.Logger) func() string {
	file, ok := f[name]
	if !ok {
		return func() string { return string(initial) }
	}
	k := &reloadable[string]{variable: name + "_FILE", log: log, last: string(initial), read: func() (string, error) { return readSecret(file) }}
	return k.current
}

// errEmptyFile is returned for a file that holds only white space.
var errEmptyFile = errors.New("file is empty")

// readSecret reads a file that holds one secret and nothing else.
func readSecret(file string) (string, error) {
	content, err := ReadFile(file)
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(string(content)) == "" {
		return "", fmt.Errorf("%s: %w", file, errEmptyFile)
	}
	// Editors and secret stores end files with a newline.
	return strings.TrimRight(string(content), "\r\n"), nil
}

// CurrentCertificate returns a function that returns the present certificate of two files; nil if there is
// none.
func CurrentCertificate(variable, cert, key string, log *slog.Logger) func() *tls.Certificate {
	if cert == "" {
		return nil
	}
	k := &reloadable[*tls.Certificate]{variable: variable, log: log, read: func() (*tls.Certificate, error) { return readKeyPair(cert, key) }}
	k.current() // the certificate that the configuration was checked with is the first good one
	return k.current
}

// CurrentRootCAs returns a function that returns the trusted root certificates that a file holds at present.
func CurrentRootCAs(variable, file string, log *slog.Logger) func() *x509.CertPool {
	k := &reloadable[*x509.CertPool]{variable: variable, log: log, read: func() (*x509.CertPool, error) { return readCA(file) }}
	return k.current
}
