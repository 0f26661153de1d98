package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"bpcc-nats/schemas"
)

// shells are the scripts of the shells. They call "completion words" with the words
// before the cursor and offer its output, a word and its description a line, or
// files if there is none.
var shells = map[string]string{
	"bash": `_bridge() {
  local IFS=$'\n' line
  COMPREPLY=()
  while IFS= read -r line; do
    COMPREPLY+=("${line%%$'\t'*}")
  done < <("${COMP_WORDS[0]}" completion words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -o bashdefault -F _bridge bridge
`,
	"zsh": `#compdef bridge
_bridge() {
  local line
  local -a found
  while IFS= read -r line; do
    found+=("${line//$'\t'/:}")
  done < <("${words[1]}" completion words "${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( ${#found} )); then
    _describe 'bridge' found
  else
    _files
  fi
}
if [ "$funcstack[1]" = "_bridge" ]; then
  _bridge "$@"
else
  compdef _bridge bridge
fi
`,
	"fish": `function __bridge_words
  set -l before (commandline -opc)
  set -l last (commandline -ct)
  set -l program $before[1]
  set -e before[1]
  $program completion words $before "$last" 2>/dev/null
end
complete -c bridge -f -n 'test (count (__bridge_words)) -gt 0' -a '(__bridge_words)'
`,
}

func (p *program) completion(_ context.Context, args []string) error {
	if len(args) > 0 && args[0] == "words" {
		return p.complete(args[1:])
	}
	f := p.flags("completion")
	if err := parseFlags(f, args, 1); err != nil {
		return err
	}
	script, ok := shells[f.Arg(0)]
	if !ok {
		return fmt.Errorf("%w: name a shell: bash, zsh or fish", errUsage)
	}
	_, err := io.WriteString(p.data, script)
	return err
}

// complete prints the candidates for the last of words, given those before it.
func (p *program) complete(words []string) error {
	if len(words) == 0 {
		words = []string{""}
	}
	last, before := words[len(words)-1], words[:len(words)-1]
	for _, c := range candidates(before, strings.HasPrefix(last, "-")) {
		if !strings.HasPrefix(c, last) {
			continue
		}
		if _, err := fmt.Fprintln(p.data, c); err != nil {
			return err
		}
	}
	return nil
}

// candidates lists words and, after a tab, their description. With none the shell
// completes files.
func candidates(before []string, dashed bool) []string {
	if len(before) == 0 || len(before) == 1 && before[0] == "help" {
		var out []string
		for _, c := range commands() {
			out = append(out, c.name+"\t"+c.summary)
		}
		return out
	}
	name, previous := before[0], before[len(before)-1]
	if values, ok := valuesOf(name, strings.TrimLeft(previous, "-")); ok && strings.HasPrefix(previous, "-") {
		return values
	}
	switch {
	case dashed:
		return flagsOf(name)
	case name == "schemas" && len(before) == 1:
		return append(schemas.Names(), schemas.AsyncAPI)
	case name == "completion" && len(before) == 1:
		return sortedKeys(shells)
	}
	return nil
}

// valuesOf lists the values of a flag, where that is a short list.
func valuesOf(command, name string) ([]string, bool) {
	switch command + " " + name {
	case "backtest events":
		return []string{"all", "thresholds"}, true
	case "replay type":
		var types []string
		for _, n := range schemas.Names() {
			if !strings.Contains(n, "/") {
				types = append(types, n)
			}
		}
		return types, true
	case "state timeout", "replay timeout", "verify timeout":
		return []string{"10s", "1m"}, true
	case "replay speed":
		return []string{"1\toriginal speed", "10\tten times as fast", "max\twithout pauses"}, true
	}
	return nil, false
}

// flagsOf lists a command's flags, which it defines before it parses --help.
func flagsOf(name string) []string {
	var out []string
	for _, c := range commands() {
		if c.name != name {
			continue
		}
		p := newProgram(nil, io.Discard, io.Discard)
		if err := c.run(p, context.Background(), []string{"--help"}); errors.Is(err, flag.ErrHelp) {
			p.current.VisitAll(func(f *flag.Flag) {
				_, usage := flag.UnquoteUsage(f)
				out = append(out, "--"+f.Name+"\t"+usage)
			})
		}
	}
	return out
}
