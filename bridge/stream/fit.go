package stream

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
)

// CheckFit reports whether a stream can be used: the error is [ErrServerVersion] or [ErrMismatch] if
// it cannot, and differs lists the differences that the bridge can work with.
func CheckFit(c config.Stream, want jetstream.StreamConfig, info *jetstream.StreamInfo) (differs []string, err error) {
	if err := CheckLeader(info); err != nil {
		return nil, err
	}
	fatal, differs := compareStreams(want, info.Config)
	if len(fatal) > 0 {
		return differs, AboutStream(want.Name, fmt.Errorf("%w: %s", ErrMismatch, strings.Join(fatal, "; ")))
	}
	if want.Name == LeaseStream(c.Lease) {
		_, err = LeaseTTL(info.Config)
	}
	if want.Name == c.Name && info.Cluster != nil && info.Cluster.Name != "" && info.Config.Replicas < 2 {
		differs = append(differs, fmt.Sprintf("num_replicas is 1 in cluster %s: nothing is stored while one server is down", info.Cluster.Name))
	}
	return differs, err
}

// tolerance is what becomes of a setting in which a stream differs.
type tolerance int

const (
	refused  tolerance = iota // the stream is not used: the bridge's guarantees depend on the setting
	reported                  // the stream is used
	ignored                   // the setting does not concern the bridge
)

// toleranceOf returns what becomes of a setting, named as in the JetStream API. A setting that is not
// listed is refused, so that one of a later release is not taken for harmless.
func toleranceOf(setting string) tolerance {
	switch setting {
	case "name", "description", "metadata", "placement", "first_seq", "republish", "mirror_direct", "template_owner", "allow_batched":
		return ignored
	case "storage", "compression", "num_replicas", "max_age", "max_consumers", "max_msgs", "max_bytes", "max_msg_size", "discard",
		"duplicate_window", "consumer_limits", "allow_direct", "allow_msg_ttl", "deny_delete", "deny_purge", "persist_mode":
		return reported
	}
	return refused
}

// compareStreams lists the differences: fatal ones are those that the bridge's guarantees depend
// on.
func compareStreams(want, have jetstream.StreamConfig) (fatal, differs []string) {
	for _, subject := range want.Subjects {
		if !slices.Contains(have.Subjects, subject) {
			fatal = append(fatal, fmt.Sprintf("subjects are %v, without %s", have.Subjects, subject))
		}
	}
	if len(want.Subjects) == 0 && len(have.Subjects) > 0 {
		fatal = append(fatal, fmt.Sprintf("subjects are %v instead of none, so any client could write to the view", have.Subjects))
	}
	if wants, has := sourcesOf(want), sourcesOf(have); !slices.Equal(wants, has) {
		fatal = append(fatal, fmt.Sprintf("sources are %v, not %v", has, wants))
	}
	if ownMaxBytes(have) {
		have.MaxBytes = want.MaxBytes
	}
	want, have = normalize(want), normalize(have)
	if want.Duplicates == 0 {
		have.Duplicates = 0 // the server's default
	}
	if have.AllowRollup && !want.AllowRollup {
		have.AllowRollup = false // the bridge rolls up nothing there
	}
	wants, has := reflect.ValueOf(want), reflect.ValueOf(have)
	for i := range wants.NumField() {
		setting, _, _ := strings.Cut(wants.Type().Field(i).Tag.Get("json"), ",")
		wanted, held := wants.Field(i).Interface(), has.Field(i).Interface()
		if reflect.DeepEqual(wanted, held) {
			continue
		}
		text := fmt.Sprintf("%s is %s, not %s", setting, settingText(held), settingText(wanted))
		switch toleranceOf(setting) {
		case refused:
			fatal = append(fatal, text)
		case reported:
			differs = append(differs, text+consequence(setting, held))
		}
	}
	return fatal, differs
}

// consequence says what a difference that is not refused means, where that is not plain.
func consequence(setting string, held any) string {
	switch setting {
	case "deny_delete", "deny_purge":
		if held == true {
			return ": BRIDGE_AUDIT=false has no effect on it, since the server never allows again what it denies; to be able to erase a person, " +
				"delete the stream and let the bridge create it again (docs/running.md)"
		}
		return ": what is stored can be removed; nats stream edit --" + strings.ReplaceAll(setting, "_", "-") + " prevents that for good"
	case "max_bytes", "max_msgs":
		return ": events may be dropped before max_age"
	case "max_msg_size":
		return ": entities with larger events are skipped"
	case "persist_mode":
		return ": acknowledged events may be lost when a server ends"
	}
	return ""
}

// normalize returns a configuration without what is compared apart, and with 0 for no limit.
func normalize(c jetstream.StreamConfig) jetstream.StreamConfig {
	c.Subjects, c.Sources = nil, nil
	c.MaxConsumers, c.MaxMsgs, c.MaxBytes = max(c.MaxConsumers, 0), max(c.MaxMsgs, 0), max(c.MaxBytes, 0)
	c.MaxMsgsPerSubject, c.MaxMsgSize = max(c.MaxMsgsPerSubject, 0), max(c.MaxMsgSize, 0)
	return c
}

// settingText formats the value of a setting.
func settingText(value any) string {
	if kind := reflect.ValueOf(value).Kind(); kind == reflect.Pointer || kind == reflect.Struct {
		var text strings.Builder
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false) // subjects end with >
		if err := encoder.Encode(value); err == nil {
			return strings.TrimSpace(text.String())
		}
	}
	return fmt.Sprint(value)
}

// sourcesOf formats the sources so that two configurations can be compared.
func sourcesOf(c jetstream.StreamConfig) []string {
	var out []string
	for _, s := range c.Sources {
		if s == nil {
			continue // a response may contain null
		}
		if !reflect.DeepEqual(*s, jetstream.StreamSource{Name: s.Name, SubjectTransforms: s.SubjectTransforms}) {
			out = append(out, settingText(s))
			continue
		}
		for _, t := range s.SubjectTransforms {
			out = append(out, s.Name+": "+t.Source+" > "+t.Destination)
		}
	}
	slices.Sort(out)
	return out
}
