package changes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxStoredName is NAME_MAX of Linux's usual file systems (pathconf(3)).
	maxStoredName = 255
	// maxStoredPath leaves room within PATH_MAX (4,096) for where the folder is, and
	// keeps 100,000 files in folders as deep as this allows from taking minutes.
	maxStoredPath = 1024
)

// storedName is the path under which an artifact is kept. Most stay as they are.
// What could act on whoever lists the folder or stands in it is percent-escaped:
//
//   - control and format characters (terminal escapes, newlines, CVE-2021-42574's
//     bidirectional overrides) and bytes that are no UTF-8;
//   - a leading dash, which `rm *` takes for an option;
//   - .git, and HEAD, without which no folder is a bare repository: git runs
//     programs that the configuration of a repository around it names, and many a
//     shell prompt runs git (core.fsmonitor, CVE-2022-24765);
//   - at the top, the names of the files that agentjail itself writes there.
//
// A name that has become longer than a file system takes ends in its hash instead.
// Two paths never share a stored one: a percent sign that looks like an escape is
// escaped itself. It reports false for a path that is too long to be kept.
func storedName(path string) (string, bool) {
	if len(path) > maxStoredPath { // and escaping makes it no shorter
		return "", false
	}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = storedPart(p, i == 0 && slices.Contains(ownNames[:], p))
	}
	stored := strings.Join(parts, "/")
	return stored, len(stored) <= maxStoredPath
}

// ownNames would otherwise be overwritten, and what the agent wrote under them be
// taken for agentjail's word.
var ownNames = [...]string{"manifest.json", "changes.json", "changes.patch", "audit.jsonl", "run.json"}

// storedPart escapes one name; taken, its first character whatever it is.
func storedPart(name string, taken bool) string {
	var sb strings.Builder
	first := taken || name[0] == '-' || IsDotGit(name) || strings.EqualFold(name, "HEAD")
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		bad := (r == utf8.RuneError && n == 1) || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) ||
			(i == 0 && first) || (r == '%' && looksEscaped(name[i+1:]))
		for _, b := range []byte(name[i : i+n]) {
			if bad {
				fmt.Fprintf(&sb, "%%%02X", b)
			} else {
				sb.WriteByte(b)
			}
		}
		i += n
	}
	s := sb.String()
	if len(s) <= maxStoredName {
		return s
	}
	sum := sha256.Sum256([]byte(name))
	return strings.ToValidUTF8(s[:160], "") + "%~" + hex.EncodeToString(sum[:])
}

// looksEscaped tells whether a percent sign before this would be taken for one that
// storedPart wrote.
func looksEscaped(rest string) bool {
	return strings.HasPrefix(rest, "~") || len(rest) >= 2 && isHex(rest[0]) && isHex(rest[1])
}

func isHex(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F'
}
