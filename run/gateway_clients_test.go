package run_test

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// The rest of the clients that agents use, through a host that the gateway looks
// into: package managers, streams, WebSocket, gRPC.

// rulesFor is a profile whose host is looked into.
func rulesFor(host, upstream string, ca *authority) string {
	return fmt.Sprintf(`network {
  allow %q {
    upstream    = %q
    upstream_ca = %q
    request "GET" "/**" {}
    request "POST" "/**" {}
  }
}
`, host, upstream, ca.file)
}

// wantRequest makes sure that the gateway saw the request, and did not pass bytes on.
func wantRequest(t *testing.T, o *outcome, path string) {
	t.Helper()
	wantEvent(t, o.events(), "the request of "+path, func(v audit.View, e audit.Event) bool {
		return v.Kind == "http" && v.Verdict == "allowed" && e.HTTPRequest.URL.Path == path
	})
}

func TestGatewayPackages(t *testing.T) {
	t.Run("npm", func(t *testing.T) {
		systemTool(t, "npm")
		ca := newAuthority(t)
		c := newCaller(t, rulesFor("npm.example", ca.serve(t, "npm.example", "127.0.0.1:0", npmRegistry(t, "npm.example")), ca))
		c.write("package.json", `{"name":"project","version":"1.0.0","private":true}`)
		o := c.must("sh", "-c", `npm install --registry https://npm.example/ --no-audit --no-fund --no-update-notifier greeting >&2 &&
			node -e 'console.log(require("greeting"))'`)
		if o.stdout != "hello from npm\n" {
			t.Errorf("%q\n%s", o.stdout, o.stderr)
		}
		wantRequest(t, o, "/greeting/-/greeting-1.0.0.tgz")
	})
	t.Run("pip", func(t *testing.T) {
		systemTool(t, "pip3")
		ca := newAuthority(t)
		c := newCaller(t, rulesFor("pip.example", ca.serve(t, "pip.example", "127.0.0.1:0", pipIndex(t)), ca))
		o := c.must("sh", "-c", `pip3 install --quiet --disable-pip-version-check --no-cache-dir --target lib --index-url https://pip.example/simple/ greeting >&2 &&
			PYTHONPATH=lib python3 -c 'import greeting; print(greeting.TEXT)'`)
		if o.stdout != "hello from pip\n" {
			t.Errorf("%q\n%s", o.stdout, o.stderr)
		}
		wantRequest(t, o, "/simple/greeting/")
	})
	t.Run("cargo", func(t *testing.T) {
		needTool(t, "cargo")
		sysroot, err := exec.Command(needTool(t, "rustc"), "--print", "sysroot").Output() // rustup's cargo is a link to rustup
		if err != nil {
			t.Fatal(err)
		}
		root := strings.TrimSpace(string(sysroot))
		ca := newAuthority(t)
		c := newCaller(t, rulesFor("crates.example", ca.serve(t, "crates.example", "127.0.0.1:0", http.HandlerFunc(sparseIndex)), ca)+
			fmt.Sprintf("files {\n exec = [%q]\n}\n", root))
		c.write("Cargo.toml", "[package]\nname = \"project\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\ngreeting = { version = \"1\", registry = \"test\" }\n")
		c.write("src/lib.rs", "")
		c.write(".cargo/config.toml", "[registries.test]\nindex = \"sparse+https://crates.example/index/\"\n")
		o := c.must("sh", "-c", root+`/bin/cargo generate-lockfile >&2 && grep -A2 greeting Cargo.lock`)
		if !strings.Contains(o.stdout, `version = "1.0.0"`) {
			t.Errorf("%q\n%s", o.stdout, o.stderr)
		}
		wantRequest(t, o, "/index/gr/ee/greeting")
	})
}

// sparseIndex is a registry of Cargo's with one package (The Cargo Book, "Registry
// Index").
func sparseIndex(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/index/config.json":
		fmt.Fprint(w, `{"dl":"https://crates.example/dl"}`)
	case "/index/gr/ee/greeting":
		fmt.Fprintf(w, `{"name":"greeting","vers":"1.0.0","deps":[],"cksum":"%064d","features":{},"yanked":false}`+"\n", 0)
	default:
		http.NotFound(w, r)
	}
}

// TestGatewayMoreClients: clients that not every host has.
func TestGatewayMoreClients(t *testing.T) {
	for _, tt := range []struct {
		name, tool, script string
		probe              []string // says whether the host has the library
	}{
		{"httpx", "python3", `python3 -c 'import httpx, os; print(httpx.get("https://api.example/x", headers={"x-api-key": os.environ["API_KEY"]}).text, end="")'`,
			[]string{"/usr/bin/python3", "-c", "import httpx"}},
		{"Ruby", "ruby", `ruby -e 'require "net/http"; u = URI("https://api.example/x"); print Net::HTTP.get(u, {"x-api-key" => ENV["API_KEY"]})'`, nil},
		{"Deno", "deno", `deno eval 'const r = await fetch("https://api.example/x", {headers: {"x-api-key": Deno.env.get("API_KEY")}}); Deno.stdout.write(new TextEncoder().encode(await r.text()))'`, nil},
		{"Perl", "perl", `perl -MHTTP::Tiny -e 'print HTTP::Tiny->new(verify_SSL => 1)->get("https://api.example/x", {headers => {"x-api-key" => $ENV{API_KEY}}})->{content}'`,
			[]string{"/usr/bin/perl", "-MHTTP::Tiny", "-MIO::Socket::SSL", "-e", "1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			systemTool(t, tt.tool)
			if tt.probe != nil {
				if err := exec.Command(tt.probe[0], tt.probe[1:]...).Run(); err != nil {
					t.Skipf("the host lacks the library that %s needs", tt.name)
				}
			}
			c, _ := keyCaller(t, "")
			o := c.must("sh", "-c", tt.script)
			if !strings.HasPrefix(o.stdout, "GET /x HTTP/2.0 real=true echo=sk-ant-api03-") || strings.Contains(o.stdout+o.stderr, realKey) {
				t.Errorf("%q\n%s", o.stdout, o.stderr)
			}
			wantRequest(t, o, "/x")
		})
	}
}

// TestGatewayEvents: curl has a stream's first event before the server sends its last,
// which it does only when asked to.
func TestGatewayEvents(t *testing.T) {
	needTool(t, "curl")
	for _, version := range []string{"--http1.1", "--http2"} {
		t.Run(version, func(t *testing.T) {
			release := make(chan struct{})
			ca := newAuthority(t)
			upstream := ca.serve(t, "api.example", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/release" {
					close(release)
					return
				}
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, "data: first\n\n")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-release:
					_, _ = io.WriteString(w, "data: last\n\n")
				case <-r.Context().Done():
				}
			}))
			c := newCaller(t, rulesFor("api.example", upstream, ca))
			o := c.must("sh", "-c", `mkfifo pipe; curl -sSN `+version+` https://api.example/events > pipe & exec 3< pipe
				read first <&3; curl -sS https://api.example/release; cat <&3 > rest; wait; echo "$first"; cat rest`)
			if o.stdout != "data: first\n\ndata: last\n\n" {
				t.Errorf("%q\n%s", o.stdout, o.stderr)
			}
		})
	}
}

// TestGatewayWebSocket has Node's own client talk to a server that echoes.
func TestGatewayWebSocket(t *testing.T) {
	systemTool(t, "node")
	const flag = "--experimental-websocket" // Node 20.10 to 21; on its own from 22
	if err := exec.Command("node", flag, "-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)").Run(); err != nil {
		t.Skip("the host lacks a Node with WebSocket (20.10 or later)")
	}
	ca := newAuthority(t)
	upstream := ca.serve(t, "ws.example", "127.0.0.1:0", http.HandlerFunc(echoFrames))
	c := newCaller(t, rulesFor("ws.example", upstream, ca))
	o := c.must("node", flag, "-e", `
		const ws = new WebSocket("wss://ws.example/socket"); let n = 0
		ws.onopen = () => ws.send("one")
		ws.onmessage = e => { console.log(e.data); if (++n < 3) ws.send("again " + n); else ws.close() }
		ws.onerror = e => { console.error(e.message ?? e); process.exit(1) }`)
	if o.stdout != "echo one\necho again 1\necho again 2\n" {
		t.Errorf("%q\n%s", o.stdout, o.stderr)
	}
	wantRequest(t, o, "/socket")
}

// echoFrames is a WebSocket server for short text frames (RFC 6455).
func echoFrames(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // section 1.3
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	for {
		text, err := readFrame(rw.Reader)
		if err != nil {
			return
		}
		answer := "echo " + text
		if _, err := c.Write(append([]byte{0x81, byte(len(answer))}, answer...)); err != nil {
			return
		}
	}
}

// readFrame reads a masked text frame of less than 126 bytes (RFC 6455, section 5.2).
func readFrame(r *bufio.Reader) (string, error) {
	head := make([]byte, 6)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", err
	}
	if head[0] != 0x81 || head[1]&0x80 == 0 || head[1]&0x7f > 125 {
		return "", io.EOF
	}
	text := make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(r, text); err != nil {
		return "", err
	}
	for i := range text {
		text[i] ^= head[2+i%4]
	}
	return string(text), nil
}

// TestGatewayGRPC makes a gRPC call with Node's HTTP/2: length-prefixed messages both
// ways over one request, and the status in the trailers (gRPC over HTTP2).
func TestGatewayGRPC(t *testing.T) {
	systemTool(t, "node")
	ca := newAuthority(t)
	upstream := ca.serve(t, "grpc.example", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		head := make([]byte, 5)
		for {
			if _, err := io.ReadFull(r.Body, head); err != nil {
				break
			}
			text := make([]byte, head[4])
			if _, err := io.ReadFull(r.Body, text); err != nil {
				break
			}
			answer := "echo " + string(text)
			_, _ = w.Write(append([]byte{0, 0, 0, 0, byte(len(answer))}, answer...))
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set("Grpc-Message", r.Proto+" te="+r.Header.Get("Te"))
	}))
	c := newCaller(t, rulesFor("grpc.example", upstream, ca))
	o := c.must("node", "-e", `
		const s = require("http2").connect("https://grpc.example", {ca: require("fs").readFileSync("/etc/ssl/certs/ca-certificates.crt")})
		const r = s.request({":method": "POST", ":path": "/echo.Echo/Talk", "te": "trailers", "content-type": "application/grpc"})
		const frame = t => Buffer.concat([Buffer.from([0, 0, 0, 0, t.length]), Buffer.from(t)])
		let n = 0; r.write(frame("one"))
		r.on("data", d => { console.log(d.subarray(5).toString()); if (++n == 1) r.write(frame("two")); else r.end() })
		r.on("trailers", h => { console.log("status", h["grpc-status"], h["grpc-message"]); s.close() })
		r.on("error", e => { console.error(e); process.exit(1) })`)
	if o.stdout != "echo one\necho two\nstatus 0 HTTP/2.0 te=trailers\n" {
		t.Errorf("%q\n%s", o.stdout, o.stderr)
	}
	wantRequest(t, o, "/echo.Echo/Talk")
}

// TestGatewayGoModules fetches a module from a proxy that is looked into.
func TestGatewayGoModules(t *testing.T) {
	program := needTool(t, "go")
	goroot, err := exec.Command(program, "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := strings.TrimSpace(string(goroot))
	ca := newAuthority(t)
	c := newCaller(t, rulesFor("proxy.example", ca.serve(t, "proxy.example", "127.0.0.1:0", goProxy(t)), ca)+
		fmt.Sprintf("files {\n exec = [%q]\n}\nprocess {\n env = {\n GOPROXY = \"https://proxy.example\"\n GOSUMDB = \"off\"\n GOTOOLCHAIN = \"local\"\n }\n}\n", root))
	c.write("go.mod", "module project\n\ngo 1.21\n\nrequire modules.example/greeting v1.0.0\n")
	o := c.must(root+"/bin/go", "mod", "download", "-json", "modules.example/greeting")
	if !strings.Contains(o.stdout, `"Version": "v1.0.0"`) {
		t.Errorf("%q\n%s", o.stdout, o.stderr)
	}
	wantRequest(t, o, "/modules.example/greeting/@v/v1.0.0.zip")
}
