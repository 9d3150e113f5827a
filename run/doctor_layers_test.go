package run_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// doctorOn runs doctor on a host that lacks something; see withoutMain.
func doctorOn(t *testing.T, nest bool, lacks string) (code int, d diagnosisJSON) {
	t.Helper()
	c := newCaller(t, "")
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	args := []string{helperArg, "without"}
	if nest {
		args = append(args, "run")
	}
	cmd := exec.CommandContext(ctx, self(t), append(args, lacks, "--", binary(t), "doctor", "--json")...)
	cmd.Dir, cmd.Env = c.workspace, c.env
	if nest {
		cmd.SysProcAttr = nestedAttr()
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	code = exitOf(t, cmd.Run())
	if err := json.Unmarshal(stdout.Bytes(), &d); err != nil {
		t.Fatalf("doctor said (exit code %d) %q\n%s", code, stdout.String(), stderr.String())
	}
	return code, d
}

// diagnosisJSON is the part of doctor's JSON that scripts of users rely on.
type diagnosisJSON struct {
	Layers []struct {
		Name, State, Detail string
		Mend                []string
	}
	DefaultRun bool `json:"default_run"`
	Refusal    string
}

// TestDoctorNamesMissingLayers takes away what a layer needs: doctor must say that this
// layer is missing, how to mend it, and with its exit code that runs are refused.
func TestDoctorNamesMissingLayers(t *testing.T) {
	for _, tt := range []struct {
		lacks string
		nest  bool // in a user namespace of the test's own, whose settings are its own
		layer string
		says  string // in the reason or the mend
	}{
		{"sysctl:user.max_user_namespaces=0", true, "user namespace", "sysctl -w user.max_user_namespaces="},
		{"sysctl:user.max_mnt_namespaces=0", true, "mount namespace", "sysctl -w user.max_mnt_namespaces="},
		{"sysctl:user.max_pid_namespaces=0", true, "pid namespace", "sysctl -w user.max_pid_namespaces="},
		{"sysctl:user.max_net_namespaces=0", true, "network namespace", "sysctl -w user.max_net_namespaces="},
		{"sysctl:user.max_ipc_namespaces=0", true, "ipc namespace", "sysctl -w user.max_ipc_namespaces="},
		{"sysctl:user.max_uts_namespaces=0", true, "uts namespace", "sysctl -w user.max_uts_namespaces="},
		{"sysctl:user.max_cgroup_namespaces=0", true, "cgroup namespace", "sysctl -w user.max_cgroup_namespaces="},
		{"mask:/proc/meminfo", true, "proc", "/proc/meminfo"},
		{"deny:clone:newuser", false, "user namespace", "seccomp"},
		{"deny:landlock_create_ruleset", false, "landlock", "lsm=landlock,"},
		{"deny:seccomp", false, "seccomp", "CONFIG_SECCOMP_FILTER"},
		{"deny:seccomp:listener", false, "seccomp", "CONFIG_SECCOMP_FILTER"},
		{"deny:netlink:netfilter", false, "network", "modprobe -a nf_tables"},
		{"deny:mount", false, "mount namespace", "operation not permitted"},
	} {
		t.Run(tt.lacks, func(t *testing.T) {
			if other := otherProc(t); other != "" && strings.HasPrefix(tt.lacks, "mask:/proc/") {
				t.Skipf("the host lacks a single /proc: another is mounted on %s, and the kernel lets a fresh one be mounted where any is whole", other)
			}
			code, d := doctorOn(t, tt.nest, tt.lacks)
			if code != 1 || d.DefaultRun || d.Refusal == "" {
				t.Errorf("exit code %d, default_run %v, refusal %q: want 1 and a refusal", code, d.DefaultRun, d.Refusal)
			}
			for _, l := range d.Layers {
				if l.Name != tt.layer {
					continue
				}
				text := l.Detail + "\n" + strings.Join(l.Mend, "\n")
				if l.State != "missing" || !strings.Contains(text, tt.says) {
					t.Errorf("%s is %s, without %q:\n%s", l.Name, l.State, tt.says, text)
				}
				return
			}
			t.Errorf("doctor does not list %q: %+v", tt.layer, d.Layers)
		})
	}
	t.Run("control", func(t *testing.T) {
		for _, nest := range []bool{false, true} {
			code, d := doctorOn(t, nest, "deny:nothing")
			if code != 0 || !d.DefaultRun {
				t.Errorf("with nothing missing (nested: %v): exit code %d, %+v", nest, code, d)
			}
		}
	})
}

// otherProc is where a second procfs is mounted, in somebody's chroot for one.
func otherProc(t *testing.T) string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		_, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(line)
		if ok && strings.HasPrefix(after, "proc ") && len(fields) > 4 && fields[3] == "/" && fields[4] != "/proc" {
			return fields[4]
		}
	}
	return ""
}
