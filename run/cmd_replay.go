package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/agentjail/agentjail/run/cast"
)

func replayCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:      "replay",
		Usage:     "play what an interactive run showed",
		ArgsUsage: "[RUN]",
		Flags: []cli.Flag{
			&cli.Float64Flag{Name: "speed", Usage: "`N` times as fast; 0 does not wait", Value: 1},
			&cli.DurationFlag{Name: "idle", Usage: "wait no longer than this", Value: 2 * time.Second},
		},
		BashComplete: completeRuns(h),
		Action: func(c *cli.Context) error {
			what, err := atMostOne(c)
			if err != nil {
				return err
			}
			if c.Float64("speed") < 0 || c.Duration("idle") < 0 {
				return errors.New("replay: --speed and --idle are not below 0")
			}
			d, err := findDirs(h.getenv, h.Home, h.UID)
			if err != nil {
				return err
			}
			i, err := findRun(d, what)
			if err != nil {
				return err
			}
			f, err := os.Open(i.file(fileCast))
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("run %s left no recording\nhint: runs on a terminal do, unless --no-record was given", i.ID)
			}
			if err != nil {
				return err
			}
			defer f.Close()
			r, err := cast.NewReader(f)
			if err != nil {
				return fmt.Errorf("recording of run %s: %w", i.ID, err)
			}
			ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			speed := c.Float64("speed")
			if !term.IsTerminal(int(h.Stdout.Fd())) {
				speed = 0
			}
			err = cast.Play(ctx, h.Stdout, r, cast.PlayOptions{Speed: speed, Idle: c.Duration("idle")})
			if errors.Is(err, context.Canceled) {
				return &ExitError{Code: 130} // 128 + SIGINT, as a shell says it
			}
			return err
		},
	}
}
