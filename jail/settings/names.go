package settings

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// secretName says whether an entry's name tells that its value is a credential, or a
// program that prints one: it would print it in the jail, or fail there and keep the
// agent from its placeholder. parents are the names that lead to it, its own the last.
func secretName(name string, parents []string) bool {
	words := splitName(name)
	if len(words) == 0 || namesVariable(words) {
		return false
	}
	// Codex: env_http_headers = { "X-Token" = "NAME_OF_A_VARIABLE" }.
	if n := len(parents); n > 1 && namesVariables(splitName(parents[n-2])) {
		return false
	}
	joined, last := strings.Join(words, ""), words[len(words)-1]
	before := ""
	if len(words) > 1 {
		before = words[len(words)-2]
	}
	switch last {
	case "token", "tokens", "secret", "secrets", "password", "passwords", "passwd", "passphrase", "passcode", "credential", "credentials",
		"authorization", "cookie", "cookies", "bearer", "jwt", "pat", "apikey", "apikeys", "oauth", "dsn":
		return true
	case "key", "keys":
		// A key alone is one of a keyboard or of a table.
		return before != "" && !slices.Contains([]string{"public", "primary", "foreign", "sort", "cache", "hot", "shortcut", "leader", "bind", "partition", "index", "host", "modifier", "escape"}, before)
	case "helper", "refresh", "export", "command", "cmd":
		// apiKeyHelper, otelHeadersHelper, awsCredentialExport, awsAuthRefresh.
		return slices.ContainsFunc(words[:len(words)-1], func(w string) bool {
			return slices.Contains([]string{"key", "token", "auth", "credential", "credentials", "headers", "secret", "password"}, w)
		})
	}
	return strings.HasSuffix(joined, "apikey") || strings.HasSuffix(joined, "accesstoken") || strings.HasSuffix(joined, "authtoken") || strings.HasSuffix(joined, "secretkey")
}

// namesVariable says whether an entry holds the name of a variable: env_key,
// bearer_token_env_var, apiKeyEnvVar.
func namesVariable(words []string) bool {
	return slices.Contains(words, "env") || slices.Contains(words, "envvar") || slices.Contains(words, "var")
}

func namesVariables(words []string) bool {
	return len(words) > 1 && slices.Contains(words, "env") && (slices.Contains(words, "headers") || slices.Contains(words, "keys"))
}

// splitName gives the words of a name, in lower case: "apiKeyHelper", "X-Api-Key" and
// "API_KEY" have the words api and key.
func splitName(name string) (words []string) {
	var word []rune
	flush := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = nil
		}
	}
	runes := []rune(name)
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush()
			continue
		// A new word begins at an upper case letter after a lower case one, and at the last of
		// several before a lower case one: "awsAPIKey".
		case i > 0 && unicode.IsUpper(r) && (unicode.IsLower(runes[i-1]) || unicode.IsUpper(runes[i-1]) && i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			flush()
		}
		word = append(word, r)
	}
	flush()
	return words
}

// holds says whether a value can be a credential at all: numbers (max_tokens) and
// switches are none.
func holds(v any) bool {
	switch v := v.(type) {
	case string:
		return v != ""
	case []any:
		return slices.ContainsFunc(v, holds)
	case *object:
		return slices.ContainsFunc(v.values, holds)
	}
	return false
}

// referenced is a value that says where the credential is, and has nothing of it: a
// variable in the ways in which agents write it, or what was put in its place. The agent finds a placeholder there, or
// nothing. A file ("{file:...}") is none: what it names may be seeded by itself.
var referenced = lazy(`^(?:Bearer |bearer |token |Basic )?(?:\$[A-Za-z_][A-Za-z0-9_]*|\$\{[A-Za-z_][A-Za-z0-9_]*\}|\{env:[A-Za-z_][A-Za-z0-9_]*\}|%[A-Za-z_][A-Za-z0-9_]*%|\[redacted:[a-z-]+\])$`)

func reference(v any) bool {
	s, ok := v.(string)
	return ok && referenced().MatchString(s)
}

// secretFlag says whether an argument is a flag whose value follows as the next one.
func secretFlag(v any) bool {
	s, ok := v.(string)
	return ok && strings.HasPrefix(s, "-") && !strings.ContainsAny(s, "= ") && secretName(strings.TrimLeft(s, "-"), nil)
}

// mask stands in the place of a value that its name tells to be a credential, in the form
// of the trail's.
const mask = "[redacted:credential]"

// Flags, parameters of a query and headers with their values: --api-key=VALUE,
// ?token=VALUE, X-Api-Key: VALUE. What follows "https:" is no header's value.
var (
	flagValue   = lazy(`(^|[\s?&;,'"(])(-{0,2}[A-Za-z][A-Za-z0-9_-]*)(=)([^\s&;,'"]+)`)
	headerValue = lazy(`(^|[\s;,'"(])([A-Za-z][A-Za-z0-9_-]*)(:\s*)((?:[A-Za-z]+ )?[^\s/&;,'"][^\s&;,'"]*)`)
)

// maskedFlag masks the values of flags, parameters and headers whose name tells a
// credential.
func maskedFlag(s string) (masked string, found bool) {
	for _, pattern := range []*regexp.Regexp{flagValue(), headerValue()} {
		s = pattern.ReplaceAllStringFunc(s, func(m string) string {
			p := pattern.FindStringSubmatch(m)
			if !secretName(strings.TrimLeft(p[2], "-"), nil) || reference(p[4]) || plainWord(p[4]) {
				return m
			}
			found = true
			return p[1] + p[2] + p[3] + mask
		})
	}
	return s, found
}
