package attacks

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Attacks on what agentjail itself keeps open while a run goes on: the control socket,
// by which people answer, the metrics' port, and the way to a collector. The suite starts
// this program in a jail and tells it over stdin more than a jail ever knows.

// ArgDoors makes this program read a Doors from stdin and try them.
const ArgDoors = "doors"

// Doors is what is tried.
type Doors struct {
	Socket   string   `json:"socket"`    // the control socket's path
	Answer   string   `json:"answer"`    // the request that would answer the agent's own question
	Ask      []string `json:"ask"`       // a command that a person would have to allow, begun first
	Ports    []int    `json:"ports"`     // TCP, on the host's loopback
	HostIPs  []string `json:"host_ips"`  // the host's addresses
	PathOnly bool     `json:"path_only"` // nothing but the path is tried
}

// Tried is a line of JSON that it says: what let it in, and what became of the command.
type Tried struct {
	Began   bool     `json:"began,omitempty"` // the command is about to be
	Reached []string `json:"reached,omitempty"`
	Over    bool     `json:"over,omitempty"` // everything was tried
	Granted bool     `json:"granted,omitempty"`
	Ended   bool     `json:"ended,omitempty"` // the command has
}

// TryDoors is ArgDoors.
func TryDoors(in io.Reader, out io.Writer) int {
	var mode struct{ Ask []string }
	lines := bufio.NewReader(in)
	say := func(t Tried) { _ = json.NewEncoder(out).Encode(t) }
	read := func(v any) bool {
		line, err := lines.ReadBytes('\n')
		return err == nil && json.Unmarshal(line, v) == nil
	}
	if !read(&mode) {
		return 2
	}
	ended := make(chan bool, 1)
	if len(mode.Ask) > 0 {
		// By a shell: while an exec of this program's own is held, it can open no socket
		// (syscall.ForkLock).
		go func() {
			ended <- exec.Command("/bin/sh", append([]string{"-c", `"$@"; exit $?`, "sh"}, mode.Ask...)...).Run() == nil
		}()
	}
	say(Tried{Began: true})
	// The suite knows where the doors are once the run has begun.
	var d Doors
	if !read(&d) {
		return 2
	}
	say(Tried{Reached: append(d.control(), d.ports()...), Over: true})
	if len(mode.Ask) > 0 {
		say(Tried{Granted: <-ended, Ended: true})
	}
	_, _ = io.Copy(io.Discard, lines) // until the suite has seen enough
	return 0
}

// control tries to answer by the socket, by every name that it could have.
func (d Doors) control() (reached []string) {
	if d.Socket == "" {
		return nil
	}
	base := filepath.Base(d.Socket)
	names := []string{d.Socket}
	if !d.PathOnly {
		names = append(names, "@"+d.Socket, "@"+base, "/proc/self/root"+d.Socket, "/run/agentjail/setup/host"+d.Socket, "/run/agentjail/"+base)
		for pid := 1; pid < 64; pid++ {
			for _, in := range []string{"root" + d.Socket, "cwd/" + base} {
				names = append(names, fmt.Sprintf("/proc/%d/%s", pid, in))
			}
			for fd := range 32 {
				names = append(names, fmt.Sprintf("/proc/%d/fd/%d", pid, fd), fmt.Sprintf("/proc/%d/fd/%d/%s", pid, fd, base))
			}
		}
	}
	for _, name := range names {
		conn, err := dialUnix(name)
		if err != nil {
			continue
		}
		if said := exchangeLine(conn, d.Answer); said != "" {
			reached = append(reached, fmt.Sprintf("the control socket by %s: %s", name, said))
		}
		conn.Close()
	}
	if d.PathOnly {
		return reached
	}
	// A connection that somebody else made, and that was passed on.
	for fd := 3; fd < 1024; fd++ {
		if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || kind != unix.AF_UNIX {
			continue
		}
		again, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			continue
		}
		f := os.NewFile(uintptr(again), "passed")
		conn, err := net.FileConn(f)
		f.Close()
		if err != nil {
			continue
		}
		if said := exchangeLine(conn, d.Answer); said != "" {
			reached = append(reached, fmt.Sprintf("the control socket by descriptor %d: %s", fd, said))
		}
		conn.Close()
	}
	return reached
}

// dialUnix connects, also where the path is longer than an address may be.
func dialUnix(name string) (net.Conn, error) {
	conn, err := net.DialTimeout("unix", name, dialTimeout)
	if err == nil || !errors.Is(err, syscall.EINVAL) || strings.HasPrefix(name, "@") {
		return conn, err
	}
	short, done, err := ShortSocket(name)
	if err != nil {
		return nil, err
	}
	defer done()
	return net.DialTimeout("unix", short, dialTimeout)
}

// exchangeLine says a line and gives the one that is answered; "" for none.
func exchangeLine(conn net.Conn, line string) string {
	_ = conn.SetDeadline(time.Now().Add(dialTimeout))
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return ""
	}
	said, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(said)
}

// ports asks each port for something, by every address that could be the host's.
func (d Doors) ports() (reached []string) {
	// slirp's addresses, which the jail's network borrows, beside the usual ones.
	hosts := append([]string{"127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "10.0.2.2", "10.0.2.3", "10.0.2.100", "localhost", "host"}, d.HostIPs...)
	for _, port := range d.Ports {
		for _, host := range hosts {
			at := net.JoinHostPort(host, strconv.Itoa(port))
			conn, err := net.DialTimeout("tcp", at, dialTimeout)
			if err != nil {
				continue
			}
			if said := exchangeLine(conn, "POST /v1/logs HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Mark: inside\r\nContent-Length: 0\r\nConnection: close\r\n\r"); said != "" {
				reached = append(reached, "the port "+at+": "+said)
			}
			conn.Close()
		}
	}
	return reached
}

// ArgHostile makes this program leave in its working folder, in its environment and in
// its descriptors what an archive of a frozen run might stumble over.
const ArgHostile = "hostile"

// Hostile is what it is told: a credential in two halves, so that it is in no file, and
// where the canaries are.
type Hostile struct {
	Halves  [2]string `json:"halves"`
	Key     string    `json:"key"`
	Dropbox string    `json:"dropbox"`
}

// HugeHole is the size of a file of which nothing was ever written: more than any disk.
const HugeHole = 1 << 42

// BeHostile is ArgHostile.
func BeHostile(in io.Reader, out io.Writer) int {
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	var h Hostile
	if err != nil || json.Unmarshal(line, &h) != nil {
		return 2
	}
	secret := h.Halves[0] + h.Halves[1]
	for name, content := range map[string]string{
		"leak.txt": "key=" + secret + "\n", "manifest.json": "{}", "run.json": "{}", "..x": "x", "...": "x", "-rf": "x", "--checkpoint-action=exec=true": "x", "a\nb": "x",
		"esc\x1b[2J\x1b]0;x\a": "x", "\xff\xfe": "x", "C:\\x": "x", "..\\..\\x": "x", "%2e%2e%2fx": "x", "x" + strings.Repeat("y", 250): "x", "name=" + secret: "x",
		"border": strings.Repeat("b", 1<<20-20) + secret + strings.Repeat("b", 1<<20),
	} {
		_ = os.WriteFile(name, []byte(content), 0o777) // some a file system does not take
	}
	_ = os.Chmod("run.json", 0o6777)
	_ = os.Mkdir("folder", 0o755)
	for name, to := range map[string]string{"key": h.Key, "keys": filepath.Dir(h.Key), "up": "../../../../../../../../etc/passwd", "folder/out": h.Dropbox, "self": "/proc/self/root"} {
		_ = os.Symlink(to, name)
	}
	_ = unix.Mkfifo("pipe", 0o666)
	_ = unix.Mknod("device", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
	_ = os.Link("leak.txt", "link")
	if l, err := net.Listen("unix", "socket"); err == nil {
		defer l.Close()
	}
	if f, err := os.Create("hole"); err == nil {
		_ = f.Truncate(HugeHole)
		f.Close()
	}
	// A file that is gone, one in memory with a name like a path, and a folder.
	for _, path := range []string{"gone\x1b[2J", "folder"} {
		if f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err == nil {
			_ = os.Remove(path)
			defer f.Close()
		} else if f, err := os.Open(path); err == nil {
			defer f.Close()
		}
	}
	if fd, err := unix.MemfdCreate("../../../../"+filepath.Base(h.Dropbox), 0); err == nil {
		defer unix.Close(fd)
	}
	cmd := exec.Command("/bin/sh", "-c", "echo ready; read x", "\x1b[2J", "../../x", "key="+secret)
	// A string of the environment has at most 128 KiB (execve(2)).
	for i := range 6 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("HUGE%d=%s", i, strings.Repeat("e", 100<<10)))
	}
	cmd.Env = append(cmd.Env, "LEAK="+secret, "ESC=\x1b[2J\n\xff")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 3
	}
	cmd.Stdout = out
	if cmd.Start() != nil {
		return 3
	}
	_, _ = io.Copy(io.Discard, lines)
	stdin.Close()
	_ = cmd.Wait()
	return 0
}
