package run

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// ownArguments names the commands whose arguments are a program's: what follows its
// name is never ours, also without a "--".
var ownArguments = []string{"run", "learn"}

// flagsFirst moves a command's flags before its other arguments, as far as a "--":
// `agentjail logs last --denied` is what people type, and package flag stops at the
// first argument that is no flag. args begins with the program's name.
func flagsFirst(all []*cli.Command, args []string) []string {
	i := 1
	cmd := (*cli.Command)(nil)
	for i < len(args) {
		next := slices.IndexFunc(all, func(c *cli.Command) bool { return c.HasName(args[i]) })
		if next < 0 {
			break
		}
		cmd, all = all[next], all[next].Subcommands
		i++
	}
	if cmd == nil || slices.Contains(ownArguments, cmd.Name) {
		return args
	}
	var flags, rest []string
	for i < len(args) {
		a := args[i]
		i++
		if a == "--" {
			rest = append(rest, args[i-1:]...)
			break
		}
		if len(a) < 2 || a[0] != '-' { // "-" is standard input
			rest = append(rest, a)
			continue
		}
		flags = append(flags, a)
		if takesValue(cmd, a) && i < len(args) {
			flags = append(flags, args[i])
			i++
		}
	}
	return slices.Concat(args[:len(args)-len(flags)-len(rest)], flags, rest)
}

// takesValue says whether the argument behind a flag is its value.
func takesValue(cmd *cli.Command, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range cmd.Flags {
		if slices.Contains(f.Names(), name) {
			d, ok := f.(cli.DocGenerationFlag)
			return ok && d.TakesValue()
		}
	}
	return false
}

// usageError says what is wrong with a command's flags, in our words.
func usageError(c *cli.Context, err error, _ bool) error {
	text, name := strings.TrimRight(err.Error(), "\n"), commandName(c)
	hint := fmt.Sprintf("%s --help lists the flags", helpName(c))
	// The text is package flag's own, and it gives a flag one "-" however it was
	// written.
	if flag, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		flag = strings.TrimPrefix(flag, "-")
		text = fmt.Sprintf("%s has no flag %s", name, dashed(flag))
		var names []string
		for _, f := range c.Command.Flags {
			names = append(names, f.Names()...)
		}
		if best := nearest(flag, names); best != "" {
			hint = "did you mean " + dashed(best) + "?"
		}
	} else if flag, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		text = fmt.Sprintf("%s: the flag %s needs a value", name, dashed(strings.TrimPrefix(flag, "-")))
	}
	return fmt.Errorf("%s\nhint: %s", text, hint)
}

func dashed(flag string) string {
	if len(flag) == 1 {
		return "-" + flag
	}
	return "--" + flag
}

// helpName is how the command is called, "agentjail profile show".
func helpName(c *cli.Context) string {
	if c.Command == nil || c.Command.HelpName == "" {
		return c.App.Name
	}
	return c.Command.HelpName
}

// commandName is the same in a sentence that begins with our own name anyway.
func commandName(c *cli.Context) string {
	return strings.TrimPrefix(helpName(c), c.App.Name+" ")
}

func unknownCommand(c *cli.Context, name string) error {
	var names []string
	for _, cmd := range c.App.Commands {
		if !cmd.Hidden {
			names = append(names, cmd.Name)
		}
	}
	if best := nearest(name, names); best != "" {
		return fmt.Errorf("there is no command %q\nhint: did you mean agentjail %s?", name, best)
	}
	return fmt.Errorf("there is no command %q\nhint: agentjail --help lists them; to run it in a jail: agentjail run -- %s", name, name)
}

// noArguments refuses arguments of a command that takes none.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%s takes no argument, and %q is one\nhint: %s --help", commandName(c), c.Args().First(), helpName(c))
	}
	return nil
}

// atMostOne is a command's only argument, or "".
func atMostOne(c *cli.Context) (string, error) {
	if c.NArg() > 1 {
		return "", fmt.Errorf("%s takes one argument, and here are %d\nhint: %s --help", commandName(c), c.NArg(), helpName(c))
	}
	return c.Args().First(), nil
}

// subcommandOnly is what a command that only holds others does by itself.
func subcommandOnly(c *cli.Context) error {
	var names []string
	for _, s := range c.Command.Subcommands {
		names = append(names, s.Name)
	}
	list := strings.Join(names, ", ")
	if !c.Args().Present() {
		return fmt.Errorf("%s needs one of: %s", commandName(c), list)
	}
	err := fmt.Errorf("%s has no command %q", commandName(c), c.Args().First())
	if best := nearest(c.Args().First(), names); best != "" {
		return fmt.Errorf("%w\nhint: did you mean %s %s?", err, helpName(c), best)
	}
	return fmt.Errorf("%w\nhint: it is one of: %s", err, list)
}
