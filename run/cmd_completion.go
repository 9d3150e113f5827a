package run

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// The scripts ask agentjail itself for what can follow: its last argument
// --generate-bash-completion makes it print the words and run nothing. Behind a "--"
// the words are the agent's, and the shell completes as it does for any command.
// The command line is passed on word by word and never evaluated: completing must
// not run what was typed.
const bashCompletion = `# agentjail completion bash > /etc/bash_completion.d/agentjail
_agentjail() {
  local cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]:1:COMP_CWORD-1}") w
  for w in "${words[@]}"; do [[ $w == -- ]] && return; done
  [[ $cur == -* ]] && words+=("$cur")
  mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" "${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur")
}
complete -o bashdefault -o default -F _agentjail agentjail
`

const zshCompletion = `#compdef agentjail
# agentjail completion zsh > "${fpath[1]}/_agentjail"
_agentjail() {
  local -a before opts
  before=("${(@)words[2,CURRENT-1]}")
  (( ${before[(Ie)--]} )) && { _normal; return }
  [[ ${words[CURRENT]} == -* ]] && before+=("${words[CURRENT]}")
  opts=("${(@f)$("${words[1]}" "${before[@]}" --generate-bash-completion 2>/dev/null)}")
  [[ -n ${opts[1]} ]] && _describe agentjail opts || _files
}
compdef _agentjail agentjail
`

func completionCommand(h Host) *cli.Command {
	print := func(text func(c *cli.Context) (string, error)) cli.ActionFunc {
		return func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			s, err := text(c)
			if err != nil {
				return err
			}
			_, err = io.WriteString(h.Stdout, s)
			return err
		}
	}
	return &cli.Command{
		Name:   "completion",
		Usage:  "print the script that completes agentjail's commands in a shell",
		Action: subcommandOnly,
		Subcommands: []*cli.Command{
			{Name: "bash", Usage: "for bash", Action: print(func(*cli.Context) (string, error) { return bashCompletion, nil })},
			{Name: "zsh", Usage: "for zsh", Action: print(func(*cli.Context) (string, error) { return zshCompletion, nil })},
			{Name: "fish", Usage: "for fish", Action: print(func(c *cli.Context) (string, error) { return c.App.ToFishCompletion() })},
		},
	}
}

// completeRuns offers the runs' ids, the newest first.
func completeRuns(h Host) cli.BashCompleteFunc {
	return func(c *cli.Context) {
		d, err := findDirs(h.getenv, h.Home, h.UID)
		if err != nil {
			return // nothing to offer, and nowhere to say so
		}
		runs, err := listRuns(d)
		if err != nil {
			return
		}
		for _, r := range runs {
			fmt.Fprintln(h.Stdout, audit.Printable(r.ID))
		}
	}
}

// completeProfiles offers the profiles' names.
func completeProfiles(h Host) cli.BashCompleteFunc {
	return func(c *cli.Context) {
		d, err := findDirs(h.getenv, h.Home, h.UID)
		if err != nil {
			return
		}
		for _, p := range profiles.List(h.profileOptions(d, nil)) {
			if !p.Hidden {
				fmt.Fprintln(h.Stdout, audit.Printable(p.Name))
			}
		}
	}
}
