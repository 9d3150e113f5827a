package netns

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"golang.org/x/sys/unix"
)

// The test binary is also the jail's first process and the gateway.
const jailArg = "netns-test-jail"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		var err error
		switch os.Args[1] {
		case GatewayArg:
			switch {
			case len(os.Args) > 2 && os.Args[2] == "attack":
				err = attackMain()
			case len(os.Args) > 3 && os.Args[2] == "hostile":
				err = hostileMain(os.Args[3])
			case len(os.Args) > 3 && os.Args[2] == "files":
				err = fewFilesMain(os.Args[3])
			default:
				err = GatewayMain()
			}
		case jailArg:
			err = jailMain()
		default:
			os.Exit(m.Run())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// call is an order to the jail's process: which of jailFuncs, and its argument.
type call struct{ Func, Arg string }

// jailMain is the process in the namespace: it sets up the link, hands the sockets
// out, and then does what it is told, as the agent would.
func jailMain() error {
	c, err := net.FileConn(os.NewFile(3, "control"))
	if err != nil {
		return err
	}
	ctl := c.(*net.UnixConn)
	var p LinkPlan
	if err := readFrame(ctl, &p, 1<<20); err != nil {
		return err
	}
	files, err := SetUp(p)
	if err != nil {
		return writeFrame(ctl, "error: "+err.Error(), 1<<20)
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	if err := writeFrame(ctl, "ok", 1<<20); err != nil {
		return err
	}
	if _, _, err := ctl.WriteMsgUnix([]byte{0}, unix.UnixRights(fds...), nil); err != nil {
		return err
	}
	closeAll(files)
	for {
		var order call
		if err := readFrame(ctl, &order, 8<<20); err != nil {
			return nil
		}
		if err := writeFrame(ctl, jailFuncs[order.Func](order.Arg), 64<<20); err != nil {
			return err
		}
	}
}

// box is a jail's network under test.
type box struct {
	t    *testing.T
	ctl  *net.UnixConn
	sup  *Supervisor
	sink *memorySink
	plan LinkPlan
}

// needNamespaces skips where the host gives no user and network namespace.
func needNamespaces(t *testing.T) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.SysProcAttr = jailAttr()
	if err := cmd.Run(); err != nil {
		t.Skipf("the host lacks unprivileged user namespaces: %v", err)
	}
}

func jailAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
}

// newBox makes a namespace, sets it up for a network policy, and serves it.
func newBox(t *testing.T, n profiles.Network, change ...func(*Config)) *box {
	t.Helper()
	needNamespaces(t)
	b := &box{t: t, sink: &memorySink{}, plan: PlanLink(n)}
	ours, theirs, err := controlPair()
	if err != nil {
		t.Fatal(err)
	}
	b.ctl = ours
	cmd := exec.Command("/proc/self/exe", jailArg)
	cmd.SysProcAttr, cmd.ExtraFiles, cmd.Stderr, cmd.Dir = jailAttr(), []*os.File{theirs}, os.Stderr, "/"
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	t.Cleanup(func() {
		ours.Close()
		cmd.Wait()
	})
	if err := writeFrame(ours, b.plan, 1<<20); err != nil {
		t.Fatal(err)
	}
	var answer string
	if err := readFrame(ours, &answer, 1<<20); err != nil {
		t.Fatal(err)
	}
	if answer != "ok" {
		t.Fatalf("SetUp: %s", answer)
	}
	oob := make([]byte, 4096)
	_, oobn, _, _, err := ours.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		t.Fatalf("control messages: %v %v", msgs, err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		t.Fatal(err)
	}
	var files []*os.File
	for i, fd := range fds {
		unix.CloseOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), b.plan.Files()[i]))
	}
	cfg := Config{Network: n, Link: b.plan, Sink: b.sink}
	for _, f := range change {
		f(&cfg)
	}
	if b.sup, err = Start(cfg, files); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.sup.Close() })
	return b
}

// do runs one of jailFuncs in the jail.
func (b *box) do(name string, arg ...any) string {
	b.t.Helper()
	text := ""
	if len(arg) == 1 {
		if s, ok := arg[0].(string); ok {
			text = s
		} else {
			j, err := json.Marshal(arg[0])
			if err != nil {
				b.t.Fatal(err)
			}
			text = string(j)
		}
	}
	if err := writeFrame(b.ctl, call{name, text}, 8<<20); err != nil {
		b.t.Fatalf("%s: %v", name, err)
	}
	var out string
	if err := readFrame(b.ctl, &out, 64<<20); err != nil {
		b.t.Fatalf("%s: %v", name, err)
	}
	return out
}

// want runs one of jailFuncs and compares the beginning of what it says.
func (b *box) want(prefix, name string, arg ...any) string {
	b.t.Helper()
	got := b.do(name, arg...)
	if !strings.HasPrefix(got, prefix) {
		b.t.Errorf("%s %v = %q, want %q", name, arg, got, prefix)
	}
	return got
}

// wantConnect waits for a Connect record that pred takes.
func (b *box) wantConnect(what string, pred func(audit.Connect) bool) audit.Connect {
	b.t.Helper()
	var found audit.Connect
	b.sink.wait(b.t, what, func(r audit.Record) bool {
		c, ok := r.(audit.Connect)
		if ok && pred(c) {
			found = c
			return true
		}
		return false
	})
	return found
}

// memorySink keeps records.
type memorySink struct {
	mu      sync.Mutex
	records []audit.Record
}

func (s *memorySink) Emit(r audit.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, r)
}

func (s *memorySink) all() []audit.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]audit.Record(nil), s.records...)
}

// wait waits for a record; records come by way of other processes, on an emulated
// processor after many seconds.
func (s *memorySink) wait(t *testing.T, what string, pred func(audit.Record) bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, r := range s.all() {
			if pred(r) {
				return
			}
		}
	}
	t.Errorf("no record of %s among:\n%s", what, s.text())
}

func (s *memorySink) text() string {
	var b strings.Builder
	for _, r := range s.all() {
		j, _ := json.Marshal(r)
		fmt.Fprintf(&b, "  %T %s\n", r, j)
	}
	return b.String()
}

// allow is a rule of a test's policy.
func allow(line int, host string, proto profiles.Protocol, upstream string, ports ...uint16) profiles.NetRule {
	h, _, err := profiles.ParseHostPattern(host)
	if err != nil {
		panic(err)
	}
	return profiles.NetRule{
		Label: host, Hosts: []profiles.HostPattern{h}, Ports: ports, Protocol: proto, Upstream: upstream,
		AnyRequest: proto == profiles.ProtocolTLS || proto == profiles.ProtocolHTTP,
		Origin:     profiles.Origin{File: "test.hcl", Line: line},
	}
}

// testPolicy allows one address to an upstream.
func testPolicy(up string) profiles.Network {
	return profiles.Network{Allow: []profiles.NetRule{
		allow(1, "1.2.3.4", profiles.ProtocolTCP, up, 443, 8443),
	}}
}
