package audit

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"time"
	"unicode"
)

// checkPlain fails if a line for people could do anything to a terminal.
func checkPlain(t *testing.T, line string) {
	t.Helper()
	body, ok := strings.CutSuffix(line, "\n")
	if !ok {
		t.Errorf("%q has no newline", line)
	}
	if i := strings.IndexFunc(body, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("%q is not plain", line)
	}
}

func renderOne(t *testing.T, r Record, style Style) string {
	t.Helper()
	log, _ := writeLog(t, nil, r)
	var b strings.Builder
	if err := Render(&b, events(t, log)[0], style); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRender(t *testing.T) {
	s := samples()
	tests := []struct {
		sample, want string
	}{
		{"start", "03:04:05.679 start             claude -p 'fix it'\n"},
		{"end", "03:04:05.679 end               exited: exit code 3\n"},
		{"exec allowed", "03:04:05.679 exec     allowed  curl -s 'https://example.com/a b'[12] rule web.hcl:14: because\n"},
		{"exec blocked", "03:04:05.679 exec     blocked  curl -s 'https://example.com/a b'[12] rule web.hcl:14: because\n"},
		{"exit", "03:04:05.679 exit              curl[12]: 6\n"},
		{"connect blocked", "03:04:05.679 connect  blocked  example.com:443 (tcp) by curl[12] rule web.hcl:20: because\n"},
		{"connect failed", "03:04:05.679 connect  failed   example.com:443 (tcp) by curl[12] rule web.hcl:20: because\n"},
		{"closed", "03:04:05.679 close             example.com:443, 20 bytes out, 10 in\n"},
		{"dns blocked", "03:04:05.679 dns      blocked  A example.com NoError by curl[12] rule web.hcl:20\n"},
		{"file createdfile", "03:04:05.679 file              create dist/a.js\n"},
		{"file renamedfile", "03:04:05.679 file              rename dist/b.js to dist/a.js\n"},
		{"finding highblocked", "03:04:05.679 finding  ALERT    escape attempt by curl[12] rule base.hcl:3: io_uring_setup\n"},
		{"limit", "03:04:05.679 finding  blocked  time limit reached by curl[12] rule web.hcl:90: after 1h\n"},
		{"wipe left", "03:04:05.679 wipe              Failure: /tmp/x: busy\n"},
	}
	for _, tt := range tests {
		if got := renderOne(t, s[tt.sample], Style{}); got != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", tt.sample, got, tt.want)
		}
	}
	for name, r := range s {
		line := renderOne(t, r, Style{})
		checkPlain(t, line)
		if strings.Contains(line, "400") && strings.Contains(line, "600") { // a class that has no words of its own shows its number
			t.Errorf("%s: %q", name, line)
		}
	}
}

func TestRenderStyle(t *testing.T) {
	r := samples()["connect blocked"]
	if got := renderOne(t, r, Style{Color: true}); !strings.Contains(got, "\x1b[31m blocked  \x1b[0m") {
		t.Errorf("no colour in %q", got)
	}
	if got := renderOne(t, r, Style{Location: time.FixedZone("x", 3600)}); !strings.HasPrefix(got, "04:04:05.679 ") {
		t.Errorf("wrong zone in %q", got)
	}
}

// Whatever the jail puts in, nothing reaches the terminal but what is simply shown.
func TestRenderHostile(t *testing.T) {
	// One at a time, so that quoting for one does not hide that another is let through.
	for _, hostile := range []string{"a\x1b]52;c;eA==\x07", "\n", "\r", "\x00", "\u009b31m", "\u202e", "\xff", "\u200b", "\u00a0", "\ue000"} {
		checkHostile(t, hostile)
	}
}

func checkHostile(t *testing.T, hostile string) {
	t.Helper()
	p := Process{PID: 1, Name: hostile, Path: hostile, Argv: []string{hostile}}
	for _, r := range []Record{
		RunStart{Argv: []string{hostile}}, RunEnd{Reason: hostile, Signal: hostile},
		Exec{Process: p, Outcome: Blocked, Rule: hostile, Reason: hostile}, Exit{Process: p, Signal: hostile},
		Connect{Network: hostile, Name: hostile, Addr: hostile, Process: p, Rule: hostile, Outcome: Blocked},
		ConnectClosed{Name: hostile, Error: hostile}, DNS{Name: hostile, Type: hostile, RCode: hostile, Process: p},
		HTTP{Method: hostile, Scheme: hostile, Host: hostile, Path: hostile, Outcome: Blocked, Reason: hostile, Process: p},
		File{Op: FileRenamed, Path: hostile, OldPath: hostile, Type: hostile},
		LimitHit{Limit: hostile, Unit: hostile, Action: hostile, Detail: hostile}, Finding{Title: hostile, Detail: hostile, Process: p},
		Wipe{Left: []string{hostile}},
	} {
		checkPlain(t, renderOne(t, r, Style{}))
	}
}

func TestSummarize(t *testing.T) {
	deny := func(pid int, name string) Record {
		return Connect{Network: "tcp", Name: name, Port: 443, Outcome: Blocked, Rule: "web.hcl:3", Process: Process{PID: pid, Name: "curl"}}
	}
	log, _ := writeLog(t, nil,
		samples()["start"],
		deny(1, "b.example"), deny(2, "a.example"), deny(2, "a.example"), deny(2, "a.example"), deny(2, "a.example"), deny(3, "a.example"),
		Connect{Network: "tcp", Name: "c.example", Port: 443, Outcome: Allowed},
		Connect{Network: "tcp", Name: "c.example", Port: 443, Outcome: Failed},
		Exec{Process: Process{PID: 1, Path: "/bin/sudo", Argv: []string{"sudo", "a"}}, Outcome: Blocked},
		Exec{Process: Process{PID: 2, Path: "/bin/sudo", Argv: []string{"sudo", "b"}}, Outcome: Blocked},
		samples()["finding highblocked"],
		samples()["end"],
	)
	s, err := Summarize(Read(bytes.NewReader(append(log, "garbage\ntorn"...))))
	if err != nil {
		t.Fatal(err)
	}
	if s.RunID != testRun || s.Program != "claude -p 'fix it'" || s.ExitCode != 3 || s.Reason != "exited" || s.Started == 0 || s.Ended <= s.Started || s.Broken != 2 {
		t.Errorf("%+v", s)
	}
	want := map[string]int64{"start": 1, "end": 1, "connect": 8, "connect_blocked": 6, "connect_failed": 1, "exec": 2, "exec_blocked": 2, "finding": 1, "finding_blocked": 1}
	for k := range want {
		if s.Counts[k] != want[k] {
			t.Errorf("%s: %d, want %d", k, s.Counts[k], want[k])
		}
	}
	if len(s.Counts) != len(want) {
		t.Errorf("counts %v", s.Counts)
	}
	if len(s.Denials) != 3 ||
		s.Denials[0] != (Denial{"connect", "a.example:443 (tcp)", "web.hcl:3", "", 5}) ||
		s.Denials[1] != (Denial{"exec", "/bin/sudo", "", "", 2}) ||
		s.Denials[2] != (Denial{"connect", "b.example:443 (tcp)", "web.hcl:3", "", 1}) {
		t.Errorf("denials %+v", s.Denials)
	}
	if len(s.Findings) != 1 || s.Findings[0].Target != "escape attempt" {
		t.Errorf("findings %+v", s.Findings)
	}
}

// What models were used is added up, and what is not known is not passed off as nothing.
func TestSummarizeModels(t *testing.T) {
	call := func(model, seen string, input, output int64, cost *int64) ModelCall {
		return ModelCall{Provider: "p", Model: model, Usage: seen, Input: input, Output: output, CacheRead: 5, CostMicroUSD: cost, Outcome: Allowed}
	}
	log, _ := writeLog(t, nil, RunStart{}, call("a", "whole", 10, 20, new(int64(30))), call("a", "partial", 1, 0, new(int64(4))),
		call("b", "whole", 100, 200, nil), call("b", "unknown", 0, 0, nil), ModelTool{Provider: "p", Model: "a", Name: "Bash"}, RunEnd{})
	s, err := Summarize(Read(bytes.NewReader(log)))
	if err != nil {
		t.Fatal(err)
	}
	want := []ModelUse{
		{Provider: "p", Model: "a", Calls: 2, Input: 11, Output: 20, CacheRead: 10, CostMicroUSD: 34, Inexact: 1},
		{Provider: "p", Model: "b", Calls: 2, Input: 100, Output: 200, CacheRead: 5, Unpriced: 2, Inexact: 1},
	}
	if diff := cmp.Diff(want, s.Models); diff != "" {
		t.Error(diff)
	}
	if s.Counts["model"] != 4 || s.Counts["tool"] != 1 {
		t.Errorf("counts %v", s.Counts)
	}
	var lines strings.Builder
	for e, err := range Read(bytes.NewReader(log)) {
		if err != nil {
			t.Fatal(err)
		}
		if err := Render(&lines, e, Style{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"a, 15 tokens in, 20 out, $0.00003\n", "a, 6 tokens in, 0 out, at least, $0.000004\n", "b, 105 tokens in, 200 out\n", "b, tokens unknown\n", "Bash asked for by a\n"} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("no %q in\n%s", want, lines.String())
		}
	}
}

func TestDollars(t *testing.T) {
	for n, want := range map[int64]string{0: "$0.00", 1: "$0.000001", 30_000: "$0.03", 1_500_000: "$1.50", 12_345_678: "$12.345678", -5: "-$0.000005"} {
		if got := Dollars(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestSummaryIsBounded(t *testing.T) {
	s := Summary{Counts: map[string]int64{}}
	denials := groups{}
	for i := range groupsMax + 100 {
		s.add(Event{TypeUID: 400105, DispositionID: 2, Dst: EventEndpoint{Hostname: strings.Repeat("a", i)}}, denials, groups{})
	}
	if len(denials) > groupsMax+1 {
		t.Errorf("%d groups", len(denials))
	}
	if first := denials.sorted()[0]; first.Target != "others" || first.Count != 100 {
		t.Errorf("%+v", first)
	}
}
