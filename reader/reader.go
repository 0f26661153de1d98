package reader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
)

// Errors that callers can test for.
var (
	// ErrOptions is returned for options that cannot work. The error's text says what to correct.
	ErrOptions = errors.New("invalid options")
	// ErrOtherTimeline is returned when the stream is not the one that was read before: it was deleted and
	// created again, or restored from an older backup. Sequences and ids that were read do not count for it.
	ErrOtherTimeline = scan.ErrOtherTimeline
	// ErrUndeliverable is returned when the server cannot load the messages that come next for a durable
	// consumer.
	ErrUndeliverable = errors.New("the server cannot load the next messages")
)

// Defaults of [Options].
const (
	// DefaultStream is the stream of events, DefaultStateBucket the bucket of the view.
	DefaultStream      = "BPCC_EVENTS"
	DefaultStateBucket = "bpcc_state"
	// DefaultStaleAfter is BRIDGE_CHECKPOINT_INTERVAL by default, 30 s, and a tolerance.
	DefaultStaleAfter = 35 * time.Second
	// DefaultTimeout is that of a request.
	DefaultTimeout = 5 * time.Second
)

// availabilityTolerance is by how much an availability may be older than a feed: a bridge publishes it as
// unknown only when it has not been checked for some seconds.
const availabilityTolerance = 10 * time.Second

// Options say where the events of a tenant are, and when they are too old. The zero Options fit a bridge
// with its defaults.
type Options struct {
	// Stream is BRIDGE_STREAM of the bridge; "" is [DefaultStream].
	Stream string
	// StateBucket is BRIDGE_STATE_BUCKET of the bridge; "" is [DefaultStateBucket].
	StateBucket string
	// StaleAfter is the age of the last observation after which a live feed counts as stale. It must be
	// longer than BRIDGE_CHECKPOINT_INTERVAL of the bridge, which is how often a feed without changes is
	// confirmed; 0 is [DefaultStaleAfter].
	StaleAfter time.Duration
	// AvailabilityStaleAfter is the age of the last check of availabilities after which none is trusted; 0
	// is ten seconds more than StaleAfter.
	AvailabilityStaleAfter time.Duration
	// Timeout bounds one request to NATS; 0 is [DefaultTimeout]. A reading to the present end of the stream
	// fails when the server has not responded for six times as long. One that follows the stream waits.
	Timeout time.Duration
}

// withDefaults returns the options with the defaults in place of zero values.
func (o Options) withDefaults() Options {
	if o.Stream == "" {
		o.Stream = DefaultStream
	}
	if o.StateBucket == "" {
		o.StateBucket = DefaultStateBucket
	}
	if o.StaleAfter == 0 {
		o.StaleAfter = DefaultStaleAfter
	}
	if o.AvailabilityStaleAfter == 0 {
		o.AvailabilityStaleAfter = o.StaleAfter + availabilityTolerance
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	return o
}

// validate returns all that is wrong with the options.
func (o Options) validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: %s", ErrOptions, fmt.Sprintf(format, args...)))
	}
	for _, name := range []struct{ field, value string }{{"Stream", o.Stream}, {"StateBucket", o.StateBucket}} {
		if strings.ContainsAny(name.value, " .*>/\\\t\r\n") {
			fault("%s %q holds a blank, a dot, a wildcard or a slash, which no name of a stream has", name.field, name.value)
		}
	}
	for _, d := range []struct {
		field string
		value time.Duration
		least time.Duration
	}{
		{"StaleAfter", o.StaleAfter, time.Second}, {"AvailabilityStaleAfter", o.AvailabilityStaleAfter, time.Second},
		{"Timeout", o.Timeout, 10 * time.Millisecond},
	} {
		if d.value < d.least {
			fault("%s is %v; want at least %v, or 0 for the default", d.field, d.value, d.least)
		}
	}
	return errors.Join(faults...)
}

// Reader reads the events of one tenant. Its methods may be called from any goroutine.
type Reader struct {
	js      jetstream.JetStream
	tenant  string
	prefix  string // of the tenant's subjects
	options Options
	decoder event.Decoder
	own     *nats.Conn // made by Connect
}

// Connect opens a reader with a connection of its own, which outlives a server that is away for however
// long. The URL is that of [nats.Connect]: one or more servers, and [nats.DefaultURL] if it is "". Credentials
// are among the options of nats.go. [Reader.Close] closes the connection.
func Connect(url, tenant string, o Options, connection ...nats.Option) (*Reader, error) {
	nc, err := nats.Connect(url, append([]nats.Option{nats.Name("reader of " + tenant), nats.MaxReconnects(-1)}, connection...)...)
	if err != nil {
		return nil, fmt.Errorf("open reader: connect to NATS: %w", err)
	}
	var r *Reader
	js, err := jetstream.New(nc)
	if err == nil {
		r, err = Open(js, tenant, o)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	r.own = nc
	return r, nil
}

// Close closes the connection that [Connect] has made. What still reads by it ends with an error; a view
// gets old.
func (r *Reader) Close() {
	if r.own != nil {
		r.own.Close()
	}
}

// Open returns a reader of a tenant's events. It makes no request: the stream may be created later. The
// connection should have [nats.MaxReconnects] -1, so that it outlives a server that is away for long. The
// error is [ErrOptions].
func Open(js jetstream.JetStream, tenant string, o Options) (*Reader, error) {
	o = o.withDefaults()
	err := o.validate()
	if js == nil {
		err = errors.Join(err, fmt.Errorf("%w: no JetStream context; make one with jetstream.New", ErrOptions))
	}
	if tenant == "" {
		err = errors.Join(err, fmt.Errorf("%w: no tenant; it is BRIDGE_TENANT of the bridge, by default the first label of the host of BPCC_URL", ErrOptions))
	}
	if err != nil {
		return nil, fmt.Errorf("open reader: %w", err)
	}
	return &Reader{js: js, tenant: tenant, prefix: event.Prefix(tenant), options: o}, nil
}

// viewPrefix is the prefix of the tenant's subjects in the stream of the view.
func (r *Reader) viewPrefix() string {
	return "$KV." + r.options.StateBucket + "." + event.Token(r.tenant) + "."
}

// viewStream is the name of the stream of the view.
func (r *Reader) viewStream() string { return "KV_" + r.options.StateBucket }

// call returns a context for a request.
func (r *Reader) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, r.options.Timeout)
}

// checkSubjects refuses subjects that are not below the tenant.
func checkSubjects(subjects []string) error {
	for _, s := range subjects {
		tokens := strings.Split(s, ".")
		bad := slices.Contains(tokens, "") || slices.Contains(tokens[:len(tokens)-1], ">") || strings.ContainsAny(s, " \t\r\n")
		if bad || strings.HasPrefix(s, event.SubjectPrefix+".") {
			return fmt.Errorf("%w: subject %q; want one below the tenant, such as agent.*.state_changed or service.>", ErrOptions, s)
		}
	}
	return nil
}

// fullSubjects returns subjects below the tenant as they are in the stream; those of the whole tenant if
// there are none.
func (r *Reader) fullSubjects(subjects []string) []string {
	if len(subjects) == 0 {
		return []string{r.prefix + ">"}
	}
	full := make([]string, len(subjects))
	for i, s := range subjects {
		full[i] = r.prefix + s
	}
	return full
}
