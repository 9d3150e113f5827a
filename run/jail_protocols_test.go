package run_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
)

// echoServers are a TCP and a UDP server on the host's loopback; the latter answers in
// upper case.
func echoServers(t *testing.T) (tcp, udp string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); u.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			u.WriteTo([]byte(strings.ToUpper(string(b[:n]))), from)
		}
	}()
	return l.Addr().String(), u.LocalAddr().String()
}

// The sockets stay open, and the last question is answered after every program before
// it was looked for.
const askPython = `import socket, sys
keep = []
def tcp(host, port):
    c = socket.create_connection((host, port), 10); keep.append(c); c.sendall(b"hi"); print(host, port, c.recv(10).decode())
def udp(host, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); keep.append(s); s.settimeout(10); s.connect((host, port)); s.send(b"hi"); print(host, port, s.recv(10).decode())
for a in sys.argv[1:]:
    over, host, port = a.split("/")
    try: globals()[over](host, int(port))
    except Exception as e: print(host, port, type(e).__name__)
try: socket.getaddrinfo("last.example", 1)
except OSError: pass
`

// TestJailProtocols: UDP, a port of the host's, and who asked, in a whole run.
func TestJailProtocols(t *testing.T) {
	systemTool(t, "python3")
	tcp, udp := echoServers(t)
	_, port, _ := net.SplitHostPort(tcp)
	c := newCaller(t, fmt.Sprintf(`
network {
  allow "time.example:123" {
    protocol = "udp"
    upstream = %q
  }
  allow "mail.example" {
    ports    = [465, 587]
    protocol = "tcp"
    upstream = %q
    limit    = "2/run"
  }
  host_port %q {}
}
`, udp, tcp, port))
	c.write("ask.py", askPython)
	o := c.must("python3", "ask.py", "udp/time.example/123", "udp/8.8.8.8/443", "udp/8.8.8.8/123", "tcp/127.0.0.1/"+port,
		"tcp/mail.example/465", "tcp/mail.example/587", "tcp/mail.example/465", "tcp/8.8.8.8/587", "tcp/evil.example/443")
	want := "time.example 123 HI\n8.8.8.8 443 ConnectionRefusedError\n8.8.8.8 123 ConnectionRefusedError\n127.0.0.1 " + port + " hi\n" +
		"mail.example 465 hi\nmail.example 587 hi\nmail.example 465 ConnectionResetError\n8.8.8.8 587 ConnectionResetError\nevil.example 443 gaierror\n"
	if o.stdout != want {
		t.Errorf("%s\nwant\n%s\n%s", o.stdout, want, o.stderr)
	}
	events := o.events()
	byPython := func(e audit.Event) bool {
		p := e.Actor.Process
		return p.Name == "python3" && p.PID > 1 && strings.HasPrefix(p.CommandLine, "python3 ask.py udp/time.example/123")
	}
	for _, tt := range []struct{ kind, verdict, host string }{
		{"dns", "allowed", "A time.example"}, {"connect", "allowed", "time.example:123 (udp)"},
		{"connect", "blocked", "8.8.8.8:123 (udp)"},                                                   // by the gateway
		{"connect", "blocked", "8.8.8.8:443 (udp)"},                                                   // by the kernel
		{"connect", "allowed", "127.0.0.1:" + port}, {"connect", "allowed", "mail.example:587 (tcp)"}, //
		{"connect", "blocked", "mail.example:465 (tcp)"}, {"connect", "blocked", "8.8.8.8:587 (tcp)"}, //
		{"dns", "blocked", "A evil.example"},
	} {
		wantEvent(t, events, tt.kind+" "+tt.host, func(v audit.View, e audit.Event) bool {
			return v.Kind == tt.kind && v.Verdict == tt.verdict && strings.HasPrefix(v.Target, tt.host) && byPython(e)
		})
	}
	wantEvent(t, events, "the limit", func(v audit.View, e audit.Event) bool {
		return v.Kind == "finding" && v.Target == "2/run limit reached"
	})
}

// TestJailWhoAsked tells programs apart that ask at the same time, forks among them,
// and says nothing of one that is gone.
func TestJailWhoAsked(t *testing.T) {
	systemTool(t, "python3")
	tcp, _ := echoServers(t)
	c := newCaller(t, fmt.Sprintf("network {\n allow \"1.2.3.4:443\" {\n protocol = \"tcp\"\n upstream = %q\n }\n allow \"1.2.3.5:443\" {\n protocol = \"tcp\"\n upstream = %q\n }\n}\n", tcp, tcp))
	c.write("ask.py", askPython)
	c.write("fork.py", `import os, socket
c = socket.create_connection(("1.2.3.4", 443)); c.sendall(b"hi"); c.recv(2)
pid = os.fork()
if pid == 0:
    d = socket.create_connection(("1.2.3.5", 443)); d.sendall(b"hi"); d.recv(2)
    try: socket.getaddrinfo("last.example", 1)
    except OSError: pass
    print("child", os.getpid(), flush=True); os._exit(0)
os.waitpid(pid, 0)
`)
	o := c.must("sh", "-c", "python3 ask.py tcp/9.9.9.9/443 & python3 ask.py tcp/9.9.9.8/443 & wait; exec python3 fork.py")
	fields := strings.Fields(o.stdout)
	child := fields[len(fields)-1]
	events := o.events()
	who := func(addr string) audit.EventProcess {
		for _, e := range events {
			if v := e.View(); v.Kind == "connect" && strings.HasPrefix(v.Target, addr+":443") {
				return e.Actor.Process
			}
		}
		t.Errorf("there is no connection to %s", addr)
		return audit.EventProcess{}
	}
	a, b := who("9.9.9.9"), who("9.9.9.8")
	if a.CommandLine != "python3 ask.py tcp/9.9.9.9/443" || b.CommandLine != "python3 ask.py tcp/9.9.9.8/443" || a.PID == b.PID {
		t.Errorf("%+v and %+v", a, b)
	}
	parent, fork := who("1.2.3.4"), who("1.2.3.5")
	if parent.CommandLine != "python3 fork.py" || fmt.Sprint(fork.PID) != child || fork.PID == parent.PID {
		t.Errorf("the parent is %+v, the child %s is %+v", parent, child, fork)
	}
}

// TestJailPublish reaches a server in the jail from the host.
func TestJailPublish(t *testing.T) {
	systemTool(t, "python3")
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for name, bind := range map[string]string{"IPv4": "127.0.0.1", "IPv6": "::1"} {
		t.Run(name, func(t *testing.T) {
			if l != nil {
				c := newCaller(t, fmt.Sprintf("network {\n publish \"%s:3000\" {}\n}\n", port))
				if o := c.run("true"); o.code != 125 || !strings.Contains(o.stderr, "127.0.0.1:"+port+" is taken") || !strings.Contains(o.stderr, "hint:") {
					t.Errorf("a port that is taken: %d %s", o.code, o.stderr)
				}
				l.Close()
				l = nil
			}
			c := newCaller(t, fmt.Sprintf("network {\n publish \"%s:3000\" {}\n}\n", port))
			c.write("serve.py", fmt.Sprintf(`import socket
s = socket.create_server((%q, 3000), family=socket.AF_INET6 if ":" in %q else socket.AF_INET)
print("serving", flush=True)
c, _ = s.accept()
c.sendall(b"from the jail: " + c.recv(100)); c.close()
`, bind, bind))
			ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
			defer cancel()
			cmd := c.command(ctx, []string{"--audit", c.dir + "/trail.jsonl"}, "python3", "serve.py")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(out, make([]byte, len("serving\n"))); err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("tcp4", "127.0.0.1:"+port)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(hangGuard))
			conn.Write([]byte("hello"))
			got, err := io.ReadAll(conn)
			if err != nil || string(got) != "from the jail: hello" {
				t.Errorf("%q %v", got, err)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			events := readEvents(t, c.dir+"/trail.jsonl")
			wantEvent(t, events, "the inbound connection", func(v audit.View, e audit.Event) bool {
				return v.Kind == "connect" && v.Verdict == "allowed" && e.Connection.Direction == "Inbound" && v.Rule == "test.hcl:2"
			})
			wantEvent(t, events, "its end", func(v audit.View, e audit.Event) bool {
				return v.Kind == "close" && e.Traffic.BytesOut == 20 && e.Traffic.BytesIn == 5
			})
		})
	}
}
