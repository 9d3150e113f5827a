package jail

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

func TestProgramsJudge(t *testing.T) {
	at := func(line int) profiles.Origin { return profiles.Origin{File: "x.hcl", Line: line} }
	clock := time.Unix(1e9, 0)
	p := newPrograms(profiles.Process{
		Deny:    []profiles.ExecRule{{Program: "sudo", Reason: "no escalation", Origin: at(1)}},
		Limit:   []profiles.ExecRule{{Program: "curl", Rate: &profiles.Rate{Count: 2, Per: time.Minute}, Origin: at(2)}, {Program: "git", Rate: &profiles.Rate{Count: 1}, Origin: at(3)}},
		ExecNew: profiles.ExecNewDeny,
	})
	p.now = func() time.Time { return clock }
	one := func(paths ...string) start {
		var s start
		for _, path := range paths {
			s.execs = append(s.execs, profiles.Exec{Path: path})
		}
		return s
	}
	for i, tt := range []struct {
		s    start
		wait time.Duration // before
		rule string
		want string
	}{
		{one("/bin/true"), 0, "", ""},
		{one("/bin/sudo"), 0, "x.hcl:1", "no escalation"},
		{one("/w/script", "/bin/sudo"), 0, "x.hcl:1", "no escalation"},
		{start{own: true}, 0, "", "that the agent wrote"},
		{start{unknown: true}, 0, "", "can't be told"},
		{one("/bin/curl", "/usr/bin/curl"), 0, "", ""}, // one start
		{one("/bin/git"), 0, "", ""},
		{one("/bin/curl", "/bin/git"), 0, "x.hcl:3", "not again in this run"}, // takes nothing of curl's
		{one("/bin/curl"), 0, "", ""},
		{one("/bin/curl"), 0, "x.hcl:2", "again in 30s"},
		{one("/bin/curl"), 30 * time.Second, "", ""},
		{one("/bin/git"), time.Hour, "x.hcl:3", "not again in this run"},
	} {
		clock = clock.Add(tt.wait)
		r, _ := p.judge(tt.s, false)
		if r.rule != tt.rule || (r.reason == "") != (tt.want == "") || !strings.Contains(r.reason, tt.want) {
			t.Errorf("%d: %+v", i, r)
		}
	}
	// What the agent wrote, and what an ask names though nothing refuses it, waits for a
	// person; with a yes it starts, and a deny beside it still refuses.
	asking := newPrograms(profiles.Process{ExecNew: profiles.ExecNewAsk, Ask: []profiles.ExecRule{{Program: "git", Origin: at(4)}}, Deny: []profiles.ExecRule{{Program: "sudo", Origin: at(1)}}})
	for i, tt := range []struct {
		s       start
		allowed bool
		ask     bool
		rule    string
	}{
		{start{own: true}, false, true, ""},
		{start{own: true}, true, false, ""},
		{one("/bin/git"), false, true, "x.hcl:4"},
		{one("/bin/git"), true, false, ""},
		{one("/bin/true"), false, false, ""},
		{start{own: true, execs: one("/bin/sudo").execs}, true, false, "x.hcl:1"},
	} {
		if r, ask := asking.judge(tt.s, tt.allowed); ask != tt.ask || r.rule != tt.rule {
			t.Errorf("asking %d: %+v, ask %v", i, r, ask)
		}
	}
	if r, _ := newPrograms(profiles.Process{ExecNew: profiles.ExecNewAllow}).judge(start{unknown: true, own: true}, false); r.reason != "" {
		t.Errorf("no rules, and refused: %+v", r)
	}
}

func TestDenialText(t *testing.T) {
	e := audit.Exec{Process: audit.Process{Path: strings.Repeat("a", 5000) + "\n\x1b[2J"}, Reason: "no", Rule: "x.hcl:1"}
	got := denialText(e)
	if len(got) > 2*maxDenied || bytes.Count(got, []byte("\n")) != 1 || !bytes.HasSuffix(got, []byte("was refused: no [x.hcl:1]\n")) {
		t.Errorf("%q", got)
	}
}

func TestOwnProc(t *testing.T) {
	c := caller{pid: 7, tid: 9}
	for path, want := range map[string]string{
		"/proc/self/exe": "exe", "//proc//./self/fd/3": "fd/3", "/proc/7/root/bin/sh": "root/bin/sh", "/proc/thread-self/cwd": "cwd", "/proc/9/exe": "exe",
		"/dev/fd/4": "fd/4", "/dev/stdin": "fd/0", "/proc/8/exe": "-", "/bin/sh": "-", "/proc": "-", "/": "-", "/dev/null": "-", "/dev/stdin/x": "-",
	} {
		got, ok := c.ownProc(path)
		if !ok {
			got = "-"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestParseScript(t *testing.T) {
	for head, want := range map[string][]string{
		"#!/bin/sh\n": {"/bin/sh"}, "#! \t/bin/sh  -e -x \nrest": {"/bin/sh", "-e -x"}, "#!/bin/sh": {"/bin/sh"},
		"#!\n": nil, "\x7fELF": nil, "": nil, " #!/bin/sh\n": nil, "#!/a\x00b": {"/a"},
	} {
		path, arg := parseScript([]byte(head))
		got := append([]string{path}, arg...)
		if path == "" {
			got = nil
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", head, got, want)
		}
	}
}

func FuzzParseScript(f *testing.F) {
	f.Add([]byte("#! /bin/sh -e\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		path, arg := parseScript(head)
		if strings.ContainsAny(path, "\n\x00 \t") || len(arg) > 1 || path == "" && len(arg) > 0 {
			t.Errorf("%q: %q %q", head, path, arg)
		}
	})
}
