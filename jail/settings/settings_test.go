package settings

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// Files as agents have them. Each "LEAK" is a part of a credential and must be gone;
// each "KEEP" must be there.
func TestClean(t *testing.T) {
	for name, tt := range map[string]struct {
		file, text string
		left       []string
	}{
		"claude": {"settings.json", `{
  // what I set up
  "model": "KEEP-opus",
  "apiKeyHelper": "/home/me/bin/LEAK-print-key.sh",
  "awsAuthRefresh": "aws sso login --profile LEAK",
  "otelHeadersHelper": "/bin/LEAK",
  "includeCoAuthoredBy": false,
  "maxTokens": 32000,
  "env": {
    "ANTHROPIC_AUTH_TOKEN": "LEAK-abcdef",
    "MY_API_KEY": "LEAK",
    "API_TIMEOUT_MS": "60000KEEP",
    "STRIPE": "sk_live_LEAKabcdefghijklmnop",
  },
  "permissions": { "allow": ["Bash(npm run KEEP:*)", "Read(~/.zshrc)"] },
  "mcpServers": {
    "issues": {
      "command": "npx",
      "args": ["-y", "KEEP-server", "--token", "LEAK1", "--api-key=LEAK2", "https://u:LEAK3@example.com/x?access_token=LEAK4&page=KEEP"],
      "env": { "GITHUB_PERSONAL_ACCESS_TOKEN": "ghp_LEAKabcdefghijklmnopqrstuvwxyz012345", "LOG": "KEEP" },
      "headers": { "Authorization": "Bearer LEAKxyz", "X-Api-Key": "LEAK", "Accept": "KEEP", "X-Ref": "Bearer ${KEEP_TOKEN}" }
    }
  },
}`, []string{"apiKeyHelper", "awsAuthRefresh", "otelHeadersHelper", "env.ANTHROPIC_AUTH_TOKEN", "env.MY_API_KEY", "env.STRIPE",
			"mcpServers.issues.args[3]", "mcpServers.issues.args[4]", "mcpServers.issues.args[5]", "mcpServers.issues.env.GITHUB_PERSONAL_ACCESS_TOKEN",
			"mcpServers.issues.headers.Authorization", "mcpServers.issues.headers.X-Api-Key"}},
		"codex": {"config.toml", `model = "KEEP-5"
model_auto_compact_token_limit = 200000
# experimental_bearer_token = "sk-proj-LEAKabcdefghijklmnopqrstuvwx"

[model_providers.mine]
base_url = "https://KEEP.example.com/v1"
env_key = "KEEP_API_KEY"
experimental_bearer_token = "LEAK"
http_headers = { "X-Auth-Token" = "LEAK", "X-Feature" = "KEEP" }
env_http_headers = { "X-Token" = "KEEP_VARIABLE" }

[mcp_servers.docs]
command = "docs"
args = ["--password", "LEAK", "--verbose-KEEP"]
bearer_token_env_var = "KEEP_TOKEN"
env = { "DOCS_SECRET" = "LEAK", "MODE" = "KEEP" }

[auth.credentials]
user = "LEAK"

[tui]
notifications = true
when = 2024-01-01T00:00:00Z
text = '''
KEEP "as" \ it is'''
more = """
a \
   KEEP\u0041 \"b\" """
list = [
  "KEEP", # a note
  { name = "KEEP", api-key = "LEAK" },
]
`, []string{"model_providers.mine.experimental_bearer_token", "model_providers.mine.http_headers.X-Auth-Token", "mcp_servers.docs.args[1]", "mcp_servers.docs.env.DOCS_SECRET", "auth.credentials.user", "tui.list[1].api-key"}},
		"aider": {".aider.conf.yml", `# my keys
openai-api-key: LEAK
anthropic-api-key: LEAK
api-key:
  - gemini=LEAK
model: KEEP
set-env:
  - MY_PASSWORD=LEAK
  - COLOR=KEEP
servers:
- access_token: >
    LEAK
    LEAK
  url: KEEP
- "name": KEEP
  'clientSecret': "LEAK"
max_tokens: 5000
token: 7
`, []string{"openai-api-key", "anthropic-api-key", "api-key", "MY_PASSWORD", "access_token", "clientSecret"}},
		"opencode": {"opencode.jsonc", `{"provider": {"mine": {"options": {"apiKey": "{env:KEEP_API_KEY}", "baseURL": "https://KEEP"}}, "other": {"options": {"apiKey": "LEAK"}}},
			"mcp": {"x": {"type": "remote", "oauth": {"clientId": "a", "clientSecret": "LEAK"}, "headers": {"Cookie": "LEAK"}}},
			"keybinds": {"leader": "KEEP", "key": "ctrl+KEEP"}}`,
			[]string{"provider.other.options.apiKey", "mcp.x.oauth", "mcp.x.headers.Cookie"}},
		"text": {"AGENTS.md", "# How we KEEP\nThe staging key is sk-ant-api03-LEAKabcdefghijklmnop, use it.\n\n-----BEGIN RSA PRIVATE KEY-----\nLEAK\n-----END RSA PRIVATE KEY-----\nKEEP\n",
			[]string{"line 2", "line 4"}},
	} {
		t.Run(name, func(t *testing.T) {
			clean, left, err := Clean(tt.file, []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(clean, []byte("LEAK")) {
				t.Errorf("a credential is left in\n%s", clean)
			}
			if got, want := strings.Count(string(clean), "KEEP"), strings.Count(tt.text, "KEEP"); got != want {
				t.Errorf("%d of %d are kept in\n%s", got, want, clean)
			}
			if !slices.Equal(left, tt.left) {
				t.Errorf("left out %q\nwant     %q", left, tt.left)
			}
			for _, l := range left {
				if strings.Contains(l, "LEAK") {
					t.Errorf("what is said of it has the credential: %s", l)
				}
			}
			again, _, err := Clean(tt.file, clean)
			if err != nil || !bytes.Equal(again, clean) {
				t.Errorf("a second time: %v\n%s", err, again)
			}
		})
	}
}

// TestCleanKeeps: a file without credentials comes back byte for byte.
func TestCleanKeeps(t *testing.T) {
	for file, text := range map[string]string{
		"a.json": "{\n // note\n \"theme\": \"dark\", \"max_tokens\": 5,\n \"tokens\": 7, \"key\": \"ctrl+k\", \"publicKey\": \"x\", }\n",
		"a.toml": "# note\nmodel = \"x\"\n\n[a]\nenv_key = \"X_API_KEY\"\nd = 2024-01-01\n",
		"a.yaml": "# note\nb: 1\na: [x, y]\n",
		"a.md":   "Be brief. Keep tokens few.\n",
		"a.png":  "\x89PNG\x00sk-ant-api03-abcdefghijklmnopqrstuvwxyz",
		"b.json": "  \n",
	} {
		clean, left, err := Clean(file, []byte(text))
		if err != nil || len(left) != 0 || string(clean) != text {
			t.Errorf("%s: %v %q %q", file, err, left, clean)
		}
	}
}

// TestCleanRefuses: what is not understood is handed on in no part.
func TestCleanRefuses(t *testing.T) {
	for file, text := range map[string]string{
		"open.json":  `{"apiKey": "x"`,
		"twice.json": `{"a": "1", "a": "2"}`,
		"two.json":   `{} {}`,
		"bytes.json": "{\"a\": \"\xff\"}",
		"deep.json":  strings.Repeat("[", 100) + strings.Repeat("]", 100),
		"bad.toml":   "a = ",
		"two.yaml":   "a: 1\n---\nb: 2\n",
		"flow.yaml":  "env: {API_KEY: x}\n",
		"tag.yaml":   "a: !secret x\n",
		"anchor.yml": "a: &x b\nc: *x\n",
		"tabs.yaml":  "a:\n\tb: 1\n",
		"long.toml":  "a = \"x",
		"line.toml":  "a = 1 b = 2",
		"word.toml":  "a = secret",
		"twice.toml": "a = { b = 1, b = 2 }",
		"large.json": strings.Repeat(" ", MaxSize+1),
		"large.md":   strings.Repeat("a", MaxSize+1),
	} {
		if clean, left, err := Clean(file, []byte(text)); err == nil || clean != nil || left != nil {
			t.Errorf("%s: %q %q, no error", file, clean, left)
		}
	}
}

func TestSecretName(t *testing.T) {
	for _, name := range []string{"API_KEY", "apiKey", "apikey", "OPENAI_API_KEY", "x-api-key", "awsAPIKey", "STRIPE_KEY", "token", "accessToken", "GITHUB_TOKEN",
		"client_secret", "password", "DB_PASSWORD", "Authorization", "Set-Cookie", "apiKeyHelper", "awsCredentialExport", "private_key", "SENTRY_DSN", "auth.command"} {
		if !secretName(name, nil) {
			t.Errorf("%s is kept", name)
		}
	}
	for _, name := range []string{"", "key", "keys", "env_key", "bearer_token_env_var", "publicKey", "primary_key", "tokenizer", "token_limit", "keybindings", "command", "model", "secretary", "monkey"} {
		if secretName(name, nil) {
			t.Errorf("%s is taken out", name)
		}
	}
}

const tomlValue = "hunter3hunter3"

// FuzzClean: nothing of a value under a name that tells a credential comes through, in
// whatever JSON stands around it.
func FuzzClean(f *testing.F) {
	f.Add("a.json", []byte(`{"a": ["x", {"b": 1.5e3}], /* c */ "d": null,}`))
	f.Add("a.toml", []byte("a = 1\n[b]\nc = [1, \"x\"]\n"))
	f.Add("a.yaml", []byte("a:\n  - b: 1\n    c: |\n      x\n"))
	f.Add("a.md", []byte("text"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		clean, _, err := Clean(name, data)
		if err != nil {
			return
		}
		if again, _, err := Clean(name, clean); err != nil {
			t.Errorf("what was cleaned can't be read: %v\n%q\n%q", err, clean, again)
		}
		if strings.HasSuffix(name, ".toml") && !bytes.Contains(data, []byte(tomlValue)) {
			around := append([]byte("MY_SECRET = '"+tomlValue+"'\n"), data...)
			if clean, _, err := Clean("a.toml", around); err == nil && bytes.Contains(clean, []byte(tomlValue)) {
				t.Errorf("the secret is left in %q", clean)
			}
		}
		if !json.Valid(data) || !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
			return
		}
		const value = "hunter2hunter2"
		around := []byte(`{"inner": ` + string(data) + `, "MY_SECRET": "` + value + `"}`)
		if bytes.Contains(data, []byte(value)) {
			return
		}
		if clean, _, err := Clean("a.json", around); err == nil && bytes.Contains(clean, []byte(value)) {
			t.Errorf("the secret is left in %q", clean)
		}
	})
}
