package run_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestJailLateSignal: who asks a run to end while it is being wiped does not end the
// wipe. Signals come without end from when the agent has said its last word.
func TestJailLateSignal(t *testing.T) {
	c := newCaller(t, "")
	c.ownTemp()
	l := c.start(t, "sh", "-c", `trap "" TERM HUP; mkdir d; i=0; while [ $i -lt 2000 ]; do echo $i >d/$i; i=$((i+1)); done; echo over`)
	l.expect("over")
	ended := make(chan int)
	go func() { ended <- l.end() }()
	sent := 0
	for {
		select {
		case code := <-ended:
			// The third asks for the agent's end at once, which may come before its own.
			if code != 0 && code != 143 && code != 137 {
				t.Errorf("after %d signals it ended with %d: %s", sent, code, l.stderr.String())
			}
			if sent == 0 {
				t.Error("no signal came before the end")
			}
			c.wantNothingLeft()
			return
		case <-time.After(500 * time.Microsecond):
			if err := l.cmd.Process.Signal(unix.SIGTERM); err == nil {
				sent++
			} else if !errors.Is(err, os.ErrProcessDone) {
				t.Error(err)
			}
		}
	}
}
