package run_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lacking runs the caller's command on a host that lacks something; see withoutMain.
func (c *caller) lacking(nest bool, lacks []string, argv ...string) *outcome {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	if nest {
		lacks = append([]string{"run"}, lacks...)
	}
	inner := c.command(ctx, nil, argv...)
	args := append(append([]string{helperArg, "without"}, lacks...), "--", inner.Path)
	cmd := exec.CommandContext(ctx, self(c.t), append(args, inner.Args[1:]...)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = inner.Dir, inner.Env, inner.WaitDelay
	if nest {
		cmd.SysProcAttr = nestedAttr()
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	code := exitOf(c.t, cmd.Run())
	if ctx.Err() != nil {
		c.t.Fatalf("agentjail without %q did not end within %v\nstderr: %s", lacks, hangGuard, stderr.String())
	}
	return &outcome{t: c.t, code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// TestJailRefusesMissingLayers takes away what a layer needs, one thing at a time:
// the run must end with 125 and a sentence that names the layer, and the agent must
// not have come to its first instruction.
func TestJailRefusesMissingLayers(t *testing.T) {
	const ran = "the agent ran"
	tests := []struct {
		lacks   string
		nest    bool // in a user namespace of the test's own, whose settings are its own
		names   string
		profile string
	}{
		{lacks: "sysctl:user.max_user_namespaces=0", nest: true, names: "user namespace"},
		{lacks: "sysctl:user.max_mnt_namespaces=0", nest: true, names: "mount namespace"},
		{lacks: "sysctl:user.max_pid_namespaces=0", nest: true, names: "pid namespace"},
		{lacks: "sysctl:user.max_net_namespaces=0", nest: true, names: "network namespace"},
		{lacks: "sysctl:user.max_ipc_namespaces=0", nest: true, names: "ipc namespace"},
		{lacks: "sysctl:user.max_uts_namespaces=0", nest: true, names: "uts namespace"},
		{lacks: "sysctl:user.max_cgroup_namespaces=0", nest: true, names: "cgroup namespace"},
		{lacks: "mask:/proc/meminfo", nest: true, names: "proc"},
		{lacks: "overlays:WORKSPACE", nest: true, names: "overlay"},
		{lacks: "deny:unshare", names: "namespace"},
		{lacks: "deny:clone:newuser", names: "user"},
		{lacks: "deny:landlock_create_ruleset", names: "landlock"},
		{lacks: "deny:landlock_add_rule", names: "landlock"},
		{lacks: "deny:landlock_restrict_self", names: "landlock"},
		{lacks: "deny:seccomp", names: "seccomp"},
		{lacks: "deny:seccomp:listener", names: "seccomp"},
		{lacks: "deny:mount", names: "mount"},
		{lacks: "deny:open_tree", names: "open_tree"},
		{lacks: "deny:move_mount", names: "move_mount"},
		{lacks: "deny:mount_setattr", names: "mount_setattr"},
		{lacks: "deny:openat2", names: "file view"},
		{lacks: "deny:umount2", names: "mount"},
		{lacks: "deny:netlink:netfilter", names: "nftables"},
		{lacks: "deny:bind", names: "network"},
		{lacks: "deny:capset", names: "capabilities"},
		{lacks: "deny:prctl:no_new_privs", names: "no_new_privs"},
		{lacks: "deny:prctl:capbset_drop", names: "bounding set"},
		{lacks: "deny:setxattr", names: "overlay on disk", profile: `workspace { upper = "disk" }`},
	}
	t.Run("control", func(t *testing.T) {
		for _, nest := range []bool{false, true} {
			c := newCaller(t, "")
			o := c.lacking(nest, []string{"deny:nothing"}, "echo", ran)
			if strings.Contains(o.stderr, "operation not permitted") && o.code == 2 {
				t.Skip("the host lacks user namespaces in user namespaces")
			}
			if o.code != 0 || o.stdout != ran+"\n" {
				t.Errorf("with nothing missing (nested: %v): exit code %d, stdout %q\n%s", nest, o.code, o.stdout, o.stderr)
			}
		}
	})
	for _, tt := range tests {
		t.Run(tt.lacks, func(t *testing.T) {
			c := newCaller(t, tt.profile)
			proof := filepath.Join(c.workspace, "file")
			if err := os.WriteFile(proof, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			o := c.lacking(tt.nest, []string{strings.ReplaceAll(tt.lacks, "WORKSPACE", c.workspace)}, "echo", ran)
			if o.code != 125 || strings.Contains(o.stdout, ran) {
				t.Errorf("exit code %d, stdout %q, want 125 and nothing", o.code, o.stdout)
			}
			for line := range strings.Lines(o.stderr) {
				if !strings.HasPrefix(line, "agentjail: ") {
					t.Errorf("a line that is not agentjail's own: %s", line)
				}
			}
			if !strings.Contains(strings.ToLower(o.stderr), tt.names) {
				t.Errorf("the message does not name %q:\n%s", tt.names, o.stderr)
			}
		})
	}
}
