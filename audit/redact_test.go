package audit

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// fake joins the parts of a credential, so that no scanner takes this file for a leak.
func fake(parts ...string) string { return strings.Join(parts, "") }

func TestRedactPatterns(t *testing.T) {
	r, err := NewRedactor(nil)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("Ab1", 15)
	tests := []struct{ name, in, want string }{
		{"aws", "id " + fake("AKI", "AIOSFODNN7EXAMPLE") + ".", "id [redacted:aws-access-key]."},
		{"aws temporary", fake("ASI", "AIOSFODNN7EXAMPLE"), "[redacted:aws-access-key]"},
		{"aws secret", "AWS_SECRET_ACCESS_KEY=" + fake("wJalrXUtnFEMI/K7MDENG/", "bPxRfiCYEXAMPLEKEY"), "AWS_SECRET_ACCESS_KEY=[redacted:aws-secret-key]"},
		{"github", fake("gh", "p_") + long, "[redacted:github-token]"},
		{"github app", "x " + fake("gh", "s_") + long + " y", "x [redacted:github-token] y"},
		{"github fine", fake("github", "_pat_") + long, "[redacted:github-token]"},
		{"gitlab", fake("glp", "at-") + "abcdefghij0123456789", "[redacted:gitlab-token]"},
		{"anthropic", "key " + fake("sk-", "ant-api03-") + long, "key [redacted:anthropic-key]"},
		{"openai", "(" + fake("sk", "-") + long + ")", "([redacted:openai-key])"},
		{"openai project", fake("sk", "-proj-") + long, "[redacted:openai-key]"},
		{"stripe", fake("sk", "_live_") + long, "[redacted:stripe-key]"},
		{"google", fake("AI", "za") + strings.Repeat("x", 35), "[redacted:google-key]"},
		{"slack", fake("xo", "xb-") + "1234567890-abcdef", "[redacted:slack-token]"},
		{"npm", fake("np", "m_") + strings.Repeat("a", 36), "[redacted:npm-token]"},
		{"jwt", fake("ey", "JhbGciOiJIUzI1NiJ9.") + "eyJzdWIiOiIxIn0.c2lnbmF0dXJl,", "[redacted:jwt],"},
		{"unsigned jwt", fake("ey", "JhbGciOiJub25lIn0.") + "eyJzdWIiOiIxIn0. x", "[redacted:jwt] x"},
		{"pem", "a -----BEGIN " + "RSA PRIVATE KEY-----\nMIIE\n-----END " + "RSA PRIVATE KEY----- b", "a [redacted:private-key] b"},
		{"pem cut off", "a -----BEGIN " + "OPENSSH PRIVATE KEY-----\nb3Bl", "a [redacted:private-key]"},
		{"url password", "https://ann:hunter22@example.com/", "https://[redacted:url-userinfo]@example.com/"},
		{"url token", "https://" + long + "@example.com/", "https://[redacted:url-userinfo]@example.com/"},
		{"bearer", "Authorization: BEARER abcdef0123456789", "Authorization: BEARER [redacted:bearer-token]"},
		{"basic", "authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("ann:hunter2")) + " x", "authorization: Basic [redacted:basic-credentials] x"},
		{"password", "--password=hunter22 -v", "--password=[redacted:password] -v"},
		{"json password", `{"password": "hunter22"}`, `{"password": "[redacted:password]"}`},
		{"query", "/?api_key=0123456789&x=1", "/?api_key=[redacted:password]&x=1"},
		{"two", fake("AKI", "AIOSFODNN7EXAMPLE") + " " + fake("gh", "p_") + long, "[redacted:aws-access-key] [redacted:github-token]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, n := r.Redact(tt.in)
			if got != tt.want || n == 0 {
				t.Errorf("got %q (%d), want %q", got, n, tt.want)
			}
			if again, _ := r.Redact(got); again != got {
				t.Errorf("a second time gives %q", again)
			}
		})
	}
}

// Ordinary text stays: a trail that hides what it should show is worth less.
func TestRedactLeavesOrdinaryText(t *testing.T) {
	r, err := NewRedactor([]string{"s3cret-value"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		"", "a", "ls -la /usr/bin", "task-" + strings.Repeat("a", 40), "disk-usage", "AKIA", "xAKIAIOSFODNN7EXAMPLEx",
		"ssh://git@github.com/a/b", "https://example.com/@scope/pkg", "git@github.com:a/b.git", "npm_config_cache", "eyJ", "eyJhbGciOiJIUzI1NiJ9",
		"basic authentication failed", "the bearer of this", "bearer authentication", "password required", "passwd", "hf_hub", "-----BEGIN CERTIFICATE-----\nMIIE",
		"s3cret-valu", "S3CRET-VALUE", "password=x",
	} {
		if got, n := r.Redact(s); got != s || n != 0 {
			t.Errorf("%q became %q", s, got)
		}
	}
}

func TestRedactKnownSecrets(t *testing.T) {
	const secret = `p@ss "w\rd`
	r, err := NewRedactor([]string{secret, "", "overlap-one", "one-overlap", "longer", "longer still"})
	if err != nil {
		t.Fatal(err)
	}
	inJSON, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{
		"plain":    "x" + secret + "y",
		"query":    "/?q=" + url.QueryEscape(secret),
		"path":     "/" + url.PathEscape(secret),
		"json":     string(inJSON),
		"hex":      hex.EncodeToString([]byte(secret)),
		"HEX":      strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"base64":   base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64-1": base64.StdEncoding.EncodeToString([]byte("u" + secret + "abc")),
		"base64-2": base64.URLEncoding.EncodeToString([]byte("u:" + secret)),
		"base64-3": base64.URLEncoding.EncodeToString([]byte("us:" + secret + "z")),
	}
	for name, text := range texts {
		got, n := r.Redact(text)
		if n != 1 || !strings.Contains(got, "[redacted:secret]") || strings.Contains(got, secret) {
			t.Errorf("%s: %q became %q (%d)", name, text, got, n)
		}
	}
	for in, want := range map[string]string{
		"overlap-one-overlap": "[redacted:secret]", // the two share "one": nothing of either is left
		"longer still":        "[redacted:secret]",
		"longer":              "[redacted:secret]",
		"password=longer;":    "password=[redacted:password];", // a pattern begins first and ends later
		"longerlonger":        "[redacted:secret][redacted:secret]",
	} {
		if got, _ := r.Redact(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// A secret that a pattern covers only in part is hidden whole.
func TestRedactSecretBesidePattern(t *testing.T) {
	r, err := NewRedactor([]string{"abc123&def456"})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := r.Redact("password=abc123&def456&x=1")
	if strings.Contains(got, "def456") || !strings.HasSuffix(got, "&x=1") {
		t.Errorf("got %q", got)
	}
}

func TestRedactorRefusesShortSecrets(t *testing.T) {
	if _, err := NewRedactor([]string{"abc"}); err == nil {
		t.Error("a secret that can't be looked for was taken")
	}
}

// Hostile text must not make the search quadratic: each of these would be a
// gigabyte and more of comparisons if it did, and the test would never end.
func TestRedactHostileText(t *testing.T) {
	r, err := NewRedactor([]string{strings.Repeat("a", 100)})
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range []string{"-eyJaaaaaaaa", "-----BEGIN RSA PRIVATE KEY", "-----BEGIN PRIVATE KEY-----END", "://", "://a:", "password=[", "password=", "bearer ", "basic a", "sk-", "-sk-a", "a", "\xff"} {
		s := strings.Repeat(unit, 4<<20/len(unit))
		if got, _ := r.Redact(s); len(got) > 16*len(s) {
			t.Errorf("%q: %d bytes", unit, len(got))
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("a secret-value b", "secret-value")
	f.Add("password=abcabcabc", "abcabc")
	f.Fuzz(func(t *testing.T, text, secret string) {
		r, err := NewRedactor([]string{secret})
		if err != nil {
			t.Skip("the secret is too short")
		}
		got, n := r.Redact(text)
		if n == 0 && got != text {
			t.Fatalf("%q became %q without a redaction", text, got)
		}
		// The labels themselves may spell a secret; what is left of the text may not.
		if secret != "" && !strings.Contains("[redacted:", secret) {
			for _, rest := range strings.Split(got, "[redacted:") {
				_, rest, _ = strings.Cut(rest, "]")
				if strings.Contains(rest, secret) && strings.Contains(text, secret) {
					t.Fatalf("%q is left in %q, which was %q", secret, got, text)
				}
			}
		}
	})
}

// No form of a known secret reaches the file from any string of any record, keys
// included.
func TestNoSecretInLog(t *testing.T) {
	const secret = "canary-7f3a9c"
	hide := func(c *Config) { c.Redact = []string{secret}; c.Version = "1 " + secret }
	p := Process{PID: 1, Name: secret, Path: secret, Argv: []string{"a", secret, "--x=" + secret}, Cwd: secret}
	m := map[string]string{secret: secret, secret + "2": secret}
	log, _ := writeLog(t, hide,
		RunStart{RunID: secret, Name: secret, Argv: []string{secret}, Cwd: secret, Workspace: secret, WorkspaceMode: secret, Profile: secret, ProfileHashes: m, BinaryHash: secret, Version: secret, Kernel: secret, Mode: secret, Caller: secret, Layers: []Layer{{secret, secret, secret, secret}}, Limits: m, Syscalls: []string{secret}},
		Exec{Process: p, Outcome: Blocked, Rule: secret, Reason: secret},
		Exit{Process: p, Signal: secret},
		Connect{Network: secret, Name: secret, Addr: secret, Dialled: secret, Protocol: secret, SNI: secret, Outcome: Outcome(secret), Rule: secret, Reason: secret, Process: p},
		ConnectClosed{Name: secret, Addr: secret, Error: secret},
		DNS{Name: secret, Type: secret, Answers: []string{secret}, RCode: secret, Rule: secret, Reason: secret, Process: p},
		HTTP{Method: secret, Scheme: secret, Host: secret, Path: secret, Version: secret, Secrets: []string{secret}, Fault: secret, Rule: secret, Reason: secret, Process: p},
		File{Op: FileRenamed, Path: secret, OldPath: secret, Type: secret, SHA256: secret},
		File{Op: FileOp(secret), Path: secret},
		LimitHit{Limit: secret, Unit: secret, Action: secret, Rule: secret, Process: p, Detail: secret},
		Finding{Title: secret, Detail: secret, Severity: secret, Rule: secret, Process: p},
		Wipe{Removed: []string{secret}, Gone: []string{secret}, Left: []string{secret}},
		RunEnd{Signal: secret, Reason: secret, Counts: map[string]int64{secret: 1}, Details: m},
	)
	if i := strings.Index(string(log), secret); i >= 0 {
		t.Errorf("the secret is in the log: ...%s", log[max(0, i-200):i+20])
	}
	if n := strings.Count(string(log), "[redacted:secret]"); n < 50 {
		t.Errorf("%d redactions", n)
	}
}
