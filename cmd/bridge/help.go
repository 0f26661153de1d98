package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// command is one subcommand.
type command struct {
	name, args, summary string
	examples            string // for people to copy, one a line
	run                 func(p *program, ctx context.Context, args []string) error
}

func commands() []command {
	return []command{
		{"run", "", "poll BPCC and publish what changes", `
BPCC_URL=https://acme.brightpattern.com BPCC_CLIENT_ID=stats.user BPCC_CLIENT_SECRET_FILE=/run/secrets/bpcc bridge run
NATS_URL=nats://nats.example.com:4222 NATS_CREDS=/run/secrets/bridge.creds BRIDGE_REPLICAS=3 bridge run`, (*program).runBridge},
		{"demo", "[--agents N] [--for DURATION] [--http ADDRESS] [--listen ADDRESS]", "all of it at once on this machine, without configuration", `
bridge demo
bridge demo --agents 200 --seed 7 --for 1m
bridge demo --http 127.0.0.1:8180 --listen 127.0.0.1:4322`, (*program).demo},
		{"check", "[--json]", "examine BPCC and NATS step by step; publish nothing", `
BPCC_URL=https://acme.brightpattern.com BPCC_CLIENT_ID=stats.user BPCC_CLIENT_SECRET_FILE=/run/secrets/bpcc bridge check`, (*program).check},
		{"provision", "", "create the streams and report what differs", `
NATS_URL=nats://nats.example.com:4222 BRIDGE_REPLICAS=3 bridge provision`, (*program).provision},
		{"state", "[--tenant NAME] [--all] [--json] [--timeout 10s]", "show the current state", `
bridge state
bridge state --tenant acme --all
bridge state --json | jq '.tenants[].feed.fresh'`, (*program).state},
		{"replay", "[--since 1h] [--subject FILTER] [--type GLOB] [--human] [--follow] [--into PREFIX] [--timeout 10s]",
			"print stored events as NDJSON, or publish them again under another prefix", `
bridge replay --since 1h --type 'agent.*' --human
bridge replay --subject 'bpcc.v1.*.threshold.>' --follow
bridge replay --since 2026-11-17 --until 2026-11-18 --with-meta | gzip > tuesday.ndjson.gz
bridge replay --since 2026-11-17 --until 2026-11-18 --into bpcc-replay.v1 --speed 10`, (*program).replay},
		{"verify", "[--since 1h] [--tenant NAME] [--json] [--timeout 10s] [FILE]", "check the stream, or an export of it", `
bridge verify
bridge verify --since 24h --json
bridge verify tuesday.ndjson.gz
bridge replay --since 1h | bridge verify -`, (*program).verify},
		{"record", "[--out FILE] [--for DURATION]", "record the source's responses; publish nothing", `
bridge record --out monday.ndjson.gz --for 8h`, (*program).record},
		{"backtest", "[--rules FILE]... [--events all|thresholds] [--human] RECORDING...", "run recordings through the bridge's engine, offline", `
bridge backtest --human monday.ndjson.gz
bridge backtest --rules now.json --rules stricter.json monday.ndjson.gz > /dev/null`, (*program).backtest},
		{"schemas", "[TYPE]", "list the event types, or print the schema of one", `
bridge schemas
bridge schemas agent.state_changed`, (*program).schemas},
		{"sim", "[--listen ADDR]", "run the simulated contact centre alone", `
bridge sim --listen 127.0.0.1:8090
bridge sim --agents 500 --services 20 --speed 2
bridge sim --fault '{"lag":"4s","every":2,"times":-1}'`, (*program).sim},
		{"health", "", "report whether the bridge on this machine is ready", `
bridge health`, (*program).health},
		{"completion", "bash|zsh|fish", "print a shell completion script", `
source <(bridge completion bash)
bridge completion zsh > "${fpath[1]}/_bridge"
bridge completion fish > ~/.config/fish/completions/bridge.fish`, (*program).completion},
		{"version", "[--short]", "print the version", `
bridge version`, (*program).version},
	}
}

// usage lists the commands.
func usage(c *console) {
	c.printf("bridge carries the changes of a Bright Pattern contact centre to NATS JetStream.\n\nCommands:\n")
	for _, each := range commands() {
		c.printf("  bridge %-11s %s\n", each.name, each.summary)
	}
	c.printf("\nbridge COMMAND --help shows the flags. To try the bridge without configuration:\n\n  bridge demo\n")
}

// help describes one command.
func (c *command) help(w *console, f *flag.FlagSet) {
	w.printf("bridge %s %s\n    %s\n", c.name, c.args, c.summary)
	heading := safe("\nFlags:\n")
	f.VisitAll(func(v *flag.Flag) {
		placeholder, text := flag.UnquoteUsage(v)
		if placeholder == "value" {
			placeholder = ""
		}
		if v.DefValue != "" && v.DefValue != "0" && v.DefValue != "0s" && v.DefValue != "false" && v.Name != "seed" {
			text += fmt.Sprintf(" (default %s)", v.DefValue)
		}
		w.printf("%s  %-22s %s\n", heading, strings.TrimSpace("--"+v.Name+" "+placeholder), text)
		heading = ""
	})
	if c.examples != "" {
		w.printf("\nExamples:%s\n", visibleLines(strings.ReplaceAll(c.examples, "\n", "\n  ")))
	}
}

// closestName is the name of the command that is most similar to a mistyped word.
func closestName(word string) string {
	best := slices.MinFunc(commands(), func(a, b command) int {
		return levenshtein.ComputeDistance(word, a.name) - levenshtein.ComputeDistance(word, b.name)
	})
	return best.name
}
