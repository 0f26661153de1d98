package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bpcc-nats/cmd/bridge/internal/export"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/schemas"
)

func (p *program) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish|powershell", Short: "print a shell completion script",
		Long: "The script for bash needs the package bash-completion.",
		Example: `
source <(bridge completion bash)
bridge completion zsh > "${fpath[1]}/_bridge"
bridge completion fish > ~/.config/fish/completions/bridge.fish`,
		Args: atMost(1), ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(c *cobra.Command, args []string) error {
			switch root := c.Root(); strings.Join(args, "") {
			case "bash":
				return root.GenBashCompletionV2(p.data, true)
			case "zsh":
				return root.GenZshCompletion(p.data)
			case "fish":
				return root.GenFishCompletion(p.data, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(p.data)
			}
			return fmt.Errorf("%w: name a shell: %s", reader.ErrUsage, strings.Join(c.ValidArgs, ", "))
		},
	}
}

// completeFlag sets what completes the value of a flag.
func completeFlag(c *cobra.Command, flag string, values cobra.CompletionFunc) {
	if err := c.RegisterFlagCompletionFunc(flag, values); err != nil {
		panic(err) // there is no such flag, or it has values already
	}
}

// words completes by a list; a tab separates a word from its description.
func words(list ...cobra.Completion) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		found := slices.DeleteFunc(slices.Clone(list), func(word string) bool { return !strings.HasPrefix(word, begun) })
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// files completes by the names of files.
func files(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// eventTypes are the names of the schemas of events.
func eventTypes() []string {
	var types []string
	for _, name := range schemas.Names() {
		if !strings.Contains(name, "/") {
			types = append(types, name)
		}
	}
	return types
}

// addSelectionFlags adds the flags that select events.
func addSelectionFlags(c *cobra.Command, s *export.Selection) {
	f := c.Flags()
	f.Func("subject", "`subjects` to read, with NATS wildcards, separated by commas (default "+export.AllSubjects+")", s.AddSubjects)
	f.Func("type", "`types` of events, such as agent.state_changed or 'agent.*', separated by commas; * is any text, ? one character", s.AddTypes)
	completeFlag(c, "type", words(eventTypes()...))
}
