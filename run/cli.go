package run

import (
	"errors"
	"io"

	"github.com/urfave/cli/v2"
)

// Main is the command line. It returns the exit code; main alone exits.
func Main(h Host, args []string) int {
	app := newApp(h)
	err := app.Run(flagsFirst(app.Commands, args))
	var ee *ExitError
	if err != nil && !(errors.As(err, &ee) && ee.Err == nil) {
		io.WriteString(h.Stderr, Printable(err))
	}
	return exitCode(err)
}

// newApp defines the commands. urfave/cli v2 has three habits that are switched off
// here: `run -- help` would print help, a flag that may be repeated would split at
// commas, and errors would exit by themselves.
func newApp(h Host) *cli.App {
	app := &cli.App{
		Name:                      "agentjail",
		Usage:                     "run an AI agent as if it were an adversary",
		Version:                   h.Version,
		Writer:                    h.Stdout,
		ErrWriter:                 h.Stderr,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		EnableBashCompletion:      true,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              usageError,
		Commands:                  commands(h),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand(c, c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range app.Commands {
		c.HideHelpCommand = true
		c.OnUsageError = usageError
		for _, s := range c.Subcommands {
			s.HideHelpCommand = true
			s.OnUsageError = usageError
		}
	}
	return app
}

func commands(h Host) []*cli.Command {
	return append([]*cli.Command{
		runCommand(h),
		runsCommand(h),
		diffCommand(h),
		applyCommand(h),
		replayCommand(h),
		reportCommand(h),
		logsCommand(h),
		verifyCommand(h),
		budgetCommand(h),
		approveCommand(h),
		profileCommand(h),
		whyCommand(h),
		learnCommand(h),
		doctorCommand(h),
		attackCommand(h),
		cleanCommand(h),
		completionCommand(h),
		doctorProbeCommand(h),
		inspectCommand(h),
		topCommand(h),
	}, orderCommands(h)...)
}

func runCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run a command in a jail",
		ArgsUsage: "[--] COMMAND [ARG...]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "profile", Aliases: []string{"p"}, Usage: "`NAME` or FILE of the profile", DefaultText: "the command's own, or default"},
			&cli.StringFlag{Name: "workspace", Aliases: []string{"w"}, Usage: "`FOLDER` that the agent works on", DefaultText: "the profile's, or this folder"},
			&cli.BoolFlag{Name: "force-workspace", Usage: "accept / or the home folder as the workspace"},
			&cli.StringFlag{Name: "artifacts", Usage: "put artifacts, changes.patch and changes.json into `FOLDER`"},
			&cli.StringFlag{Name: "audit", Usage: "write the trail to `FILE`"},
			&cli.StringFlag{Name: "name", Usage: "a `NAME` for this run"},
			&cli.BoolFlag{Name: "keep", Usage: "keep every changed file in the run's state folder"},
			&cli.StringSliceFlag{Name: "var", Usage: "`NAME=VALUE` of a variable of the profile"},
			&cli.BoolFlag{Name: "strict", Usage: "take the profile's warnings as errors"},
			&cli.StringFlag{Name: "tty", Usage: "give the agent a terminal: auto, always, never", Value: "auto"},
			&cli.BoolFlag{Name: "no-record", Usage: "leave no recording of the agent's terminal"},
			&cli.BoolFlag{Name: "record-input", Usage: "record what is typed too, passwords with it"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print the plan as JSON and run nothing"},
			&cli.IntFlag{Name: "status-fd", Usage: "write how the run ended as JSON to descriptor `N`", Value: -1},
			&cli.BoolFlag{Name: "json", Usage: "say how the run ended as JSON on stderr"},
			&cli.StringFlag{Name: "metrics", Usage: "serve the run's metrics at `ADDR:PORT` while it goes on (Prometheus)"},
			&cli.BoolFlag{Name: "metrics-remote", Usage: "let --metrics be an address that other machines reach"},
			&cli.BoolFlag{Name: "trace", Usage: "say on stderr when each stage of the run was done"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "say nothing at the end"},
		},
		Action: func(c *cli.Context) error {
			o := Options{Profile: c.String("profile"), Workspace: c.String("workspace"), ForceWorkspace: c.Bool("force-workspace"),
				Artifacts: c.String("artifacts"), Audit: c.String("audit"), Name: c.String("name"), Keep: c.Bool("keep"),
				DryRun: c.Bool("dry-run"), JSON: c.Bool("json"), Quiet: c.Bool("quiet"), Trace: c.Bool("trace"), StatusFD: c.Int("status-fd"),
				Metrics: c.String("metrics"), MetricsRemote: c.Bool("metrics-remote"),
				NoRecord: c.Bool("no-record"), RecordInput: c.Bool("record-input"), TTY: c.String("tty"), Strict: c.Bool("strict"), Argv: c.Args().Slice()}
			var err error
			if o.Vars, err = parseVars(c.StringSlice("var")); err != nil {
				return err
			}
			return Run(h, o)
		},
	}
}
