package bpcctest

import (
	"cmp"
	"compress/gzip"
	"io"
	"net/http"
	"sync"
	"time"
)

// Config configures a simulated tenant. The zero value works.
type Config struct {
	// Tenant is the host returned as scope of a token; empty means "sim.brightpattern.com".
	Tenant string
	// ClientID and ClientSecret are the API user that always exists and
	// supervises all teams; empty means "sim" and "sim-secret". The cookie login
	// takes the same pair as username and password.
	ClientID, ClientSecret string
	// Now is the clock of state durations and token lifetimes; nil means time.Now. A [Floor] has
	// its own clock for state durations.
	Now func() time.Time
	// NotReadyPolls is how many data requests after a subscription get 204; 0 means 1, negative
	// means none.
	NotReadyPolls int
	// TokenTTL is the lifetime of a token; 0 means an hour. Another login returns the same token
	// with its remaining lifetime.
	TokenTTL time.Duration
	// SubscriptionLimit is the tenant's pool of active subscriptions, which all users share; 0
	// means 5. A subscription beyond it gets 409.
	SubscriptionLimit int
	// IdleExpiry drops a subscription that was not read for that long; 0 means never.
	IdleExpiry time.Duration
	// CookieLogin enables the login of older releases. Without it POST /statsapi/auth returns 403,
	// as BPCC 5.36 does.
	CookieLogin bool
	// RefuseUnknownStats makes a subscription to an unknown statistic get 400; without it the
	// statistic has the value "".
	RefuseUnknownStats bool
	// Log logs every request, without secrets; nil means no logging.
	Log func(format string, args ...any)
}

// Tenant is a simulated tenant: an http.Handler with a world behind it. Its methods may be called
// at any time from any goroutine. Each call is one change, which the next data request sees
// completely or not at all.
type Tenant struct {
	config Config
	mux    *http.ServeMux

	zipping sync.Mutex
	zipper  *gzip.Writer // expensive to create; guarded by zipping

	mu                 sync.Mutex // guards everything below, the world included
	world              *World
	users              map[string]*user
	tokens             map[string]*user // by OAuth token
	sessions           map[string]*user // by cookie
	otherSubscriptions int              // subscriptions of the pool that other programs hold
	faults             []*Fault
	history            []version // of the world, the oldest first; only while a fault needs it
	counts             Counts
}

// New returns a tenant without a listener: mount it as an http.Handler.
func New(c Config) *Tenant {
	c.Tenant = cmp.Or(c.Tenant, "sim.brightpattern.com")
	c.ClientID, c.ClientSecret = cmp.Or(c.ClientID, "sim"), cmp.Or(c.ClientSecret, "sim-secret")
	c.NotReadyPolls = max(cmp.Or(c.NotReadyPolls, 1), 0)
	c.TokenTTL, c.SubscriptionLimit = cmp.Or(c.TokenTTL, time.Hour), cmp.Or(c.SubscriptionLimit, 5)
	if c.Now == nil {
		c.Now = time.Now
	}
	zipper, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // the level is a right one
	t := &Tenant{
		config:   c,
		zipper:   zipper,
		mux:      http.NewServeMux(),
		world:    newWorld(c.Now),
		users:    map[string]*user{},
		tokens:   map[string]*user{},
		sessions: map[string]*user{},
		counts:   Counts{Data: map[int]int{}},
	}
	t.AddUser(c.ClientID, c.ClientSecret)
	t.routes()
	return t
}

// routes registers all endpoints of the API.
func (t *Tenant) routes() {
	t.handle("POST "+tokenPath, t.postToken)
	t.handle("POST /statsapi/auth", t.postAuth)
	t.handle("DELETE /statsapi/auth", t.requireUser(t.deleteAuth))
	t.handle("POST /statsapi/subscription", t.requireUser(t.postSubscription))
	t.handle("DELETE /statsapi/subscription/active", t.requireUser(t.deleteSubscription))
	t.handle("GET "+dataPath, t.requireUser(t.getData))
	t.handle("GET /statsapi/cfg/teams", t.requireUser(t.getTeams))
	t.handle("GET /statsapi/cfg/services", t.requireUser(t.getServices))
	t.handle("GET /statsapi/cfg/agents", t.requireUser(t.getAgents))
	t.handle("GET /statsapi/cfg/dispositions", t.requireUser(t.getDispositions))
	t.handle("GET "+availabilityPath, t.getAvailability)
}

// AddUser adds a further API user, who supervises the named teams, or all teams
// when none are named. Adding a user again changes secret and teams and leaves
// token and subscription alone.
func (t *Tenant) AddUser(id, secret string, teams ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.users[id]
	if u == nil {
		u = &user{id: id}
		t.users[id] = u
	}
	u.secret = secret
	u.scope = newScope(teams)
}

// Update makes several changes at once: no data request sees some of them without the others. The
// world is valid until the callback returns. The callback must not call the tenant's own methods:
// they would deadlock.
func (t *Tenant) Update(change func(w *World)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(t.world)
	t.recordHistory()
}
