// Package bpcctest is a simulated tenant of the Bright Pattern Contact Center
// that speaks the Real-Time Statistics API over real HTTP: what net/http/httptest
// is to net/http. Tests, `bridge sim` and `bridge demo` all run against it.
//
// A [Tenant] is an http.Handler; a [Server] is a tenant that listens:
//
//	sim := bpcctest.NewServer(bpcctest.Config{})
//	defer sim.Close()
//	sim.SetAgent(bpcctest.Agent{Login: "diana.yeh", State: "ready", Services: []string{"Sales"}})
//	// …talk to sim.URL with client id "sim" and secret "sim-secret"
//
// The world behind the API does not change until a script changes it ([Tenant.SetState],
// [Tenant.Update]) or a [Floor] simulates a contact centre. [Tenant.Inject] makes the API misbehave
// in the ways that real ones do.
//
// # What is real and what is assumed
//
// Status codes, headers, spellings and JSON layout follow the vendor's documents and captured
// conversations. Where those say nothing the tenant does what is most likely: a second subscription
// of a user replaces the first, a subscription outlives its token, an unknown statistic has the
// value "", team ids that the user does not supervise match nothing, ratios are 0 to 1, and
// averages and ratios over nothing are "".
//
// # Control endpoints
//
// With [Config.Control] the tenant also serves, without any login, for people who run it as a
// process of its own:
//
//	GET    /sim/counts                   the Counts so far
//	PUT    /sim/agents/{login}           {"state":"ready","services":["Sales"],"stats":{"extension":"7"},…}
//	DELETE /sim/agents/{login}
//	PUT    /sim/services/{name}          {"stats":{"in_calls_waiting":"7"},…}
//	DELETE /sim/services/{name}
//	PUT    /sim/availability/{service}   {"available":true}, false, or null to compute it again
//	POST   /sim/faults                   {"status":503,"retry_after":"5","times":3,"delay":"2s","drip":"20ms",…}
//	DELETE /sim/faults                   also releases a filled pool of subscriptions
//	POST   /sim/reset                    the daily reset
//	POST   /sim/tokens/expire            every token expires now
//	POST   /sim/subscriptions/drop       every subscription is dropped: 404
//	POST   /sim/subscriptions/replace    another program subscribes as the same user
//	POST   /sim/subscriptions/fill       others use up the pool: 409
//
// Field names are those of the JSON tags of [Agent], [Service] and [Fault]. PUT merges: fields that
// are not given keep their value, and so do entries of stats. The response for agents and services
// is their present state; the other verbs return 204.
package bpcctest
