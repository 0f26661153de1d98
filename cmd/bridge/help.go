package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// root is the command line. What the library writes for people goes through the console;
// only completions and their scripts are for programs.
func (p *program) root() *cobra.Command {
	commands := []*cobra.Command{
		p.runCommand(), p.demoCommand(), p.checkCommand(), p.provisionCommand(), p.stateCommand(), p.reportCommand(), p.replayCommand(), p.exportCommand(), p.verifyCommand(), p.headCommand(), p.eraseCommand(),
		p.recordCommand(), p.backtestCommand(), p.schemasCommand(), p.simCommand(), p.healthCommand(), p.completionCommand(), p.versionCommand(),
	}
	root := &cobra.Command{
		Use: "bridge", Short: "bridge carries the changes of a Bright Pattern contact centre to NATS JetStream.",
		Args: cobra.ArbitraryArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(c *cobra.Command, args []string) error { return unknownCommand(c, args) },
	}
	var names []cobra.Completion
	for _, c := range commands {
		root.AddCommand(c)
		if c.Args == nil {
			c.Args = atMost(0)
		}
		names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
	}
	root.SetHelpCommand(helpCommand(names))
	root.SetHelpFunc(func(c *cobra.Command, _ []string) {
		if c == root {
			p.listCommands(c, commands)
		} else {
			p.describeCommand(c)
		}
	})
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.SetOut(p.data)
	root.SetErr(p.err.Writer())
	return root
}

// helpCommand is bridge help COMMAND, which the library's own does not refuse for an
// unknown one.
func helpCommand(commands []cobra.Completion) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "describe a command", Args: atMost(1), ValidArgs: commands,
		RunE: func(c *cobra.Command, args []string) error {
			found, unknown, _ := c.Root().Find(args) // no error, since every command says which arguments it takes
			if len(unknown) > 0 {
				return unknownCommand(c.Root(), unknown)
			}
			return found.Help()
		},
	}
}

// listCommands writes the help of the program.
func (p *program) listCommands(root *cobra.Command, commands []*cobra.Command) {
	p.out.Printf("%s\n\nCommands:\n", root.Short)
	for _, c := range commands {
		p.out.Printf("  bridge %-11s %s\n", c.Name(), c.Short)
	}
	p.out.Printf("\nbridge COMMAND --help shows the flags. To try the bridge without configuration:\n\n  bridge demo\n")
}

// describeCommand writes the help of one command.
func (p *program) describeCommand(c *cobra.Command) {
	c.InitDefaultHelpFlag() // which bridge help COMMAND does not
	p.out.Printf("%s\n    %s\n", c.UseLine(), c.Short)
	if c.Long != "" {
		p.out.Printf("    %s\n", c.Long)
	}
	p.out.Printf("\nFlags:\n%s", console.VisibleLines(c.LocalFlags().FlagUsagesWrapped(p.out.Width)))
	if c.Example != "" {
		p.out.Printf("\nExamples:%s\n", console.VisibleLines(strings.ReplaceAll(c.Example, "\n", "\n  ")))
	}
}

// atMost refuses more than a number of arguments.
func atMost(limit int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > limit {
			return fmt.Errorf("%w: unexpected argument %q", reader.ErrUsage, args[limit])
		}
		return nil
	}
}

// unknownCommand is the error of a command line that names no command.
func unknownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: no command; bridge help lists all", reader.ErrUsage)
	}
	var names []string
	for _, c := range root.Commands() {
		names = append(names, c.Name())
	}
	return fmt.Errorf("%w: unknown command %q; the closest is %s; bridge help lists all", reader.ErrUsage, args[0], closest(args[0], names))
}

// flagError adds the flag that was meant to the error of one that does not exist.
func flagError(c *cobra.Command, err error) error {
	hint := ""
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		hint = "; the closest is --" + closest(cmp.Or(unknown.GetSpecifiedShortnames(), unknown.GetSpecifiedName()), names)
	}
	return fmt.Errorf("%w: %w%s; %s --help lists the flags", reader.ErrUsage, err, hint, c.CommandPath())
}

// closest is the name that is most similar to a mistyped word.
func closest(word string, names []string) string {
	return slices.MinFunc(names, func(a, b string) int {
		return levenshtein.ComputeDistance(word, a) - levenshtein.ComputeDistance(word, b)
	})
}
