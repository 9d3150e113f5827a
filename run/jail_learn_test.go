package run_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// learnFile is where the tests' learned profile goes.
func (c *caller) learnFile() string { return filepath.Join(c.dir, "learned.hcl") }

// learn runs `agentjail learn` with the caller's profile as its base.
func (c *caller) learn(flags []string, argv ...string) *outcome {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	args := append([]string{"learn", "--profile", c.profile}, flags...)
	cmd := exec.CommandContext(ctx, binary(c.t), append(append(args, "--"), argv...)...)
	cmd.Env, cmd.Dir = c.env, c.workspace
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		c.t.Fatalf("agentjail learn -- %q did not end within %v\nstderr: %s", argv, hangGuard, stderr.String())
	}
	return &outcome{t: c.t, stdout: stdout.String(), stderr: stderr.String(), code: exitOf(c.t, err)}
}

// relearned learns into a file and runs the command again under it, unmodified.
func (c *caller) relearned(rounds string, argv ...string) (text string, o *outcome) {
	c.t.Helper()
	l := c.learn([]string{"-o", c.learnFile(), "--rounds", rounds}, argv...)
	l.wantCode(0)
	data, err := os.ReadFile(c.learnFile())
	if err != nil {
		c.t.Fatal(err)
	}
	base := c.profile
	c.profile = c.learnFile()
	defer func() { c.profile = base }()
	o = c.run(argv...)
	if o.code != 0 {
		c.t.Errorf("under the learned profile it ends with %d\nstderr: %s\n%s\nlearning: %s", o.code, clip(o.stderr), data, clip(l.stderr))
	}
	return string(data), o
}

// nameProxy is a proxy of the host's (CONNECT) that finds each name on loopback, in
// place of the name servers that a test must not ask.
func nameProxy(t testing.TB, names map[string]string) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	serve := func(c net.Conn) {
		defer c.Close()
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil || req.Method != http.MethodConnect || names[req.Host] == "" {
			_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
			return
		}
		up, err := net.Dial("tcp", names[req.Host])
		if err != nil {
			return
		}
		defer up.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(up, r)
			_ = up.(*net.TCPConn).CloseWrite()
		}()
		_, _ = io.Copy(c, up)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return "http://" + l.Addr().String()
}

// outside makes a folder of the host's that no profile names, with files in it.
func (c *caller) outside(files map[string]string) string {
	c.t.Helper()
	dir := filepath.Join(c.dir, "outside")
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			c.t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			c.t.Fatal(err)
		}
	}
	return dir
}

// TestLearnFiles: what the view refuses is noticed, by whichever call, and granted; the
// learned profile lets the command through and nothing beside.
func TestLearnFiles(t *testing.T) {
	c := newCaller(t, "")
	dir := c.outside(map[string]string{"a/one": "1\n", "b/x": "x\n", "b/y": "y\n", "b/z": "z\n", "b/server.pem": "secret\n", "bin/tool": "#!/bin/sh\necho tool \"$1\"\n",
		"c/.env": "secret\n", "interp/run": "#!/bin/sh\nexec cat \"$2\"\n", "c/other": "not asked for\n"})
	if err := os.Symlink(filepath.Join(dir, "c", ".env"), filepath.Join(dir, "a", "innocent")); err != nil {
		t.Fatal(err)
	}
	seed := filepath.Join(c.home, ".toolrc")
	if err := os.WriteFile(seed, []byte("mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.workspace, "script"), []byte("#!"+dir+"/interp/run x\nscript\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	command := `cat D/c/.env D/a/innocent 2>/dev/null; cat D/a/one; cat D/b/x D/b/y D/b/z ~/.toolrc && ./script && D/bin/tool done`
	text, o := c.relearned("5", "sh", "-c", strings.ReplaceAll(command, "D", dir))
	if want := "1\nx\ny\nz\nmine\n#!" + dir + "/interp/run x\nscript\ntool done\n"; !strings.HasSuffix(o.stdout, want) {
		t.Errorf("under the learned profile it printed %q, want %q\n%s", o.stdout, want, text)
	}
	if strings.Contains(o.stdout, "secret") {
		t.Errorf("a secret was learned:\n%s", text)
	}
	base := c.profile
	c.profile = c.learnFile()
	if o := c.run("cat", dir+"/b/server.pem"); o.stdout != "" {
		t.Errorf("the credential in the granted folder can be read: %q", o.stdout)
	}
	c.profile = base
	for _, q := range []string{dir + "/c/.env", dir + "/a/innocent"} {
		if !strings.Contains(text, "# - read "+q+": ") {
			t.Errorf("there is no question about %s:\n%s", q, text)
		}
	}
	diff := exec.Command(binary(t), "profile", "diff", c.profile, c.learnFile())
	diff.Env, diff.Dir = c.env, c.workspace
	got, err := diff.Output()
	if exitOf(t, err) != 1 {
		t.Fatalf("profile diff: %v", err)
	}
	want := map[string]bool{"read " + dir + "/a/one": true, "read " + dir + "/b": true, "read " + dir + "/bin/tool": true, "read " + dir + "/interp/run": true,
		"execute " + dir + "/bin/tool": true, "execute " + dir + "/interp/run": true}
	for _, line := range strings.Split(strings.TrimSpace(string(got)), "\n") {
		what := strings.TrimPrefix(strings.Split(line, " (")[0], "the agent may ")
		if strings.HasPrefix(line, "the home folder begins with .toolrc, ") {
			continue
		}
		if !want[what] && !strings.HasSuffix(what, "/etc/host.conf") {
			t.Errorf("it lets more than was seen: %s", line)
		}
		delete(want, what)
	}
	if len(want) > 0 {
		t.Errorf("it does not let %v:\n%s", want, text)
	}
}

// TestLearnNothingWider: a learning run allows nothing that another run does not, says
// in its trail what it is, and leaves there what was refused.
func TestLearnNothingWider(t *testing.T) {
	c := newCaller(t, "")
	dir := c.outside(map[string]string{"file": "text\n"})
	secret := newCanary(t, filepath.Join(dir, "id_rsa"), "secret")
	script := fmt.Sprintf(`cat %[1]s/file; cat %[1]s/id_rsa; echo x >%[1]s/file; echo x >>/etc/hostname
		unshare -U true; unshare -m true; python3 -c 'import socket; socket.socket(40, 1)'
		getent hosts learn.example; exec 3<>/dev/tcp/10.9.8.7/80; echo "[$?]"`, dir)
	plain, l := c.run("bash", "-c", script), c.learn([]string{"--json"}, "bash", "-c", script)
	l.wantCode(0)
	var out struct {
		Profile string `json:"profile"`
		Rounds  []struct {
			RunID    string `json:"run_id"`
			ExitCode int    `json:"exit_code"`
		} `json:"rounds"`
	}
	if err := json.Unmarshal([]byte(l.stdout), &out); err != nil || len(out.Rounds) != 1 {
		t.Fatalf("learn --json: %v\n%s", err, l.stdout)
	}
	if out.Rounds[0].ExitCode != plain.code {
		t.Errorf("learning it ended with %d, else with %d", out.Rounds[0].ExitCode, plain.code)
	}
	secret.check(t)
	for _, refusal := range []string{dir + "/file: No such file", dir + "/id_rsa: No such file", "/etc/hostname: ", "Operation not permitted", "Connection refused"} {
		if !strings.Contains(plain.stderr, refusal) || !strings.Contains(l.stderr, refusal) {
			t.Errorf("%q is not said in both:\nrun:\n%s\nlearn:\n%s", refusal, plain.stderr, l.stderr)
		}
	}
	events := readEvents(t, filepath.Join(c.home, ".local/state/agentjail/runs", out.Rounds[0].RunID, "audit.jsonl"))
	if !strings.HasPrefix(events[0].Message, "learning run") || !strings.Contains(string(events[0].Unmapped), `"learning":true`) {
		t.Errorf("the first event does not say that the run is a learning one: %s", events[0].Raw)
	}
	for _, what := range []string{"read " + dir + "/file", "system call unshare"} {
		wantEvent(t, events, what, func(_ audit.View, e audit.Event) bool {
			return e.Finding.Title == "refused while learning" && strings.HasPrefix(e.Finding.Desc, what)
		})
	}
	for _, line := range []string{`"` + dir + `/file",`, `# - connect 10.9.8.7:80: `, "# - read " + dir + "/id_rsa: ", "# - system call unshare ", "# - system call socket (family 40 "} {
		if !strings.Contains(out.Profile, line) {
			t.Errorf("the profile does not say %s\n%s", line, out.Profile)
		}
	}
	// Any other run's first event does not.
	if first := plain.events()[0]; strings.Contains(string(first.Raw), "learning") {
		t.Errorf("an ordinary run says that it learns: %s", first.Raw)
	}
}

// TestLearnHostile: a jailed program can't get a secret granted, nor write a word into
// the learned profile that is not in a quoted string or a comment.
func TestLearnHostile(t *testing.T) {
	needTool(t, "python3")
	c := newCaller(t, "")
	dir := c.outside(map[string]string{"id_ed25519": "secret", "x/${env(\"HOME\")}": "1", "x/a\" ]\n}\nnetwork {\n  allow \"*\" {}\n}\n#": "2", "x/%{if true}": "3", "ok": "4", "x/.ssh/known": "5"})
	c.write("attack.py", `import os, socket, ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
d = sys.argv[1]
names = [b"sh\n}\nx {", b"\x1b]0;owned\x07", b"${file(\"x\")}", b"*/ {}", b"\xff\xfe"]
for i, n in enumerate(names):
    libc.prctl(15, n, 0, 0, 0)  # PR_SET_NAME
    for f in (b"/ok", b"/id_ed25519", b"/x/../id_ed25519", b"/x/.ssh/known", b"/./x//.ssh/../../id_ed25519"):
        try: open(d.encode() + f)
        except OSError: pass
for root, dirs, files in os.walk("/"):
    break
for n in os.listdir(b"/proc/self/fd"): pass
for f in (b'${env("HOME")}', b'a" ]\n}\nnetwork {\n  allow "*" {}\n}\n#', b"%{if true}"):
    try: open(d.encode() + b"/x/" + f)
    except OSError: pass
def ask(name, wait=False):
    q = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    for label in name: q += bytes([len(label)]) + label
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(q + b"\x00\x00\x01\x00\x01", ("10.0.2.3", 53))
    if wait: s.recv(512)
for name in ([b'evil" {}\n}', b"example"], [b"*", b"example"], [b"a\x00b", b"example"], [b"${x}", b"example"], [b"a.b", b"*"]):
    ask(name)
ask([b"last", b"example"], True)
u = socket.socket(socket.AF_UNIX)
for p in (b"/run/user/0/bus", b"/run/docker.sock\n}"):
    try: u.connect(p)
    except OSError: pass
# A pointer to nothing, a path without an end, and 5,000 paths more than anybody wants.
libc.syscall(257, -100, 1, 0)
libc.open(b"/" + b"a" * 5000, 0)
for i in range(5000):
    try: os.stat(b"/nowhere/%d" % i)
    except OSError: pass
`)
	text, _ := c.relearned("2", "python3", "attack.py", dir)
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		value, comment, _ := strings.Cut(trimmed, " #")
		ok := trimmed == "" || strings.HasPrefix(trimmed, "#") || trimmed == "files {" || trimmed == "}" || trimmed == "read = [" || trimmed == "]" ||
			strings.HasPrefix(line, "extends = [\"") || strings.TrimSpace(value) == `"`+dir+`/ok",` || strings.HasPrefix(value, `"/etc/`) || strings.HasPrefix(value, `"/usr/`)
		if !ok || strings.ContainsAny(comment, "\x1b\x07\xff") {
			t.Errorf("line %d is not one of what was learned: %q", i+1, line)
		}
	}
	if !strings.Contains(text, dir+"/ok\",") {
		t.Errorf("what may be learned was not:\n%s", text)
	}
	for _, raw := range []string{"\x1b", "\x07", "\u202e", "\xff"} {
		if strings.Contains(text, raw) {
			t.Errorf("%q stands in the profile as it is", raw)
		}
	}
}

// TestLearnTools: what real tools are refused is learned, from nothing allowed at all,
// and lets them through: the host's proxy finds the names that the profile lets.
func TestLearnTools(t *testing.T) {
	ca := newAuthority(t)
	pem, err := os.ReadFile(ca.file)
	if err != nil {
		t.Fatal(err)
	}
	prepare := func(t *testing.T, profile string, names map[string]string) *caller {
		c := newCaller(t, profile)
		proxy := nameProxy(t, names)
		c.env = append(c.env, "HTTPS_PROXY="+proxy, "ALL_PROXY="+proxy)
		c.write("ca.crt", string(pem))
		return c
	}
	wants := func(t *testing.T, text, block, stdout string, o *outcome) {
		t.Helper()
		if !strings.Contains(text, block) || o.stdout != stdout {
			t.Errorf("it printed %q, want %q; the profile should have %s:\n%s", o.stdout, stdout, block, text)
		}
	}
	t.Run("npm ci", func(t *testing.T) {
		systemTool(t, "npm")
		h := npmRegistry(t, "npm.example")
		c := prepare(t, "", map[string]string{"npm.example:443": ca.serve(t, "npm.example", "127.0.0.1:0", h)})
		c.write("package.json", `{"name":"project","version":"1.0.0","private":true,"dependencies":{"greeting":"1.0.0"}}`)
		c.write("package-lock.json", `{"name":"project","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{"":{"name":"project","version":"1.0.0","dependencies":{"greeting":"1.0.0"}},
			"node_modules/greeting":{"version":"1.0.0","resolved":"https://npm.example/greeting/-/greeting-1.0.0.tgz"}}}`)
		text, o := c.relearned("1", "sh", "-c", `npm ci --cafile ca.crt --registry https://npm.example/ --no-audit --no-fund --no-update-notifier --fetch-retries 0 >&2 && node -e 'console.log(require("greeting"))'`)
		wants(t, text, `allow "npm.example" {}`, "hello from npm\n", o)
	})
	t.Run("pip install", func(t *testing.T) {
		systemTool(t, "pip3")
		c := prepare(t, "", map[string]string{"pip.example:443": ca.serve(t, "pip.example", "127.0.0.1:0", pipIndex(t))})
		text, o := c.relearned("1", "sh", "-c", `pip3 install --quiet --retries 0 --cert ca.crt --disable-pip-version-check --no-cache-dir --target lib --index-url https://pip.example/simple/ greeting >&2 &&
			PYTHONPATH=lib python3 -c 'import greeting; print(greeting.TEXT)'`)
		wants(t, text, `allow "pip.example" {}`, "hello from pip\n", o)
	})
	t.Run("go build", func(t *testing.T) {
		goroot, err := exec.Command(needTool(t, "go"), "env", "GOROOT").Output()
		if err != nil {
			t.Fatal(err)
		}
		root := strings.TrimSpace(string(goroot))
		c := prepare(t, fmt.Sprintf("files {\n exec = [%q]\n}\n", root), map[string]string{"go.example:443": ca.serve(t, "go.example", "127.0.0.1:0", goProxy(t))})
		c.write("go.mod", "module project\n\ngo 1.21\n\nrequire modules.example/greeting v1.0.0\n")
		c.write("main.go", "package main\n\nimport \"modules.example/greeting\"\n\nfunc main() { println(greeting.Text) }\n")
		text, o := c.relearned("1", "sh", "-c", fmt.Sprintf(`export PATH=%s/bin:$PATH GOPROXY=https://go.example GOSUMDB=off GOTOOLCHAIN=local CGO_ENABLED=0 SSL_CERT_FILE=$PWD/ca.crt
			go build -mod=mod -o project . && ./project 2>&1`, root))
		wants(t, text, `allow "go.example" {}`, "hello from go\n", o)
	})
	t.Run("git clone over ssh", func(t *testing.T) {
		systemTool(t, "git")
		systemTool(t, "ssh")
		server := newSSHServer(t, gitRepository(t))
		c := prepare(t, "", map[string]string{"git.example:22": server.addr})
		if err := os.Chmod(c.write("key", server.key), 0o600); err != nil {
			t.Fatal(err)
		}
		text, o := c.relearned("1", "sh", "-c", `export GIT_SSH_COMMAND="ssh -i $PWD/key -o StrictHostKeyChecking=no -o BatchMode=yes"
			git clone -q ssh://git@git.example/repo.git && cat repo/greeting`)
		wants(t, text, "allow \"git.example\" {\n    ports    = [22]\n    protocol = \"ssh\"\n  }", "hello from git\n", o)
	})
}
