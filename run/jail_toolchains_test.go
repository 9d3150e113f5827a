package run_test

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// The built-in profiles of toolchains, with the tools as they come: no flag and no
// variable says where packages are, so that the hosts that a tool asks by itself are
// what the profile has to allow. Only where these hosts are found differs.

// atUpstream leads some hosts to a server of the test's. What may be asked of them is for
// the built-in profile to say: an allow without requests adds nothing to it.
func atUpstream(upstream string, ca *authority, hosts ...string) string {
	var b strings.Builder
	for _, h := range hosts {
		fmt.Fprintf(&b, " allow %q {\n upstream = %q\n upstream_ca = %q\n }\n", h, upstream, ca.file)
	}
	return "network {\n" + b.String() + "}\n"
}

// wantAsked makes sure that the tool asked the stand-in, and by a rule of the profile.
func wantAsked(t *testing.T, o *outcome, profile, path string) {
	t.Helper()
	wantEvent(t, o.events(), "a request for "+path, func(v audit.View, e audit.Event) bool {
		return v.Kind == "http" && v.Verdict == "allowed" && strings.Contains(e.HTTPRequest.URL.Path, path) && strings.HasPrefix(v.Rule, profile+".hcl:")
	})
}

func TestJailNodeProfile(t *testing.T) {
	systemTool(t, "npm")
	ca := newAuthority(t)
	// The tarball's host is told by the metadata: the one that was asked. One registry for
	// all requests, since each one's tarball is another.
	var once sync.Once
	var registry http.Handler
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() { registry = npmRegistry(t, r.Host) })
		registry.ServeHTTP(w, r)
	})
	c := newCaller(t, "extends = [\"node\"]\n"+atUpstream(ca.serve(t, "*.npmjs.org", "127.0.0.1:0", h), ca, "*.npmjs.org"))
	c.write("package.json", `{"name":"project","version":"1.0.0","private":true}`)
	o := c.must("sh", "-c", `npm install greeting >&2 && node -e 'console.log(require("greeting"))'`)
	if o.stdout != "hello from npm\n" {
		t.Errorf("the installed package printed %q\n%s", o.stdout, o.stderr)
	}
	wantAsked(t, o, "node", "/greeting")
}

func TestJailPythonProfile(t *testing.T) {
	systemTool(t, "pip3")
	ca := newAuthority(t)
	c := newCaller(t, "extends = [\"python\"]\n"+atUpstream(ca.serve(t, "pypi.org", "127.0.0.1:0", pipIndex(t)), ca, "pypi.org"))
	o := c.must("sh", "-c", `pip3 install --quiet --target lib greeting >&2 && PYTHONPATH=lib python3 -c 'import greeting; print(greeting.TEXT)'`)
	if o.stdout != "hello from pip\n" {
		t.Errorf("the installed package printed %q\n%s", o.stdout, o.stderr)
	}
	wantAsked(t, o, "python", "/simple/greeting/")
}

func TestJailGoProfile(t *testing.T) {
	program := needTool(t, "go")
	goroot, err := exec.Command(program, "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := strings.TrimSpace(string(goroot))
	ca := newAuthority(t)
	// The stand-in's module is in no checksum database.
	// That building works is seen by TestJailGoBuild; it takes ten times as long.
	c := newCaller(t, "extends = [\"go\"]\n"+atUpstream(ca.serve(t, "*.golang.org", "127.0.0.1:0", goProxy(t)), ca, "*.golang.org")+
		fmt.Sprintf("files {\n exec = [%q]\n}\n", root))
	c.env = append(c.env, "GONOSUMDB=modules.example", "GOTOOLCHAIN=local", "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	c.write("go.mod", "module project\n\ngo 1.21\n\nrequire modules.example/greeting v1.0.0\n")
	o := c.must("sh", "-c", root+"/bin/go mod download && cat $("+root+"/bin/go list -m -f '{{.Dir}}' modules.example/greeting)/greeting.go")
	if !strings.Contains(o.stdout, "hello from go") {
		t.Errorf("the downloaded module has %q\n%s", o.stdout, o.stderr)
	}
	wantAsked(t, o, "go", "/modules.example/greeting/@v/v1.0.0.zip")
}

func TestJailRustProfile(t *testing.T) {
	program := needTool(t, "cargo")
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t)
	c := newCaller(t, "extends = [\"rust\"]\n"+atUpstream(ca.serve(t, "*.crates.io", "127.0.0.1:0", crateRegistry(t)), ca, "*.crates.io"))
	// As it is in a home folder: rustup's programs, settings and toolchains.
	for _, dir := range []string{".cargo/bin", ".rustup"} {
		if _, err := os.Stat(filepath.Join(home, dir)); err != nil {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(c.home, dir)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(home, dir), filepath.Join(c.home, dir)); err != nil {
			t.Fatal(err)
		}
	}
	c.write("Cargo.toml", "[package]\nname = \"project\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\ngreeting = \"1\"\n")
	c.write("src/main.rs", "fn main() { println!(\"{}\", greeting::TEXT); }\n")
	o := c.must("sh", "-c", program+" run --quiet")
	if o.stdout != "hello from cargo\n" {
		t.Errorf("the built program printed %q\n%s", o.stdout, o.stderr)
	}
	wantAsked(t, o, "rust", "greeting")
}

func TestJailJavaProfile(t *testing.T) {
	systemTool(t, "javac")
	ca := newAuthority(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /maven2/greeting.txt", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello from java") })
	c := newCaller(t, "extends = [\"java\"]\n"+atUpstream(ca.serve(t, "*.maven.org", "127.0.0.1:0", mux), ca, "*.maven.org"))
	c.write("Fetch.java", `import java.io.*;
import java.net.*;

public class Fetch {
	public static void main(String[] a) throws Exception {
		try (InputStream in = new URL("https://repository.maven.org/maven2/greeting.txt").openStream()) {
			in.transferTo(System.out);
		}
		HttpURLConnection put = (HttpURLConnection) new URL("https://repository.maven.org/maven2/greeting.txt").openConnection();
		put.setRequestMethod("PUT");
		System.out.println(put.getResponseCode());
	}
}
`)
	o := c.must("sh", "-c", "javac Fetch.java && java Fetch")
	if o.stdout != "hello from java\n403\n" {
		t.Errorf("java said %q\n%s", o.stdout, o.stderr)
	}
	wantAsked(t, o, "java", "/maven2/greeting.txt")
}

func TestJailGitProfile(t *testing.T) {
	systemTool(t, "git")
	backend := "/usr/lib/git-core/git-http-backend"
	if _, err := os.Stat(backend); err != nil {
		t.Skip("the host lacks git-http-backend (make deps installs git)")
	}
	root := gitRepository(t)
	if err := os.MkdirAll(filepath.Join(root, "owner"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(root, "repo.git"), filepath.Join(root, "owner/repo.git")); err != nil {
		t.Fatal(err)
	}
	const token = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
	ca := newAuthority(t)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// As the real host has it: whoever pushes says who he is.
		user, password, _ := r.BasicAuth()
		pushing := strings.HasSuffix(r.URL.Path, "git-receive-pack") || r.URL.Query().Get("service") == "git-receive-pack"
		if pushing && (user != "x-access-token" || password != token) {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		(&cgi.Handler{Path: backend, Root: "/", Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + root, "REMOTE_USER=" + user,
			"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*", "GIT_CONFIG_KEY_1=http.receivepack", "GIT_CONFIG_VALUE_1=true"}}).ServeHTTP(w, r)
	})
	c := newCaller(t, "extends = [\"git\"]\n"+atUpstream(ca.serve(t, "github.com", "127.0.0.1:0", h), ca, "github.com"))
	c.env = append(c.env, "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	script := `git clone -q https://github.com/owner/repo.git && cat repo/greeting && cd repo && echo more >>greeting && git commit -qam "$1" && git push -q 2>said; echo $?; cat said >&2`
	push := func() string {
		log := exec.Command("git", "-C", filepath.Join(root, "owner/repo.git"), "-c", "safe.directory=*", "log", "--format=%s", "main")
		out, err := log.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}

	o := c.must("sh", "-c", script, "sh", "without")
	if !strings.HasPrefix(o.stdout, "hello from git\n") || strings.HasSuffix(o.stdout, "\n0\n") || strings.Contains(push(), "without") {
		t.Errorf("without a token the clone and the push gave %q\n%s", o.stdout, o.stderr)
	}
	c.env = append(c.env, "GITHUB_TOKEN="+token)
	o = c.must("sh", "-c", script+`; env`, "sh", "with")
	if !strings.HasPrefix(o.stdout, "hello from git\n0\n") || strings.Contains(o.stdout, token) || !strings.Contains(push(), "with") {
		t.Errorf("with a token the clone and the push gave %q, and the repository has %q\n%s", o.stdout, push(), o.stderr)
	}
	wantAsked(t, o, "git", "/owner/repo.git/git-receive-pack")
}
