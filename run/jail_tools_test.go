package run_test

import (
	"fmt"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// allowHost is a profile's rule for a host of the test's.
func allowHost(host, upstream string, ca *authority) string {
	return fmt.Sprintf("network {\n allow %q {\n upstream = %q\n upstream_ca = %q\n }\n}\n", host, upstream, ca.file)
}

// systemTool skips where the host lacks a program in a folder that every jail sees.
func systemTool(t *testing.T, name string) {
	t.Helper()
	for _, dir := range []string{"/usr/local/bin", "/usr/bin", "/bin"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode()&0o111 != 0 {
			return
		}
	}
	t.Skipf("the host lacks %s in /usr", name)
}

// wantUpstream makes sure that the tool's way out was the profile's rule.
func wantUpstream(t *testing.T, o *outcome, host string) {
	t.Helper()
	wantEvent(t, o.events(), "the connection to "+host, func(v audit.View, e audit.Event) bool {
		return v.Kind == "connect" && v.Verdict == "allowed" && e.Dst.Hostname == host
	})
}

func TestJailNpmInstall(t *testing.T) {
	systemTool(t, "npm")
	ca := newAuthority(t)
	c := newCaller(t, allowHost("npm.example", ca.serve(t, "npm.example", "127.0.0.1:0", npmRegistry(t, "npm.example")), ca))
	c.write("package.json", `{"name":"project","version":"1.0.0","private":true}`)
	o := c.must("sh", "-c", `npm install --registry https://npm.example/ --no-audit --no-fund --no-update-notifier greeting >&2 &&
		node -e 'console.log(require("greeting"))'`)
	if o.stdout != "hello from npm\n" {
		t.Errorf("the installed package printed %q", o.stdout)
	}
	wantUpstream(t, o, "npm.example")
	if _, err := os.Lstat(filepath.Join(c.workspace, "node_modules")); err == nil {
		t.Error("node_modules is in the host's workspace")
	}
	if o.status.Changes == 0 {
		t.Error("the run knows of no change")
	}
}

func TestJailPipInstall(t *testing.T) {
	systemTool(t, "pip3")
	ca := newAuthority(t)
	c := newCaller(t, allowHost("pip.example", ca.serve(t, "pip.example", "127.0.0.1:0", pipIndex(t)), ca))
	o := c.must("sh", "-c", `pip3 install --quiet --disable-pip-version-check --no-cache-dir --target lib --index-url https://pip.example/simple/ greeting >&2 &&
		PYTHONPATH=lib python3 -c 'import greeting; print(greeting.TEXT)'`)
	if o.stdout != "hello from pip\n" {
		t.Errorf("the installed package printed %q", o.stdout)
	}
	wantUpstream(t, o, "pip.example")
}

func TestJailGoBuild(t *testing.T) {
	program := needTool(t, "go")
	goroot, err := exec.Command(program, "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := strings.TrimSpace(string(goroot))
	ca := newAuthority(t)
	c := newCaller(t, allowHost("go.example", ca.serve(t, "go.example", "127.0.0.1:0", goProxy(t)), ca)+
		fmt.Sprintf("files {\n exec = [%q]\n}\nprocess {\n env = {\n PATH = %q\n GOPROXY = \"https://go.example\"\n GOSUMDB = \"off\"\n GOTOOLCHAIN = \"local\"\n CGO_ENABLED = \"0\"\n }\n}\n",
			root, root+"/bin:/usr/bin:/bin"))
	c.write("go.mod", "module project\n\ngo 1.21\n\nrequire modules.example/greeting v1.0.0\n")
	// No import but the module's: what is built of the standard library is little.
	c.write("main.go", "package main\n\nimport \"modules.example/greeting\"\n\nfunc main() { println(greeting.Text) }\n")
	o := c.must("sh", "-c", "go build -mod=mod -o project . && ./project 2>&1")
	if o.stdout != "hello from go\n" {
		t.Errorf("the built program printed %q\nstderr: %s", o.stdout, o.stderr)
	}
	wantUpstream(t, o, "go.example")
}

// gitRepository makes a bare repository with one commit, outside the workspace.
func gitRepository(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	script := `set -e
		git init -q -b main src; cd src; echo 'hello from git' >greeting; git add greeting
		git -c user.name=test -c user.email=test@example.com commit -q -m first
		cd ..; git clone -q --bare src repo.git; git -C repo.git update-server-info`
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir, cmd.Env = root, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + root, "GIT_CONFIG_NOSYSTEM=1"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return root
}

func TestJailGitOverHTTPS(t *testing.T) {
	systemTool(t, "git")
	backend := "/usr/lib/git-core/git-http-backend"
	if _, err := os.Stat(backend); err != nil {
		t.Skip("the host lacks git-http-backend (make deps installs git)")
	}
	root := gitRepository(t)
	ca := newAuthority(t)
	h := &cgi.Handler{Path: backend, Root: "/", Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + root,
		// The repository is ours, whatever user the server's environment names.
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}
	c := newCaller(t, allowHost("git.example", ca.serve(t, "git.example", "127.0.0.1:0", h), ca))
	o := c.must("sh", "-c", "git clone -q https://git.example/repo.git && cat repo/greeting")
	if o.stdout != "hello from git\n" {
		t.Errorf("the clone holds %q\nstderr: %s", o.stdout, o.stderr)
	}
	wantUpstream(t, o, "git.example")
}

func TestJailGitOverSSH(t *testing.T) {
	systemTool(t, "git")
	systemTool(t, "ssh")
	server := newSSHServer(t, gitRepository(t))
	c := newCaller(t, fmt.Sprintf("network {\n allow \"git.example:22\" {\n protocol = \"ssh\"\n upstream = %q\n }\n}\n", server.addr))
	if err := os.Chmod(c.write("key", server.key), 0o600); err != nil {
		t.Fatal(err)
	}
	o := c.must("sh", "-c", `export GIT_SSH_COMMAND="ssh -i $PWD/key -o StrictHostKeyChecking=no -o BatchMode=yes"
		git clone -q ssh://git@git.example/repo.git && cat repo/greeting`)
	if o.stdout != "hello from git\n" {
		t.Errorf("the clone holds %q\nstderr: %s", o.stdout, o.stderr)
	}
	wantUpstream(t, o, "git.example")
}

func TestJailGitCommit(t *testing.T) {
	systemTool(t, "git")
	c := newCaller(t, "")
	c.write("tracked", "one\n")
	prepare := exec.Command("sh", "-c", "git init -q -b main && git add . && git -c user.name=t -c user.email=t@example.com commit -q -m first")
	prepare.Dir, prepare.Env = c.workspace, c.env
	if out, err := prepare.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	o := c.must("sh", "-c", `set -e
		echo two >>tracked; git add tracked
		git -c user.name=a -c user.email=a@example.com commit -q -m second
		git status --porcelain; git log --format=%s`)
	if o.stdout != "second\nfirst\n" {
		t.Errorf("git said %q\nstderr: %s", o.stdout, o.stderr)
	}
	log := exec.Command("git", "log", "--format=%s")
	log.Dir, log.Env = c.workspace, c.env
	if out, err := log.Output(); err != nil || string(out) != "first\n" {
		t.Errorf("the host's repository has %q %v, want the first commit alone", out, err)
	}
}
