package suite

import (
	"testing"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

func TestJudge(t *testing.T) {
	stops := []attacks.Stop{{Layer: "filter", Answers: []string{"EPERM"}}, {Layer: "view", Answers: []string{"ENOENT"}}}
	plain := attacks.Attack{ID: "x", Line: 1, Stopped: stops, Without: attacks.Plain, Calls: []string{"ptrace"}}
	with := func(change func(*attacks.Attack)) attacks.Attack { a := plain; change(&a); return a }
	free := func(answer string, marked bool) []trial { return []trial{{attacks.Plain, answer, marked}} }
	marked := with(func(a *attacks.Attack) { a.ByMark = true })
	looked := with(func(a *attacks.Attack) { a.Without = attacks.Looked })
	inside := with(func(a *attacks.Attack) { a.Without = attacks.Inside })
	recorded := with(func(a *attacks.Attack) { a.Record = &attacks.Record{Kind: "exec"} })
	for _, tt := range []struct {
		name   string
		attack attacks.Attack
		e      evidence
		want   Verdict
		layer  string
	}{
		{"stopped by the first layer", plain, evidence{answer: "EPERM", trials: free("ok", false)}, Stopped, "filter"},
		{"stopped by the second", plain, evidence{answer: "ENOENT", trials: free("ok", false)}, Stopped, "view"},
		{"it worked", plain, evidence{answer: "ok", trials: free("ok", false)}, Escaped, ""},
		{"an answer of no layer", plain, evidence{answer: "ENOTTY", trials: free("ENOTTY", false)}, Escaped, ""},
		{"no answer", plain, evidence{trials: free("ok", false)}, Escaped, ""},
		{"refused, but its mark is on a canary", plain, evidence{answer: "EPERM", marked: true, trials: free("ok", false)}, Escaped, ""},
		{"the host refuses as well", plain, evidence{answer: "EPERM", trials: free("EPERM", false)}, Moot, ""},
		{"the host refuses in another layer's words", plain, evidence{answer: "EPERM", trials: free("ENOENT", false)}, Moot, ""},
		{"one of two trials goes further", plain, evidence{answer: "EPERM", trials: append(free("EPERM", false), trial{attacks.Nested, "EINVAL", false})}, Stopped, "filter"},
		{"no trial could be made", plain, evidence{answer: "EPERM"}, Moot, ""},
		{"an escape needs no trial", plain, evidence{answer: "ok"}, Escaped, ""},
		{"the profile opens the call", plain, evidence{answer: "ok", opened: []string{"ptrace"}, trials: free("ok", false)}, Moot, ""},
		{"the profile opens another call", plain, evidence{answer: "ok", opened: []string{"bpf"}, trials: free("ok", false)}, Escaped, ""},
		{"something is needed", plain, evidence{needs: "an x86 machine"}, Moot, ""},
		{"by mark: nothing arrived, whatever was answered", marked, evidence{answer: "EIO", trials: free("ok", true)}, Stopped, "filter"},
		{"by mark: it arrived", marked, evidence{answer: "EPERM", marked: true, trials: free("ok", true)}, Escaped, ""},
		{"by mark: nothing arrives without a jail", marked, evidence{answer: "EPERM", trials: free("ok", false)}, Moot, ""},
		{"looked: it is there", looked, evidence{answer: "ENOENT", trials: free("present", false)}, Stopped, "view"},
		{"looked: it is not", looked, evidence{answer: "ENOENT", trials: free("ENOENT", false)}, Moot, ""},
		{"inside: needs no trial", inside, evidence{answer: "EPERM"}, Stopped, "filter"},
		{"recorded", recorded, evidence{answer: "EPERM", recorded: true, trials: free("ok", false)}, Stopped, "filter"},
		{"not recorded", recorded, evidence{answer: "EPERM", trials: free("ok", false)}, Unrecorded, "filter"},
		{"not recorded, and not meaningful", recorded, evidence{answer: "EPERM", trials: free("EPERM", false)}, Moot, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := judge(tt.attack, tt.e)
			if r.Verdict != tt.want || r.Layer != tt.layer {
				t.Errorf("%s by %q (%s), want %s by %q", r.Verdict, r.Layer, r.Why, tt.want, tt.layer)
			}
			if (r.Why == "") != (r.Verdict == Stopped) {
				t.Errorf("a verdict %s because of %q", r.Verdict, r.Why)
			}
		})
	}
}
