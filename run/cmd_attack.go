package run

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

// attackProgram is the name of the program that has the attacks. It is one of its own,
// so that nothing of an attack is in this one.
const attackProgram = "agentjail-attack"

// attackCommand hands over to the attack suite, which uses this program from outside as
// anybody would.
func attackCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:  "attack",
		Usage: "attack a jail of a profile on this host, and say what stopped each attack",
		Description: "Plants canaries, tries every attack in a jail and, where that does no harm, without one, and looks\n" +
			"at the answers, the canaries and the trail. Exit code 1 on an escape. It needs the program\n" + attackProgram + " beside this one.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "profile", Aliases: []string{"p"}, Usage: "`NAME` or FILE of the profile under attack", Value: "base"},
			&cli.StringSliceFlag{Name: "var", Usage: "`NAME=VALUE` of a variable of the profile"},
			&cli.StringSliceFlag{Name: "group", Aliases: []string{"g"}, Usage: "only the attacks of group `A` to J"},
			&cli.StringSliceFlag{Name: "attack", Usage: "only the attack `NAME`"},
			&cli.BoolFlag{Name: "list", Usage: "list the attacks and try none"},
			&cli.BoolFlag{Name: "json", Usage: "as JSON"},
			&cli.StringFlag{Name: "program", Usage: "`FILE` of the attack program", DefaultText: attackProgram + " beside this program"},
		},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			own, err := os.Executable()
			if err != nil {
				return err
			}
			program := c.String("program")
			if program == "" {
				program = filepath.Join(filepath.Dir(own), attackProgram)
			}
			args := []string{"--agentjail", own, "--profile", c.String("profile")}
			for _, name := range []string{"var", "group", "attack"} {
				for _, value := range c.StringSlice(name) {
					args = append(args, "--"+name, value)
				}
			}
			for _, name := range []string{"list", "json"} {
				if c.Bool(name) {
					args = append(args, "--"+name)
				}
			}
			return attack(h, program, args)
		},
	}
}

func attack(h Host, program string, args []string) error {
	if info, err := os.Stat(program); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("the attack program %s is not there\nhint: it is in the archive that agentjail came in; `make attack` builds it; --program names another place", program)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env, cmd.Dir = h.Stdin, h.Stdout, h.Stderr, h.Environ, h.Cwd
	err := cmd.Run()
	var ee *exec.ExitError
	if errors.As(err, &ee) && ee.ExitCode() > 0 {
		return &ExitError{Code: ee.ExitCode()} // it has said why
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", program, pathCause(err))
	}
	return nil
}
