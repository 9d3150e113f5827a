package run_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// stateMain prints what the kernel says of each of its threads.
func stateMain([]string) int {
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(files) == 0 {
		return 1
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		for line := range strings.Lines(string(data)) {
			if name, _, _ := strings.Cut(line, ":"); strings.HasPrefix(name, "Cap") || name == "NoNewPrivs" || name == "Seccomp" {
				fmt.Print(line)
			}
		}
	}
	fmt.Println("end")
	return 0
}

// TestJailFirstProcessTakesNoSignals sends PID 1 every signal. Before Linux 6.12
// (Landlock's signal scope) the kernel lets an ordinary user's agent do it, since both
// have the caller's uid; from inside its pid namespace KILL and STOP never arrive
// (pid_namespaces(7)), and the others PID 1 ignores. Its death would be the agent's.
func TestJailFirstProcessTakesNoSignals(t *testing.T) {
	c := newCaller(t, "")
	o := c.must("sh", "-c", `
		i=1
		while [ $i -le 64 ]; do kill -$i 1; i=$((i + 1)); done 2>/dev/null
		sleep 0.2
		cat /proc/uptime >/dev/null && echo "still here"`)
	if o.stdout != "still here\n" {
		t.Errorf("stdout %q\n%s", o.stdout, o.stderr)
	}
	if o.status.Reason != "exited" {
		t.Errorf("the run ended as %q", o.status.Reason)
	}
}

// TestJailProcessState reads what the kernel says of an agent's threads: of the first
// process, of a child after an exec, of one that left its session and its parent.
func TestJailProcessState(t *testing.T) {
	c := newCaller(t, execSelf(t))
	o := c.must("sh", "-c", `
		"$0" "$1" state
		sh -c '"$0" "$1" state' "$0" "$1"
		(setsid "$0" "$1" state >/tmp/daemon </dev/null 2>&1 &)
		until grep -q '^end' /tmp/daemon; do sleep 0.05; done
		cat /tmp/daemon`, self(t), helperArg)
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	ends := 0
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ":\t")
		want := "0000000000000000"
		switch name {
		case "end":
			ends++
			continue
		case "NoNewPrivs":
			want = "1"
		case "Seccomp":
			want = "2" // SECCOMP_MODE_FILTER, proc_pid_status(5)
		}
		if value != want {
			t.Errorf("%s is %q, want %q", name, value, want)
		}
	}
	// Five capability sets, two more lines, and a Go program has several threads.
	if ends != 3 || len(lines) < 3*(2*7+1) {
		t.Errorf("%d of 3 programs spoke, in %d lines:\n%s", ends, len(lines), o.stdout)
	}
}

// TestJailUserAndEnvironment: nothing of the caller's but what the profile names.
func TestJailUserAndEnvironment(t *testing.T) {
	c := newCaller(t, "process {\n pass_env = [\"PASSED_*\"]\n env = { SET = \"by the profile\" }\n}\n")
	c.env = append(c.env, "AWS_SECRET_ACCESS_KEY=canary", "SSH_AUTH_SOCK=/tmp/canary", "HTTPS_PROXY=http://user:canary@127.0.0.1:9",
		"LD_LIBRARY_PATH=/canary", "PASSED_ON=1", "UNPASSED=canary")
	o := c.must("sh", "-c", "env; echo --; id; hostname; pwd; echo ~; umask; cat /etc/passwd; ls -A ~ /root; ls /sys /var /home")
	env, rest, _ := strings.Cut(o.stdout, "--\n")
	var names []string
	for line := range strings.Lines(env) {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	// OLDPWD and PWD and _ are the shell's own.
	names = slices.DeleteFunc(names, func(n string) bool { return n == "PWD" || n == "OLDPWD" || n == "_" || n == "SHLVL" })
	if want := []string{"AGENTJAIL", "HOME", "LANG", "LOGNAME", "PASSED_ON", "PATH", "SET", "SHELL", "TERM", "USER"}; !slices.Equal(names, want) {
		t.Errorf("the environment has %q, want %q", names, want)
	}
	if strings.Contains(o.stdout, "canary") {
		t.Errorf("a variable of the caller's came through:\n%s", env)
	}
	for _, want := range []string{"uid=1000(agent) gid=1000(agent)", "agentjail\n" + c.workspace + "\n/home/agent\n0022\n"} {
		if !strings.Contains(rest, want) {
			t.Errorf("no %q in:\n%s", want, rest)
		}
	}
	if user := os.Getenv("USER"); user != "root" && user != "" && strings.Contains(rest, user+":") {
		t.Errorf("the host's user is in /etc/passwd:\n%s", rest)
	}
}

// TestJailProcIsMasked: what tells of the host's kernel is empty, and settings can't
// be written. With hardenProc left out, /proc/interrupts has the host's lines.
func TestJailProcIsMasked(t *testing.T) {
	o := newCaller(t, "").must("sh", "-c", `cat /proc/interrupts /proc/iomem /proc/kallsyms /proc/keys /proc/timer_list 2>/dev/null | head -c 100
		ls /proc/acpi /proc/scsi 2>/dev/null | grep -v : | grep .
		for f in $(find /proc/sys -type f 2>/dev/null | head -400); do (: >$f) 2>/dev/null && echo writable: $f; done; echo end`)
	if o.stdout != "end\n" {
		t.Errorf("the jail shows:\n%s", o.stdout)
	}
	if data, err := os.ReadFile("/proc/interrupts"); err != nil || len(data) == 0 {
		t.Skip("the host lacks /proc/interrupts: that it is masked shows nothing")
	}
}

// TestJailSharesNothing compares the namespaces inside with the host's.
func TestJailSharesNothing(t *testing.T) {
	c := newCaller(t, "")
	o := c.must("sh", "-c", "for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done; ls /proc | grep -c '^[0-9]'; ls -A /dev/shm /tmp; cat /proc/sysvipc/shm | wc -l")
	for _, n := range []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} {
		host, err := os.Readlink("/proc/self/ns/" + n)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(o.stdout, host+"\n") {
			t.Errorf("the %s namespace is the host's, %s", n, host)
		}
		if !strings.Contains(o.stdout, n+":[") {
			t.Errorf("no %s namespace in %q", n, o.stdout)
		}
	}
}

// TestJailTrail: the first record says what was in force and how it was made sure
// of, each exec has its record, the last ones say what is gone.
func TestJailTrail(t *testing.T) {
	c := newCaller(t, "")
	c.write("lower", "x")
	o := c.must("sh", "-c", "/usr/bin/env true; rm lower; echo new >created")
	events := o.events()
	if v := events[0].View(); v.Kind != "start" {
		t.Errorf("the first record is %q", v.Kind)
	}
	for _, layer := range []string{"landlock", "seccomp", "user namespace", "capabilities", "no_new_privs", "namespaces", "file view", "network"} {
		if !strings.Contains(string(events[0].Unmapped), `"`+layer+`"`) {
			t.Errorf("the first record does not name the layer %q:\n%s", layer, events[0].Unmapped)
		}
	}
	for _, path := range []string{"/usr/bin/sh", "/usr/bin/env", "/usr/bin/true", "/usr/bin/rm"} {
		wantEvent(t, events, "the exec of "+path, func(v audit.View, e audit.Event) bool {
			return v.Kind == "exec" && filepath.Base(e.Process.Path) == filepath.Base(path)
		})
	}
	for _, file := range []string{"delete lower", "create created"} {
		wantEvent(t, events, file, func(v audit.View, _ audit.Event) bool { return v.Kind == "file" && v.Target == file })
	}
	if last := events[len(events)-1].View(); last.Kind != "end" {
		t.Errorf("the last record is %q", last.Kind)
	}
	wantEvent(t, events, "the wipe", func(v audit.View, e audit.Event) bool {
		return v.Kind == "wipe" && strings.Contains(e.Message, "nothing left")
	})

	// One byte of the middle is changed: verify must say so.
	data, err := os.ReadFile(o.status.Audit)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(data), "/usr/bin/env", "/usr/bin/eny", 1)
	head, err := audit.ReadHead(audit.HeadPath(o.status.Audit))
	if err != nil {
		t.Fatal(err)
	}
	report, err := audit.Verify(strings.NewReader(changed), head)
	if err != nil || report.State != audit.Tampered {
		t.Errorf("a changed trail is %q %v", report.State, err)
	}
}
