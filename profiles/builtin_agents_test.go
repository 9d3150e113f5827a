package profiles

import (
	"slices"
	"strings"
	"testing"
)

// TestAgentProfiles: an agent's profile lets calls of models through, with a key that is
// outside the jail, and nothing else of the same hosts or of its maker's.
func TestAgentProfiles(t *testing.T) {
	anthropic := []string{"POST https://api.anthropic.com/v1/messages"}
	openai := []string{"POST https://api.openai.com/v1/responses", "POST https://api.openai.com/v1/chat/completions"}
	gemini := []string{
		"POST https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
		"POST https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:generateContent",
	}
	several := slices.Concat(anthropic, openai, gemini, []string{
		"POST https://openrouter.ai/api/v1/chat/completions", "POST https://api.groq.com/openai/v1/chat/completions",
		"POST https://api.mistral.ai/v1/chat/completions", "POST https://api.deepseek.com/chat/completions",
	})
	for command, tt := range map[string]struct{ allowed, denied []string }{
		"claude": {anthropic, []string{"GET https://api.anthropic.com/api/claude_code/settings", "POST https://api.anthropic.com/v1/files",
			"POST https://api.anthropic.com/api/event_logging/batch", "POST https://statsig.anthropic.com/v1/x", "GET https://downloads.claude.ai/x"}},
		"codex": {openai, []string{"GET https://chatgpt.com/backend-api/codex/models", "POST https://ab.chatgpt.com/x",
			"POST https://api.openai.com/v1/files", "GET https://api.github.com/repos/openai/codex/releases/latest"}},
		"gemini": {gemini, []string{"POST https://play.googleapis.com/log", "POST https://cloudcode-pa.googleapis.com/v1internal:loadCodeAssist",
			"POST https://oauth2.googleapis.com/token", "POST https://generativelanguage.googleapis.com/upload/v1beta/files",
			"POST https://generativelanguage.googleapis.com/v1beta/tunedModels"}},
		"qwen": {[]string{"POST https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions", "POST https://coding-intl.dashscope.aliyuncs.com/v1/chat/completions"},
			[]string{"POST https://x-rum.aliyuncs.com/", "POST https://chat.qwen.ai/api/v1/oauth2/token", "POST https://api.openai.com/v1/chat/completions",
				"POST https://dashscope.aliyuncs.com/compatible-mode/v1/files"}},
		"opencode": {several, []string{"GET https://models.opencode.ai/api.json", "GET https://api.github.com/repos/x/y", "POST https://opencode.ai/zen/v1/chat/completions"}},
		"pi":       {several, []string{"GET https://pi.dev/x", "GET https://api.github.com/repos/x/y", "POST https://api.anthropic.com/v1/files"}},
		"aider":    {several, []string{"GET https://raw.githubusercontent.com/x", "POST https://us.i.posthog.com/batch/"}},
		"goose":    {several, []string{"POST https://us.i.posthog.com/batch/", "GET https://github.com/block/goose/releases"}},
		// Nothing is known of it, and nothing is allowed.
		"cursor-agent": {nil, []string{"POST https://api2.cursor.sh/auth/exchange_user_api_key", "GET https://cursor.com/"}},
	} {
		t.Run(command, func(t *testing.T) {
			s := mustLoad(t, ForCommand("/usr/bin/"+command), mapOptions(nil))
			try := func(q string) Answer {
				method, url, _ := strings.Cut(q, " ")
				return s.Try(Case{Name: "x", Request: []string{method, url}})
			}
			for _, q := range tt.allowed {
				if a := try(q); a.Action != Allow {
					t.Errorf("%s is refused: %s", q, a.Reason)
				}
			}
			for _, q := range tt.denied {
				if a := try(q); a.Action != Deny {
					t.Errorf("%s is let through by %s", q, a.Rule)
				}
			}
			for _, r := range s.Network.Allow {
				if r.Label == "platform.claude.com" && len(r.Requests) == 1 && r.Requests[0].Path == "/v1/oauth/hello" {
					continue // asked before its first screen; there is nothing to be had there
				}
				if r.AnyRequest || r.Provider == "" || len(r.Secrets) != 1 || r.Protocol != ProtocolTLS || !slices.Equal(r.Ports, []uint16{443}) {
					t.Errorf("%s is wider than model calls with the key outside the jail", r.Label)
				}
				for _, h := range r.Hosts {
					if h.Kind != HostExact {
						t.Errorf("%s: %s is not one host", r.Label, h)
					}
				}
				for _, q := range r.Requests {
					if strings.Contains(q.Path, "**") || slices.Contains(q.Methods, "*") {
						t.Errorf("%s: %s %s is no call of a model", r.Label, q.Methods, q.Path)
					}
				}
			}
			checkSeeds(t, s)
			// Without a key there is no network at all.
			var names []string
			for _, x := range s.Secrets {
				names = append(names, x.Name)
			}
			s.Without(names)
			for _, q := range tt.allowed {
				if a := try(q); a.Action != Deny {
					t.Errorf("%s is let through without a key", q)
				}
			}
		})
	}
}

// checkSeeds: single settings are copied in; no folder that has logins, sessions or
// history in it, and no file that is one.
func checkSeeds(t *testing.T, s *Spec) {
	t.Helper()
	for _, h := range s.Files.Home {
		whole := slices.Contains([]string{".claude", ".codex", ".gemini", ".qwen", ".pi", ".pi/agent", ".cursor", ".config", ".config/opencode", ".config/goose",
			".local", ".local/share", ".local/share/opencode", ".local/share/goose"}, h.Path)
		login := slices.ContainsFunc([]string{"credential", "auth", "oauth", "secrets", "session", "history", "accounts", "projects"}, func(w string) bool {
			return strings.Contains(h.Path, w)
		})
		if h.Mode != SeedCopy || !h.Redact || whole || login || h.From != "/home/u/"+h.Path {
			t.Errorf("seeds %s (%s)", h.Path, h.Mode)
		}
	}
}

// TestAgentsAreNotRedirected: no variable of the caller's that leads an agent to another
// service gets into the jail; who wants another one says it in a profile.
func TestAgentsAreNotRedirected(t *testing.T) {
	for _, name := range []string{"claude-code", "codex", "gemini-cli", "opencode", "qwen-code", "pi", "aider", "goose", "cursor-agent", "models"} {
		s := mustLoad(t, name, mapOptions(nil))
		for _, variable := range []string{"ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "OPENAI_API_BASE", "GOOGLE_GEMINI_BASE_URL", "GEMINI_BASE_URL", "OPENROUTER_BASE_URL", "OPENAI_HOST", "ANTHROPIC_HOST", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "NODE_OPTIONS", "OPENAI_MODEL"} {
			if p, ok := s.Process.Passes(variable); ok {
				t.Errorf("%s passes %s (%s)", name, variable, p.Origin)
			}
		}
	}
}
