package channel

import (
	"bufio"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/agentjail/agentjail/run/approval"
)

// desktop is a notification service that notes what it is told.
type desktop struct{ told chan [2]string }

func (d desktop) Notify(_ string, _ uint32, _, summary, body string, _ []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	d.told <- [2]string{summary, body}
	return 1, nil
}

func TestNotify(t *testing.T) {
	path, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("the host lacks dbus-daemon")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--session", "--nofork", "--print-address=1", "--address=unix:dir="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Skip("dbus-daemon does not run here: ", err)
	}
	address = strings.TrimSpace(address)
	q := approval.Question{ID: "a-1", What: "connect to <b>&x</b>", Program: "curl", Deadline: time.Now().Add(time.Minute)}
	if err := Notify(ctx, address, q); err == nil {
		t.Error("a bus without a desktop has shown it")
	}
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d := desktop{make(chan [2]string, 1)}
	if err := conn.Export(d, "/org/freedesktop/Notifications", "org.freedesktop.Notifications"); err != nil {
		t.Fatal(err)
	}
	if r, err := conn.RequestName("org.freedesktop.Notifications", dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(r, err)
	}
	if err := Notify(ctx, address, q); err != nil {
		t.Fatal(err)
	}
	if got := <-d.told; got[0] != "agentjail asks" || got[1] != "connect to &lt;b&gt;&amp;x&lt;/b&gt;\nby curl\nagentjail approve --yes a-1" {
		t.Errorf("%q", got)
	}
}

func TestNotifyWithoutBus(t *testing.T) {
	for _, address := range []string{"", "unix:path=/nonexistent/bus", "nonsense"} {
		if err := Notify(t.Context(), address, approval.Question{Deadline: time.Now()}); err == nil {
			t.Errorf("%q: it was shown", address)
		}
	}
}
