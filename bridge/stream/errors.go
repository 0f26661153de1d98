package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
)

// fault is a kind of error of NATS: how to recognize it, whether it may pass by itself, and what to do.
type fault struct {
	name      string
	values    []error               // that errors.Is finds
	codes     []jetstream.ErrorCode // of the JetStream API, any of them
	texts     []string              // parts of the error's text, in lower case, where neither of these tells faults apart
	transient bool                  // it may pass by itself; a person must correct all others
	hint      string                // what to do, with the placeholders of [Hint]; "" where the error itself says it
}

// faults lists all errors that have a known cause. The first that matches counts.
func faults() []fault {
	return []fault{
		// What the bridge itself finds.
		{name: "server too old", values: []error{ErrServerVersion}, hint: "upgrade all NATS servers to release " + oldestServer + " or later"},
		{name: "leases without TTL", values: []error{ErrNoTTL}, hint: "give the bucket a TTL: nats kv edit {bucket} --ttl {ttl}"},
		{name: "stream does not fit", values: []error{ErrMismatch}, hint: misfitHint},
		{name: "permission missing", values: []error{ErrNATSPermission}}, // the error has the hint
		{name: "id already stored", values: []error{ErrDuplicateID}, codes: []jetstream.ErrorCode{10201}, transient: true,
			hint: "another publisher used this bridge's message ids; retries succeed after the duplicate window of stream {stream}"},
		{name: "subject taken", values: []error{ErrSubjectMissing}, transient: true,
			hint: "restore in stream {stream} the subject {subject}; another stream that has it must give it up: nats stream find --subject '{subject}'"},

		// The connection. A server that refuses it does so until a person changes something.
		{name: "credentials expired", values: []error{nats.ErrAuthExpired, nats.ErrAccountAuthExpired},
			hint: "the credentials have expired: get new ones from the operator of the server"},
		{name: "credentials revoked", values: []error{nats.ErrAuthRevoked},
			hint: "the credentials have been revoked: get new ones from the operator of the server"},
		{name: "credentials refused", values: []error{nats.ErrAuthorization},
			hint: "check NATS_CREDS, NATS_NKEY, NATS_USER with NATS_PASSWORD, NATS_TOKEN, NATS_CERT with NATS_KEY, and NATS_CONTEXT"},
		{name: "permission violated", values: []error{nats.ErrPermissionViolation}, hint: permissionHint},
		{name: "no TLS", values: []error{nats.ErrSecureConnWanted},
			hint: "the server does not offer TLS; check NATS_URL, NATS_CA, NATS_CERT and NATS_TLS_FIRST, which require it"},
		{name: "no NATS server", values: []error{nats.ErrNoInfoReceived},
			hint: "check NATS_URL: what listens there is no NATS server, or it is one's port for monitoring or for other servers, or it wants NATS_TLS_FIRST=true"},
		{name: "too many connections", values: []error{nats.ErrMaxConnectionsExceeded, nats.ErrMaxAccountConnectionsExceeded}, transient: true,
			texts: []string{"maximum connections exceeded", "maximum account active connections exceeded", "connection throttling is active", "authentication timeout"},
			hint:  "raise max_connections of the NATS server or the account's limit of connections, or close other connections"},
		{name: "too many subscriptions", values: []error{nats.ErrMaxSubscriptionsExceeded}, transient: true,
			hint: "raise max_subscriptions of the server, or the account's or the user's limit of subscriptions"},
		{name: "message above max_payload", values: []error{nats.ErrMaxPayload}, texts: []string{"maximum payload violation"}, hint: "raise max_payload of the NATS server"},
		{name: "server shutting down", values: []error{errLameDuck, jetstream.ErrServerShutdown}, transient: true,
			hint: "the bridge continues when it reaches another NATS server, or this one again"},
		{name: "not connected", values: []error{ErrNotConnected, nats.ErrDisconnected, nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded, nats.ErrNoServers, nats.ErrStaleConnection},
			transient: true, hint: "the bridge continues when it reaches a NATS server: check that one runs at NATS_URL"},
		{name: "connection closed", values: []error{nats.ErrConnectionClosed}},

		// JetStream as a whole. A server that starts has none until it has read its store. Nobody responds
		// to what no stream stores, and to requests where there is no JetStream.
		{name: "no responders", values: []error{jetstream.ErrNoStreamResponse}, transient: true,
			hint: "check that JetStream is enabled for the account, and that stream {stream} has the subject {subject}"},
		{name: "JetStream off", values: []error{nats.ErrNoResponders}, codes: []jetstream.ErrorCode{10076}, transient: true, hint: "enable JetStream on the NATS server, and check NATS_JS_DOMAIN and NATS_JS_API_PREFIX"},
		{name: "JetStream off for the account", codes: []jetstream.ErrorCode{10035, 10039}, transient: true, hint: "enable JetStream for the account of this user"},
		{name: "too few servers", codes: []jetstream.ErrorCode{10005}, transient: true,
			hint: "start as many NATS servers as BRIDGE_REPLICAS, in the cluster and with the tags of BRIDGE_PLACEMENT_CLUSTER and BRIDGE_PLACEMENT_TAGS, or lower BRIDGE_REPLICAS"},
		{name: "replicas without a cluster", codes: []jetstream.ErrorCode{10074}, hint: "set BRIDGE_REPLICAS=1, or NATS_URL to a cluster"},
		{name: "no quorum", values: []error{context.DeadlineExceeded, nats.ErrTimeout}, codes: []jetstream.ErrorCode{10004, 10007, 10008, 10009}, transient: true,
			hint: "no server leads: check that more than half of the NATS servers that hold the stream run and reach one another"},

		// Streams that the server does not create.
		{name: "limit demanded", codes: []jetstream.ErrorCode{10113}, hint: "set BRIDGE_MAX_BYTES: the account demands a limit of every stream"},
		{name: "stream larger than allowed", codes: []jetstream.ErrorCode{10122}, hint: "set BRIDGE_MAX_BYTES to what the account allows a stream, or raise that limit"},
		{name: "duplicate window too long", codes: []jetstream.ErrorCode{10052}, texts: []string{"duplicates window"}, hint: "raise max_duplicate_window in the jetstream.limits of the NATS server to 2m"},
		{name: "invalid configuration", codes: []jetstream.ErrorCode{10052}, hint: "change the setting that the server names: its own limits, or what the bridge is configured to make"},
		{name: "subjects overlap", codes: []jetstream.ErrorCode{10065}, hint: "another stream has subjects of {stream}: find it with nats stream find --subject '{subject}', and take them from it"},
		{name: "name in use", codes: []jetstream.ErrorCode{10058}, hint: misfitHint},
		{name: "too many streams", codes: []jetstream.ErrorCode{10027}, hint: "raise the account's limit of streams, or delete one: the bridge needs four"},
		{name: "too many consumers", codes: []jetstream.ErrorCode{10026}, transient: true, hint: "raise the limit of consumers of the account or of stream {stream} (max_consumers), or delete consumers"},

		// Streams that do not accept a batch.
		{name: "stream full", codes: []jetstream.ErrorCode{10077}, transient: true, hint: "raise or remove max_bytes and max_msgs of stream {stream}"},
		{name: "account full", codes: []jetstream.ErrorCode{10002}, hint: "raise the account's limit of storage, lower BRIDGE_MAX_BYTES, or delete streams of the account"},
		{name: "server full", codes: []jetstream.ErrorCode{10028, 10047}, hint: "free disk space, raise the JetStream limits of the NATS server (max_file_store), or lower BRIDGE_MAX_BYTES"},
		{name: "insufficient resources", codes: []jetstream.ErrorCode{10023}, transient: true, hint: "free disk space, or raise the JetStream limits of the NATS servers"},
		{name: "stream offline", codes: []jetstream.ErrorCode{10118, 10119, 10194, 10195}, transient: true,
			hint: "the NATS server cannot load stream {stream}: upgrade it to the release that stored the stream, or a later one"},
		{name: "stream sealed", codes: []jetstream.ErrorCode{10109}, hint: "stream {stream} is sealed permanently: choose another name in {variable}"},
		{name: "atomic batches off", codes: []jetstream.ErrorCode{10174}, hint: "enable allow_atomic of stream {stream} again"},
		{name: "message above max_msg_size", codes: []jetstream.ErrorCode{jetstream.JSErrCodeStreamMessageExceedsMaximum}, hint: "raise or remove max_msg_size of stream {stream}"},
		{name: "batch too large", codes: []jetstream.ErrorCode{10199}, hint: "raise max_batch_size in the jetstream.limits of the NATS server to {batch}"},
		{name: "stream missing", values: []error{jetstream.ErrStreamNotFound, jetstream.ErrBucketNotFound},
			hint: "the bridge recreates it empty after it has been missing for some seconds; to restore a backup, stop the bridges first"},

		// Requests without an answer, and consumers that have ended.
		{name: "consumer lost", values: []error{jetstream.ErrNoHeartbeat, jetstream.ErrConsumerNotFound, jetstream.ErrConsumerDeleted, jetstream.ErrConsumerLeadershipChanged}, transient: true},
	}
}

const misfitHint = "change what differs with the nats CLI if the server allows it, else choose another name in {variable}, or delete stream {stream} after a backup; the bridge does not reshape a stream"

// matches reports whether an error is of this kind.
func (f *fault) matches(err error) bool {
	if slices.ContainsFunc(f.values, func(value error) bool { return errors.Is(err, value) }) {
		return true
	}
	text := strings.ToLower(err.Error())
	hasText := slices.ContainsFunc(f.texts, func(part string) bool { return strings.Contains(text, part) })
	var api *jetstream.APIError
	if len(f.codes) > 0 {
		return errors.As(err, &api) && slices.Contains(f.codes, api.ErrorCode) && (hasText || len(f.texts) == 0)
	}
	return hasText
}

// faultOf returns the kind of an error, nil if it has no known one.
func faultOf(err error) *fault {
	if err == nil {
		return nil
	}
	all := faults()
	if i := slices.IndexFunc(all, func(f fault) bool { return f.matches(err) }); i >= 0 {
		return &all[i]
	}
	return nil
}

// ErrDuplicateID is returned for a single message whose id is in the duplicate window. The stored
// message is this one, sent before, or another publisher's.
var ErrDuplicateID = errors.New("message id already stored")

// serverErrorClass is the first code of the errors of a server that may pass, where nothing more is known.
const serverErrorClass = http.StatusInternalServerError

// IsTransient reports whether an error of NATS may pass by itself: no response, no leader, fewer servers
// than replicas. A person must correct all others.
func IsTransient(err error) bool {
	if f := faultOf(err); f != nil {
		return f.transient
	}
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.Code >= serverErrorClass
	}
	var network net.Error
	return errors.Is(err, io.EOF) || errors.As(err, &network)
}

// streamError is an error about one stream, for its [Hint].
type streamError struct {
	stream string
	error
}

func (e *streamError) Unwrap() error { return e.error }

// AboutStream marks an error as one about this stream. The text stays as it is.
func AboutStream(name string, err error) error {
	if err == nil {
		return nil
	}
	return &streamError{name, err}
}

// Hint returns what a person can do about an error of NATS; "" where that is not known, or the error says
// it. An error is about the stream of the events unless it is marked by [AboutStream].
func Hint(c config.Stream, err error) string {
	if hint := StorageHint(err); hint != "" {
		return hint
	}
	f := faultOf(err)
	var api *jetstream.APIError
	switch {
	case f == nil && errors.As(err, &api):
		return "read the log of the NATS servers"
	case f == nil:
		return ""
	}
	name, about := c.Name, (*streamError)(nil)
	if errors.As(err, &about) {
		name = about.stream
	}
	variable, subject := "BRIDGE_STREAM", event.SubjectPrefix+".>"
	switch name {
	case ViewStream(c):
		variable, subject = "BRIDGE_STATE_BUCKET", ViewPrefix(c)+">"
	case LeaseStream(c.Lease):
		variable, subject = "BRIDGE_LEASE_BUCKET", "$KV."+c.Lease.Bucket+".>"
	case WatchdogStream(c):
		subject = WatchdogPrefix + ".>"
	}
	return strings.NewReplacer("{stream}", name, "{variable}", variable, "{subject}", subject, "{bucket}", c.Lease.Bucket,
		"{ttl}", c.Lease.TTL.String(), "{batch}", strconv.Itoa(event.BatchLimit)).Replace(f.hint)
}

// Explain returns the text of an error with its [Hint].
func Explain(c config.Stream, err error) string {
	if hint := Hint(c, err); hint != "" {
		return err.Error() + "; " + hint
	}
	return err.Error()
}
