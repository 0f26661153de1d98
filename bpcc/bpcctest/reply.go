package bpcctest

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	dataPath         = "/statsapi/subscription/data"
	cfgPath          = "/statsapi/cfg/"
	tokenPath        = "/configapi/v2/oauth/token"
	availabilityPath = "/statsapi/info/check_available_agents"
	// maxBody limits a request's body. The largest subscription seen has a few kilobytes.
	maxBody = 1 << 20
)

// reply is a response before it is written, so that a fault can change it.
type reply struct {
	status      int
	contentType string
	body        []byte
	header      http.Header // further headers, may be nil
	chunked     bool        // an empty body sent chunked, without type or length
}

func jsonReply(status int, body []byte) reply {
	return reply{status: status, contentType: "application/json", body: body}
}

// errorReply is an error in the format of a sister API; this one's format is not documented.
func errorReply(status int, text string) reply {
	return jsonReply(status, append(appendQuoted([]byte(`{"error":`), text), '}'))
}

// badRequest begins with the key that old documents show before they break off.
func badRequest(err error) reply {
	body := appendQuoted([]byte(`{"error_code":"400","error_message":`), err.Error())
	return jsonReply(http.StatusBadRequest, append(body, '}'))
}

// handler returns the response to a request, with what the fault changes in its content. ServeHTTP
// applies the rest of the fault.
type handler func(r *http.Request, f Fault) reply

// exchange carries a fault, and the reply that met it, through the mux.
type exchange struct {
	fault Fault
	reply reply
	done  bool // a handler of the API has set reply
}

// exchangeKey is the context key of the *exchange.
type exchangeKey struct{}

func (t *Tenant) handle(pattern string, h handler) {
	t.mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) {
		// Only ServeHTTP calls the mux, and it always sets an exchange.
		v := r.Context().Value(exchangeKey{}).(*exchange)
		v.reply, v.done = h(r, v.fault), true
	})
}

// ServeHTTP handles one request of the API.
func (t *Tenant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if reset := t.serve(w, r); reset {
		// The request counts as done by now: the client may repeat it at once.
		resetConnection(w)
	}
}

// serve handles one request. It reports whether the connection is to be reset instead.
func (t *Tenant) serve(w http.ResponseWriter, r *http.Request) (reset bool) {
	startedAt := t.config.Now()
	path := r.URL.Path
	v := &exchange{}
	userID := ""
	t.mu.Lock()
	t.counts.count(r.Method, path)
	fault, faulty := t.nextFault(r)
	v.fault = fault
	u := t.userOf(r)
	if u != nil {
		userID = u.id
		if path == dataPath {
			u.inFlight++
			t.counts.MaxInFlightData = max(t.counts.MaxInFlightData, u.inFlight)
			defer t.requestDone(u)
		}
	}
	t.mu.Unlock()

	if fault.Hang {
		// The server notices that a client has disconnected once the body is read.
		_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBody))
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	if fault.Delay > 0 && !sleep(r.Context(), fault.Delay) {
		panic(http.ErrAbortHandler) // the client has disconnected
	}
	if fault.Reset {
		if path == dataPath {
			t.mu.Lock()
			t.counts.Data[0]++
			t.mu.Unlock()
		}
		return true
	}
	setHeaders(w.Header(), path, startedAt)
	switch {
	case fault.Status != 0 || fault.Body != "":
		v.reply, v.done = fault.reply(), true
	default:
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		t.mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, v)))
	}
	if !v.done {
		t.logf("%s %s %s: no such path or method", r.Method, path, userID)
		return false // the mux has written 404 or 405
	}
	if path == dataPath {
		t.mu.Lock()
		t.counts.Data[v.reply.status]++
		t.mu.Unlock()
	}
	t.logf("%s %s %s: %d, %d bytes in %v%s", r.Method, path, userID, v.reply.status, len(v.reply.body),
		t.config.Now().Sub(startedAt).Round(time.Microsecond), map[bool]string{true: ", faulty"}[faulty])
	t.write(w, r, v.reply, fault)
	return false
}

func (t *Tenant) requestDone(u *user) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u.inFlight--
}

func (t *Tenant) logf(format string, args ...any) {
	if t.config.Log != nil {
		t.config.Log(format, args...)
	}
}

// reply returns the response of a fault that replaces the handler's.
func (f Fault) reply() reply {
	r := reply{status: f.Status, contentType: f.ContentType, body: []byte(f.Body)}
	if r.status == 0 {
		r.status = http.StatusOK
	}
	if r.contentType == "" && f.Body != "" {
		r.contentType = "application/json"
		if first := strings.TrimSpace(f.Body)[:1]; first != "{" && first != "[" {
			r.contentType = http.DetectContentType(r.body)
		}
	}
	return r
}

// setHeaders sets the headers of every response. They are those of a captured response, with its
// error: Last-Modified is printed from a 12-hour clock, so it is half a day late after noon.
func setHeaders(h http.Header, path string, now time.Time) {
	h.Set("Server", "nginx/1.15.12")
	h.Set("Date", now.UTC().Format(http.TimeFormat))
	if !strings.HasPrefix(path, "/statsapi/") {
		return
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE, PUT")
	h.Set("Access-Control-Allow-Headers", "Accept, Origin, Content-type, Authorization")
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Last-Modified", now.UTC().Format("Mon, 02 Jan 2006 03:04:05 GMT"))
	h.Set("Expires", "Sat, 26 Jul 1997 05:00:00 GMT")
	h.Set("Cache-Control", "no-store, no-cache, max-age=0, must-revalidate")
}

// write writes a reply, modified by the fault.
func (t *Tenant) write(w http.ResponseWriter, r *http.Request, a reply, f Fault) {
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	if f.RetryAfter != "" {
		h.Set("Retry-After", f.RetryAfter)
	}
	// A nil entry keeps net/http from guessing a type.
	h["Content-Type"] = nil
	if a.contentType != "" {
		h.Set("Content-Type", a.contentType)
	}
	if f.Nested != "" {
		value := appendQuoted(nil, f.Nested)
		a.body = bytes.ReplaceAll(a.body, append([]byte{':'}, value...), slices.Concat([]byte(":["), value, []byte("]")))
	}
	if f.BOM && len(a.body) > 0 {
		a.body = append([]byte("\ufeff"), a.body...)
	}
	if f.Truncate {
		a.body = a.body[:len(a.body)/2]
	}
	if a.chunked && len(a.body) == 0 {
		if f.Close {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(a.status)
		// Flushing before the length is known makes the response chunked.
		_ = http.NewResponseController(w).Flush()
		return
	}
	if len(a.body) >= minZipSize && acceptsGzip(r.Header.Get("Accept-Encoding")) {
		a.body = t.zip(a.body)
		h.Set("Content-Encoding", "gzip")
		h.Set("Vary", "Accept-Encoding")
	}
	if a.status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	if f.Close {
		if len(a.body) > 0 {
			w.WriteHeader(a.status)
			// The connection is about to be cut anyway.
			_, _ = w.Write(a.body[:len(a.body)/2])
			_ = http.NewResponseController(w).Flush()
		}
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(a.status)
	if f.Drip > 0 {
		writeSlowly(r.Context(), w, a.body, f.Drip)
		return
	}
	if r.Method != http.MethodHead && len(a.body) > 0 {
		// A client that has disconnected does not matter to the tenant.
		_, _ = w.Write(a.body)
	}
}

// writeSlowly sends a body byte by byte, until all is sent or the client disconnects.
func writeSlowly(ctx context.Context, w http.ResponseWriter, body []byte, every time.Duration) {
	for i := range body {
		if !sleep(ctx, every) {
			panic(http.ErrAbortHandler)
		}
		// A client that disconnects ends ctx.
		_, _ = w.Write(body[i : i+1])
		_ = http.NewResponseController(w).Flush()
	}
}

// resetConnection cuts a connection as a crashed peer or a firewall does.
func resetConnection(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2 has no connection of its own to cut
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		// Without lingering, closing sends a reset instead of an end.
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
	panic(http.ErrAbortHandler)
}

// minZipSize is nginx's default of the smallest body worth compressing.
const minZipSize = 20

func acceptsGzip(header string) bool {
	for coding := range strings.SplitSeq(header, ",") {
		name, weight, weighted := strings.Cut(coding, ";")
		if strings.TrimSpace(name) == "gzip" {
			return !weighted || strings.Trim(strings.TrimPrefix(strings.TrimSpace(weight), "q="), "0.") != ""
		}
	}
	return false
}

func (t *Tenant) zip(body []byte) []byte {
	t.zipping.Lock()
	defer t.zipping.Unlock()
	var b bytes.Buffer
	t.zipper.Reset(&b)
	// A bytes.Buffer returns no errors.
	_, _ = t.zipper.Write(body)
	_ = t.zipper.Close()
	return b.Bytes()
}

// sleep waits for d or until ctx ends. It reports whether d has passed.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
