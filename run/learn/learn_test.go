package learn

import (
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/profiles"
)

const home = "/home/u"

// load gives the Spec of a profile, with a file that it may extend.
func load(t testing.TB, text string, also map[string]string) *profiles.Spec {
	t.Helper()
	files := map[string]string{"/p/test.hcl": text}
	for name, s := range also {
		files["/p/"+name] = s
	}
	o := profiles.Options{Home: home, Cwd: "/src/team/project", ReadFile: func(p string) ([]byte, error) {
		if s, ok := files[p]; ok {
			return []byte(s), nil
		}
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}}
	spec, diags, parsed := profiles.Load("/p/test.hcl", o)
	if diags.HasErrors() {
		var b strings.Builder
		if err := profiles.Render(&b, diags, parsed, 100, false); err != nil {
			t.Fatal(err)
		}
		t.Fatalf("%s\n%s", b.String(), text)
	}
	return spec
}

func place(secrets ...string) Place {
	return Place{Home: home, Workspace: "/src/team/project", Inside: func(dir string) (in []string, complete bool) {
		for _, s := range secrets {
			if strings.HasPrefix(s, dir+"/") {
				in = append(in, s)
			}
		}
		return in, dir != "/srv/huge"
	}}
}

func file(use Use, p string) File {
	f := File{Path: p, Real: p, Kind: KindFile, Use: use, Count: 1, By: []string{"node"}}
	if rel, ok := strings.CutPrefix(p, "~/"); ok {
		f.Home, f.Path, f.Real = rel, path.Join(home, rel), path.Join(home, rel)
	}
	return f
}

func host(name string, port uint16) Host {
	return Host{Name: name, Port: port, Network: "tcp", Count: 2}
}

// learnedText drafts and renders on top of "default".
func learnedText(t testing.TB, base string, seen Seen, p Place) (*Profile, string) {
	t.Helper()
	draft := Draft(load(t, base, nil), seen, p)
	text, err := draft.Render(nil, Header{Command: []string{"x"}, Extends: "default"})
	if err != nil {
		t.Fatal(err)
	}
	return draft, string(text)
}

// widenings is what a learned profile lets that its base does not, by `profile diff`.
func widenings(t testing.TB, base, text string) (list []string) {
	t.Helper()
	for _, w := range profiles.Diff(load(t, base, nil), load(t, text, nil)) {
		list = append(list, w.Text)
	}
	slices.Sort(list)
	return list
}

const base = `extends = ["default"]`

// TestGrants: what a learned profile lets beyond its base, in diff's words, is what was
// seen and the one step of generalisation, nothing else.
func TestGrants(t *testing.T) {
	many := func(use Use, dir string, names ...string) (list []File) {
		for _, n := range names {
			list = append(list, file(use, dir+"/"+n))
		}
		return list
	}
	for _, tt := range []struct {
		name    string
		base    string
		seen    Seen
		secrets []string
		want    []string
	}{
		{"nothing", base, Seen{}, nil, nil},
		{"files", base, Seen{Files: []File{file(Read, "/opt/a/x"), file(Look, "/opt/a/y"), file(Exec, "/opt/b/tool"), file(Write, "/data/db")}}, nil,
			[]string{"the agent may execute /opt/b/tool", "the agent may read /data/db", "the agent may read /opt/a/x", "the agent may read /opt/a/y", "the agent may read /opt/b/tool", "the agent may write /data/db"}},
		{"siblings", base, Seen{Files: many(Read, "/srv/app/conf", "a", "b", "c")}, nil, []string{"the agent may read /srv/app/conf"}},
		{"two are no siblings", base, Seen{Files: many(Read, "/srv/app/conf", "a", "b")}, nil, []string{"the agent may read /srv/app/conf/a", "the agent may read /srv/app/conf/b"}},
		{"folders are siblings", base, Seen{Files: slices.Concat(many(Read, "/srv/app/x", "1", "2", "3"), many(Read, "/srv/app/y", "1", "2", "3"), many(Read, "/srv/app/z", "1", "2", "3"))}, nil,
			[]string{"the agent may read /srv/app"}},
		{"never a folder of many", base, Seen{Files: slices.Concat(many(Read, "/srv", "a", "b", "c"), many(Read, home, "a", "b", "c"), many(Read, home+"/.config", "a", "b", "c"), many(Read, "/var/lib", "a", "b", "c"))}, nil,
			[]string{"the agent may read /home/u/.config/a", "the agent may read /home/u/.config/b", "the agent may read /home/u/.config/c", "the agent may read /home/u/a", "the agent may read /home/u/b", "the agent may read /home/u/c",
				"the agent may read /srv/a", "the agent may read /srv/b", "the agent may read /srv/c", "the agent may read /var/lib/a", "the agent may read /var/lib/b", "the agent may read /var/lib/c"}},
		{"nor one above the workspace", base, Seen{Files: many(Read, "/src/team", "a", "b", "c")}, nil, []string{"the agent may read /src/team/a", "the agent may read /src/team/b", "the agent may read /src/team/c"}},
		{"nor by another spelling", base, Seen{Files: []File{file(Read, "/opt/../etc/x"), file(Read, "/opt//x")}}, nil, nil},
		{"nor one too large to look through", base, Seen{Files: many(Read, "/srv/huge", "a", "b", "c")}, nil, []string{"the agent may read /srv/huge/a", "the agent may read /srv/huge/b", "the agent may read /srv/huge/c"}},
		{"a credential within", base, Seen{Files: many(Read, "/srv/app", "a", "b", "c")}, []string{"/srv/app/server.pem"}, []string{"the agent may read /srv/app"}},
		{"exec covers read", base, Seen{Files: slices.Concat(many(Exec, "/opt/t/bin", "a", "b", "c"), many(Read, "/opt/t/bin", "a", "d"))}, nil, []string{"the agent may execute /opt/t/bin", "the agent may read /opt/t/bin"}},
		{"home", base, Seen{Files: []File{file(Read, "~/.config/tool/a.json"), file(Look, "~/.toolrc")}}, nil,
			[]string{"the home folder begins with .config/tool/a.json, from /home/u/.config/tool/a.json", "the home folder begins with .toolrc, from /home/u/.toolrc"}},
		{"new files", base, Seen{Files: []File{{Path: "/data/out/1", Real: "/data/out/1", Use: Create, Count: 1}}}, nil, nil},
		{"new files, siblings", base, Seen{Files: []File{{Path: "/data/out/1", Real: "/data/out/1", Use: Create, Count: 1}, {Path: "/data/out/2", Real: "/data/out/2", Use: Create, Count: 1}, {Path: "/data/out/3", Real: "/data/out/3", Use: Create, Count: 1}}}, nil,
			[]string{"the agent may read /data/out", "the agent may write /data/out"}},
		{"hosts", base, Seen{Hosts: []Host{host("a.example.com", 443), host("git.example.org", 22), host("Example.NET", 8080)}}, nil,
			[]string{"a.example.com on port 443 may be connected to", "example.net on port 8080 may be connected to", "git.example.org on port 22 may be connected to"}},
		{"host siblings", base, Seen{Hosts: []Host{host("a.example.com", 443), host("b.example.com", 443), host("c.example.com", 443), host("d.example.org", 80)}}, nil,
			[]string{"d.example.org on port 80 may be connected to", "names below example.com on port 443 may be connected to"}},
		{"below a public suffix", base, Seen{Hosts: []Host{host("a.co.uk", 443), host("b.co.uk", 443), host("c.co.uk", 443)}}, nil,
			[]string{"a.co.uk on port 443 may be connected to", "b.co.uk on port 443 may be connected to", "c.co.uk on port 443 may be connected to"}},
		{"below a host of everybody's", base, Seen{Hosts: []Host{host("a.github.io", 443), host("b.github.io", 443), host("c.github.io", 443)}}, nil,
			[]string{"a.github.io on port 443 may be connected to", "b.github.io on port 443 may be connected to", "c.github.io on port 443 may be connected to"}},
		{"a public address", base, Seen{Hosts: []Host{{Addr: "1.1.1.1", Port: 853, Network: "tcp", Count: 1}}}, nil, []string{"1.1.1.1 on port 853 may be connected to"}},
		{"calls", base, Seen{Calls: []Call{{Name: "ptrace", Safe: true, Count: 1}, {Name: "bpf", Count: 1}}}, nil, []string{"the system call ptrace is opened"}},
		{"requests", `extends = ["default"]
network {
  allow "api.example.com" {
    request "GET" "/v1/a" {}
  }
}`, Seen{Requests: []Request{{Scheme: "https", Host: "api.example.com", Port: 443, Method: "POST", Path: "/v1/b", Count: 1},
			{Scheme: "https", Host: "api.example.com", Port: 443, Method: "GET", Path: "/v2/1", Count: 1}, {Scheme: "https", Host: "api.example.com", Port: 443, Method: "GET", Path: "/v2/2", Count: 1},
			{Scheme: "https", Host: "api.example.com", Port: 443, Method: "GET", Path: "/v2/3", Count: 1}}}, nil,
			[]string{"GET /v2/* may be asked of api.example.com on port 443 as it may not be before", "POST /v1/b may be asked of api.example.com on port 443 as it may not be before"}},
	} {
		p, text := learnedText(t, tt.base, tt.seen, place(tt.secrets...))
		if len(p.Deny) != len(tt.secrets) || len(p.Questions) > 0 && len(tt.want) > 1 {
			t.Errorf("%s: denies %v, asks %v", tt.name, p.Deny, p.Questions)
		}
		text = strings.Replace(text, `extends = ["default"]`, tt.base, 1)
		if tt.name == "requests" { // both say network
			text = strings.Replace(text, "\nnetwork {\n  # its", "\n# its", 1)
			base, rest, _ := strings.Cut(text, "\n# its")
			base = strings.TrimSuffix(strings.TrimRight(base, "\n"), "}")
			text = base + "\n# its" + rest
		}
		if got := widenings(t, tt.base, text); !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n got %q\nwant %q\n%s", tt.name, got, tt.want, text)
		}
	}
}

// TestNeverGranted: none of these is in the profile, and each is a question.
func TestNeverGranted(t *testing.T) {
	const base = base + "\nfiles {\n deny = [\"/opt/closed\"]\n read = [\"/opt/open\"]\n}"
	none := func(p string) File { return File{Path: p, Real: p, Use: Create, Count: 1} }
	linked := file(Read, "/opt/innocent")
	linked.Real = home + "/.ssh/id_ed25519"
	socket := file(Connect, "/run/x.sock")
	socket.Kind = KindSocket
	folder := file(List, "/opt/tools")
	folder.Kind = KindFolder
	hidden := file(Read, "/src/team/project/x")
	hidden.Rule = "test.hcl:3"
	private := Host{Addr: "10.1.2.3", Port: 443, Network: "tcp", Special: "private", Count: 1}
	metadata := Host{Addr: "169.254.169.254", Port: 80, Network: "tcp", Special: "cloud metadata", Count: 1}
	files := []File{linked, socket, folder, hidden, none("/data/new"),
		file(Read, home+"/.ssh/config"), file(Read, "/opt/app/.env"), file(Read, "/opt/app/.env.local"), file(Read, "/opt/app/tls/server.pem"), file(Read, "/opt/app/server.KEY"),
		file(Read, "~/.aws/credentials"), file(Read, "~/.config/gh/hosts.yml"), file(Read, "~/.mozilla/firefox/x/cookies.sqlite"), file(Read, "~/.local/share/keyrings/login.keyring"),
		file(Read, "/srv/app/api_token"), file(Read, "/srv/app/db-password.txt"), file(Read, "/etc/shadow"), file(Read, "/root/.bash_history"), file(Read, "/opt/x/terraform.tfstate"),
		file(Write, home+"/.bashrc"), file(Write, "/etc/hosts"), file(Write, "/usr/local/bin/x"), file(Write, home+"/.config/x"), file(Write, "/opt/t/bin/x"),
		file(Read, "/opt/a*b"), file(Read, "/opt/a\nb"), file(Read, "/opt/a\u202eb"), file(Read, "/opt/\xff"), file(Read, "/opt/e\u0301"), file(Read, "/opt/[id]"), file(Read, "/opt/~x"),
		file(Read, "/proc/1/environ"), file(Read, "/opt/closed/plan.txt"), file(Read, "/opt/open/x"), file(Read, "/dev/sda"), file(Read, "/sys/kernel/x")}
	seen := Seen{Files: files,
		Hosts: []Host{private, metadata, host("metadata.google.internal", 80), host("printer.local", 443), host("intranet", 443), host("onlyasked.example.com", 0),
			{Addr: "2001:db8::1", Port: 53, Network: "udp", Count: 1}, {Addr: "8.8.8.8", Network: "icmp", Count: 1}, {Name: "a.example.com", Port: 443, Network: "tcp", Rule: "x.hcl:3", Count: 1}},
		Calls:  []Call{{Name: "mount", Count: 1}, {Name: "socket", Detail: "family 40", Count: 1}, {Name: "evil\"]}", Safe: true, Count: 1}},
		Others: []Other{{What: "exec /bin/sudo", Rule: "x.hcl:9", Count: 1}, {What: "limit time", Count: 1}}}
	p, text := learnedText(t, base, seen, place())
	if !p.Empty() {
		t.Errorf("granted: %+v", p)
	}
	if got := widenings(t, base, text); len(got) > 0 {
		t.Errorf("wider: %q", got)
	}
	if want := len(files) + len(seen.Hosts) + len(seen.Calls) + len(seen.Others); len(p.Questions) != want {
		t.Errorf("%d questions, want %d:\n%s", len(p.Questions), want, text)
	}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if line != "" && !strings.HasPrefix(line, "#") && line != `extends = ["default"]` {
			t.Errorf("not a comment: %q", line)
		}
	}
}

// TestAddTo: a learned file is added to, keeps what people changed in it, and says
// nothing twice.
func TestAddTo(t *testing.T) {
	_, first := learnedText(t, base, Seen{Files: []File{file(Read, "/opt/a"), file(Read, "~/.toolrc"), file(Read, "/opt/x.pem")}, Hosts: []Host{host("a.example.com", 443)}}, place())
	first = strings.Replace(first, `"/opt/a", `, `"/opt/a" `, 1) // an edit: no comma behind the last
	first = strings.Replace(first, "network {", "network {\n  # mine\n", 1)
	second := Draft(load(t, first, nil), Seen{Files: []File{file(Read, "/opt/b"), file(Exec, "/opt/c"), file(Read, "~/.toolrc"), file(Read, "/opt/x.pem"), file(Read, "/opt/y.pem")}, Hosts: []Host{host("b.example.com", 22)}}, place())
	text, err := second.Render([]byte(first), Header{Command: []string{"y"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a.example.com on port 443 may be connected to", "b.example.com on port 22 may be connected to", "the agent may execute /opt/c", "the agent may read /opt/a", "the agent may read /opt/b", "the agent may read /opt/c",
		"the home folder begins with .toolrc, from /home/u/.toolrc"}
	if got := widenings(t, base, string(text)); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q\n%s", got, want, text)
	}
	if !strings.Contains(string(text), "# mine") || strings.Count(string(text), "x.pem") != 1 || strings.Count(string(text), "y.pem") != 1 {
		t.Errorf("the file is\n%s", text)
	}
	if _, err := second.Render([]byte("extends = []\n"), Header{}); err == nil {
		t.Error("adds to a file that learn did not write")
	}
}

// TestStrict: what is learned gives no warning.
func TestStrict(t *testing.T) {
	_, text := learnedText(t, base, Seen{Files: []File{file(Read, "/opt/a"), file(Write, "/data/x"), file(Exec, "/opt/t/bin/x")},
		Hosts: []Host{host("a.example.com", 443), host("b.example.com", 443), host("c.example.com", 443)}}, place())
	_, diags, _ := profiles.Load("/p/test.hcl", profiles.Options{Home: home, Cwd: "/src/team/project", ReadFile: func(string) ([]byte, error) { return []byte(text), nil }})
	if len(diags) > 0 {
		t.Errorf("%v\n%s", diags, text)
	}
}

// FuzzProfile: whatever was asked for, by whatever name, the profile decodes, and what
// it lets is paths and hosts that were asked for or what they have in common.
func FuzzProfile(f *testing.F) {
	for _, s := range []string{"/opt/a", `/opt/"]}`, "/opt/${env(\"X\")}", "/opt/%{if true}x%{endif}", "/opt/a\n\"/etc\"", "/opt/a # b", "/opt/*", "/opt/\u2028x", "/opt/\\", "/opt/a\r\nfiles {", "/x/~/y", "/opt/<<EOT", "/opt/$${a}", "/a b/'c'"} {
		f.Add(s, strings.Trim(strings.ReplaceAll(s, "/", "."), "."), s, uint16(443), uint8(0))
	}
	f.Add("/opt/a", "*.example.com", "GET", uint16(22), uint8(1))
	f.Add("/opt/a", "a.example.com\" {}\n deny \"x", "sh\n}", uint16(80), uint8(2))
	f.Fuzz(func(t *testing.T, p, name, by string, port uint16, use uint8) {
		clean := path.Clean("/" + p)
		u := []Use{Look, Read, Write, Exec, Create, List}[int(use)%6]
		seen := Seen{
			Files:    []File{{Path: clean, Real: clean, Kind: KindFile, Use: u, Count: 1, By: []string{by}}, {Path: home + clean, Real: home + clean, Home: strings.TrimPrefix(clean, "/"), Kind: KindFile, Use: Read, Count: 1, Rule: ""}},
			Hosts:    []Host{{Name: name, Port: port, Network: "tcp", Reason: by, Count: 1, By: []string{by}}, {Addr: name, Port: port, Network: by, Count: 1}},
			Requests: []Request{{Scheme: "https", Host: name, Port: 443, Method: by, Path: p, Count: 1}, {Scheme: "https", Host: "a.example.com", Port: 443, Method: "GET", Path: p, Count: 1}},
			Calls:    []Call{{Name: by, Safe: true, Count: 1}}, Others: []Other{{What: p, Reason: by, Rule: name, Count: 1}},
		}
		known := Draft(load(t, base, nil), seen, place())
		known.Calls = nil // names of calls are the kernel's; a made-up one is refused by the jail
		text, err := known.Render(nil, Header{Command: []string{p, by}, Extends: "default"})
		if err != nil {
			t.Fatalf("%v", err)
		}
		spec, b := load(t, string(text), nil), load(t, base, nil)
		extra := func(got, had []profiles.Pattern) (out []string) {
			for _, x := range got {
				if !slices.ContainsFunc(had, func(y profiles.Pattern) bool { return x.Pattern == y.Pattern }) {
					out = append(out, x.Pattern)
				}
			}
			return out
		}
		for _, list := range [][]string{extra(spec.Files.Read, b.Files.Read), extra(spec.Files.Write, b.Files.Write), extra(spec.Files.Exec, b.Files.Exec), extra(spec.Files.Deny, b.Files.Deny)} {
			for _, got := range list {
				if got != clean {
					t.Fatalf("the profile lets %q, and %q was asked for\n%s", got, clean, text)
				}
			}
		}
		for _, seed := range spec.Files.Home {
			if seed.Path != strings.TrimPrefix(clean, "/") {
				t.Fatalf("the home folder has %q, and %q was asked for\n%s", seed.Path, clean, text)
			}
		}
		for _, r := range spec.Network.Allow {
			for _, h := range r.Hosts {
				want, addr, err := profiles.CanonicalHost(name)
				if h.Kind == profiles.HostWildcard || h.Name != "a.example.com" && (err != nil || h.Name != want || addr.IsValid() && h.Prefix.Addr() != addr) {
					t.Fatalf("the profile lets %+v, and %q was asked for\n%s", h, name, text)
				}
			}
		}
		if len(spec.Network.Deny)+len(spec.Secrets)+len(spec.Network.HostPorts)+len(spec.Tests)+len(spec.On) > 0 {
			t.Fatalf("the profile says more than was learned\n%s", text)
		}
		if again, err := (&Profile{}).Render(text, Header{}); err != nil || string(again) != string(text) {
			t.Fatalf("adding nothing changes it: %v\n%s\n%s", err, text, again)
		}
	})
}

// TestRequestsKeepSettings: a block that adds requests to a host leads where the host's
// own does, under the same caps.
func TestRequestsKeepSettings(t *testing.T) {
	base := `extends = ["default"]
network {
  allow "api.example.com" {
    provider    = "anthropic"
    upstream    = "127.0.0.1:4000"
    upstream_ca = "/p/ca.pem"
    connections = 3
    sanitize    = "html"
    request "GET" "/v1/a" {}
  }
}`
	counted := strings.Replace(base, "connections =", "limit = \"10/m\"\n    connections =", 1)
	if p := Draft(load(t, counted, nil), Seen{Requests: []Request{{Scheme: "https", Host: "api.example.com", Port: 443, Method: "POST", Path: "/v1/b", Count: 1}}}, place()); !p.Empty() || len(p.Questions) != 1 {
		t.Errorf("a host whose requests are counted gets a second count: %+v", p)
	}
	draft := Draft(load(t, base, nil), Seen{Requests: []Request{{Scheme: "https", Host: "api.example.com", Port: 443, Method: "POST", Path: "/v1/b", Count: 1}}}, place())
	text, err := draft.Render(nil, Header{Command: []string{"x"}, Extends: "/p/base.hcl"})
	if err != nil {
		t.Fatal(err)
	}
	before, after := load(t, base, nil), load(t, string(text), map[string]string{"base.hcl": base})
	got, want := after.Network.Connect("api.example.com", netip.Addr{}, 443).Rule, before.Network.Connect("api.example.com", netip.Addr{}, 443).Rule
	if got.Provider != want.Provider || got.Upstream != want.Upstream || got.UpstreamCA != want.UpstreamCA || got.Connections != want.Connections || got.Sanitize != want.Sanitize {
		t.Errorf("the rule is\n%+v, was\n%+v\n%s", got, want, text)
	}
	var list []string
	for _, w := range profiles.Diff(before, after) {
		list = append(list, w.Text)
	}
	if !slices.Equal(list, []string{"POST /v1/b may be asked of api.example.com on port 443 as it may not be before"}) {
		t.Errorf("wider: %q\n%s", list, text)
	}
}

// TestText: what a program chose can't pass for more of the sentence it stands in.
func TestText(t *testing.T) {
	f := file(Connect, "/run/x: granted by you; 3 times by admin # ")
	f.By = []string{"cat: harmless", "\x1b[2K"}
	_, text := learnedText(t, base, Seen{Files: []File{f}, Hosts: []Host{{Name: "x 443: fine", Port: 1, Network: "tcp", Count: 1}}}, place())
	for _, want := range []string{`# - connect "/run/x: granted by you; 3 times by admin # ": once by "cat: harmless", "\x1b[2K"; a Unix socket`, `# - connect "x 443: fine":1: once; `} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
}
