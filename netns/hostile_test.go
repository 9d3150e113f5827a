package netns

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"golang.org/x/sys/unix"
)

// hostile are what a gateway that was taken over would tell or ask the supervisor; each
// gets the two sockets, confined like any gateway.
var hostile = map[string]func(ctl net.Conn, errands *net.UnixConn) error{
	"dial a port that is not published": func(_ net.Conn, e *net.UnixConn) error {
		return writeErrand(e, errand{kind: errandDial, id: 1, arg: 22}.marshal())
	},
	"dial a port beyond all ports": func(_ net.Conn, e *net.UnixConn) error {
		return writeErrand(e, errand{kind: errandDial, id: 1, arg: 1<<16 + 8080}.marshal())
	},
	"ask for the ssh agent": func(_ net.Conn, e *net.UnixConn) error {
		return writeErrand(e, errand{kind: errandAgent, id: 1}.marshal())
	},
	"send an errand that does not exist": func(_ net.Conn, e *net.UnixConn) error {
		return writeErrand(e, errand{kind: 9, id: 1}.marshal())
	},
	"send half an errand": func(_ net.Conn, e *net.UnixConn) error { return writeErrand(e, []byte{1, 2, 3}) },
	"report two records in one": func(c net.Conn, _ *net.UnixConn) error {
		return writeFrame(c, report{DNS: &audit.DNS{Name: "a"}, Finding: &audit.Finding{Title: "b"}}, maxReport)
	},
	"report nothing":      func(c net.Conn, _ *net.UnixConn) error { return writeFrame(c, report{}, maxReport) },
	"say ready once more": func(c net.Conn, _ *net.UnixConn) error { return writeFrame(c, report{Ready: &ready{}}, maxReport) },
	"send a huge frame":   func(c net.Conn, _ *net.UnixConn) error { _, err := c.Write([]byte{255, 255, 255, 255}); return err },
	"spend from a budget that does not exist": func(c net.Conn, _ *net.UnixConn) error {
		return writeFrame(c, report{Question: &question{ID: 1, Reserve: &reserveQuestion{Charges: []Charge{{Budget: "x", Amount: 1}}}}}, maxReport)
	},
}

func writeErrand(e *net.UnixConn, b []byte) error { _, err := e.Write(b); return err }

// hostileMain is a gateway that confines itself, says so, and then attacks.
func hostileMain(name string) error {
	if !isConfined() {
		return firstStep()
	}
	layers, err := secondStep()
	if err != nil {
		return err
	}
	f := os.NewFile(controlFD, "control")
	ctl, err := net.FileConn(f)
	if err != nil {
		return err
	}
	errands, err := takeConn(errandFD)
	if err != nil {
		return err
	}
	var s start
	if err := readFrame(ctl, &s, maxStart); err != nil {
		return err
	}
	if err := writeFrame(ctl, report{Ready: &ready{Layers: layers}}, maxReport); err != nil {
		return err
	}
	if name == "forge" {
		return forge(ctl, errands)
	}
	attack, ok := hostile[name]
	if !ok {
		return fmt.Errorf("no attack %q", name)
	}
	if err := attack(ctl, errands); err != nil {
		return err
	}
	_, err = ctl.Read(make([]byte, 1)) // until it is ended, which may look like the end of the stream
	return err
}

// forge tells lies that the supervisor can't know for ones: what it does with them.
func forge(ctl net.Conn, errands *net.UnixConn) error {
	liar := audit.Process{PID: 4711, Name: "innocent", Argv: []string{"innocent"}}
	for _, r := range []report{
		{Connect: &audit.Connect{ID: 1, Network: "tcp", Name: "forged.example", Addr: "1.2.3.4", Port: 443, Outcome: audit.Allowed, Process: liar}},
		{DNS: &audit.DNS{Name: "forged.example", Type: "A", RCode: "NOERROR", Outcome: audit.Allowed, Process: liar}},
		{HTTP: &audit.HTTP{ID: 1, Host: "forged.example", Outcome: audit.Allowed, Process: liar}},
		{Signature: &audit.Signature{Key: "forged", Outcome: audit.Allowed, Process: liar}},
	} {
		if err := writeFrame(ctl, r, maxReport); err != nil {
			return err
		}
	}
	// The pid of a process that is not in the jail: nobody is named.
	outside, err := strconv.Atoi(os.Args[4])
	if err != nil {
		return err
	}
	if err := writeErrand(errands, errand{kind: errandPeer, id: 2, arg: uint32(outside)}.marshal()); err != nil {
		return err
	}
	if err := writeFrame(ctl, report{DNS: &audit.DNS{Name: "outside.example", Type: "A", RCode: "NOERROR", Outcome: audit.Allowed}, Who: 2}, maxReport); err != nil {
		return err
	}
	_, err = ctl.Read(make([]byte, 1))
	return err
}

// hostileBox is a box whose gateway is hostile, awake after the first packet.
func hostileBox(t *testing.T, name string, change ...func(*Config)) *box {
	t.Helper()
	n := testPolicy(echo(t))
	n.Publish = []profiles.PortRule{{Label: "8080", Host: 8080, Jail: 8080}} // but nothing listens there
	b := newBox(t, n, append(change, func(c *Config) {
		c.Args, c.Exe = []string{GatewayArg, "hostile", name, strconv.Itoa(os.Getpid())}, "/proc/self/exe"
		c.DialJail = func(port uint16) (*os.File, error) {
			t.Errorf("port %d of the jail was dialled", port)
			return nil, unix.ECONNREFUSED
		}
		c.DialAgent = func() (*os.File, error) {
			t.Error("the ssh agent was dialled")
			return nil, unix.ECONNREFUSED
		}
	})...)
	b.want("ok", "knock", "10.0.2.3:53")
	return b
}

// TestKernelHostileGateway: a gateway that asks for what no rule allows, or does not
// speak as an honest one does, is ended; there is no network from then on, the trail
// says so, and the run goes on.
func TestKernelHostileGateway(t *testing.T) {
	for name := range hostile {
		t.Run(name, func(t *testing.T) {
			b := hostileBox(t, name)
			select {
			case <-b.sup.Done():
			case <-time.After(time.Minute):
				t.Fatal("the supervisor let the attack pass")
			}
			if b.sup.Err() == nil {
				t.Error("the network ended as if nothing was wrong")
			}
			b.want("ECONNREFUSED", "tcp", "1.2.3.4:443")
			b.want("ECONNREFUSED", "udp", "10.0.2.3:53")
			b.sink.wait(t, "the gateway's end", func(r audit.Record) bool {
				f, ok := r.(audit.Finding)
				return ok && f.Severity == "high" && f.Outcome == audit.Failed && f.Title == "the network gateway is gone"
			})
		})
	}
}

// TestKernelForgedReports: a lie about who asked is taken out, and a process outside of
// the jail can't be named. That a connection was made at all can be forged: nobody else
// saw it.
func TestKernelForgedReports(t *testing.T) {
	asked := make(chan int, 1)
	b := hostileBox(t, "forge", func(c *Config) {
		c.ProcessOf = func(pid int) (audit.Process, bool) {
			asked <- pid
			return audit.Process{}, false // what the jail says of a process that is not its own
		}
	})
	b.sink.wait(t, "the last lie", func(r audit.Record) bool {
		d, ok := r.(audit.DNS)
		return ok && d.Name == "outside.example"
	})
	if pid := <-asked; pid != os.Getpid() {
		t.Errorf("the errand was about %d", pid)
	}
	for _, r := range b.sink.all() {
		var p audit.Process
		switch r := r.(type) {
		case audit.Connect:
			p = r.Process
		case audit.DNS:
			p = r.Process
		case audit.HTTP:
			p = r.Process
		case audit.Signature:
			p = r.Process
		}
		if p.PID != 0 || p.Name != "" || p.Argv != nil {
			t.Errorf("%T names %+v", r, p)
		}
	}
}
