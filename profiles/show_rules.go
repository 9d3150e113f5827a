package profiles

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// What WriteText writes of the parts that are neither network nor secrets.

func (t *textWriter) seeds(f Files) {
	for _, h := range f.Home {
		t.open("home "+quote(h.Path), h.Origin)
		t.printf("from = %s", quote(h.From))
		t.printf("mode = %s", quote(string(h.Mode)))
		if h.Redact {
			t.printf("redact = true")
		}
		t.close()
	}
	for _, l := range f.Limits {
		t.open("limit "+quote(l.Action), l.Origin)
		t.printf("rate = %s", quote(l.Rate.String()))
		t.close()
	}
}

func (t *textWriter) execRules(p Process) {
	t.printf("exec_new = %s", quote(string(p.ExecNew)))
	t.printf("terminal = %s", quote(string(p.Terminal)))
	for _, list := range []struct {
		name  string
		rules []ExecRule
	}{{"deny", p.Deny}, {"ask", p.Ask}, {"limit", p.Limit}, {"approved", p.Approved}} {
		for _, r := range list.rules {
			words := append([]string{r.Program}, r.Args...)
			for i, w := range words {
				words[i] = quote(w)
			}
			t.open(list.name+" "+strings.Join(words, " "), r.Origin)
			if r.Rate != nil {
				t.printf("rate = %s", quote(r.Rate.String()))
			}
			if r.Reason != "" {
				t.printf("reason = %s", quote(r.Reason))
			}
			t.close()
		}
	}
}

func (t *textWriter) events(s *Spec) {
	t.open("approval", s.Approval.Origin)
	t.printf("timeout = %s", quote(FormatDuration(time.Duration(s.Approval.Timeout))))
	t.printf("notify = %s", quoteList(s.Approval.Notify))
	t.printf("quorum = %d", s.Approval.Quorum)
	if s.Approval.Extend > 0 {
		t.printf("extend = %s", quote(FormatDuration(time.Duration(s.Approval.Extend))))
	}
	if a := s.Approval; a.Webhook != "" {
		t.open("webhook "+quote(a.Webhook), a.WebhookKey.Origin)
		for _, f := range []struct{ name, value string }{{"env", a.WebhookKey.Env}, {"file", a.WebhookKey.File}} {
			if f.value != "" {
				t.printf("%s = %s", f.name, quote(f.value))
			}
		}
		if len(a.WebhookKey.Command) > 0 {
			t.printf("command = %s", quoteList(a.WebhookKey.Command))
		}
		t.close()
	}
	t.close()
	for _, r := range s.On {
		t.open("on "+quote(string(r.Event)), r.Origin)
		t.printf("action = %s", quote(string(r.Action)))
		if len(r.Command) > 0 {
			t.printf("command = %s", quoteList(r.Command))
		}
		if r.Webhook != "" {
			t.printf("webhook = %s", quote(r.Webhook))
		}
		if r.After > 0 {
			t.printf("after = %s", quote(FormatDuration(time.Duration(r.After))))
		}
		if r.Repeats > 0 {
			t.printf("repeats = %d", r.Repeats)
		}
		t.close()
	}
}

func (t *textWriter) test(x Case) {
	t.open("test "+quote(x.Name), x.Origin)
	for _, q := range []struct{ name, value string }{
		{"connect", x.Connect}, {"resolve", x.Resolve}, {"read", x.Read}, {"write", x.Write}, {"exec", x.Exec},
	} {
		if q.value != "" {
			t.printf("%s = %s", q.name, quote(q.value))
		}
	}
	if len(x.Request) > 0 {
		t.printf("request = %s", quoteList(x.Request))
	}
	if len(x.Start) > 0 {
		t.printf("start = %s", quoteList(x.Start))
	}
	if x.Headers != nil {
		pairs := make([]string, 0, len(x.Headers))
		for _, k := range slices.Sorted(maps.Keys(x.Headers)) {
			pairs = append(pairs, fmt.Sprintf("%s = %s", quote(k), quote(x.Headers[k])))
		}
		t.printf("headers = { %s }", strings.Join(pairs, ", "))
	}
	if len(x.Body) > 0 {
		t.printf("body = %s", bodyText(x.Body))
	}
	t.printf("expect = %s", quote(string(x.Expect)))
	t.close()
}

func (t *textWriter) price(p Price) {
	t.open("price "+quote(p.Model), p.Origin)
	if p.Above > 0 {
		t.printf("above = %d", p.Above)
	}
	for _, a := range []struct {
		name   string
		amount Amount
	}{{"input", p.Input}, {"output", p.Output}, {"cache_read", p.CacheRead}, {"cache_write", p.CacheWrite}, {"cache_write_1h", p.CacheWriteLong}} {
		t.printf("%s = %s", a.name, a.amount)
	}
	t.close()
}
