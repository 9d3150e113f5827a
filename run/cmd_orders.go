package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/run/control"
)

// orderTimeout is how long a run may take over an order; packing its memory is the
// longest.
const orderTimeout = 10 * time.Minute

// endTimeout is how long a run may take to end: the grace period, then what it leaves
// is collected and wiped.
const endTimeout = 10 * time.Minute

// orderCommands are freeze, thaw, stop and kill.
func orderCommands(h Host) []*cli.Command {
	one := func(name, usage, text string, do func(c *cli.Context, i Info) error, flags ...cli.Flag) *cli.Command {
		return &cli.Command{Name: name, Usage: usage, ArgsUsage: "[RUN]", Description: text, Flags: flags, BashComplete: completeLive(h),
			Action: func(c *cli.Context) error {
				what, err := atMostOne(c)
				if err != nil {
					return err
				}
				i, err := findLive(h, what)
				if err != nil {
					return err
				}
				return do(c, i)
			}}
	}
	return []*cli.Command{
		one("freeze", "hold a run: none of its processes executes an instruction until thaw",
			"Example: agentjail freeze --pack last\n\nIts limits of time and idleness don't count meanwhile. --pack puts what the run is at this moment\ninto an archive to look at (agentjail inspect).",
			func(c *cli.Context, i Info) error { return freezeRun(h, i, c.Bool("pack"), c.Bool("memory")) },
			&cli.BoolFlag{Name: "pack", Usage: "pack the frozen run into an archive"},
			&cli.BoolFlag{Name: "memory", Usage: "with --pack: the memory of its processes too"}),
		one("thaw", "let a frozen run go on", "Example: agentjail thaw last", func(_ *cli.Context, i Info) error {
			return order(h, i, "thaw", nil, nil)
		}),
		one("stop", "end a run: its agent is told (SIGTERM) and has ten seconds", "Example: agentjail stop 20261122-131438-7961abe4", func(_ *cli.Context, i Info) error {
			return endRun(h, i, "stop")
		}),
		one("kill", "end a run at once", "Example: agentjail kill last", func(_ *cli.Context, i Info) error {
			return endRun(h, i, "kill")
		}),
	}
}

// order asks a run for something.
func order(h Host, i Info, method string, params, result any) error {
	ctx, cancel := context.WithTimeout(context.Background(), orderTimeout)
	defer cancel()
	err := control.Call(ctx, i.Runtime, uint32(h.UID), method, params, result)
	if errors.Is(err, control.ErrNoRun) {
		return fmt.Errorf("run %s: %w\nhint: it has just begun, or is ending; agentjail runs says which", i.ID, err)
	}
	return err
}

func freezeRun(h Host, i Info, pack, memory bool) error {
	if memory && !pack {
		return errors.New("--memory says what goes into an archive\nhint: agentjail freeze --pack --memory")
	}
	var f jail.Frozen
	err := order(h, i, "freeze", nil, &f)
	var said *control.Error
	switch {
	case err == nil:
		fmt.Fprintf(h.Stdout, "run %s is frozen: %d processes, %d threads, by %s\n", i.ID, f.Processes, f.Threads, audit.Printable(f.How))
	case pack && errors.As(err, &said) && said.Text == jail.ErrFrozen.Error():
		// That is as it should be.
	default:
		return err
	}
	if !pack {
		return nil
	}
	var p packResult
	if err := order(h, i, "pack", packParams{Memory: memory}, &p); err != nil {
		return err
	}
	fmt.Fprintf(h.Stdout, "packed into %s; see agentjail inspect\n", audit.Printable(p.Path))
	return nil
}

// endRun has a run end and waits until it has.
func endRun(h Host, i Info, method string) error {
	if err := order(h, i, method, nil, nil); err != nil {
		return err
	}
	for end := time.Now().Add(endTimeout); i.State() == StateRunning; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("run %s has not ended yet\nhint: agentjail kill %s ends it at once", i.ID, i.ID)
		}
		if now, err := readInfo(i.dir); err == nil {
			i = now
		}
	}
	return nil
}

// liveRuns are the runs that go on, the newest first.
func liveRuns(h Host) ([]Info, error) {
	d, err := findDirs(h.getenv, h.Home, h.UID)
	if err != nil {
		return nil, err
	}
	runs, err := listRuns(d)
	if err != nil {
		return nil, err
	}
	var live []Info
	for _, i := range runs {
		if i.State() == StateRunning {
			live = append(live, i)
		}
	}
	return live, nil
}

// findLive finds a run that goes on: the only one where none is named.
func findLive(h Host, what string) (Info, error) {
	live, err := liveRuns(h)
	if err != nil {
		return Info{}, err
	}
	switch {
	case len(live) == 0:
		return Info{}, errors.New("no run goes on\nhint: agentjail runs lists those that have ended")
	case what == "" && len(live) > 1:
		return Info{}, fmt.Errorf("%d runs go on, and none is named\nhint: agentjail top lists them; \"last\" is the newest", len(live))
	case what == "" || what == "last":
		return live[0], nil
	}
	d, err := findDirs(h.getenv, h.Home, h.UID)
	if err != nil {
		return Info{}, err
	}
	i, err := findRun(d, what)
	if err != nil {
		return i, err
	}
	if i.State() != StateRunning {
		return i, fmt.Errorf("run %s goes on no more: it is %s", i.ID, i.State())
	}
	return i, nil
}

// completeLive offers the ids of the runs that go on.
func completeLive(h Host) cli.BashCompleteFunc {
	return func(*cli.Context) {
		live, err := liveRuns(h)
		if err != nil {
			return // nothing to offer, and nowhere to say so
		}
		for _, i := range live {
			fmt.Fprintln(h.Stdout, audit.Printable(i.ID))
		}
	}
}
