package run_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// The tests of the gateway's request rules and secrets through the whole binary, with
// the clients that agents use.

// gatewayHelperArg makes the test binary a Go HTTP client and nothing else: any other
// number of arguments ends it at once.
const gatewayHelperArg = "agentjail-test-gateway-client"

func init() {
	if len(os.Args) < 2 || os.Args[1] != gatewayHelperArg {
		return
	}
	if len(os.Args) != 3 {
		os.Exit(99)
	}
	r, err := http.NewRequest("GET", os.Args[2], nil)
	if err != nil {
		os.Exit(98)
	}
	r.Header.Set("X-Api-Key", os.Getenv("API_KEY"))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = io.Copy(os.Stdout, resp.Body)
	os.Exit(0)
}

const realKey = "sk-ant-api03-ThisIsTheReal0123456789KeyOfTheTest"

// keyServer says whether it got the real key, and echoes what it got.
func keyServer(t *testing.T, ca *authority) (upstream string, seen *requests) {
	t.Helper()
	seen = &requests{}
	return ca.serve(t, "api.example", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.mu.Lock()
		seen.seen = append(seen.seen, r.Method+" "+r.URL.Path)
		seen.mu.Unlock()
		fmt.Fprintf(w, "%s %s %s real=%v echo=%s\n", r.Method, r.URL.Path, r.Proto, r.Header.Get("X-Api-Key") == realKey, r.Header.Get("X-Api-Key"))
	})), seen
}

func keyProfile(upstream string, ca *authority, more string) string {
	return fmt.Sprintf(`
network {
  allow "api.example" {
    upstream    = %q
    upstream_ca = %q
    secret      = secret.api
    request "GET" "/**" {}
    request "POST" "/v1/issues" {
      when   = request.body.project == "web"
      limit  = "2/run"
      reason = "our project only"
    }
  }
}
secret "api" {
  env    = "API_KEY"
  header = "x-api-key"
}
%s`, upstream, ca.file, more)
}

func keyCaller(t *testing.T, more string) (*caller, *requests) {
	t.Helper()
	ca := newAuthority(t)
	upstream, seen := keyServer(t, ca)
	c := newCaller(t, keyProfile(upstream, ca, more))
	c.env = append(c.env, "API_KEY="+realKey)
	return c, seen
}

func TestGatewayClients(t *testing.T) {
	const java = `import java.net.URI;
import java.net.http.*;
public class Fetch {
  public static void main(String[] a) throws Exception {
    var q = HttpRequest.newBuilder(URI.create(a[0])).header("x-api-key", System.getenv("API_KEY")).build();
    System.out.print(HttpClient.newHttpClient().send(q, HttpResponse.BodyHandlers.ofString()).body());
  }
}`
	for _, tt := range []struct {
		name, tool, script, probe string
	}{
		{"curl h2", "curl", `curl -sS -H "x-api-key: $API_KEY" https://api.example/x`, ""},
		{"curl h1", "curl", `curl -sS --http1.1 -H "x-api-key: $API_KEY" https://api.example/x`, ""},
		{"urllib", "python3", `python3 -c 'import os, urllib.request as u; print(u.urlopen(u.Request("https://api.example/x", headers={"x-api-key": os.environ["API_KEY"]})).read().decode(), end="")'`, ""},
		{"requests", "python3", `python3 -c 'import os
try:
    import requests
except ImportError:
    from pip._vendor import requests
print(requests.get("https://api.example/x", headers={"x-api-key": os.environ["API_KEY"]}).text, end="")'`, "import importlib.util as u, sys\nsys.exit(0 if u.find_spec('requests') or u.find_spec('pip') and u.find_spec('pip._vendor.requests') else 1)"},
		{"fetch", "node", `node -e 'fetch("https://api.example/x", {headers: {"x-api-key": process.env.API_KEY}}).then(r => r.text()).then(s => process.stdout.write(s))'`, ""},
		{"Java", "javac", "java Fetch.java https://api.example/x", ""},
		{"wget", "wget", `wget -q -O - --header "x-api-key: $API_KEY" https://api.example/x`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			systemTool(t, tt.tool)
			if tt.probe != "" {
				if err := exec.Command("/usr/bin/python3", "-c", tt.probe).Run(); err != nil {
					t.Skip("the host lacks Python's requests")
				}
			}
			c, _ := keyCaller(t, "")
			c.write("Fetch.java", java)
			o := c.must("sh", "-c", tt.script)
			if !strings.HasPrefix(o.stdout, "GET /x HTTP/2.0 real=true echo=sk-ant-api03-") || strings.Contains(o.stdout+o.stderr, realKey) {
				t.Errorf("%q\n%s", o.stdout, o.stderr)
			}
			wantEvent(t, o.events(), "the request", func(v audit.View, e audit.Event) bool {
				return v.Kind == "http" && v.Verdict == "allowed" && e.HTTPRequest.URL.Path == "/x" && e.HTTPResponse.Code == 200 && v.Rule == "test.hcl:7"
			})
		})
	}
	t.Run("Go", func(t *testing.T) {
		c, _ := keyCaller(t, fmt.Sprintf("files { exec = [%q] }\n", self(t)))
		o := c.must(self(t), gatewayHelperArg, "https://api.example/x")
		if !strings.HasPrefix(o.stdout, "GET /x HTTP/2.0 real=true echo=sk-ant-api03-") || strings.Contains(o.stdout, realKey) {
			t.Errorf("%q\n%s", o.stdout, o.stderr)
		}
	})
}

func TestGatewayRules(t *testing.T) {
	needTool(t, "curl")
	c, seen := keyCaller(t, "")
	o := c.must("sh", "-c", `
		post() { curl -sS -o /tmp/out -w '%{http_code} ' -H 'content-type: application/json' -d "$1" https://api.example/v1/issues; cat /tmp/out; }
		post '{"project":"web"}'; post '{"project":"other"}'; post '{"project":"web"}'; post '{"project":"web"}'
		curl -sS -X DELETE https://api.example/v1/issues
		curl -sS --path-as-is https://api.example/v1/../admin
		curl -sS -H "cookie: k=$API_KEY" https://api.example/x
		curl -sS -d "k=$API_KEY" -X GET https://api.example/x
		cat /run/agentjail/policy.md`)
	lines := strings.Split(o.stdout, "\n")
	for i, want := range []string{"200 POST /v1/issues", "403 agentjail: the rule's condition does not hold: ", "200 POST", "429 agentjail: the limit of 2/run requests", "agentjail: the profile allows GET, POST", "agentjail: the request's path can be read in two ways",
		`agentjail: the placeholder of the secret "api" may not be in the header Cookie`, `agentjail: the placeholder of the secret "api" is in the request's body`} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d of\n%s\nis not %q", i, o.stdout, want)
		}
	}
	for _, want := range []string{"$API_KEY holds a placeholder", "`/v1/issues`, when", "at most 2/run (our project only)"} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("policy.md lacks %q", want)
		}
	}
	if got := strings.Join(seen.all(), ", "); got != "POST /v1/issues, POST /v1/issues" {
		t.Errorf("the host got %s", got)
	}
	events := o.events()
	for _, where := range []string{"the header Cookie", "the body"} {
		wantEvent(t, events, "the placeholder in "+where, func(v audit.View, e audit.Event) bool {
			return v.Kind == "finding" && v.Verdict == "blocked" && e.SeverityID == 4 && strings.Contains(v.Reason, where)
		})
	}
	wantEvent(t, events, "the limit", func(v audit.View, e audit.Event) bool {
		return v.Kind == "finding" && v.Target == "2/run limit reached"
	})
	wantEvent(t, events, "the layers", func(v audit.View, e audit.Event) bool {
		return v.Kind == "start" && strings.Contains(string(e.Unmapped), `"interception"`) && strings.Contains(string(e.Unmapped), `"secrets"`)
	})
}

// TestGatewaySecretNowhere looks for the real secret in all that a run has and leaves.
func TestGatewaySecretNowhere(t *testing.T) {
	needTool(t, "curl")
	c, _ := keyCaller(t, "process {\n pass_env = [\"API_*\"]\n}\nartifacts { collect = [\"*\"] }\n")
	sum := sha256.Sum256([]byte(realKey))
	// What is looked for is not said in the jail: a digest of each piece of its length.
	c.write("search.py", `import hashlib, os, sys
want, n = sys.argv[1], int(sys.argv[2])
def look(name, data):
    at = data.find(b"sk-ant-api03-")
    while at >= 0:
        if hashlib.sha256(data[at:at+n]).hexdigest() == want: print("FOUND in", name)
        at = data.find(b"sk-ant-api03-", at + 1)
places = ["/run", "/etc", "/tmp", "/home", "/dev/shm", "/var", os.getcwd()]
count = 0
for top in places:
    for dir, _, files in os.walk(top):
        for f in files:
            try: look(os.path.join(dir, f), open(os.path.join(dir, f), "rb").read(1 << 24))
            except OSError: pass
            count += 1
for pid in filter(str.isdigit, os.listdir("/proc")):
    for f in ("environ", "cmdline", "maps", "mem"):
        try:
            with open("/proc/%s/%s" % (pid, f), "rb") as h: look(f + " of " + pid, h.read(1 << 24))
            count += 1
        except OSError: pass
print("searched", count > 10)
`)
	o := c.must("sh", "-c", fmt.Sprintf(`curl -sS -D headers.txt -o answer.txt -H "x-api-key: $API_KEY" https://api.example/x
		env > env.txt
		python3 search.py %s %d`, hex.EncodeToString(sum[:]), len(realKey)))
	if o.stdout != "searched True\n" {
		t.Errorf("the search in the jail: %q", o.stdout)
	}
	env, err := os.ReadFile(filepath.Join(o.status.Artifacts, "env.txt"))
	if err != nil || !bytes.Contains(env, []byte("API_KEY=sk-ant-api03-")) {
		t.Errorf("the placeholder is not in the jail's environment: %s %v", env, err)
	}
	answer, err := os.ReadFile(filepath.Join(o.status.Artifacts, "answer.txt"))
	if err != nil || !bytes.Contains(answer, []byte("real=true echo=sk-ant-api03-")) {
		t.Errorf("%s %v", answer, err)
	}
	files := 0
	for _, root := range []string{c.dir, o.status.State, o.status.Artifacts, filepath.Dir(o.status.Audit)} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			for _, form := range []string{realKey, base64.StdEncoding.EncodeToString([]byte(realKey)), hex.EncodeToString([]byte(realKey))} {
				if bytes.Contains(data, []byte(form)) {
					t.Errorf("the secret is in %s", path)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 5 {
		t.Errorf("only %d files were looked at", files)
	}
	if strings.Contains(o.stdout+o.stderr, realKey) {
		t.Error("the secret is in the output")
	}
}

// TestGatewayMemoryClosed: while there is a secret, nobody of the same user looks into
// the supervisor, and neither leaves a core file (proc(5): the files of a process that
// is not dumpable are root's).
func TestGatewayMemoryClosed(t *testing.T) {
	needTool(t, "curl")
	c, _ := keyCaller(t, "")
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	cmd := c.command(ctx, nil, "sh", "-c", "curl -sS https://api.example/x; read line")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 20)
	if _, err := io.ReadFull(stdout, line); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	status, err := os.Stat("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	limits, err := os.ReadFile("/proc/" + pid + "/limits")
	if os.Getuid() != 0 {
		if uid := status.Sys().(*syscall.Stat_t).Uid; uid != 0 {
			t.Errorf("the supervisor is dumpable: its files are uid %d's", uid)
		}
		if mem, err := os.Open("/proc/" + pid + "/mem"); err == nil {
			mem.Close()
			t.Error("the supervisor's memory can be read")
		}
	} else if err != nil || !strings.Contains(string(limits), "Max core file size        0 ") {
		t.Errorf("the supervisor may leave a core file: %v\n%s", err, limits)
	}
	stdin.Close()
	if err := cmd.Wait(); exitOf(t, err) > 1 { // sh's read says 1 at the end of input
		t.Error(err)
	}
}

func TestGatewayRefusals(t *testing.T) {
	c, _ := keyCaller(t, "")
	withEnv := func(vars ...string) func(*caller) {
		return func(c *caller) {
			c.env = append(without(c.env, "API_KEY="), vars...)
		}
	}
	key := filepath.Join(c.dir, "key")
	if err := os.WriteFile(key, []byte(realKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	base, err := os.ReadFile(c.profile)
	if err != nil {
		t.Fatal(err)
	}
	source := func(s string) string {
		return strings.Replace(string(base), `env    = "API_KEY"`, s+"\n  variable = \"API_KEY\"", 1)
	}
	for name, tt := range map[string]struct {
		profile string
		change  func(*caller)
		want    string // in the error; "" where the run works
	}{
		"from a file":         {source(fmt.Sprintf("file = %q", key)), withEnv(), ""},
		"from a command":      {source(`command = ["sh", "-c", "echo ` + realKey + `; echo more"]`), withEnv(), ""},
		"not set":             {string(base), withEnv(), "the variable API_KEY is not set"},
		"empty":               {string(base), withEnv("API_KEY="), "the variable API_KEY is not set"},
		"short":               {string(base), withEnv("API_KEY=abc"), "can't be told from other text"},
		"with a line break":   {string(base), withEnv("API_KEY=abcdefgh\nijklmnop"), "a line break"},
		"no such file":        {source(`file = "/nonexistent/key"`), withEnv(), "no such file"},
		"no such command":     {source(`command = ["/nonexistent/pass"]`), withEnv(), "/nonexistent/pass"},
		"command fails":       {source(`command = ["sh", "-c", "echo ` + realKey + `; echo ` + realKey + ` >&2; exit 3"]`), withEnv(), "exit status 3"},
		"too much":            {source(`command = ["sh", "-c", "head -c 100000 /dev/zero"]`), withEnv(), "more than"},
		"also in env":         {string(base) + "process { env = { OTHER = env(\"API_KEY\") } }\n", nil, "OTHER would give the secret"},
		"passed by a synonym": {strings.Replace(string(base), `env    = "API_KEY"`, `env = "API_KEY"`+"\n variable = \"NEW\"", 1) + "process { pass_env = [\"API_KEY\"] }\n", nil, "API_KEY would give the secret"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := keyCaller(t, "")
			c.setProfile(tt.profile)
			if tt.change != nil {
				tt.change(c)
			}
			o := c.run("sh", "-c", `echo "${API_KEY:+placeholder}"`)
			if strings.Contains(o.stdout+o.stderr, realKey) {
				t.Errorf("the secret is in the output: %s %s", o.stdout, o.stderr)
			}
			if tt.want == "" {
				if o.code != 0 || o.stdout != "placeholder\n" {
					t.Errorf("%d %q %s", o.code, o.stdout, o.stderr)
				}
				return
			}
			if o.code != 125 || !strings.Contains(o.stderr, tt.want) {
				t.Errorf("%d %s, want %q", o.code, o.stderr, tt.want)
			}
		})
	}
	t.Run("on the command line", func(t *testing.T) {
		c, _ := keyCaller(t, "")
		if o := c.run("echo", realKey); o.code != 125 || !strings.Contains(o.stderr, "the command line would give the secret") || strings.Contains(o.stderr, realKey) {
			t.Errorf("%d %s", o.code, o.stderr)
		}
	})
	t.Run("dry run", func(t *testing.T) {
		c, _ := keyCaller(t, "")
		o := c.runWith([]string{"--dry-run"}, "true")
		if o.code != 0 || !strings.Contains(o.stdout, "placeholder-of-api") || strings.Contains(o.stdout, realKey) {
			t.Errorf("%d %s %s", o.code, clip(o.stdout), o.stderr)
		}
	})
}

func without(env []string, prefix string) (out []string) {
	for _, kv := range env {
		if !strings.HasPrefix(kv, prefix) {
			out = append(out, kv)
		}
	}
	return out
}

// TestGatewayGit clones and pushes with a token that the jail never has.
func TestGatewayGit(t *testing.T) {
	systemTool(t, "git")
	backend := "/usr/lib/git-core/git-http-backend"
	if _, err := os.Stat(backend); err != nil {
		t.Skip("the host lacks git-http-backend (make deps installs git)")
	}
	const token = "ghp_ThisIsTheRealTokenOfTheTest01234567"
	root := gitRepository(t)
	if out, err := exec.Command("git", "-C", filepath.Join(root, "repo.git"), "config", "http.receivepack", "true").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	ca := newAuthority(t)
	backendHandler := &cgi.Handler{Path: backend, Root: "/", Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + root, "REMOTE_USER=test",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}
	upstream := ca.serve(t, "git.example", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "x-access-token" || password != token {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		backendHandler.ServeHTTP(w, r)
	}))
	c := newCaller(t, fmt.Sprintf(`
network {
  allow "git.example" {
    upstream    = %q
    upstream_ca = %q
    secret      = secret.git
    request "GET" "/repo.git/info/refs" {}
    request "POST" "/repo.git/git-upload-pack" {}
    request "POST" "/repo.git/git-receive-pack" {
      limit = "1/run"
    }
  }
}
secret "git" {
  env    = "GIT_TOKEN"
  basic  = "x-access-token"
  inject = true
}
`, upstream, ca.file))
	c.env = append(c.env, "GIT_TOKEN="+token)
	o := c.run("sh", "-c", `set -e
		export GIT_TERMINAL_PROMPT=0
		git clone -q https://git.example/repo.git && cat repo/greeting
		cd repo; git config user.name a; git config user.email a@example.com
		echo two > two; git add two; git commit -q -m two; git push -q origin HEAD:main; echo pushed
		git commit -q --allow-empty -m three; git push -q origin HEAD:main || echo limited
		git ls-remote https://git.example/other.git || echo refused`)
	if o.stdout != "hello from git\npushed\nlimited\nrefused\n" || strings.Contains(o.stderr, token) {
		t.Errorf("%q\n%s", o.stdout, o.stderr)
	}
	out, err := exec.Command("git", "-c", "safe.directory=*", "-C", filepath.Join(root, "repo.git"), "log", "--format=%s", "main").CombinedOutput()
	if err != nil || string(out) != "two\nfirst\n" {
		t.Errorf("the repository has %q %v", out, err)
	}
}
