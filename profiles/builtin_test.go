package profiles

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// toolchains are the built-in profiles that others extend.
var toolchains = []string{"git", "go", "java", "node", "python", "rust"}

// withNetwork are the built-in profiles that allow hosts.
var withNetwork = slices.Concat(toolchains, []string{"aider", "claude-code", "codex", "gemini-cli", "goose", "models", "opencode", "pi", "qwen-code"})

func TestBuiltins(t *testing.T) {
	want := slices.Concat([]string{"base", "default", "models", "offline"}, toolchains, slices.Collect(maps.Values(forCommand)))
	slices.Sort(want)
	if got := Builtins(); !slices.Equal(got, want) {
		t.Errorf("the built-in profiles are %q, want %q", got, want)
	}
	for _, name := range Builtins() {
		src, _ := builtinSource(name)
		if !bytes.Equal(Format(src), src) {
			t.Errorf("%s is not in its standard layout:\n%s", name, Format(src))
		}
		s := mustLoad(t, name, mapOptions(nil))
		if s.Name != name || s.Description == "" {
			t.Errorf("%s is named %q: %q", name, s.Name, s.Description)
		}
		network := slices.Contains(withNetwork, name)
		if (len(s.Network.Allow) != 0) != network || len(s.Network.HostPorts)+len(s.Network.Publish) != 0 || len(s.Files.Write) != 0 || len(s.Syscalls) != 0 || s.Workspace.Mode != ModeOverlay {
			t.Errorf("%s allows more than it may", name)
		}
		// They run on hosts that give no cgroup.
		if s.Limits.Memory != nil || s.Limits.CPUs != nil || s.Limits.Processes != nil {
			t.Errorf("%s has a limit that needs a cgroup", name)
		}
		if s.Limits.OpenFiles == nil || s.Limits.Output == nil {
			t.Errorf("%s has no limit of open files or output", name)
		}
		for _, path := range []string{
			"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/sudoers", "/etc/ssh/ssh_host_ed25519_key",
			"/etc/ssl/private/x.key", "/etc/passwd", "/etc/npmrc", "/etc/pip.conf", "/etc/machine-id", "/etc/krb5.keytab",
			"/etc/java-17-openjdk/management/jmxremote.password", "/etc", "/",
			"/home/u", "/home/u/.ssh/id_ed25519", "/home/u/.bashrc", "/root/.bashrc", "/var/log/syslog", "/run/docker.sock",
			"/proc/1/environ", "/opt/x", "/srv/x", "/boot/x",
		} {
			for _, op := range []Op{OpRead, OpWrite, OpExec} {
				if v := s.Files.Decide(path, op); v.Action != Deny {
					t.Errorf("%s allows to %s %s by %q", name, op, path, v.Rule.Pattern)
				}
			}
		}
		for _, path := range []string{
			"/usr/share/x", "/etc/ssl/certs/ca-certificates.crt", "/etc/ld.so.cache", "/etc/alternatives/java",
			"/etc/python3.11/sitecustomize.py", "/etc/python3/debian_config", "/etc/java-17-openjdk/security/java.security", "/etc/os-release",
		} {
			if v := s.Files.Decide(path, OpRead); v.Action != Allow {
				t.Errorf("%s does not allow to read %s: %s", name, path, v.Reason)
			}
		}
		for _, path := range []string{"/usr/bin/env", "/bin/sh", "/lib64/ld-linux-x86-64.so.2", "/usr/local/bin/x"} {
			if v := s.Files.Decide(path, OpExec); v.Action != Allow {
				t.Errorf("%s does not allow to execute %s: %s", name, path, v.Reason)
			}
		}
		for _, v := range []string{"AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "LD_PRELOAD", "HTTPS_PROXY", "HOME", "NPM_TOKEN", "ANTHROPIC_API_KEY"} {
			if _, ok := s.Process.Passes(v); ok {
				t.Errorf("%s passes %s", name, v)
			}
		}
		if _, ok := s.Process.Passes("LC_ALL"); !ok {
			t.Errorf("%s does not pass LC_ALL", name)
		}
	}
	if ForCommand("sh") != "" {
		t.Error("a shell has a profile of its own")
	}
	if s := mustLoad(t, "default", mapOptions(nil)); s.Limits.Time == nil {
		t.Error("default has no time limit")
	}
}

// TestDefaultsAgree: base.hcl tells its readers the values that hold without it too.
func TestDefaultsAgree(t *testing.T) {
	base := mustLoad(t, "base", mapOptions(nil))
	bare := spec(t, "")
	for _, s := range []*Spec{base, bare} {
		s.Workspace.Origin, s.Artifacts.Origin, s.Audit.Origin = Origin{}, Origin{}, Origin{}
	}
	if base.Workspace.Mode != bare.Workspace.Mode || base.Workspace.Upper != bare.Workspace.Upper || base.Workspace.Size != bare.Workspace.Size ||
		base.Artifacts.Size != bare.Artifacts.Size || base.Audit.Size != bare.Audit.Size {
		t.Errorf("base has %+v %+v %+v, nothing at all %+v %+v %+v", base.Workspace, base.Artifacts, base.Audit, bare.Workspace, bare.Artifacts, bare.Audit)
	}
}

// TestCredentialsStayDenied: no profile on base opens what base denies.
func TestCredentialsStayDenied(t *testing.T) {
	s := mustLoad(t, "/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": `files {
  read  = ["/", "~", "~/.ssh", "~/.aws/credentials"]
  write = ["~"]
}`}))
	if v := s.Files.Decide("/home/u/src/x", OpRead); v.Action != Allow {
		t.Fatalf("the profile does not open the home folder: %s", v.Reason)
	}
	for _, p := range []string{
		".ssh/id_ed25519", ".aws/credentials", ".gnupg/x", ".kube/config", ".docker/config.json", ".netrc", ".config/gcloud/x", ".config/gh/hosts.yml",
		".git-credentials", ".npmrc", ".pypirc", ".bash_history", ".zsh_history", ".mozilla/x", ".config/google-chrome-beta/x", ".config/agentjail/profiles/x.hcl",
	} {
		for _, op := range []Op{OpRead, OpWrite} {
			if v := s.Files.Decide("/home/u/"+p, op); v.Action != Deny || v.Rule.Origin.File != "base.hcl" {
				t.Errorf("to %s %s is %s by %q", op, p, v.Action, v.Rule.Pattern)
			}
		}
	}
}

func TestOfflineHolds(t *testing.T) {
	s := mustLoad(t, "/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": `extends = ["offline"]
network {
  allow "*" {}
  allow "api.example" {}
  allow "10.0.0.0/8" {}
  allow "::/0" {}
}`}))
	for _, host := range []string{"api.example", "10.1.1.1", "::ffff:10.1.1.1", "2001:db8::1"} {
		v := s.Network.Connect(host, netip.Addr{}, 443)
		if v.Action != Deny || v.Rule == nil || !strings.Contains(v.Reason, "offline") {
			t.Errorf("%s is %s: %q", host, v.Action, v.Reason)
		}
	}
}

func TestRender(t *testing.T) {
	// A profile of somebody else's: its bytes must not reach the terminal as they are.
	src := "workspace { mode = \"\x1b]0;owned\x07\u009b31m\" }"
	_, diags, files := Load("/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": src}))
	if !diags.HasErrors() {
		t.Fatal("the profile loads")
	}
	var out strings.Builder
	if err := Render(&out, diags, files, 78, false); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\x07\u009b") {
		t.Errorf("control characters in %q", out.String())
	}
	if string(files["x.hcl"].Bytes) != src {
		t.Error("rendering changed the file")
	}
	if !strings.Contains(out.String(), "owned") {
		t.Errorf("the line is not shown: %q", out.String())
	}
}
