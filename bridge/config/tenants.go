package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/event"
)

// tenantsVariable names the file with the tenants of a process that runs several.
const tenantsVariable = "BRIDGE_TENANTS_FILE"

// tenantVariables are the bridge's variables that a tenant may set for itself; it may set all of
// BPCC's. The others belong to the process.
var tenantVariables = [...]string{
	"BRIDGE_TENANT", "BRIDGE_THRESHOLDS", "BRIDGE_AGENT_KEY", "BRIDGE_VOLATILE_STATS", "BRIDGE_REDACT_STATS", "BRIDGE_METRICS_STATS",
	"BRIDGE_PSEUDONYM_KEY", "BRIDGE_DISAPPEAR_AFTER",
}

// ParseAll is [Parse] for a process that may run several tenants: one configuration for
// each. BRIDGE_TENANTS_FILE names a JSON array of objects, one for each tenant, whose members are
// variables, by their names or without their prefix and in lower case ("url" is BPCC_URL, "tenant"
// BRIDGE_TENANT). The environment gives what a tenant does not set. Without such a file there is
// one tenant, that of the environment.
func ParseAll(environ []string, purpose Purpose) (all []*Config, warnings []string, err error) {
	vars := env.ToMap(environ)
	file := vars[tenantsVariable]
	if file == "" || purpose == ForStream {
		c, warnings, err := Parse(environ, purpose)
		if err != nil {
			return nil, warnings, err
		}
		return []*Config{c}, warnings, nil
	}
	body, err := ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("%w:\n%s: %w", ErrInvalid, tenantsVariable, err)
	}
	var tenants []map[string]json.RawMessage
	if err := json.Unmarshal(body, &tenants); err != nil {
		return nil, nil, fmt.Errorf("%w:\n%s: %s: want a JSON array with an object for each tenant: %w", ErrInvalid, tenantsVariable, file, atLine(body, err))
	}
	if len(tenants) == 0 {
		return nil, nil, fmt.Errorf("%w:\n%s: %s contains no tenant", ErrInvalid, tenantsVariable, file)
	}
	var faults, ofProcess []error
	indexByToken := map[string]int{} // by token, which must be unique in subjects
	users := map[apiUser][]userOf{}
	subscriptions := map[subscriptionSource]bpcc.Subscription{}
	for i, tenant := range tenants {
		name := fmt.Sprintf("tenant %d (%s)", i+1, tenantLabel(tenant))
		own, settingFaults := tenantVars(tenant)
		c, tenantWarnings, varFaults, err := parse(mergeEnv(vars, own), purpose)
		if err != nil {
			return nil, warnings, err
		}
		for _, w := range tenantWarnings {
			if !slices.Contains(warnings, w) {
				warnings = append(warnings, w)
			}
		}
		of := settingFaults
		for _, fault := range varFaults {
			switch {
			case !isOfProcess(fault, vars, own):
				of = append(of, fault)
			case !slices.Contains(ofProcess, fault):
				ofProcess = append(ofProcess, fault)
			}
		}
		if first, exists := indexByToken[event.Token(c.Tenant)]; exists && c.Tenant != "" {
			of = append(of, fmt.Errorf("duplicate name %q, first in tenant %d; give it another \"tenant\"", c.Tenant, first))
		}
		indexByToken[event.Token(c.Tenant)] = i + 1
		for _, fault := range of {
			faults = append(faults, fmt.Errorf("%s: %w", name, fault))
		}
		if len(of) > 0 {
			continue
		}
		warning, fault := sharedUser(users, userOf{i + 1, c})
		if fault != nil {
			faults = append(faults, fault)
		}
		if warning != "" {
			warnings = append(warnings, warning)
		}
		c.BPCC.shareSubscription(subscriptions)
		all = append(all, c)
	}
	if len(faults) > 0 {
		faults = []error{fmt.Errorf("%s: %s:\n%w", tenantsVariable, file, errors.Join(faults...))}
	}
	if faults = append(ofProcess, faults...); len(faults) > 0 {
		return nil, warnings, fmt.Errorf("%w:\n%w", ErrInvalid, errors.Join(faults...))
	}
	return all, warnings, nil
}

// isOfProcess reports whether a fault is of a variable of the process, so that all tenants have it: one that no
// tenant may set, or one that the process sets and this tenant does not.
func isOfProcess(fault error, process, own map[string]string) bool {
	var f variableFault
	if !errors.As(fault, &f) {
		return false
	}
	_, shared := process[f.name]
	_, overridden := own[f.name]
	return !ofTenant(f.name) || shared && !overridden
}

// ofTenant reports whether a tenant may set a variable for itself.
func ofTenant(name string) bool {
	return strings.HasPrefix(name, "BPCC_") || slices.Contains(tenantVariables[:], strings.TrimSuffix(name, "_FILE"))
}

// userOf is a tenant of a file, by its number, for which a user logs in.
type userOf struct {
	number int
	config *Config
}

// sharedUser adds a tenant to those of its user. Two tenants with one user are a fault, since BPCC
// keeps one subscription for a user: each would take it from the other at every poll. Users of one
// name are different ones if their scopes name different tenants of one address, which only BPCC
// knows; that is a warning.
func sharedUser(users map[apiUser][]userOf, tenant userOf) (warning string, fault error) {
	user := tenant.config.BPCC.apiUser()
	earlier := users[user]
	users[user] = append(earlier, tenant)
	for _, other := range earlier {
		text := fmt.Sprintf("tenant %d (%s): same API user %q at %s as tenant %d (%s)", tenant.number, tenant.config.Tenant,
			user.name, user.address, other.number, other.config.Tenant)
		if tenant.config.BPCC.effectiveScope() == other.config.BPCC.effectiveScope() {
			return "", fmt.Errorf("%s: BPCC keeps one subscription for a user, so the two would take it from each other; give each tenant a user of its own", text)
		}
		warning = cmp.Or(warning, text+": if their two scopes (BPCC_SCOPE) name one tenant, the two take one subscription from each other; give each a user of its own")
	}
	return warning, nil
}

// tenantLabel names a tenant whose configuration has a fault.
func tenantLabel(tenant map[string]json.RawMessage) string {
	for _, member := range []string{"tenant", "BRIDGE_TENANT", "url", "BPCC_URL"} {
		var text string
		if json.Unmarshal(tenant[member], &text) == nil && text != "" {
			return text
		}
	}
	return "without name or url"
}

// mergeEnv overrides the process's variables with a tenant's. A tenant's secret replaces the process's,
// given as text or as a file.
func mergeEnv(process, own map[string]string) map[string]string {
	vars := maps.Clone(process)
	delete(vars, tenantsVariable)
	for name := range own {
		delete(vars, name+"_FILE")
		delete(vars, strings.TrimSuffix(name, "_FILE"))
	}
	maps.Copy(vars, own)
	return vars
}

// tenantVars returns the variables that a tenant's members set, and what is wrong with others.
func tenantVars(tenant map[string]json.RawMessage) (vars map[string]string, faults []error) {
	vars = map[string]string{}
	for _, member := range slices.Sorted(maps.Keys(tenant)) {
		name, err := tenantEnvName(member)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		text, err := envValue(tenant[member])
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", member, err))
			continue
		}
		vars[name] = text
	}
	return vars, faults
}

// tenantEnvName returns the variable of a tenant's member.
func tenantEnvName(member string) (string, error) {
	known, err := knownNames()
	if err != nil {
		return "", err
	}
	forTenant := map[string]bool{}
	for name := range known {
		if ofTenant(name) {
			forTenant[name] = true
		}
	}
	for _, name := range []string{member, "BPCC_" + strings.ToUpper(member), "BRIDGE_" + strings.ToUpper(member)} {
		switch {
		case forTenant[name]:
			return name, nil
		case known[name]:
			return "", fmt.Errorf("%q: %s belongs to the process; set it in the environment", member, name)
		}
	}
	hint := ""
	if nearest := nearestName("BPCC_"+strings.ToUpper(member), forTenant); nearest != "" {
		hint = fmt.Sprintf("; the closest one is %q", nearest)
	}
	return "", fmt.Errorf("%q is not a setting of a tenant%s", member, hint)
}

// envValue returns a member's value as text of a variable: anything that is not text as JSON.
func envValue(raw json.RawMessage) (string, error) {
	var text string
	switch {
	case bytes.Equal(raw, []byte("null")):
		return "", errors.New("value is null; remove it")
	case json.Unmarshal(raw, &text) == nil:
		return text, nil
	}
	return string(raw), nil
}

// atLine adds the line of a fault in a JSON text.
func atLine(body []byte, err error) error {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	offset := int64(0)
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &typ):
		offset = typ.Offset
	}
	line := 1 + bytes.Count(body[:min(int(offset), len(body))], []byte("\n"))
	return fmt.Errorf("line %d: %w", line, err)
}
