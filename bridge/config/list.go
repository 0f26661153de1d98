package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// List is a list of texts. Its text is the items separated by commas, or a JSON array of strings,
// in which an item may have commas.
type List []string

// UnmarshalText parses both forms. Spaces around the items between commas do not count.
func (l *List) UnmarshalText(text []byte) error {
	if strings.HasPrefix(strings.TrimSpace(string(text)), "[") {
		return l.unmarshalArray(text)
	}
	items := strings.Split(string(text), ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	*l = items
	return nil
}

func (l *List) unmarshalArray(text []byte) error {
	var items []*string
	err := json.Unmarshal(text, &items)
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &typ):
		return fmt.Errorf("want strings in the JSON array, found %s", typ.Value)
	case err != nil:
		return fmt.Errorf("begins with [ and is not a JSON array: %w", err)
	}
	*l = List{}
	for i, item := range items {
		if item == nil {
			return fmt.Errorf("item %d of the JSON array is null, not a string", i+1)
		}
		*l = append(*l, *item)
	}
	return nil
}
