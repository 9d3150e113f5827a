package run

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/approval"
)

// TestClock: when a run's time is up, by a clock of its own. Each case answers the
// questions in turn and says after how long the run is over.
func TestClock(t *testing.T) {
	const yes, no, always, silence = "yes", "no", "always", "silence"
	for _, tt := range []struct {
		name           string
		limit, timeout time.Duration
		extend         time.Duration
		frozen         time.Duration // after one minute
		answers        []string
		asked          []time.Duration
		over           time.Duration
	}{
		{"no question", time.Hour, 2 * time.Minute, 0, 0, nil, nil, time.Hour},
		{"nobody answers", time.Hour, 2 * time.Minute, time.Hour, 0, []string{silence}, []time.Duration{58 * time.Minute}, time.Hour},
		{"no", time.Hour, 2 * time.Minute, time.Hour, 0, []string{no}, []time.Duration{58 * time.Minute}, time.Hour},
		{"twice yes", time.Hour, 2 * time.Minute, 30 * time.Minute, 0, []string{yes, yes, no},
			[]time.Duration{58 * time.Minute, 88 * time.Minute, 118 * time.Minute}, 2 * time.Hour},
		{"yes for the run, then nobody is asked", time.Hour, 2 * time.Minute, 30 * time.Minute, 0, []string{always},
			[]time.Duration{58 * time.Minute}, never},
		{"less time than an answer may take", time.Minute, 2 * time.Minute, time.Minute, 0, []string{silence}, []time.Duration{0}, time.Minute},
		{"frozen meanwhile", time.Hour, 2 * time.Minute, 30 * time.Minute, 10 * time.Minute, []string{yes, no},
			[]time.Duration{68 * time.Minute, 98 * time.Minute}, 100 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				var asked []time.Duration
				s := &session{spec: &profiles.Spec{Limits: profiles.Limits{Time: &profiles.Limit{Value: int64(tt.limit)}},
					Approval: profiles.Approval{Timeout: int64(tt.timeout), Extend: int64(tt.extend)}}}
				s.approvals = approval.New(approval.Config{Timeout: tt.timeout, Quorum: 1, Prefix: "q-", Record: func(approval.Event) {},
					Changed: func(q approval.Question) {
						n := len(asked)
						asked = append(asked, time.Since(begun))
						if n >= len(tt.answers) || tt.answers[n] == silence {
							return
						}
						go func() {
							a := approval.Answer{Yes: tt.answers[n] != no, Once: tt.answers[n] != always, By: approval.Approver{UID: 1}}
							if _, err := s.approvals.Answer(q.ID, a); err != nil {
								t.Error(err)
							}
						}()
					}})
				defer s.approvals.Close()
				if tt.frozen > 0 {
					go func() {
						time.Sleep(time.Minute)
						s.still.begin(jail.Frozen{})
						time.Sleep(tt.frozen)
						s.still.end()
					}()
				}
				c := s.newClock()
				defer c.stop()
				enough := time.After(never)
				for over := false; !over; {
					select {
					case <-c.soon:
						c.ask()
					case more := <-c.given:
						c.extend(more)
					case <-c.up:
						over = !c.again()
					case <-enough:
						over = true
					}
				}
				if got := time.Since(begun); got != tt.over {
					t.Errorf("the run was over after %v, want %v", got, tt.over)
				}
				if len(asked) != len(tt.asked) {
					t.Fatalf("asked at %v, want %v", asked, tt.asked)
				}
				for i := range asked {
					if asked[i] != tt.asked[i] {
						t.Errorf("asked at %v, want %v", asked, tt.asked)
					}
				}
			})
		})
	}
}

// never is longer than any limit of the test.
const never = 24 * time.Hour
