package run_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// sshAgent starts an agent of the host's with two keys, and returns its socket and the
// fingerprint of the second one.
func sshAgent(t *testing.T) (socket, second string) {
	t.Helper()
	for _, tool := range []string{"ssh-agent", "ssh-add", "ssh-keygen"} {
		systemTool(t, tool)
	}
	// Not t.TempDir: the path may have 107 bytes at most (unix(7)).
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	cmd := exec.Command("ssh-agent", "-D", "-a", socket)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil { // it says where it listens
		t.Fatal(err)
	}
	for _, name := range []string{"named@test", "other@test"} {
		key := filepath.Join(dir, name)
		for _, args := range [][]string{{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key}, {"ssh-add", "-q", key}} {
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%q: %v %s", args, err, out)
			}
		}
	}
	list, err := exec.Command("ssh-keygen", "-l", "-f", filepath.Join(dir, "other@test.pub")).Output()
	if err != nil {
		t.Fatal(err)
	}
	return socket, strings.Fields(string(list))[1]
}

// agentPython speaks the protocol by itself, for what ssh's own programs would not send.
const agentPython = `import os, socket, struct, sys
def s(b): return struct.pack(">I", len(b)) + b
def ask(c, m):
    c.sendall(s(m)); n = struct.unpack(">I", c.recv(4, socket.MSG_WAITALL))[0]; return c.recv(n, socket.MSG_WAITALL)
c = socket.socket(socket.AF_UNIX); c.connect(os.environ["SSH_AUTH_SOCK"])
keys = ask(c, b"\x0b"); print("keys", struct.unpack(">I", keys[1:5])[0])
n = struct.unpack(">I", keys[5:9])[0]; blob = keys[9:9+n]
def sign(key): print("sign", ask(c, b"\x0d" + s(key) + s(b"SSHSIG" + s(b"git") + s(b"") + s(b"sha512") + s(b"x" * 64)) + b"\0\0\0\0")[0])
sign(blob); sign(open("other", "rb").read())
for m in (b"\x11" + s(b"ssh-ed25519"), b"\x13", b"\x16" + s(b"x"), b"\x14" + s(b"/evil.so") + s(b""), b"\x1b" + s(b"query"), b"\x0d\xff\xff\xff\xff", b"\x01"):
    print("other", ask(c, m)[0])
sign(blob); sign(blob)
c.sendall(b"\xff\xff\xff\xff"); print("end", c.recv(1))
`

func TestJailSSHAgent(t *testing.T) {
	systemTool(t, "python3")
	socket, other := sshAgent(t)
	profile := func(keys string) string {
		return fmt.Sprintf("ssh_agent {\n  keys = [%s]\n  limit = \"2/run\"\n}\n", keys)
	}
	c := newCaller(t, profile(`"named@test"`))
	c.env = append(c.env, "SSH_AUTH_SOCK="+socket)
	pub, err := os.ReadFile(filepath.Join(filepath.Dir(socket), "other@test.pub"))
	if err != nil {
		t.Fatal(err)
	}
	c.write("other.pub", string(pub))
	c.write("agent.py", agentPython)
	o := c.must("sh", "-c", `cut -d' ' -f2 other.pub | base64 -d > other; echo $SSH_AUTH_SOCK; python3 agent.py`)
	want := "/run/agentjail/ssh-agent.sock\nkeys 1\nsign 14\nsign 5\n" + strings.Repeat("other 5\n", 7) + "sign 14\nsign 5\nend b''\n"
	if o.stdout != want {
		t.Errorf("%s\nwant\n%s\n%s", o.stdout, want, o.stderr)
	}
	events := o.events()
	signed := func(verdict, target, reason string) {
		t.Helper()
		wantEvent(t, events, verdict+" "+target+" "+reason, func(v audit.View, e audit.Event) bool {
			return v.Kind == "sign" && v.Verdict == verdict && v.Target == target && strings.Contains(v.Reason, reason) &&
				e.Actor.Process.CommandLine == "python3 agent.py"
		})
	}
	signed("allowed", `a signature in the namespace "git" with named@test`, "")
	signed("blocked", `a signature in the namespace "git" with `+other, "the profile does not name this key")
	signed("blocked", `a signature in the namespace "git" with named@test`, "the limit of 2/run signatures is used up")
	signed("blocked", "a request to the ssh agent", "request 17 is not passed on")
	signed("blocked", "a request to the ssh agent", "request 19 is not passed on")
	signed("blocked", "a request to the ssh agent", `extension "query" is not passed on`)
	signed("blocked", "a request to the ssh agent", "malformed")
	list := exec.Command("ssh-add", "-l")
	list.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if out, err := list.Output(); err != nil || strings.Count(string(out), "@test") != 2 {
		t.Errorf("the host's agent has %s (%v)", out, err)
	}

	t.Run("ssh-keygen, by fingerprint", func(t *testing.T) {
		c := newCaller(t, profile(fmt.Sprintf("%q", other)))
		c.env = append(c.env, "SSH_AUTH_SOCK="+socket)
		c.write("other.pub", string(pub))
		c.write("file", "content")
		o := c.must("sh", "-c", "ssh-add -l; ssh-keygen -q -Y sign -n file -f other.pub file && head -1 file.sig; ssh-add -D || echo kept")
		if !strings.Contains(o.stdout, "other@test") || strings.Contains(o.stdout, "named@test") || !strings.Contains(o.stdout, "BEGIN SSH SIGNATURE") || !strings.HasSuffix(o.stdout, "kept\n") {
			t.Errorf("%s %s", o.stdout, o.stderr)
		}
	})
	t.Run("without a block", func(t *testing.T) {
		c := newCaller(t, "")
		c.env = append(c.env, "SSH_AUTH_SOCK="+socket)
		if o := c.must("sh", "-c", `echo "[$SSH_AUTH_SOCK]"; test -e /run/agentjail/ssh-agent.sock || echo none`); o.stdout != "[]\nnone\n" {
			t.Errorf("%s", o.stdout)
		}
	})
	for name, env := range map[string]string{"not set": "", "nobody there": socket + ".gone", "no path": "relative"} {
		t.Run(name, func(t *testing.T) {
			c := newCaller(t, profile(`"named@test"`))
			if env != "" {
				c.env = append(c.env, "SSH_AUTH_SOCK="+env)
			}
			if o := c.run("true"); o.code != 125 || !strings.Contains(o.stderr, "test.hcl:1: ssh_agent: ") {
				t.Errorf("%d %s", o.code, o.stderr)
			}
		})
	}
}
