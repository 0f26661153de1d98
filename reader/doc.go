// Package reader reads what the bridge publishes about one tenant, as the informers of Kubernetes read its
// API: the present picture, kept current ([Reader.View]); the events in their order, with what is missing
// among them ([Reader.Events]); what is known of an instant in the past ([Reader.StateAt]); and work that is
// done for each event ([Reader.Consume]).
//
//	r, err := reader.Connect(url, "acme", reader.Options{})
//
// A program that routes calls asks the view, and acts on nothing that may be old:
//
//	view, err := r.View(ctx, reader.ViewOptions{})
//	if answer := view.Available("Voice Inbound"); answer.Route { … }
//
// It needs nats.go and the packages that define and read the wire, above all [bpcc-nats/bridge/event] and
// [bpcc-nats/diff/image], and nothing of the bridge that writes.
package reader
