package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/caarlos0/env/v11"
)

// fileNames lists the variables that may be given as NAME_FILE.
func fileNames() []string {
	names := []string{"BRIDGE_THRESHOLDS"}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if f.Type == reflect.TypeFor[Secret]() {
			names = append(names, f.Tag.Get("env"))
		}
	}
	return names
}

// readFiles sets each NAME to the content of its NAME_FILE, and returns the files by NAME.
func readFiles(vars map[string]string, fault func(name, format string, args ...any)) map[string]string {
	files := map[string]string{}
	for _, name := range fileNames() {
		file, ok := vars[name+"_FILE"]
		if !ok || file == "" {
			continue
		}
		if vars[name] != "" {
			fault(name, "set twice, here and by %s_FILE; keep one", name)
			continue
		}
		content, err := readSecret(file)
		if err != nil {
			fault(name+"_FILE", "%v", err)
			continue
		}
		vars[name], files[name] = content, file
	}
	return files
}

// envName returns the variable of a field of [Config].
func envName(field string) string {
	f, ok := reflect.TypeFor[Config]().FieldByName(field)
	if !ok {
		return field
	}
	return f.Tag.Get("env")
}

// wantOf describes what a variable of a type holds.
func wantOf(typ string) string {
	switch typ {
	case "time.Duration":
		return typ + " such as 2s or 5m"
	case "bool":
		return typ + " such as true"
	case "config.Size":
		return "size such as 50GB or 50GiB"
	case "config.List":
		return `list such as Sales,Billing, or a JSON array such as ["Sales, EU","Billing"]`
	}
	return typ + " such as 3"
}

// unknownNames returns warnings for variables that have one of the bridge's prefixes and are not
// known.
func unknownNames(vars map[string]string) ([]string, error) {
	known, err := knownNames()
	if err != nil {
		return nil, err
	}
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if known[name] || !strings.HasPrefix(name, "BPCC_") && !strings.HasPrefix(name, "BRIDGE_") {
			continue
		}
		warnings = append(warnings, "unknown variable "+name+"; the closest known variable is "+nearestName(name, known))
	}
	return warnings, nil
}

// knownNames returns the set of all variables.
func knownNames() (map[string]bool, error) {
	params, err := env.GetFieldParams(&Config{})
	if err != nil {
		return nil, fmt.Errorf("read the fields of the configuration: %w", err)
	}
	known := map[string]bool{}
	for _, p := range params {
		known[p.Key] = true
	}
	for _, name := range fileNames() {
		known[name+"_FILE"] = true
	}
	return known, nil
}

// nearestName returns the known name that is most similar.
func nearestName(name string, known map[string]bool) string {
	return slices.MinFunc(slices.Sorted(maps.Keys(known)), func(a, b string) int {
		return levenshtein.ComputeDistance(name, a) - levenshtein.ComputeDistance(name, b)
	})
}
