package run_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/evidence"
)

// freezePatience is how long a test waits for what must happen.
const freezePatience = time.Minute

// restlessMain is an agent that does not want to stand still: threads that count as fast
// as they can into a shared file, timers that have the kernel send SIGCONT, and programs
// that fork all the time.
func restlessMain(args []string) int {
	dir := args[0]
	const threads = 4
	f, err := os.OpenFile(filepath.Join(dir, "counters"), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil || f.Truncate(4096) != nil {
		return 2
	}
	page, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return 3
	}
	counters := unsafe.Slice((*uint64)(unsafe.Pointer(&page[0])), threads)
	for i := range threads {
		go func() {
			runtime.LockOSThread()
			for {
				counters[i]++
			}
		}()
	}
	// Of a signal that nothing handles, a periodic timer is not armed again (Linux 6.13).
	signal.Notify(make(chan os.Signal, 1), unix.SIGCONT)
	// One timer would not do: it is armed again only once its signal was delivered, and the
	// first SIGSTOP may come in between. struct sigevent of timer_create(2): value, signal,
	// SIGEV_SIGNAL.
	event := [8]uint64{0, uint64(unix.SIGCONT)}
	for i := range 64 {
		var id int32
		if _, _, e := unix.RawSyscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&id))); e != 0 {
			return 4
		}
		first := time.Duration(1+3*i) * time.Millisecond
		when := [2]unix.Timespec{unix.NsecToTimespec(int64(200 * time.Millisecond)), unix.NsecToTimespec(int64(first))}
		if _, _, e := unix.RawSyscall6(unix.SYS_TIMER_SETTIME, uintptr(id), 0, uintptr(unsafe.Pointer(&when)), 0, 0, 0); e != 0 {
			return 5
		}
	}
	for range 3 {
		cmd := exec.Command("bash", "-c", `while :; do (echo x >> "$0/forks") & (:) & wait; done`, dir)
		if err := cmd.Start(); err != nil {
			return 6
		}
	}
	fmt.Println("ready")
	select {}
}

// background is a run that goes on.
type background struct {
	*caller
	cmd    *exec.Cmd
	done   chan error
	id     string
	stderr *bytes.Buffer
	said   string // the first that the agent said
}

// background starts a run and waits until its agent has said something.
func (c *caller) background(name string, argv ...string) *background {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*hangGuard)
	b := &background{caller: c, done: make(chan error, 1), stderr: &bytes.Buffer{}}
	b.cmd = c.command(ctx, append([]string{"--name", name}, c.flags...), argv...)
	out, w, err := os.Pipe()
	if err != nil {
		c.t.Fatal(err)
	}
	b.cmd.Stdout, b.cmd.Stderr = w, b.stderr
	err = b.cmd.Start()
	w.Close()
	if err != nil {
		c.t.Fatal(err)
	}
	go func() {
		b.done <- b.cmd.Wait()
		close(b.done)
	}()
	c.t.Cleanup(func() { cancel(); <-b.done; out.Close() })
	buf := make([]byte, 64)
	n, err := out.Read(buf)
	if b.said = string(buf[:n]); n == 0 {
		cancel()
		<-b.done
		c.t.Fatalf("the agent said nothing: %v\n%s", err, b.stderr)
	}
	var runs []struct{ ID, Name, State string }
	out2, _ := b.order(0, "runs", "--json")
	if err := json.Unmarshal([]byte(out2), &runs); err != nil || len(runs) == 0 {
		c.t.Fatalf("runs: %v %q", err, out2)
	}
	b.id = runs[0].ID
	return b
}

// order runs another command as the same user.
func (c *caller) order(code int, args ...string) (stdout, stderr string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	cmd := c.agentjail(ctx, args...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	if got := exitOf(c.t, cmd.Run()); got != code {
		c.t.Fatalf("agentjail %q: exit code %d, want %d\n%s%s", args, got, code, o.String(), e.String())
	}
	return o.String(), e.String()
}

// state is the run's state folder.
func (b *background) state() string {
	return filepath.Join(b.home, ".local/state/agentjail/runs", b.id)
}

// beats are what the restless agent has counted.
func (b *background) beats() string {
	b.t.Helper()
	counters, err := os.ReadFile(filepath.Join(b.workspace, "counters"))
	if err != nil {
		b.t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(b.workspace, "forks"))
	if err != nil {
		b.t.Fatal(err)
	}
	return fmt.Sprintf("%x %d", counters[:32], st.Size())
}

// until waits for a condition.
func (b *background) until(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(freezePatience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("%s did not come about within %v\n%s", what, freezePatience, b.stderr)
		}
	}
}

// holds are the ways to freeze, each on a host that has no better one. Root's host is
// made poorer for it; an ordinary user's is as it is.
func holds(t *testing.T) (list []way) {
	const withLimit = "limits { memory = \"512MiB\" }\n"
	const nested = "syscalls { allow = [\"@namespace\"] }\n"
	if os.Getuid() != 0 {
		// Without a limit by ptrace, but for a user who may make cgroups where they are.
		return []way{{name: "no limit"}, {name: "no limit, nested namespace", profile: nested}, {name: "cgroup", profile: withLimit, how: "cgroup v2 freezer"}}
	}
	unified := ""
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err == nil {
		unified = "hide:/sys/fs/cgroup/unified"
	}
	list = []way{{name: "ptrace", lacks: "hide:/sys/fs/cgroup", how: "SIGSTOP and ptrace"}}
	for _, x := range []struct{ file, lacks, how string }{
		{"/sys/fs/cgroup/cgroup.procs", "", "cgroup v2 freezer"},
		{"/sys/fs/cgroup/unified/cgroup.procs", "", "cgroup v2 freezer"},
		{"/sys/fs/cgroup/freezer/cgroup.procs", unified, "cgroup v1 freezer"},
	} {
		if _, err := os.Stat(x.file); err != nil || slices.ContainsFunc(list, func(w way) bool { return w.how == x.how }) {
			continue
		}
		list = append(list, way{name: x.how, lacks: x.lacks, how: x.how}, way{name: x.how + " of a limit", lacks: x.lacks, profile: withLimit, how: x.how},
			way{name: x.how + " of a nested namespace", lacks: x.lacks, profile: nested, how: x.how})
	}
	return list
}

type way struct{ name, lacks, profile, how string }

// restless starts a run whose programs do not want to stand still.
func (w way) restless(t *testing.T) *background {
	skipWithoutCgroup(t, w.profile)
	c := newCaller(t, fmt.Sprintf("files { exec = [%q] }\nworkspace { mode = \"direct\" }\n", self(t))+w.profile)
	if w.lacks != "" {
		c.lacks = []string{w.lacks}
	}
	argv := []string{self(t), helperArg, "restless", c.workspace}
	if strings.Contains(w.profile, "@namespace") {
		argv = append([]string{needTool(t, "unshare"), "--user", "--map-root-user", "--pid", "--fork", "--"}, argv...)
	}
	b := c.background("restless", argv...)
	b.until("the first fork", func() bool {
		_, err := os.Stat(filepath.Join(b.workspace, "forks"))
		return err == nil
	})
	return b
}

// A run that is frozen executes nothing until it is thawed, whatever its programs do
// about it, and one that is killed while it is frozen leaves nothing.
func TestJailFreeze(t *testing.T) {
	for _, w := range holds(t) {
		t.Run(w.name, func(t *testing.T) {
			b := w.restless(t)
			for range 3 {
				before := b.beats()
				b.until("progress", func() bool { return b.beats() != before })
				if out, _ := b.order(0, "freeze", "restless"); w.how != "" && !strings.Contains(out, "by "+w.how+"\n") {
					t.Fatalf("it is frozen otherwise: %s", out)
				}
				held := b.beats()
				w.wantState(b, "FROZEN")
				// Long for it: more than a hundred of its timers' SIGCONTs.
				time.Sleep(500 * time.Millisecond)
				if now := b.beats(); now != held {
					t.Fatalf("a frozen run went from %s to %s", held, now)
				}
				b.order(0, "thaw", "restless")
				w.wantState(b, "THAWED")
			}
			// Both orders are refused where they make no sense.
			_, stderr := b.order(125, "thaw", "restless")
			if !strings.Contains(stderr, "not frozen") {
				t.Errorf("thawed twice: %s", stderr)
			}
			b.order(0, "freeze", "restless")
			if _, stderr := b.order(125, "freeze", "restless"); !strings.Contains(stderr, "frozen already") {
				t.Errorf("frozen twice: %s", stderr)
			}
			out, _ := b.order(0, "top", "--once")
			if !strings.Contains(out, "frozen") {
				t.Errorf("top: %s", out)
			}
			held := b.beats()
			b.order(0, "kill", "restless")
			if now := b.beats(); now != held {
				t.Errorf("on its way to its end it went from %s to %s", held, now)
			}
			if code := exitOf(t, <-b.done); code != 137 {
				t.Errorf("exit code %d: %s", code, b.stderr)
			}
			events := readEvents(t, filepath.Join(b.state(), "audit.jsonl"))
			for _, want := range []string{"frozen by uid", "thawed by uid", "kill asked for by uid"} {
				wantEvent(t, events, want, func(v audit.View, _ audit.Event) bool { return v.Kind == "state" && strings.HasPrefix(v.Target, want) })
			}
			wantEvent(t, events, "a whole wipe", func(v audit.View, _ audit.Event) bool { return v.Kind == "wipe" && v.Target == "Success" })
			b.wantNothingLeft()
		})
	}
}

// wantState reads back what the kernel says of a jail in v1's freezer.
func (w way) wantState(b *background, want string) {
	b.t.Helper()
	if w.how != "cgroup v1 freezer" {
		return
	}
	var states []string
	_ = filepath.WalkDir("/sys/fs/cgroup/freezer", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "agentjail-"+b.id {
			state, err := os.ReadFile(filepath.Join(path, "freezer.state"))
			procs, perr := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			states = append(states, fmt.Sprintf("%s with %v %v", state, strings.Count(string(procs), "\n") > 3, errors.Join(err, perr)))
		}
		return nil
	})
	if len(states) != 1 || states[0] != want+"\n with true <nil>" {
		b.t.Errorf("the freezer's cgroups of the run are %q, want %s and its processes", states, want)
	}
}

// A frozen run whose supervisor is killed does nothing more, and the next one clears it
// away: the processes that v1's freezer holds don't die before they are thawed.
func TestJailFrozenCrash(t *testing.T) {
	for _, w := range holds(t) {
		t.Run(w.name, func(t *testing.T) {
			b := w.restless(t)
			b.order(0, "freeze", "restless")
			held := b.beats()
			jailed := below(t, b.cmd.Process.Pid)
			if len(jailed) < 3 {
				t.Fatalf("%d processes are below the supervisor", len(jailed))
			}
			_ = b.cmd.Process.Kill()
			<-b.done
			time.Sleep(50 * time.Millisecond)
			if now := b.beats(); now != held {
				t.Errorf("its supervisor was killed, and it went from %s to %s", held, now)
			}
			b.order(0, "clean")
			waitGone(t, jailed)
			if now := b.beats(); now != held {
				t.Errorf("on its way to its end it went from %s to %s", held, now)
			}
			b.wantNothingLeft()
		})
	}
}

// skipWithoutCgroup skips where limits want a cgroup that the host does not give.
func skipWithoutCgroup(t *testing.T, limits string) {
	t.Helper()
	if limits == "" {
		return
	}
	o := newCaller(t, limits).run("true")
	if o.code == 125 && strings.Contains(o.stderr, "cgroup") {
		t.Skip("the host lacks a cgroup for this user: " + o.stderr)
	}
}

// Limits of time stand still with the run, and stop lets a frozen run hear of it.
func TestJailFrozenTime(t *testing.T) {
	// On a busy machine a run may reach its limit before the order to freeze reaches it:
	// then once more, with more time.
	for _, seconds := range []int{3, 12, 40} {
		c := newCaller(t, limits(fmt.Sprintf("time = \"%ds\"\nidle = \"%ds\"", seconds, seconds)))
		b := c.background("slow", "sh", "-c", "trap 'echo told; exit 7' TERM; echo ready; while :; do sleep 0.1; done")
		ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
		err := c.agentjail(ctx, "freeze", "slow").Run()
		cancel()
		if err != nil {
			continue
		}
		time.Sleep(time.Duration(seconds+2) * time.Second) // longer than both limits
		select {
		case err := <-b.done:
			t.Fatalf("it ended while it was frozen: %v\n%s", err, b.stderr)
		default:
		}
		b.order(0, "stop", "slow")
		if code := exitOf(t, <-b.done); code != 143 && code != 124 { // what was left of its time may come first
			t.Errorf("exit code %d: %s", code, b.stderr)
		}
		return
	}
	t.Error("no run could be frozen before its limit of time")
}

const freezeSecret = "sk-ant-freeze-0123456789abcdefghijklmnop"

// A frozen run is packed into an archive that plain tar and zstd open, whose hashes hold,
// that has what it says, and no credential.
func TestJailPack(t *testing.T) {
	c := newCaller(t, `
		secret "api" {
			env    = "REAL_KEY"
			header = "x-api-key"
			variable = "REAL_KEY"
		}
		network {
			allow "api.example.com" { secret = secret.api }
		}`)
	c.env = append(c.env, "REAL_KEY="+freezeSecret)
	// As if the real one had come in by another way.
	c.write("leak.txt", "nothing")
	half := len(freezeSecret) / 2
	b := c.background("packed", "bash", "-c", `leak="$0$1"; echo "key=$leak" > leak.txt; printf 'a\033[2Jb' > $'esc\033[2J'; export LEAK="$leak"; bash -c 'echo ready; sleep 1000'`, freezeSecret[:half], freezeSecret[half:])
	out, _ := b.order(0, "freeze", "--pack", "--memory", "packed")
	if !strings.Contains(out, "frozen-1.tar.zst") {
		t.Errorf("it says %q", out)
	}
	path := filepath.Join(b.state(), "frozen-1.tar.zst")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := evidence.List(f)
	if err != nil || !l.Whole() {
		t.Fatalf("%v %+v", err, l)
	}
	var names []string
	for _, m := range l.Members {
		names = append(names, m.Name)
	}
	all := strings.Join(names, "\n")
	for _, want := range []string{"run.json", "profile.json", "gateway.json", "audit.jsonl", "changes.json", "files/leak.txt", "files.json", "sockets/tcp", "/maps", "/environ", "/status", "/descriptors.json", "/memory/"} {
		if !strings.Contains(all, want) {
			t.Errorf("%s is not in it:\n%s", want, clip(all))
		}
	}
	i := slices.IndexFunc(l.Members, func(m evidence.Member) bool { return m.Name == "files/leak.txt" })
	if i < 0 || l.Members[i].Masked == 0 {
		t.Errorf("the file with the credential: %+v", l.Members[max(i, 0)])
	}
	listing, _ := b.order(0, "inspect", path)
	if strings.Contains(listing, "\x1b") || !strings.Contains(listing, "every member is what the manifest says") {
		t.Errorf("inspect shows %q", clip(listing))
	}
	// A second archive has a name of its own, and no memory.
	b.order(0, "freeze", "--pack", "packed")
	if l := b.unpacked("frozen-2.tar.zst"); strings.Contains(l, "/memory/") {
		t.Errorf("memory is in it unasked")
	}
	if all := b.unpacked("frozen-1.tar.zst"); strings.Contains(all, freezeSecret) {
		t.Error("the credential is in the archive")
	}
	b.order(0, "kill", "packed")
}

// unpacked opens an archive with plain tar and zstd, and gives names and contents.
func (b *background) unpacked(name string) string {
	b.t.Helper()
	for _, tool := range []string{"tar", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.t.Skip("the host lacks " + tool)
		}
	}
	dir := b.t.TempDir()
	if out, err := exec.Command("sh", "-ec", `zstd -qdc "$1" | tar -x -C "$2"`, "sh", filepath.Join(b.state(), name), dir).CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all.WriteString(path + "\n")
		all.Write(data)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return all.String()
}
