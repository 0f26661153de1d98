package bridge

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/answer"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/lease"
	"bpcc-nats/bridge/svc"
)

// updateAnswers updates what requests are answered from, after the stream has stored events, or after a
// poll had nothing to store.
func (b *Bridge) updateAnswers(events []event.Event) {
	f := b.engine.Feed()
	b.answers.Update(events, answer.Feed{
		Status: f.Status, Cause: f.Cause, Epoch: f.Epoch, Poll: f.Poll, Instance: b.self.instance,
		ObservedUntil: f.ObservedUntil, MissingSince: f.MissingSince, MaxAge: b.config.InterruptAfter(), MaxCheckAge: b.maxCheckAge,
	}, b.engine.CheckedAt)
}

// replyFunc makes the reply to a request at a time. An error that is an [svc.Error] is for the requester.
type replyFunc func(request []byte, now time.Time) ([]byte, error)

// answerRequests answers requests about the tenant until stop is called. There is no queue group: of two
// instances that believe that they lead, the one without the lease says nothing. Without the permission to
// subscribe none is answered.
func (b *Bridge) answerRequests(l *lease.Lease) (stop func()) {
	answers := b.answers // of this term
	var subscriptions []*nats.Subscription
	for endpoint, reply := range map[string]replyFunc{svc.Availability: answers.Availability, svc.State: answers.State} {
		for _, outcome := range []string{requestAnswered, requestRefused, requestNotLeading, requestFailed} {
			b.metrics.requests.WithLabelValues(b.config.Tenant, endpoint, outcome) // so that the first one is seen as an increase
		}
		s, err := b.js.Conn().Subscribe(svc.Subject(b.config.Tenant, endpoint), func(msg *nats.Msg) {
			outcome := b.answerRequest(msg, l, reply)
			b.metrics.requests.WithLabelValues(b.config.Tenant, endpoint, outcome).Inc()
		})
		if err != nil {
			b.log.Warn("cannot subscribe to requests", "endpoint", endpoint, "err", err)
			continue
		}
		subscriptions = append(subscriptions, s)
	}
	return func() {
		for _, s := range subscriptions {
			// Requests that have arrived are answered, unless the lease is lost.
			if err := s.Drain(); err != nil {
				b.log.Debug("subscription to requests not ended", "err", err)
			}
		}
	}
}

// Outcomes of requests in metrics.
const (
	requestAnswered   = "answered"
	requestRefused    = "refused"
	requestNotLeading = "not_leading"
	requestFailed     = "failed"
)

// answerRequest answers a request, unless the lease may have ended. It returns the outcome.
func (b *Bridge) answerRequest(msg *nats.Msg, l *lease.Lease, reply replyFunc) (outcome string) {
	if !mayReplyTo(msg.Reply) {
		return requestRefused
	}
	body, err := reply(msg.Data, b.now())
	if limit := b.js.Conn().MaxPayload(); err == nil && int64(len(body)) > limit {
		err = svc.Errorf(svc.TooLarge, "reply of %d bytes is larger than max_payload, %d", len(body), limit)
	}
	outcome = requestAnswered
	response := &nats.Msg{Subject: msg.Reply, Data: body}
	if refusal := (*svc.Error)(nil); errors.As(err, &refusal) {
		outcome, err = requestRefused, nil
		response.Data = nil
		response.Header = nats.Header{svc.CodeHeader: {strconv.Itoa(refusal.Code)}, svc.DescriptionHeader: {refusal.Description}}
	}
	// Last of all: the process may have been paused while it made the reply.
	if !l.Held() {
		return requestNotLeading
	}
	if err == nil {
		err = b.js.Conn().PublishMsg(response)
	}
	if err != nil {
		b.log.Debug("request not answered", "err", err)
		return requestFailed
	}
	return outcome
}

// mayReplyTo reports whether a reply may be sent to a subject that a requester has chosen: not where the
// bridge itself publishes, such as to the stream of events or a lease.
func mayReplyTo(subject string) bool {
	first, _, _ := strings.Cut(subject, ".")
	return first != "" && first != "bpcc" && !strings.HasPrefix(first, "$")
}
