package jail

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// LastDenial is the live file in which the agent reads why its last exec was refused.
const LastDenial = InsideDir + "/last-denial"

// start is all that one exec starts, as far as it can be told: the program, the
// interpreters of a script, what a dynamic loader is told to load.
type start struct {
	memory  bool // one of its programs is a file in memory that has no name
	execs   []profiles.Exec
	files   []string // which file each of them is
	own     bool     // the agent wrote one of them, or could have
	unknown bool     // which program it is can't be told
}

// programs answers what the rules of `process` make of each exec, and counts. One
// goroutine asks, so that two threads of the agent never take the same token.
type programs struct {
	rules   profiles.Process
	now     func() time.Time
	buckets map[string]*profiles.Bucket
}

func newPrograms(rules profiles.Process) *programs {
	return &programs{rules: rules, now: time.Now, buckets: map[string]*profiles.Bucket{}}
}

// refusal is why an exec is refused; zero where it is not.
type refusal struct {
	reason string
	rule   string
	quota  bool // a limit was reached
}

// judge decides one exec. Every limit that counts it must have a token; where one has
// none, none is taken. What can't be told is refused: a rule might be about it. With ask
// a person has to decide first: then nothing was counted, and it is judged once more,
// with allowed, when that person has said yes.
func (p *programs) judge(s start, allowed bool) (r refusal, ask bool) {
	if !p.rules.Limited() || mutate.Off(mutate.ExecRules) {
		return refusal{}, false
	}
	if s.unknown {
		return refusal{reason: "which program this is can't be told, and the profile has rules about programs"}, false
	}
	if s.own && p.rules.ExecNew == profiles.ExecNewDeny {
		return refusal{reason: "the profile refuses programs that the agent wrote (exec_new)"}, false
	}
	var limits []profiles.ExecRule
	var asks []refusal
	if s.own && p.rules.ExecNew == profiles.ExecNewAsk {
		asks = append(asks, refusal{reason: "the agent wrote this program, or could have (exec_new)"})
	}
	for _, e := range s.execs {
		v := p.rules.Start(e)
		switch v.Action {
		case profiles.Deny:
			return refusal{reason: v.Reason, rule: v.Rule.Origin.String()}, false
		case profiles.Ask:
			asks = append(asks, refusal{reason: v.Reason, rule: v.Rule.Origin.String()})
		}
		limits = append(limits, v.Limits...)
	}
	if len(asks) > 0 && !allowed && !mutate.Off(mutate.Asking) {
		return asks[0], true
	}
	return p.count(limits), false
}

// count takes a token of every limit, or of none.
func (p *programs) count(limits []profiles.ExecRule) refusal {
	now := p.now()
	var take []*profiles.Bucket
	for _, r := range limits {
		key := r.Origin.String() + "\x00" + r.Program + "\x00" + strings.Join(r.Args, "\x00")
		b := p.buckets[key]
		if b == nil {
			b = &profiles.Bucket{}
			p.buckets[key] = b
		}
		if slices.Contains(take, b) {
			continue // a script and its interpreter are one start
		}
		if ok, wait := b.Fill(*r.Rate, now); !ok {
			return refusal{reason: limitText(r, wait), rule: r.Origin.String(), quota: true}
		}
		take = append(take, b)
	}
	for _, b := range take {
		b.Take()
	}
	return refusal{}
}

func limitText(r profiles.ExecRule, wait time.Duration) string {
	why := fmt.Sprintf("%s was started as often as the profile allows, %s", strings.Join(append([]string{r.Program}, r.Args...), " "), r.Rate)
	if r.Reason != "" {
		why += " (" + r.Reason + ")"
	}
	if wait == 0 {
		return why + "; not again in this run"
	}
	return why + "; again in " + wait.Round(time.Millisecond).String()
}

// maxDenied bounds the agent's own words in the sentence that it is told.
const maxDenied = 200

// denialText is what last-denial says. The program's name is the agent's own text, so
// it is quoted and cut.
func denialText(e audit.Exec) []byte {
	name := e.Process.Path
	if len(name) > maxDenied {
		name = name[:maxDenied] + "..."
	}
	text := "exec of " + strconv.Quote(name) + " was refused: " + e.Reason
	if e.Rule != "" {
		text += " [" + e.Rule + "]"
	}
	return []byte(text + "\n")
}
