package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"github.com/caarlos0/env/v11"
)

// field is a field of a configuration and its value.
type field struct {
	reflect.StructField
	value reflect.Value
}

// fieldsOf returns the fields of a configuration, those of a part in place of the part.
func fieldsOf(config reflect.Value) (fields []field) {
	for f, value := range config.Fields() {
		if value.Kind() == reflect.Struct {
			fields = append(fields, fieldsOf(value)...)
		} else {
			fields = append(fields, field{f, value})
		}
	}
	return fields
}

// fileNames lists the variables that may be given as NAME_FILE.
func fileNames() []string {
	names := []string{"BRIDGE_THRESHOLDS"}
	for _, f := range fieldsOf(reflect.ValueOf(Config{})) {
		if f.Type == reflect.TypeFor[Secret]() {
			names = append(names, f.Tag.Get("env"))
		}
	}
	return names
}

// readFiles sets each NAME to the content of its NAME_FILE, and returns the files by NAME.
func readFiles(vars map[string]string, fault faultFunc) secretFiles {
	files := secretFiles{}
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

// setFields sets the fields from the variables. A variable that cannot be parsed is a fault and counts as not
// set, so that no later check judges a value that nobody gave.
func (c *Config) setFields(vars map[string]string, fault faultFunc) error {
	err := env.ParseWithOptions(c, env.Options{Environment: vars})
	var all env.AggregateError
	if !errors.As(err, &all) {
		return err
	}
	parsable := maps.Clone(vars)
	for _, err := range all.Errors {
		var p env.ParseError
		if !errors.As(err, &p) {
			return err
		}
		for _, f := range fieldsOf(reflect.ValueOf(Config{})) {
			if f.Name != p.Name || f.Type != p.Type {
				continue
			}
			name := f.Tag.Get("env")
			if _, set := parsable[name]; set {
				fault(name, "%s: want %s", whyUnparsable(f, vars[name], p.Err), f.wanted())
				delete(parsable, name)
			}
		}
	}
	return env.ParseWithOptions(c, env.Options{Environment: parsable})
}

// whyUnparsable says what is wrong with the text of a variable: the error of a type of this package, or else
// the text itself, since errors of the standard library speak of types.
func whyUnparsable(f field, text string, err error) string {
	if _, ours := reflect.New(f.Type).Interface().(encoding.TextUnmarshaler); ours {
		return err.Error()
	}
	return strconv.Quote(text)
}

// wanted describes what the variable of a field holds, with an example.
func (f field) wanted() string {
	switch f.value.Interface().(type) {
	case time.Duration:
		return "a duration with its unit, such as " + f.example("5m")
	case bool:
		return "true or false"
	case Size:
		return "a size such as 50GB or 50GiB"
	case List:
		return `a list such as Sales,Billing, or a JSON array such as ["Sales, EU","Billing"]`
	}
	return "a whole number such as " + f.example("3")
}

// example returns the default of the field as an example of its value, or another one where that is 0.
func (f field) example(other string) string {
	if text := f.Tag.Get("envDefault"); text != "" && !strings.HasPrefix(text, "0") {
		return text
	}
	return other
}

// natsPrefix begins the names of the variables of NATS.
const natsPrefix = "NATS_"

// natsNames lists the variables of NATS.
func natsNames() (names []string) {
	for _, f := range fieldsOf(reflect.ValueOf(NATS{})) {
		if name := f.Tag.Get("env"); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// nearestNATSName returns the variable of NATS that an unknown name may stand for: others name the same
// things by other words, or by more or fewer of them.
func nearestNATSName(name string) string {
	if slices.ContainsFunc([]string{"SERVER", "HOST", "ADDR", "ENDPOINT"}, func(word string) bool { return strings.HasPrefix(name, natsPrefix+word) }) {
		return "NATS_URL"
	}
	known := map[string]bool{}
	begins := ""
	for _, k := range natsNames() {
		known[k] = true
		if (strings.HasPrefix(name, k) || strings.HasPrefix(k, name)) && len(k) > len(begins) {
			begins = k
		}
	}
	if begins != "" {
		return begins
	}
	return nearestName(name, known)
}

// isServiceLink reports whether Kubernetes sets a variable of this name in every pod beside a service
// whose name begins with nats.
func isServiceLink(name string) bool {
	return strings.Contains(name, "_SERVICE_HOST") || strings.Contains(name, "_SERVICE_PORT") || strings.HasSuffix(name, "_PORT") || strings.Contains(name, "_TCP") || strings.Contains(name, "_UDP")
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
		nearest := ""
		switch {
		case known[name]:
			continue
		case strings.HasPrefix(name, "BPCC_"), strings.HasPrefix(name, "BRIDGE_"):
			nearest = nearestName(name, known)
		case strings.HasPrefix(name, natsPrefix) && !isServiceLink(name):
			nearest = nearestNATSName(name)
		default:
			continue
		}
		if nearest == "" {
			warnings = append(warnings, "unknown variable "+name+" has no effect")
			continue
		}
		warnings = append(warnings, "unknown variable "+name+"; the closest known variable is "+nearest)
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

// nearestName returns the known name that an unknown one probably stands for, "" if none is similar. Prefixes
// are mistaken for each other as often as letters are.
func nearestName(name string, known map[string]bool) string {
	prefix, rest, _ := strings.Cut(name, "_")
	// Distances are in half letters.
	nearest, least := "", 2*(len(rest)/3+1)
	for _, k := range slices.Sorted(maps.Keys(known)) {
		p, r, _ := strings.Cut(k, "_")
		distance := 2 * levenshtein.ComputeDistance(rest, r)
		if strings.Contains(r, rest) || strings.Contains(rest, r) {
			distance = min(distance, 2)
		}
		if p != prefix {
			distance++
		}
		if distance < least {
			nearest, least = k, distance
		}
	}
	return nearest
}

// checkDurations checks all durations against their bounds.
func (c *Config) checkDurations(purpose Purpose, fault faultFunc) {
	for _, f := range fieldsOf(reflect.ValueOf(*c)) {
		name := f.Tag.Get("env")
		if f.Type != reflect.TypeFor[time.Duration]() || purpose == ForStream && strings.HasPrefix(name, "BPCC_") {
			continue
		}
		d, zero := time.Duration(f.value.Int()), f.Tag.Get("zero")
		least, most := boundOf(f.StructField, "min"), boundOf(f.StructField, "max")
		switch {
		case d >= least && d <= most || d == 0 && zero != "":
		case zero != "":
			fault(name, "%v is not between %s and %s, and not 0 (%s)", d, f.Tag.Get("min"), f.Tag.Get("max"), zero)
		default:
			fault(name, "%v is not between %s and %s; the default is %s", d, f.Tag.Get("min"), f.Tag.Get("max"), f.Tag.Get("envDefault"))
		}
	}
}

// boundOf returns a bound of a field; 0 if it has none, or one that is no duration.
func boundOf(f reflect.StructField, tag string) time.Duration {
	d, err := time.ParseDuration(f.Tag.Get(tag))
	if err != nil {
		return 0
	}
	return d
}
