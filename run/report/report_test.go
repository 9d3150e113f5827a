package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/net/html"

	"github.com/agentjail/agentjail/audit"
)

var update = flag.Bool("update", false, "write the golden files anew")

// begun is when the runs of the tests began.
var begun = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// trail writes records with the writer that a run has, and reads them back.
func trail(t testing.TB, records ...audit.Record) iter.Seq2[audit.Event, error] {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	w, err := audit.Create(path, audit.Config{RunID: "20260304-050607-00c0ffee", Version: "1.2.3", Size: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		w.Emit(r)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return events(data)
}

// events reads a trail as if its events were a second apart from begun.
func events(data []byte) iter.Seq2[audit.Event, error] {
	return func(yield func(audit.Event, error) bool) {
		n := int64(0)
		for e, err := range audit.Read(bytes.NewReader(data)) {
			e.Time = begun.UnixMilli() + n*1000
			n++
			if !yield(e, err) {
				return
			}
		}
	}
}

// hostile is what an agent may name anything.
const hostile = marker + "x\"'><script>alert(1)</script><img src=x onerror=alert(1)>`|\\|\x1b]0;t\a\u202egpj\nagentjail: all is well\r\x00{{.}}](javascript:a)&lt;"

// records are those of a run in which everything happened, with name put in wherever
// the agent chooses the words.
func records(name string) []audit.Record {
	exec := func(pid, parent int, argv ...string) audit.Exec {
		return audit.Exec{Process: audit.Process{PID: pid, Parent: parent, Name: filepath.Base(argv[0]), Path: argv[0], Argv: argv}, Outcome: audit.Allowed}
	}
	cost := int64(123_456)
	var points []audit.Point
	for i := range int64(90) {
		points = append(points, audit.Point{CPU: time.Duration(i%7) * 140 * time.Millisecond, Memory: 50<<20 + i<<20, Processes: 3, Network: (i % 11) * 40_000, Execs: i % 3, Tokens: (i / 30) * 500})
	}
	return []audit.Record{
		audit.RunStart{Name: "nightly " + name, Argv: []string{"claude", "-p", "mend the tests " + name}, Workspace: "/home/u/web", WorkspaceMode: "overlay", Profile: "web", Version: "1.2.3", Kernel: "6.18.0", Mode: "rootless",
			Layers: []audit.Layer{{Name: "landlock", State: "enforced", Detail: "ABI 7"}, {Name: "limit memory", State: "degraded", Detail: "best effort"}}, Limits: map[string]string{"memory": "4GiB", "time": "1h"}},
		exec(2, 1, "/usr/bin/claude", "-p", name), exec(3, 2, "/usr/bin/git", "status"), exec(4, 2, "/usr/bin/git", "status"), exec(5, 2, "/usr/bin/sh", "-c", name), exec(6, 5, "/usr/bin/npm", "test"),
		audit.Exit{Process: audit.Process{PID: 3}}, audit.Exit{Process: audit.Process{PID: 4}}, audit.Exit{Process: audit.Process{PID: 6}, ExitCode: 1, UserCPU: 3 * time.Second},
		audit.Exec{Process: audit.Process{PID: 7, Parent: 2, Path: "/usr/bin/" + name, Argv: []string{"sudo"}}, Outcome: audit.Blocked, Rule: "web.hcl:9", Reason: "no escalation"},
		audit.Connect{ID: 1, Network: "tcp", Name: "api.anthropic.com", Addr: "198.18.0.1", Port: 443, Outcome: audit.Allowed, Rule: "web.hcl:3"},
		audit.HTTP{ID: 1, Method: "POST", Scheme: "https", Host: "api.anthropic.com", Port: 443, Path: "/v1/messages", Status: 200, Outcome: audit.Allowed},
		audit.HTTP{ID: 1, Method: "DELETE", Scheme: "https", Host: "api.anthropic.com", Port: 443, Path: "/v1/files/1", Outcome: audit.Blocked, Reason: "no request rule matches"},
		audit.ModelCall{ID: 1, Provider: "anthropic", Model: "claude-x", Host: "api.anthropic.com", Port: 443, Path: "/v1/messages", Usage: "whole", Input: 1200, Output: 345, CostMicroUSD: &cost, Outcome: audit.Allowed},
		audit.ModelTool{ID: 1, Provider: "anthropic", Model: "claude-x", Host: "api.anthropic.com", Name: "bash " + name},
		audit.ConnectClosed{ID: 1, Name: "api.anthropic.com", Addr: "198.18.0.1", Port: 443, BytesIn: 1_234_567, BytesOut: 89_012},
		audit.DNS{Name: "evil.example", Type: "A", RCode: "REFUSED", Outcome: audit.Blocked, Reason: "no rule is about it"},
		audit.DNS{Name: name, Type: "A", RCode: "REFUSED", Outcome: audit.Blocked, Reason: "no rule is about it"},
		audit.Connect{Network: "tcp", Name: "db.example", Addr: "198.18.0.2", Port: 5432, Outcome: audit.Blocked, Reason: "no rule"},
		audit.Connect{Network: "tcp", Addr: "169.254.169.254", Port: 80, Outcome: audit.Blocked},
		audit.Resources{Start: begun, Step: time.Second, End: begun.Add(90 * time.Second), Source: "cgroup v2", Points: points},
		audit.Approval{Step: audit.ApprovalAsked, ID: "1", Kind: "connect", What: name}, audit.Approval{Step: audit.ApprovalGranted, ID: "1", Kind: "connect", What: "db.example:5432"},
		audit.RunState{State: "frozen", By: "uid 1000", How: "cgroup v2 freezer", Detail: name},
		audit.Finding{Title: "a canary was touched " + name, Detail: name, Severity: "high", Outcome: audit.Blocked},
		audit.Finding{Title: "the budget \"model\" is spent to 80 %", Detail: "4 of 5", Severity: "low", Outcome: audit.Allowed},
		audit.File{Op: audit.FileCreated, Path: "src/new.go", Type: "file", Size: 10}, audit.File{Op: audit.FileModified, Path: name, Type: "file", Size: 20}, audit.File{Op: audit.FileDeleted, Path: "old.txt", Type: "file"},
		audit.RunEnd{ExitCode: 3, Reason: "exited", Duration: 90 * time.Second, UserCPU: 40 * time.Second, MaxRSS: 300 << 20,
			Budgets: []audit.BudgetUse{{Name: "model", Limit: "per_run", Unit: "usd", Spent: 4_200_000, Of: 5_000_000}, {Name: name, Limit: "per_day", Spent: 7_500_000, Of: 5_000_000}}},
	}
}

func build(t testing.TB, name string) *Report {
	t.Helper()
	r, err := Build(trail(t, records(name)...))
	if err != nil {
		t.Fatal(err)
	}
	r.Trail.Verdict = "sealed"
	d := NewDiffs(r)
	d.Add("src/new.go", 1, 1, "@@ -1 +1 @@\n-old\n+new "+name+"\n", "")
	return r
}

// TestGolden holds what the three renderers make of a run.
func TestGolden(t *testing.T) {
	r := build(t, "quietly")
	var text, md, page bytes.Buffer
	if err := Text(&text, r, Style{}); err != nil {
		t.Fatal(err)
	}
	if err := Markdown(&md, r); err != nil {
		t.Fatal(err)
	}
	if err := HTML(&page, r, time.UTC); err != nil {
		t.Fatal(err)
	}
	js, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{"report.txt": text.Bytes(), "report.md": md.Bytes(), "report.html": page.Bytes(), "report.json": js} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs (go test -update writes it anew): %v\n%s", path, err, got)
		}
	}
}

// complaints is what the checks need of a test.
type complaints interface {
	Helper()
	Error(...any)
	Errorf(string, ...any)
	Fatal(...any)
}

// checkPage reads a page as a browser does and looks for what must not be in it.
func checkPage(t complaints, page []byte) {
	t.Helper()
	if !bytes.Contains(page, []byte("default-src 'none'")) || bytes.Contains(page, []byte("ZgotmplZ")) {
		t.Error("the page has no policy, or a value in a place that its template did not expect")
	}
	// The tree, not the tokens: within a picture a <title> is parsed as markup.
	doc, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string]bool{}
	for n := range doc.Descendants() {
		switch n.Type {
		case html.TextNode:
			if n.Parent.Data != "style" {
				checkShown(t, n.Data)
			}
			continue
		case html.CommentNode:
			t.Errorf("the page has a comment: %q", n.Data)
		case html.ElementNode:
			tags[n.Data] = true
		}
		switch n.Data {
		case "script", "img", "iframe", "object", "embed", "link", "base", "form", "a", "foreignObject", "use", "animate", "set", "image", "i", "template":
			t.Errorf("the page has <%s>", n.Data)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "href" || a.Key == "src" || a.Key == "srcset" || a.Key == "action" {
				t.Errorf("<%s> has the attribute %s", n.Data, a.Key)
			}
			if !knownAttributes[a.Key] {
				t.Errorf("<%s> has the attribute %q, which the template does not write", n.Data, a.Key)
			}
			if a.Key != "d" { // a picture's path
				checkShown(t, a.Val)
			}
		}
	}
	if !tags["svg"] || !tags["main"] {
		t.Errorf("this is not the page: %v", tags)
	}
}

// checkShown looks at what a reader sees of a part of the page: nothing that turns or hides
// text, and no more of one value than anybody reads.
func checkShown(t complaints, v string) {
	t.Helper()
	for _, c := range v {
		if c != '\n' && c != '\u00a0' && !unicode.IsPrint(c) {
			t.Errorf("the page shows %U", c)
			return
		}
	}
	if len(v) > 3200 { // maxText bytes, four each once they are escaped, and some of our own
		t.Errorf("the page shows a value of %d bytes", len(v))
	}
}

// knownAttributes are all that page.html writes.
var knownAttributes = map[string]bool{"lang": true, "charset": true, "http-equiv": true, "content": true, "name": true, "class": true, "viewbox": true, "preserveaspectratio": true,
	"role": true, "aria-label": true, "d": true, "x": true, "y": true, "width": true, "height": true, "open": true, "viewBox": true, "preserveAspectRatio": true}

// checkText looks for what a terminal would act on, and for lines that are not ours.
func checkText(t *testing.T, text string) {
	t.Helper()
	for _, c := range text {
		if c != '\n' && !unicode.IsPrint(c) {
			t.Errorf("the text has %U", c)
			return
		}
	}
}

// marker is in every hostile name: outside of code spans a Markdown page has none of it. Its
// digit keeps it from being a word, which may stand there (word).
const marker = "zq7xw"

// checkMarkdown reads a page as CommonMark and GFM do: what is not in a code span is ours,
// and a row of a table has as many cells as its head.
func checkMarkdown(t *testing.T, md string) {
	t.Helper()
	pipes := 0
	for line := range strings.Lines(md) {
		outside := withoutCode(line)
		if strings.Contains(outside, marker) || strings.ContainsRune(outside, '`') {
			t.Errorf("a name stands outside of a code span: %q", outside)
		}
		for _, tag := range strings.Split(outside, "<")[1:] {
			if !regexp.MustCompile(`^(/?details>|/?summary>)`).MatchString(tag) {
				t.Errorf("a tag that is not ours: <%s", tag)
			}
		}
		n := cells(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			pipes = 0
		case pipes == 0:
			pipes = n
		case n != pipes:
			t.Errorf("a row has %d pipes, its head has %d: %q", n, pipes, line)
		}
	}
}

// cells counts the pipes of a table's row that end a cell: those that are not escaped
// (cmark-gfm, ext_scanners.re: a backslash and the punctuation behind it are one, so that
// of two backslashes and a pipe the pipe counts).
func cells(line string) (n int) {
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '\\' && i+1 < len(line) && unicode.In(rune(line[i+1]), unicode.P, unicode.S):
			i++
		case line[i] == '|':
			n++
		}
	}
	return n
}

// withoutCode takes the code spans out of a line: from a run of backticks to the next of
// the same length (CommonMark 0.31, 6.1).
func withoutCode(line string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(line, "`")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		n := 1 + len(rest) - len(strings.TrimLeft(rest, "`"))
		rest = rest[n-1:]
		end := -1
		for at := 0; at < len(rest); {
			i := strings.IndexByte(rest[at:], '`')
			if i < 0 {
				break
			}
			run := len(rest[at+i:]) - len(strings.TrimLeft(rest[at+i:], "`"))
			if run == n {
				end = at + i + run
				break
			}
			at += i + run
		}
		if end < 0 {
			b.WriteString(strings.Repeat("`", n))
			end = 0
		}
		line = rest[end:]
	}
}

// TestHostileNames: whatever an agent calls things, a page has no element and no
// attribute of its making, and no text one that a terminal would act on.
func TestHostileNames(t *testing.T) {
	for _, name := range []string{hostile, marker + "|a|b<b>", "`" + marker + "``" + marker + "```|<i>" + marker, strings.Repeat("A", 100_000), "\xff\xfe", "</style><script>", "--><svg/onload=alert(1)>", "</title></svg><script>x</script>"} {
		checkAll(t, build(t, name), name)
	}
}

func checkAll(t *testing.T, r *Report, name string) {
	t.Helper()
	var text, md, page bytes.Buffer
	if err := Text(&text, r, Style{}); err != nil {
		t.Fatal(err)
	}
	checkText(t, text.String())
	if strings.Contains(text.String(), "\nagentjail: all is well") {
		t.Error("a name made a line of its own")
	}
	if err := Markdown(&md, r); err != nil {
		t.Fatal(err)
	}
	checkText(t, md.String())
	checkMarkdown(t, md.String())
	if err := HTML(&page, r, time.UTC); err != nil {
		t.Fatal(err)
	}
	checkPage(t, page.Bytes())
	_ = name
}

// FuzzNames puts a name everywhere in the model itself, past what the trail does to it.
func FuzzNames(f *testing.F) {
	f.Add(hostile)
	f.Add("'\"><b onclick=x>")
	f.Add("`` ` | \\| <br>")
	f.Fuzz(func(t *testing.T, name string) {
		checkAll(t, everywhere(name), name)
	})
}

// everywhere is a report that has a name wherever it has a text.
func everywhere(name string) *Report {
	return &Report{Run: Run{ID: name, Name: name, Command: name, Profile: name, Workspace: name, WorkspaceMode: name, Mode: name, Kernel: name, Version: name, Signal: name, Reason: name, Started: 1, Ended: 2},
		Trail: Trail{Events: 1, Verdict: name}, Layers: []Layer{{name, name, name}}, Limits: map[string]string{name: name}, Programs: []Program{{Path: name, Launches: 1}},
		Processes: []Process{{Command: name, Exit: name, Count: 2}}, Hosts: []Host{{Name: name, Opened: 1, In: 5}},
		Files:   Files{Created: 1, List: []File{{Op: name, Path: name, Note: name}, {Op: "created", Path: name, Diff: []string{name, "+" + name}}}},
		Denials: []Denial{{Kind: name, Target: name, Rule: name, Reason: name, Count: 1, Advice: name, Add: []string{name}}}, Findings: []Finding{{Title: name, Detail: name, Severity: name, Rule: name, Count: 2}},
		Approvals: []Note{{Text: name, Detail: name}}, States: []Note{{Text: name, Detail: name}}, Models: []audit.ModelUse{{Provider: name, Model: name, Calls: 1}}, Tools: []Tool{{name, 1}},
		Budgets: []audit.BudgetUse{{Name: name, Limit: name, Unit: name, Spent: 1, Of: 2}}, Timeline: &Timeline{Start: 1, Step: 1, Source: name, Points: []Points{{CPU: 1}}}, Marks: []Mark{{Time: 1, Kind: name, Text: name}}}
}

// FuzzBuild reads a trail that somebody wrote.
func FuzzBuild(f *testing.F) {
	for e := range trail(f, records(hostile)...) {
		f.Add(append(bytes.Clone(e.Raw), '\n'))
	}
	f.Add([]byte(`{"type_uid":600299,"unmapped":{"resources":{"start":-9223372036854775808,"step_ms":9223372036854775807,"cpu_us":[1],"memory_bytes":[-1],"processes":[1],"network_bytes":[1],"execs":[1],"connects":[1],"requests":[1],"denials":[1],"tokens":[1],"cost_microusd":[1]}}}` + "\n"))
	f.Add([]byte(`{"type_uid":600299,"unmapped":{"resources":{"start":0,"step_ms":1000,"cpu_us":[1],"memory_bytes":[1],"processes":[1],"network_bytes":[1],"execs":[1],"connects":[1],"requests":[1],"denials":[1],"tokens":[1],"cost_microusd":[1]}}}
{"type_uid":600299,"unmapped":{"resources":{"start":9223372036854775000,"step_ms":1000,"cpu_us":[1],"memory_bytes":[1],"processes":[1],"network_bytes":[1],"execs":[1],"connects":[1],"requests":[1],"denials":[1],"tokens":[1],"cost_microusd":[1]}}}
`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Build(audit.Read(bytes.NewReader(data)))
		if err != nil {
			t.Fatal(err)
		}
		checkAll(t, r, "")
	})
}

// TestBuild: the model says what happened.
func TestBuild(t *testing.T) {
	r := build(t, "x")
	if r.Run.outcome() != "exited 3" || r.Run.Profile != "web" || r.Run.WorkspaceMode != "overlay" || r.Run.Kernel != "6.18.0" || r.Run.CPU != 40_000_000 {
		t.Errorf("run %+v", r.Run)
	}
	var commands []string
	for _, p := range r.Processes {
		commands = append(commands, fmt.Sprintf("%d %s ×%d %s", p.Depth, p.Command, p.Count, p.Exit))
	}
	if got := strings.Join(commands, "; "); got != "0 /usr/bin/claude -p x ×1 ; 1 /usr/bin/git status ×2 ; 1 /usr/bin/sh -c x ×1 ; 2 /usr/bin/npm test ×1 exit 1" {
		t.Errorf("tree %s", got)
	}
	advice := map[string]Denial{}
	for _, d := range r.Denials {
		advice[d.Kind+" "+d.Target] = d
	}
	for target, want := range map[string]string{
		"exec /usr/bin/x": "web.hcl:9", "dns evil.example": `allow "evil.example"`, "connect db.example:5432 (tcp)": `allow "db.example:5432"`,
		"connect 169.254.169.254:80 (tcp)": "metadata", "http DELETE https://api.anthropic.com:443/v1/files/1": `request "DELETE" "/v1/files/1"`, "dns x": "no name of a public host",
	} {
		d, known := advice[target]
		if text := d.Advice + strings.Join(d.Add, "\n"); !known || !strings.Contains(text, want) {
			t.Errorf("%s: %q, want %q in it (known: %v)", target, text, want, advice)
		}
	}
	h := r.Hosts[0]
	if h.Name != "api.anthropic.com" || h.In != 1_234_567 || h.Out != 89_012 || h.Opened != 1 || h.Requests != 1 || h.Refused != 1 {
		t.Errorf("host %+v", h)
	}
	if r.Files.summary() != "1 created, 1 modified, 1 deleted" || len(r.Files.List[0].Diff) != 3 {
		t.Errorf("files %+v", r.Files)
	}
	if r.Findings[0].Severity != "high" || len(r.Budgets) != 2 || len(r.Approvals) != 2 || len(r.States) != 1 || r.Models[0].CostMicroUSD != 123_456 {
		t.Errorf("findings %+v, budgets %+v, approvals %+v", r.Findings, r.Budgets, r.Approvals)
	}
	if r.Timeline == nil || len(r.Timeline.Points) != 90 || r.Timeline.Step != 1000 || r.Timeline.Points[89].Memory != 139<<20 {
		t.Errorf("timeline %+v", r.Timeline)
	}
}

// TestNoEnd: a run that was killed, and a trail with lines that are none, are told as
// what they are.
func TestNoEnd(t *testing.T) {
	var b bytes.Buffer
	for e := range trail(t, records("x")[:4]...) {
		b.Write(append(e.Raw, '\n'))
	}
	b.WriteString("no event\n{\"class_uid\":")
	r, err := Build(events(b.Bytes()))
	if err != nil || r.Trail.Broken != 2 || r.Run.outcome() != "has not ended, or was killed" {
		t.Errorf("%v %+v %q", err, r.Trail, r.Run.outcome())
	}
	checkAll(t, r, "x")
	if r, err := Build(events(nil)); err != nil || r.Trail.Events != 0 {
		t.Errorf("an empty trail: %v %+v", err, r)
	}
}

// TestResample: what adds up adds up to the same, whatever the steps are.
func TestResample(t *testing.T) {
	for _, steps := range []int64{1, 7, 719, 720, 721, 5000} {
		var raw []rawPoint
		var cpu, most int64
		for i := range steps {
			raw = append(raw, rawPoint{1000 + i*1000, 1000, Points{CPU: i * 3, Memory: i % 100}})
			cpu, most = cpu+i*3, max(most, i%100)
		}
		raw = append(raw, rawPoint{1000 + steps*1000, 30_000, Points{CPU: 100}}) // a longer step
		tl := resample(raw)
		var got, memory int64
		for _, p := range tl.Points {
			got, memory = got+p.CPU, max(memory, p.Memory)
		}
		if got != cpu+100 || memory != most || len(tl.Points) > maxPoints {
			t.Errorf("%d steps: cpu %d, want %d; memory %d, want %d; %d points", steps, got, cpu+100, memory, most, len(tl.Points))
		}
	}
	for _, raw := range [][]rawPoint{nil, {{0, 0, Points{}}}, {{0, 1000, Points{}}, {farthest, longest, Points{}}}} {
		if resample(raw) != nil {
			t.Errorf("a timeline of %v", raw)
		}
	}
}

// TestLargeTrail: a trail of a hundred thousand events, as varied as an agent can make
// it, gives a page of less than 5 MB.
func TestLargeTrail(t *testing.T) {
	const n = 100_000
	all := func(yield func(audit.Event, error) bool) {
		var templates [][]byte
		for e := range trail(t, records("/"+strings.Repeat("long/", 40)+"NUMBER")...) {
			templates = append(templates, bytes.Clone(e.Raw))
		}
		for i := range n {
			raw := bytes.ReplaceAll(templates[1+i%(len(templates)-2)], []byte("NUMBER"), fmt.Appendf(nil, "%d", i))
			raw = bytes.ReplaceAll(raw, []byte(`"pid":5`), fmt.Appendf(nil, `"pid":%d`, 100+i))
			var e audit.Event
			if err := json.Unmarshal(raw, &e); err != nil {
				t.Fatal(err)
			}
			e.Raw = raw
			e.Time = begun.UnixMilli() + int64(i)*10
			if !yield(e, nil) {
				return
			}
		}
	}
	r, err := Build(all)
	if err != nil {
		t.Fatal(err)
	}
	d := NewDiffs(r)
	for i := range r.Files.List {
		d.Add(r.Files.List[i].Path, 100, 0, strings.Repeat("+"+strings.Repeat("x", 80)+"\n", 100), "")
	}
	var page bytes.Buffer
	if err := HTML(&page, r, time.UTC); err != nil {
		t.Fatal(err)
	}
	if page.Len() >= 5_000_000 || r.Trail.Events != n || r.More["files"] == 0 || r.More["denials"] == 0 {
		t.Errorf("%d bytes of %d events, left out: %v", page.Len(), r.Trail.Events, r.More)
	}
	if path := os.Getenv("AGENTJAIL_LARGE_REPORT"); path != "" { // to be looked at by hand
		if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d bytes", page.Len())
	if js, err := json.Marshal(r); err != nil || len(js) > 8_000_000 {
		t.Errorf("%d bytes of JSON, %v", len(js), err)
	}
}

// TestCode: a code span ends where we end it.
func TestCode(t *testing.T) {
	for in, want := range map[string]string{"": "", "a": "` a `", "a`b": "`` a`b ``", "``": "``` `` ```", "a|b": `" a\|b "`, `a\|b`: "` a⧵\\|b `"} {
		if in == "a|b" {
			want = "` a\\|b `"
		}
		if got := code(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
