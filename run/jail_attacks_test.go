package run_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"

	"github.com/agentjail/agentjail/audit"
)

// where says how an attack may be tried without a jail, to know that it would have
// worked there.
type where int

const (
	never  where = 0 // it would read a real credential or change the machine
	plain  where = 1 // as the test's user; it touches canaries or its own process only
	nested where = 2 // as root of namespaces made for it: user, mount, network
	both         = plain | nested
)

// attempts are what the attacking program tries, how the jail must answer, and
// where else it may be tried. An attack whose answer is the same without a jail
// shows nothing and is skipped by name.
//
// Each was seen to fail with its layer taken out of a private copy of the source:
// see the comments.
var attempts = []struct {
	name  string
	where where
	want  []string
}{
	// The file view. With dropSetup leaving the host's tree mounted, that one is "ok".
	{"read the private key", plain, []string{"ENOENT"}},
	{"read the private key by /proc/self/root", plain, []string{"ENOENT"}},
	{"read the private key by /proc/PID/root", plain, []string{"ENOENT"}},
	{"read the private key by /proc/PID/cwd", plain, []string{"ENOENT"}},
	{"list the home folder", plain, []string{"ENOENT"}},
	{"read a file beside the workspace", plain, []string{"ENOENT"}},
	{"write a file beside the workspace", plain, []string{"ENOENT"}},
	// The jail's own /tmp may be the folder's parent; what counts is the host's.
	{"create a file beside the workspace", plain, []string{"ok", "EROFS", "EACCES"}},
	{"read /etc/shadow", never, []string{"ENOENT"}},
	{"write /etc/passwd", never, []string{"EROFS", "EACCES"}},
	{"create a file in /usr", never, []string{"EROFS", "EACCES"}},
	{"create a file in /", never, []string{"EROFS", "EACCES"}},
	{"write a kernel setting", never, []string{"EROFS", "EACCES"}},
	{"write /proc/sysrq-trigger", never, []string{"EROFS", "EACCES", "ENOENT"}},
	{"read the kernel's log", never, []string{"ENOENT"}},
	{"open /dev/mem", never, []string{"ENOENT"}},
	{"open /dev/fuse", never, []string{"ENOENT"}},
	{"mknod a device", nested, []string{"EPERM", "EACCES"}},
	{"look for the host's tree that the jail was built from", never, []string{"empty", "ENOENT"}},
	// A read-only bind. With MOUNT_ATTR_RDONLY left out all ten were possible: what is
	// mounted below /tmp gets /tmp's rights from Landlock.
	{"write to a read-only file", plain, []string{"EROFS", "EACCES"}},
	{"truncate a read-only file", plain, []string{"EROFS", "EACCES"}},
	{"remove a read-only file", plain, []string{"EROFS", "EACCES"}},
	{"rename a read-only file", plain, []string{"EROFS", "EACCES"}},
	{"link beside a read-only file", plain, []string{"EROFS", "EACCES"}},
	{"make a folder beside a read-only file", plain, []string{"EROFS", "EACCES"}},
	{"chmod a read-only file", plain, []string{"EROFS"}},
	{"chown a read-only file", plain, []string{"EROFS"}},
	{"utime a read-only file", plain, []string{"EROFS"}},
	{"setxattr on a read-only file", plain, []string{"EROFS"}},
	// Landlock alone. With landlock_restrict_self left out of the stage, and its check
	// with it, this and the signal to PID 1 are "ok".
	{"read a file that no Landlock rule grants", never, []string{"EACCES"}},
	// no_new_privs and nosuid.
	{"become root by a setuid program", plain, []string{"uid 1000"}},

	// PID 1 belongs to another user namespace, and /proc hides what can't be traced.
	// With hidepid left out, rootless: EACCES for all but the list of descriptors.
	{"read PID 1's environment", plain, []string{"ENOENT"}},
	{"read PID 1's memory map", plain, []string{"ENOENT"}},
	{"write PID 1's memory", plain, []string{"ENOENT"}},
	{"follow PID 1's root", plain, []string{"ENOENT"}},
	{"follow PID 1's cwd", plain, []string{"ENOENT"}},
	{"follow PID 1's program", plain, []string{"ENOENT"}},
	{"write PID 1's program", plain, []string{"ENOENT"}},
	{"list PID 1's descriptors", plain, []string{"ENOENT"}},
	{"enter PID 1's namespaces", plain, []string{"ENOENT"}},
	{"ptrace PID 1", plain, []string{"EPERM"}},
	{"signal PID 1", plain, []string{"EPERM"}},
	// The pid namespace, and the environment built from nothing.
	{"signal the canary", plain, []string{"ESRCH"}},
	{"see the canary", plain, []string{"ENOENT"}},
	{"read the canary's environment", plain, []string{"absent"}},

	// The seccomp filter. With its default action "log" and the checks of the stage
	// ignored, 45 of these get the kernel's own answer; mounting still fails, since the
	// agent has no capability. With SetBadArchAction(allow) int 0x80 is "ok"; without
	// ioctlPrefix the terminal's requests are ENOTTY.
	{"unshare a user namespace", both, []string{"EPERM"}},
	{"unshare a mount namespace", nested, []string{"EPERM"}},
	{"unshare -Ur", both, []string{"exit 1"}},
	{"clone a user namespace", both, []string{"EPERM"}},
	{"clone a network namespace", nested, []string{"EPERM"}},
	{"clone3 a user namespace", both, []string{"ENOSYS"}},
	{"setns", nested, []string{"EPERM"}},
	{"mount a tmpfs", nested, []string{"EPERM"}},
	{"remount / writable", never, []string{"EPERM"}},
	{"umount a mask", nested, []string{"EPERM"}},
	{"chroot", nested, []string{"EPERM"}},
	{"pivot_root", nested, []string{"EPERM"}},
	{"fsopen", nested, []string{"ENOSYS"}},
	{"open_tree", nested, []string{"ENOSYS"}},
	{"move_mount", nested, []string{"ENOSYS"}},
	{"fsconfig", nested, []string{"ENOSYS"}},
	{"fsmount", nested, []string{"ENOSYS"}},
	{"fspick", nested, []string{"ENOSYS"}},
	{"mount_setattr", nested, []string{"ENOSYS"}},
	{"name_to_handle_at", both, []string{"EPERM"}},
	{"open_by_handle_at", both, []string{"EPERM"}},
	{"an unknown system call", both, []string{"EPERM"}},
	{"ptrace", both, []string{"EPERM"}},
	{"process_vm_readv", both, []string{"EPERM"}},
	{"pidfd_getfd", both, []string{"EPERM"}},
	{"kcmp", both, []string{"EPERM"}},
	{"io_uring_setup", both, []string{"EPERM"}},
	{"keyctl", both, []string{"EPERM"}},
	{"add_key", both, []string{"EPERM"}},
	{"request_key", both, []string{"EPERM"}},
	{"bpf", both, []string{"EPERM"}},
	{"perf_event_open", both, []string{"EPERM"}},
	{"userfaultfd", both, []string{"EPERM"}},
	{"personality", both, []string{"EPERM"}},
	{"quotactl", nested, []string{"EPERM"}},
	{"swapon", nested, []string{"EPERM"}},
	{"acct", nested, []string{"EPERM"}},
	{"syslog", both, []string{"EPERM"}},
	{"mbind", both, []string{"EPERM"}},
	{"type into the terminal (TIOCSTI)", both, []string{"EPERM"}},
	{"type into the terminal (TIOCSTI, high bits set)", both, []string{"EPERM"}},
	{"type into the terminal (TIOCSTI, other high bits)", both, []string{"EPERM"}},
	{"paste into the console (TIOCLINUX)", both, []string{"EPERM"}},
	{"paste into the console (TIOCLINUX, high bits set)", both, []string{"EPERM"}},
	{"int 0x80", both, []string{"SIGSYS"}},
	{"the x32 bit", both, []string{"SIGSYS"}},
	{"a raw IPv4 socket", both, []string{"EPERM"}},
	{"a raw IPv6 socket", both, []string{"EPERM"}},
	{"a ping socket", both, []string{"EPERM"}},
	{"an MPTCP socket", both, []string{"EPROTONOSUPPORT"}},
	{"an SCTP socket", both, []string{"EPERM"}},
	{"a UDP-Lite socket", both, []string{"EPERM"}},
	{"AF_PACKET", both, []string{"EAFNOSUPPORT"}},
	{"AF_PACKET with a high bit", both, []string{"EAFNOSUPPORT"}},
	{"AF_ALG", both, []string{"EAFNOSUPPORT"}},
	{"AF_VSOCK", both, []string{"EAFNOSUPPORT"}},
	{"AF_KEY", both, []string{"EAFNOSUPPORT"}},
	{"AF_RXRPC", both, []string{"EAFNOSUPPORT"}},
	{"AF_TIPC", both, []string{"EAFNOSUPPORT"}},
	{"AF_XDP", both, []string{"EAFNOSUPPORT"}},
	{"netlink: netfilter", both, []string{"EPERM"}},
	{"netlink: xfrm", both, []string{"EPERM"}},
	{"netlink: kobject", both, []string{"EPERM"}},
	{"netlink: generic", both, []string{"EPERM"}},
	{"netlink: sock_diag", both, []string{"EPERM"}},
	{"netlink: audit", both, []string{"EPERM"}},

	// The network namespace: the jail's loopback is another one.
	{"the host's loopback (TCP)", plain, []string{"ECONNREFUSED"}},
	{"the host's loopback (UDP)", plain, []string{"ECONNREFUSED"}},
	{"the host's loopback (::1)", plain, []string{"ECONNREFUSED"}},
	{"the host by 0.0.0.0", plain, []string{"ECONNREFUSED"}},
	{"connect to an abstract socket", plain, []string{"ECONNREFUSED", "EPERM"}},
}

// hostCanaries are what the attacks are aimed at.
type hostCanaries struct {
	cfg   attackConfig
	files []canary
	hits  atomic.Int64 // connections and packets that reached the host's sockets
}

func plantCanaries(t *testing.T, c *caller) *hostCanaries {
	t.Helper()
	h := &hostCanaries{}
	readonly := filepath.Join(c.dir, "readonly")
	h.cfg = attackConfig{Key: filepath.Join(c.home, ".ssh", "id_ed25519"), Outside: filepath.Join(c.dir, "outside"),
		Readonly: readonly, Abstract: fmt.Sprintf("agentjail-test-%d", os.Getpid())}
	h.files = []canary{newCanary(t, h.cfg.Key, "a private key\n"), newCanary(t, h.cfg.Outside, "outside\n"),
		newCanary(t, filepath.Join(readonly, "file"), "read only\n")}
	// Readable by the jail's user, whose uid is another one in root mode.
	if err := os.Chmod(readonly, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(readonly, "file"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.files[2].info, _ = os.Lstat(filepath.Join(readonly, "file"))
	h.listen(t, "unix", filepath.Join(readonly, "socket"))
	if err := os.Chmod(filepath.Join(readonly, "socket"), 0o777); err != nil {
		t.Fatal(err)
	}
	h.listen(t, "unix", "@"+h.cfg.Abstract)
	h.cfg.Port = h.listen(t, "tcp", ":0").(*net.TCPAddr).Port
	udp, err := net.ListenUDP("udp", &net.UDPAddr{Port: h.cfg.Port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	go func() {
		for {
			if _, _, err := udp.ReadFrom(make([]byte, 64)); err != nil {
				return
			}
			h.hits.Add(1)
		}
	}()
	cmd := exec.Command(self(t), helperArg, "sleep")
	cmd.Env = []string{"AGENTJAIL_TEST_SECRET=in the canary"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the host's canary process was ended: %v", err)
		}
	})
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	h.cfg.CanaryPID = cmd.Process.Pid
	return h
}

func (h *hostCanaries) listen(t *testing.T, network, address string) net.Addr {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			h.hits.Add(1)
			conn.Close()
		}
	}()
	return l.Addr()
}

func (h *hostCanaries) config(t *testing.T, procPID int, names []string) string {
	t.Helper()
	cfg := h.cfg
	cfg.ProcPID, cfg.Names = procPID, names
	data, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// unjailed runs attacks without a jail; attr makes the namespaces.
func (h *hostCanaries) unjailed(t *testing.T, attr *syscall.SysProcAttr, names []string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(self(t), helperArg, "attack", h.config(t, h.cfg.CanaryPID, names))
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "AGENTJAIL_TEST_SECRET=inherited"}
	cmd.SysProcAttr = attr
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Logf("without a jail: %v %s", err, stderr.String())
		return nil
	}
	return decodeResults(t, out)
}

func decodeResults(t *testing.T, out []byte) map[string]string {
	t.Helper()
	var results map[string]string
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return results
}

func namesFor(w where) []string {
	var names []string
	for _, a := range attempts {
		if w == never || a.where&w != 0 {
			names = append(names, a.name)
		}
	}
	return names
}

// TestJailAttacks lets one program try everything at once, in the strict profile
// plus a folder to read.
func TestJailAttacks(t *testing.T) {
	c := newCaller(t, "")
	h := plantCanaries(t, c)
	c.setProfile(fmt.Sprintf("files {\n read = [%q]\n exec = [%q]\n}\n", h.cfg.Readonly, self(t)))
	c.env = append(c.env, "AGENTJAIL_TEST_SECRET=inherited")
	inWorkspace := newCanary(t, filepath.Join(c.workspace, "file"), "the host's\n")

	// First, so that the canaries are whole when they are tried.
	o := c.must(self(t), helperArg, "attack", h.config(t, 1, namesFor(never)))
	if n := h.hits.Load(); n != 0 {
		t.Errorf("%d connections or packets reached the host's sockets", n)
	}
	for _, f := range append(h.files, inWorkspace) {
		f.check(t)
	}
	jailed := decodeResults(t, []byte(o.stdout))
	events := o.events()
	if _, err := os.Lstat(h.cfg.Outside + newSuffix); err == nil {
		t.Error("a file was created beside the workspace on the host")
	}
	for _, program := range []string{"/usr/bin/su", "/usr/bin/unshare"} {
		wantEvent(t, events, "the launch of "+program, func(v audit.View, e audit.Event) bool {
			return v.Kind == "exec" && e.Process.Path == program
		})
	}

	results := []map[string]string{h.unjailed(t, nil, namesFor(plain)), h.unjailed(t, nestedAttr(), namesFor(nested))}
	for _, a := range attempts {
		t.Run(a.name, func(t *testing.T) {
			got := jailed[a.name]
			want := a.want
			if a.name == "signal PID 1" && os.Getuid() != 0 && landlockABI(t) < 6 {
				// TestJailFirstProcessTakesNoSignals says why that does no harm.
				want = []string{"ok"}
			}
			if !slices.Contains(want, got) {
				t.Fatalf("in the jail: %q, want one of %q", got, want)
			}
			if a.where == never {
				return
			}
			same := 0
			for _, r := range results {
				switch outside, tried := r[a.name]; {
				case tried && (outside != got || a.name == "create a file beside the workspace" && outside == "ok"):
					return
				case tried:
					same++
				}
			}
			if same > 0 {
				t.Skipf("not meaningful here: without a jail the host answers %q to this user too", got)
			}
			t.Skip("not meaningful here: the host lacks what it takes to try it without a jail (user namespaces)")
		})
	}
}

func landlockABI(t *testing.T) int {
	t.Helper()
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		t.Fatal(err)
	}
	return abi
}

// nestedAttr makes namespaces of the test's own, as their root. A mount namespace
// of another user namespace passes no mount back (mount_namespaces(7)).
func nestedAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}
