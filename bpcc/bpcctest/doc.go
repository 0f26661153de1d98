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
// # Field cases
//
// Faults as JSON, for what polling systems meet. Further fields choose the requests that meet a fault
// (path, services, every, times); all of them are in [Fault].
//
//	{"frozen":true,"times":-1}                     the picture stands still while the world goes on
//	{"lag":"4s","every":2,"times":-1}              every second response is of a node 4 s behind
//	{"frozen":true,"every":2,"times":-1}           every second response is of a node that stands still
//	{"lag":"4s"}                                   clocks step back once
//	{"empty":["agents"],"times":15}                one grid is empty, by its id or "agent_grids"
//	{"services":["Sales"],"hang":true,"times":-1}  checks of a service hang
//	{"services":["Sales"],"status":403,"times":-1} checks of a service fail
//	{"path":"/check_available_agents","hang":true,"every":3,"times":-1}  every third check hangs
//	{"expires_in":"3600.5"}                        a login with this lifetime, any JSON
//	{"expires_in":"none"}                          a login without it
//	{"rows":{"ann":{"duplicate":{"acd_state":"busy"}}},"times":-1}  two rows of one key, in turns
//	{"rows":{"ann":{"missing":true}},"times":2}    a row is missing
//	{"rows":{"ann":{"cells":{"reason":["a"]}}}}    a cell is an array
//	{"rows":{"*":{"without":["reason"]}}}          a column is missing
//	{"limit":10,"times":-1}                        grids have their first 10 rows
//	{"shuffle":true,"times":-1}                    rows are in another order each time; a limit cuts others
//	{"body":"{\"error\":\"session expired\"}"}     200 with an error in the body
//	{"bom":true}                                   a byte order mark comes before the body
//
// What happens in the world is a change of it: [Tenant.ResetDaily] is the daily reset,
// [Tenant.AddCalls] corrects a counter, [Tenant.SetStateDuration] sets a clock back. Package control
// does all that over HTTP.
//
// # What is real and what is assumed
//
// Status codes, headers, spellings and JSON layout follow the vendor's documents and captured
// conversations. Where those say nothing the tenant does what is most likely: a second subscription
// of a user replaces the first, a subscription outlives its token, an unknown statistic has the
// value "", team ids that the user does not supervise match nothing, ratios are 0 to 1, and
// averages and ratios over nothing are "".
package bpcctest
