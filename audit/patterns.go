package audit

import (
	"encoding/base64"
	"strings"
)

// A pattern is a kind of credential that is known by its form.
type pattern struct {
	label    string
	prefixes []string // at least three bytes each; lower case if fold
	fold     bool     // the prefix's case does not matter
	word     bool     // no letter or digit stands before it
	find     finder
}

// A finder gets a string, the place where a prefix begins and the place after
// it, and says what to replace; an empty range is no match. It must look at no
// more than a bounded number of bytes beyond what it matches, because it is
// called for every occurrence of a prefix in hostile text.
type finder func(s string, i, after int) (start, end int)

// patterns are the credentials that are known by their form. The forms are those
// that the issuers document, with the least length that they have used.
func patterns() []pattern {
	const (
		alnum = "0-9A-Za-z"
		word  = "0-9A-Za-z_-"
	)
	return []pattern{
		// IAM identifiers, "Unique ID prefixes": AKIA long-term, ASIA temporary keys.
		{label: "aws-access-key", prefixes: []string{"AKIA", "ASIA"}, word: true, find: run("0-9A-Z", 16)},
		{label: "aws-secret-key", prefixes: []string{"aws_secret_access_key", "secretaccesskey", "aws_session_token"}, fold: true, find: assigned(16)},
		// GitHub, "About authentication to GitHub": ghp, gho, ghu, ghs, ghr and fine-grained.
		{label: "github-token", prefixes: []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"}, word: true, find: run("0-9A-Za-z_", 20)},
		{label: "gitlab-token", prefixes: []string{"glpat-", "gldt-", "glrt-"}, word: true, find: run(word, 20)},
		{label: "anthropic-key", prefixes: []string{"sk-ant-"}, word: true, find: run(word, 8)},
		{label: "openai-key", prefixes: []string{"sk-"}, word: true, find: run(word, 20)},
		{label: "stripe-key", prefixes: []string{"sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"}, word: true, find: run(alnum, 16)},
		{label: "google-key", prefixes: []string{"AIza"}, word: true, find: run(word, 35)},
		{label: "google-token", prefixes: []string{"ya29.", "GOCSPX-", "AQ."}, word: true, find: run("0-9A-Za-z._-", 20)},
		{label: "slack-token", prefixes: []string{"xoxa-", "xoxb-", "xoxc-", "xoxd-", "xoxe-", "xoxe.", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xapp-"}, word: true, find: run("0-9A-Za-z._%-", 10)},
		// Their own documentation; the same are in the ready list of the profile language.
		{label: "groq-key", prefixes: []string{"gsk_"}, word: true, find: run(alnum, 40)},
		{label: "xai-key", prefixes: []string{"xai-"}, word: true, find: run(alnum, 40)},
		{label: "together-key", prefixes: []string{"tgp_v1_"}, word: true, find: run(word, 20)},
		{label: "fireworks-key", prefixes: []string{"fw_"}, word: true, find: run(alnum, 20)},
		{label: "cerebras-key", prefixes: []string{"csk-"}, word: true, find: run(alnum, 40)},
		{label: "perplexity-key", prefixes: []string{"pplx-"}, word: true, find: run(alnum, 40)},
		{label: "replicate-token", prefixes: []string{"r8_"}, word: true, find: run(alnum, 30)},
		{label: "bitbucket-token", prefixes: []string{"ATCTT3xFfGN0", "ATATT3xFfGF0"}, word: true, find: run("0-9A-Za-z_=-", 20)},
		{label: "bitbucket-token", prefixes: []string{"ATBB"}, word: true, find: run(alnum, 28)},
		{label: "linear-key", prefixes: []string{"lin_api_"}, word: true, find: run(alnum, 32)},
		{label: "npm-token", prefixes: []string{"npm_"}, word: true, find: run(alnum, 36)},
		{label: "pypi-token", prefixes: []string{"pypi-AgE"}, word: true, find: run(word, 50)},
		{label: "huggingface-token", prefixes: []string{"hf_"}, word: true, find: run(alnum, 30)},
		// RFC 7519: three base64url parts; the first decodes to a JSON object, so it begins with {" or {<space>.
		{label: "jwt", prefixes: []string{"eyJ", "eyA"}, word: true, find: jwt},
		{label: "private-key", prefixes: []string{"-----begin "}, fold: true, find: pem},
		{label: "url-userinfo", prefixes: []string{"://"}, find: userinfo},
		{label: "bearer-token", prefixes: []string{"bearer ", "bearer%20", "bearer+"}, fold: true, word: true, find: bearer},
		{label: "basic-credentials", prefixes: []string{"basic ", "basic%20"}, fold: true, word: true, find: basic},
		{label: "password", prefixes: []string{"password", "passwd", "client_secret", "access_token", "refresh_token", "api_key", "api-key", "apikey", "auth_token", "private_token", "private-token"}, fold: true, find: assigned(6)},
	}
}

// run matches a prefix that is followed by at least least characters of a set,
// which is written like a bracket expression without the brackets.
func run(set string, least int) finder {
	in := charset(set)
	return func(s string, i, after int) (int, int) {
		end := span256(&in, s, after)
		if end-after < least {
			return 0, 0
		}
		return i, end
	}
}

// assigned matches the value in name=value, name: value, "name":"value" and
// --name value, of at least least characters.
func assigned(least int) finder {
	stop := charset(" \t\r\n\"'&;,<>\\")
	return func(s string, _, after int) (int, int) {
		start := after
		separator := false
		for start < len(s) && start < after+8 && strings.IndexByte(" =:\"'\\", s[start]) >= 0 {
			separator = separator || s[start] == '=' || s[start] == ':'
			start++
		}
		if !separator || strings.HasPrefix(s[start:], "[redacted:") {
			return 0, 0
		}
		end := start
		for end < len(s) && !stop[s[end]] {
			end++
		}
		if end-start < least {
			return 0, 0
		}
		return start, end
	}
}

// jwt matches header.payload.signature, of which an unsigned one has no third part.
func jwt(s string, i, after int) (int, int) {
	const longestHeader = 2 << 10
	in := charset("0-9A-Za-z_-")
	end := span256(&in, s[:min(len(s), after+longestHeader)], after)
	if end-after < 8 || end == len(s) || s[end] != '.' {
		return 0, 0
	}
	payload := end + 1
	end = span256(&in, s, payload)
	if end-payload < 4 || end == len(s) || s[end] != '.' {
		return 0, 0
	}
	return i, span256(&in, s, end+1)
}

// pem matches a private key of any kind up to its end line; one whose end is
// missing is secret up to the end of the string.
func pem(s string, i, after int) (int, int) {
	const longestType = 40
	head := s[after:min(len(s), after+longestType)]
	if !strings.Contains(strings.ToUpper(head), "PRIVATE KEY") {
		return 0, 0
	}
	end := strings.Index(s[after:], "-----END ")
	if end < 0 {
		return i, len(s)
	}
	end += after + len("-----END ")
	if tail := strings.Index(s[end:], "-----"); tail >= 0 && tail <= longestType {
		return i, end + tail + len("-----")
	}
	return i, end
}

// userinfo matches what stands between :// and @ (RFC 3986 section 3.2.1) where it holds a
// password, or is so long that it is a token; the "git" of ssh://git@host stays.
func userinfo(s string, _, after int) (int, int) {
	const longName = 20
	colon := false
	for end := after; end < len(s); end++ {
		switch s[end] {
		case '@':
			if (colon && end-after > 1) || end-after >= longName {
				return after, end
			}
			return 0, 0
		case ':':
			colon = true
		case '/', '?', '#', ' ', '\t', '\n', '"', '\'', '<', '>':
			return 0, 0
		}
	}
	return 0, 0
}

// bearer matches a token (RFC 6750 section 2.1) that is no ordinary word: it has a digit or
// is long.
func bearer(s string, _, after int) (int, int) {
	in := charset("0-9A-Za-z._~+/=-")
	end := span256(&in, s, after)
	token := s[after:end]
	if len(token) >= 24 || len(token) >= 8 && strings.ContainsAny(token, "0123456789") {
		return after, end
	}
	return 0, 0
}

// basic matches base64 that decodes to user:password (RFC 7617 section 2), so that the
// word after "basic" in a sentence stays.
func basic(s string, _, after int) (int, int) {
	in := charset("0-9A-Za-z+/_-")
	end := span256(&in, s, after)
	text := strings.NewReplacer("-", "+", "_", "/").Replace(s[after:end])
	plain, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(plain) < 3 || !strings.Contains(string(plain), ":") {
		return 0, 0
	}
	for end < len(s) && s[end] == '=' {
		end++
	}
	return after, end
}

// charset makes a set of bytes from single characters and ranges ("a-z"); a "-"
// at the end stands for itself.
func charset(set string) (in [256]bool) {
	for i := 0; i < len(set); i++ {
		if i+2 < len(set) && set[i+1] == '-' {
			for c := int(set[i]); c <= int(set[i+2]); c++ {
				in[c] = true
			}
			i += 2
			continue
		}
		in[set[i]] = true
	}
	return in
}

// span256 is the place after the characters of a set that begin at i.
func span256(in *[256]bool, s string, i int) int {
	for i < len(s) && in[s[i]] {
		i++
	}
	return i
}
