package suite

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// canaries are what attacks are aimed at. Each jail has its own, and the trials without
// a jail have their own, so that none is spoilt for another.
type canaries struct {
	dir    string
	target attacks.Target
	seen   seen
	undo   []func() error
	before map[string]string // the files' state, by path
}

// seen gathers the marks that turn up.
type seen struct {
	mu    sync.Mutex
	marks map[string]string // where the first one was seen
}

// add looks for marks in a text.
func (s *seen) add(where, text string) { s.addMarks(where, attacks.Marks(text)) }

func (s *seen) addMarks(where string, ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if s.marks == nil {
			s.marks = map[string]string{}
		}
		if _, ok := s.marks[id]; !ok {
			s.marks[id] = where
		}
	}
}

func (s *seen) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.marks[id]
	return ok
}

// plant makes a set of canaries in dir, which is made.
func plant(dir, agentjail, home string) (_ *canaries, err error) {
	c := &canaries{dir: dir, before: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.remove())
		}
	}()
	in := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	c.target = attacks.Target{
		Home: home, Runtime: cmp.Or(os.Getenv("XDG_RUNTIME_DIR"), fmt.Sprintf("/run/user/%d", os.Geteuid())), Key: in("home", ".ssh", "id_ed25519"), Outside: in("outside"), Dropbox: in("dropbox"), Readonly: in("readonly"),
		Workspace: in("work"), Profile: in("attack.hcl"), State: in("state"), Agentjail: agentjail,
		Variable: "AGENTJAIL_ATTACK_CANARY", IPCKey: 1 + rand.IntN(1<<30),
		Abstract: fmt.Sprintf("agentjail-attack-%d-%s", os.Getpid(), filepath.Base(dir)),
	}
	c.target.KeyName = fmt.Sprintf("agentjail-attack-%d", c.target.IPCKey) // another suite's would be the same key
	// Anybody may read and write them: what keeps an attack away must be a layer of the
	// jail's and not the mode of a file.
	for _, d := range []string{dir, in("home"), in("home", ".ssh"), in("dropbox"), in("readonly"), in("readonly", "sub"), in("readonly", "empty"), in("work"), in("artifacts")} {
		if err := makeDir(d, 0o777); err != nil {
			return nil, err
		}
	}
	if err := makeDir(in("state"), 0o711); err != nil {
		return nil, err
	}
	for path, content := range map[string]string{
		c.target.Key: "a private key\n", c.target.Outside: "outside\n", in("readonly", "file"): "read only\n", in("readonly", "denied"): "denied\n",
		in("work", "inside.txt"): "the host's\n", in("readonly", "program"): "#!/bin/sh\nexit 0\n", c.target.Outside + "-program": "#!/bin/sh\nexit 42\n",
	} {
		mode := os.FileMode(0o666)
		if strings.HasSuffix(path, "program") {
			mode = 0o777
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			return nil, err
		}
		if err := os.Chmod(path, mode); err != nil {
			return nil, err
		}
	}
	if err := os.Symlink(filepath.Dir(c.target.Key), in("work", "out")); err != nil {
		return nil, err
	}
	if err := os.Symlink("denied", in("readonly", "alias")); err != nil {
		return nil, err
	}
	for _, f := range []func() error{c.sockets, c.process, c.terminal, c.keyring, c.sharedMemory} {
		if err := f(); err != nil {
			return nil, err
		}
	}
	return c, c.remember(agentjail)
}

func makeDir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// sockets listens wherever an attack might get to.
func (c *canaries) sockets() error {
	for _, dir := range []string{c.target.Dropbox, c.target.Readonly, c.target.Workspace} {
		if err := c.listen("unix", filepath.Join(dir, "socket")); err != nil {
			return err
		}
		if err := c.receive("unixgram", filepath.Join(dir, "datagrams")); err != nil {
			return err
		}
	}
	if err := c.listen("unix", "@"+c.target.Abstract); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c.target.Port = l.Addr().(*net.TCPAddr).Port
	c.accept(l)
	return c.receive("udp", net.JoinHostPort("127.0.0.1", strconv.Itoa(c.target.Port)))
}

func (c *canaries) listen(network, address string) error {
	if strings.HasPrefix(address, "/") {
		short, done, err := attacks.ShortSocket(address)
		if err != nil {
			return err
		}
		c.undo = append(c.undo, done)
		address = short
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	if strings.HasPrefix(address, "/") {
		if err := os.Chmod(address, 0o777); err != nil {
			return err
		}
	}
	c.accept(l)
	return nil
}

// accept reads what comes on each connection.
func (c *canaries) accept(l net.Listener) {
	c.undo = append(c.undo, l.Close)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetReadDeadline(time.Now().Add(canaryPatience))
				buf := make([]byte, 4096)
				for n := 0; n < len(buf); {
					m, err := conn.Read(buf[n:])
					n += m
					c.seen.add(l.Addr().String(), string(buf[:n]))
					if err != nil {
						return
					}
				}
			}()
		}
	}()
}

// canaryPatience is how long a canary's connection may be silent.
const canaryPatience = 10 * time.Second

// receive reads datagrams.
func (c *canaries) receive(network, address string) error {
	if network == "unixgram" {
		short, done, err := attacks.ShortSocket(address)
		if err != nil {
			return err
		}
		c.undo = append(c.undo, done)
		address = short
	}
	p, err := net.ListenPacket(network, address)
	if err != nil {
		return err
	}
	if network == "unixgram" {
		if err := os.Chmod(address, 0o777); err != nil {
			return err
		}
	}
	c.undo = append(c.undo, p.Close)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, _, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			c.seen.add(network+" "+address, string(buf[:n]))
		}
	}()
	return nil
}

// process starts one to be found, signalled and looked into.
func (c *canaries) process() error {
	cmd := exec.Command("/proc/self/exe", attacks.ArgHold)
	cmd.Env = []string{c.target.Variable + "=in a process of the host"}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.undo = append(c.undo, func() error {
		in.Close()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("the canary process was ended: %w", err)
		}
		return nil
	})
	if _, err := out.Read(make([]byte, 6)); err != nil {
		return err
	}
	c.target.PID = cmd.Process.Pid
	return nil
}

// terminal makes a pty of the host.
func (c *canaries) terminal() error {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // a host without ptys: what is aimed at it is not meaningful there
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		return errors.Join(os.NewSyscallError("ioctl", err), master.Close())
	}
	c.target.Terminal = fmt.Sprintf("/dev/pts/%d", n)
	// Held open, so that what was written does not go with the last who closes it.
	slave, err := os.OpenFile(c.target.Terminal, os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		c.target.Terminal = ""
		return master.Close() // another instance of devpts is mounted here
	}
	c.undo = append(c.undo, slave.Close, master.Close)
	go func() {
		var all bytes.Buffer
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			all.Write(buf[:n])
			c.seen.add(c.target.Terminal, all.String())
			if err != nil {
				return
			}
		}
	}()
	return nil
}

// keyring puts a key into the caller's keyring: a session's own would be this thread's
// alone. Where there is none, as in containers, what is aimed at it is not meaningful.
func (c *canaries) keyring() error {
	id, err := unix.AddKey("user", c.target.KeyName, []byte("a key"), unix.KEY_SPEC_USER_KEYRING)
	if err != nil {
		return nil
	}
	c.undo = append(c.undo, func() error {
		if _, err := unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_USER_KEYRING, 0, 0); err != nil {
			return fmt.Errorf("remove the canary from the keyring: %w", err)
		}
		return nil
	})
	return nil
}

// sharedMemory makes a segment, a queue and a file.
func (c *canaries) sharedMemory() error {
	for _, x := range []struct{ make, control, size uintptr }{{unix.SYS_SHMGET, unix.SYS_SHMCTL, 4096}, {unix.SYS_MSGGET, unix.SYS_MSGCTL, 0}} {
		flags := uintptr(unix.IPC_CREAT | unix.IPC_EXCL | 0o666)
		args := [3]uintptr{uintptr(c.target.IPCKey), x.size, flags}
		if x.size == 0 { // msgget(2) has no size
			args = [3]uintptr{uintptr(c.target.IPCKey), flags, 0}
		}
		id, _, errno := unix.Syscall(x.make, args[0], args[1], args[2])
		if errno != 0 {
			continue // none here: not meaningful
		}
		c.undo = append(c.undo, func() error {
			if _, _, errno := unix.Syscall(x.control, id, unix.IPC_RMID, 0); errno != 0 {
				return os.NewSyscallError("IPC_RMID", errno)
			}
			return nil
		})
	}
	f, err := os.CreateTemp("/dev/shm", "agentjail-attack-")
	if err != nil {
		return nil // none here: not meaningful
	}
	c.target.Shm = f.Name()
	c.undo = append(c.undo, func() error { return os.Remove(f.Name()) })
	return errors.Join(f.Chmod(0o666), f.Close())
}

// remember keeps what the files are like.
func (c *canaries) remember(more ...string) error {
	for _, path := range append([]string{c.target.Key, c.target.Outside, c.target.Readonly + "/file", c.target.Readonly + "/denied", c.target.Workspace + "/inside.txt"}, more...) {
		state, err := fileState(path)
		if err != nil {
			return err
		}
		c.before[path] = state
	}
	return nil
}

func fileState(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return fmt.Sprintf("%s %v %v", hex.EncodeToString(sum[:]), info.Mode(), info.ModTime()), nil
}

// changed are the files that are not what they were.
func (c *canaries) changed() []string {
	var list []string
	for path, before := range c.before {
		if now, err := fileState(path); err != nil || now != before {
			list = append(list, path)
		}
	}
	return list
}

// sweep looks for marks in the files that attacks write to, and in the processes that
// they leave; those are ended.
func (c *canaries) sweep() {
	for _, dir := range []string{c.target.Dropbox, c.target.Readonly, c.target.Readonly + "/sub", c.target.State, "/", "/etc", "/usr", "/usr/lib"} {
		entries, _ := os.ReadDir(dir) // one that can't be listed shows no marks
		for _, e := range entries {
			c.seen.add(dir, e.Name())
			if len(attacks.Marks(e.Name())) > 0 {
				_ = os.Remove(filepath.Join(dir, e.Name()))
			}
		}
	}
	for _, path := range []string{c.target.Outside, c.target.Workspace + "/inside.txt", c.target.Profile, c.target.Shm, c.target.Readonly + "/file"} {
		if data, err := os.ReadFile(path); err == nil {
			c.seen.add(path, string(data))
		}
	}
	for _, pid := range marked(c.target.Dropbox) {
		c.seen.addMarks("a process that is left", []string{pid.id})
		if p, err := os.FindProcess(pid.pid); err == nil {
			_ = p.Kill()
		}
	}
}

type markedProcess struct {
	pid int
	id  string
}

// marked are processes whose command line has a mark and ends in the folder that they
// were told of: what the attacks of one set of canaries have left.
func marked(whose string) (list []markedProcess) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		data, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err != nil || !bytes.HasPrefix(data, []byte("/bin/sh\x00-c\x00trap '' TERM")) || !bytes.HasSuffix(data, []byte("\x00"+whose+"\x00")) {
			continue
		}
		for _, id := range attacks.Marks(string(data)) {
			list = append(list, markedProcess{pid, id})
		}
	}
	return list
}

// remove takes the canaries away. The folder is the caller's to remove.
func (c *canaries) remove() error {
	var errs []error
	for i := len(c.undo) - 1; i >= 0; i-- {
		errs = append(errs, c.undo[i]())
	}
	c.undo = nil
	return errors.Join(errs...)
}
