package run_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// place is somewhere that agentjail is started in: a host in a host.
type place struct {
	name  string
	lacks []string // see withoutMain; DIR is a new folder
	env   []string
}

// inside runs agentjail with args in a place: in a user namespace of its own, as in a
// container that an ordinary user started, or in a mount namespace only, as in a
// container of root's.
func (p place) inside(c *caller, rootless bool, args ...string) *outcome {
	c.t.Helper()
	return p.command(c, rootless, append([]string{binary(c.t)}, args...)...)
}

// command is inside for any program.
func (p place) command(c *caller, rootless bool, args ...string) *outcome {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	helper := []string{helperArg, "without"}
	if rootless {
		helper = append(helper, "run")
	}
	for _, l := range p.lacks {
		if strings.Contains(l, "DIR") {
			l = strings.ReplaceAll(l, "DIR", c.t.TempDir())
		}
		helper = append(helper, l)
	}
	helper = append(append(helper, "--"), args...)
	cmd := exec.CommandContext(ctx, self(c.t), helper...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = c.workspace, append(c.env, p.env...), hangGuard
	if rootless {
		cmd.SysProcAttr = nestedAttr()
	} else {
		// Go makes every mount of a namespace that it unshares private.
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	code := exitOf(c.t, cmd.Run())
	if ctx.Err() != nil {
		c.t.Fatalf("%s: %q did not end within %v\nstderr: %s", p.name, args, hangGuard, stderr.String())
	}
	return &outcome{t: c.t, code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// TestJailNested starts runs in the places that people run agents in: each works, or
// refuses with the layer that can't be had there and its mend, and doctor says the same.
func TestJailNested(t *testing.T) {
	// On a machine that has an engine's mark, without being in its container, the mend
	// is the engine's as soon as something is taken away.
	elsewhere := func(mend string) string {
		if _, err := os.Stat("/.dockerenv"); err == nil {
			return "docker run --security-opt"
		}
		return mend
	}
	docker := []string{"container=docker"} // as engines of systemd's interface mark it
	limited := limits("memory = \"512MiB\"\nenforce = \"strict\"")
	for _, tt := range []struct {
		place
		profile string
		layer   string   // that is refused; empty where the run works
		says    []string // in what the refusal says
	}{
		{place: place{name: "a user namespace"}},
		{place: place{name: "no /dev/net, and few devices", lacks: []string{"devices"}}},
		{place: place{name: "no cgroups", lacks: []string{"hide:/sys/fs/cgroup"}}},
		{place: place{name: "no cgroups, limits", lacks: []string{"hide:/sys/fs/cgroup"}}, profile: limited,
			layer: "cgroup", says: []string{"hint:"}},
		{place: place{name: "no cgroups, limits in Docker", lacks: []string{"hide:/sys/fs/cgroup", "deny:nothing"}, env: docker}, profile: limited,
			layer: "cgroup", says: []string{"docker run --memory"}},
		{place: place{name: "read-only /sys", lacks: []string{"readonly:/sys"}}},
		{place: place{name: "read-only /proc/sys", lacks: []string{"readonly:/proc/sys"}},
			layer: "proc", says: []string{"/proc/sys", elsewhere("unmount")}},
		{place: place{name: "read-only /proc/sys in Docker", lacks: []string{"readonly:/proc/sys"}, env: docker},
			layer: "proc", says: []string{"/proc/sys", "docker run --security-opt systempaths=unconfined"}},
		{place: place{name: "read-only /proc", lacks: []string{"readonly:/proc"}},
			layer: "user namespace", says: []string{"read-only", "mount -o remount,rw /proc"}},
		{place: place{name: "masked /proc", lacks: []string{"mask:/proc/meminfo", "mask:/proc/keys"}},
			layer: "proc", says: []string{"/proc/meminfo", elsewhere("unmount")}},
		{place: place{name: "Docker's view of /proc and /sys", lacks: dockerView(), env: docker},
			layer: "proc", says: []string{"systempaths=unconfined"}},
		{place: place{name: "Docker's filter", lacks: []string{"deny:docker"}, env: docker},
			layer: "user namespace", says: []string{"container", "seccomp=unconfined"}},
		{place: place{name: "Docker's filter, elsewhere", lacks: []string{"deny:docker"}},
			layer: "user namespace", says: []string{"forbids user namespaces", elsewhere("RestrictNamespaces=no")}},
		{place: place{name: "no pivot_root", lacks: []string{"deny:pivot_root"}, env: docker},
			layer: "file view", says: []string{"pivot_root", "seccomp=unconfined"}},
		{place: place{name: "no keyrings", lacks: []string{"deny:keyctl"}, env: docker},
			layer: "session keyring", says: []string{"seccomp=unconfined"}},
		{place: place{name: "chroot", lacks: []string{"chroot:DIR"}},
			layer: "user namespace", says: []string{"chroot", "outside of it"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, rootless := range []bool{true, false} {
				if !rootless && os.Getuid() != 0 {
					continue
				}
				if other := otherProc(t); other != "" && tt.layer == "proc" {
					t.Skipf("the host lacks a single /proc: another is mounted on %s, and the kernel lets a fresh one be mounted where any is whole", other)
				}
				t.Logf("in a user namespace of its own: %v", rootless)
				c := newCaller(t, tt.profile)
				canary := newCanary(t, filepath.Join(c.home, "canary"), "the host's\n")
				o := tt.inside(c, rootless, "run", "--profile", c.profile, "--", "echo", "the agent ran")
				canary.check(t)
				if tt.layer == "" {
					if o.code != 0 || o.stdout != "the agent ran\n" {
						t.Errorf("exit code %d, stdout %q\n%s", o.code, o.stdout, o.stderr)
					}
				} else {
					wantRefusal(t, o, tt.layer, tt.says)
				}
				if tt.profile != "" {
					continue // doctor's own run has the default profile
				}
				d := tt.inside(c, rootless, "doctor", "--json")
				var found diagnosisJSON
				if err := json.Unmarshal([]byte(d.stdout), &found); err != nil {
					t.Fatalf("doctor said (exit code %d) %q\n%s", d.code, d.stdout, d.stderr)
				}
				if found.DefaultRun != (tt.layer == "") || (d.code == 0) != found.DefaultRun {
					t.Errorf("doctor: exit code %d, default_run %v, %s", d.code, found.DefaultRun, found.Refusal)
				}
			}
		})
	}
}

// wantRefusal: agentjail's own exit code, its own lines, the layer, the mend, no agent.
func wantRefusal(t *testing.T, o *outcome, layer string, says []string) {
	t.Helper()
	if o.code != 125 || o.stdout != "" {
		t.Errorf("exit code %d, stdout %q, want 125 and nothing", o.code, o.stdout)
	}
	for line := range strings.Lines(o.stderr) {
		if !strings.HasPrefix(line, "agentjail: ") {
			t.Errorf("a line that is not agentjail's own: %s", line)
		}
	}
	for _, text := range append([]string{"agentjail: " + layer + ": ", "hint: "}, says...) {
		if !strings.Contains(o.stderr, text) {
			t.Errorf("the message does not say %q:\n%s", text, o.stderr)
		}
	}
}
