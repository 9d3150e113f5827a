package changes

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strings"
)

// The text form of git's patches: git-diff(1), "Generating patch text with -p", and
// for binary ones git's diff.c (emit_binary_diff_body) and base85.c.

// The modes that git has (git-update-index(1), index entries).
const (
	gitFile       = 0o100644
	gitExecutable = 0o100755
	gitSymlink    = 0o120000
)

// gitBlob is one side of a patch. Without its data only its removal can be written.
type gitBlob struct {
	mode uint32
	id   string // SHA-1 blob id in full, which binary patches need
	data []byte
	bare bool // data isn't there
}

const gitNoID = "0000000000000000000000000000000000000000"

func newGitBlob(mode uint32, data []byte) *gitBlob {
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", len(data))
	h.Write(data)
	return &gitBlob{mode: mode, id: hex.EncodeToString(h.Sum(nil)), data: data}
}

// gitPatch is the part of a patch for one path; nil is the side that does not exist.
// A changed type is a removal and a creation, as git writes it.
func gitPatch(path string, old, now *gitBlob) []byte {
	if old != nil && now != nil && (old.mode == gitSymlink) != (now.mode == gitSymlink) {
		return append(gitPatch(path, old, nil), gitPatch(path, nil, now)...)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "diff --git %s %s\n", gitQuote("a/"+path), gitQuote("b/"+path))
	oldID, nowID, suffix := gitNoID, gitNoID, ""
	switch {
	case old == nil:
		fmt.Fprintf(&b, "new file mode %06o\n", now.mode)
	case now == nil:
		fmt.Fprintf(&b, "deleted file mode %06o\n", old.mode)
	case old.mode != now.mode:
		fmt.Fprintf(&b, "old mode %06o\nnew mode %06o\n", old.mode, now.mode)
	default:
		suffix = fmt.Sprintf(" %06o", now.mode)
	}
	var oldData, nowData []byte
	if old != nil {
		oldID, oldData = old.id, old.data
	}
	if now != nil {
		nowID, nowData = now.id, now.data
	}
	if oldID == nowID {
		return b.Bytes() // only the mode differs
	}
	fmt.Fprintf(&b, "index %s..%s%s\n", oldID, nowID, suffix)
	switch {
	case old != nil && old.bare:
		// The half without which git can only not reverse the patch.
		b.WriteString("GIT binary patch\n")
		gitLiteral(&b, nil)
		return b.Bytes()
	case len(oldData) == 0 && len(nowData) == 0:
		return b.Bytes()
	}
	hunks, text := gitHunks(oldData, nowData)
	if !text {
		b.WriteString("GIT binary patch\n")
		gitLiteral(&b, nowData)
		gitLiteral(&b, oldData)
		return b.Bytes()
	}
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", gitLabel("a/", path, old), gitLabel("b/", path, now))
	b.Write(hunks)
	return b.Bytes()
}

// gitLabel is the file name of a --- or +++ line. Git ends it with a tab where the
// name has a space, because older patch programs take what follows for a date.
func gitLabel(side, path string, blob *gitBlob) string {
	if blob == nil {
		return "/dev/null"
	}
	label := gitQuote(side + path)
	if strings.Contains(path, " ") {
		label += "\t"
	}
	return label
}

// gitQuote quotes a name as git does with core.quotePath (quote.c, quote_c_style),
// and beyond it a name with a space before a slash: where an unquoted one is told by
// the "diff --git" line alone, git apply does not find its end (seen with 2.39).
func gitQuote(name string) string {
	var sb strings.Builder
	quoted := strings.Contains(name, " /")
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			sb.WriteByte(c)
			continue
		}
		quoted = true
		if j := strings.IndexByte("\a\b\t\n\v\f\r\"\\", c); j >= 0 {
			sb.WriteByte('\\')
			sb.WriteByte(`abtnvfr"\`[j])
		} else {
			fmt.Fprintf(&sb, "\\%03o", c)
		}
	}
	if !quoted {
		return name
	}
	return `"` + sb.String() + `"`
}

// gitLiteral writes one half of a binary patch: lines of a length letter and up to 52
// bytes of the deflated data in base 85, five characters for four bytes.
func gitLiteral(b *bytes.Buffer, data []byte) {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write(data) // a bytes.Buffer takes everything
	_ = w.Close()
	fmt.Fprintf(b, "literal %d\n", len(data))
	for rest := z.Bytes(); len(rest) > 0; {
		line := rest[:min(52, len(rest))]
		rest = rest[len(line):]
		if len(line) <= 26 {
			b.WriteByte('A' + byte(len(line)) - 1)
		} else {
			b.WriteByte('a' + byte(len(line)) - 27)
		}
		for i := 0; i < len(line); i += 4 {
			var four [4]byte
			copy(four[:], line[i:])
			v := uint32(four[0])<<24 | uint32(four[1])<<16 | uint32(four[2])<<8 | uint32(four[3])
			var five [5]byte
			for j := 4; j >= 0; j-- {
				five[j] = alphabet[v%85]
				v /= 85
			}
			b.Write(five[:])
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
}

// diffMaxLines bounds the memory of a line diff; longer files become binary patches.
const diffMaxLines = 200_000

// gitHunks is the unified diff with three lines of context. It is not text if there
// is a NUL in it (git looks at the first 8,000 bytes only) or a side is too long.
func gitHunks(old, now []byte) (hunks []byte, text bool) {
	if bytes.IndexByte(old, 0) >= 0 || bytes.IndexByte(now, 0) >= 0 {
		return nil, false
	}
	if countLines(old)+countLines(now) > diffMaxLines {
		return nil, false
	}
	a, b := splitLines(old), splitLines(now)
	removed, added := compareLines(a, b)
	var out bytes.Buffer
	writeHunks(&out, a, b, removed, added)
	return out.Bytes(), true
}

// compareLines tells which lines of a are removed and which of b are added.
func compareLines(a, b [][]byte) (removed, added []bool) {
	ids := map[string]int{}
	number := func(lines [][]byte) []int {
		n := make([]int, len(lines))
		for i, l := range lines {
			id, ok := ids[string(l)]
			if !ok {
				id = len(ids)
				ids[string(l)] = id
			}
			n[i] = id
		}
		return n
	}
	return diffLines(number(a), number(b))
}

func countLines(b []byte) int { return bytes.Count(b, []byte{'\n'}) + 1 }

// splitLines keeps each line's newline, so that a last line without one differs.
func splitLines(b []byte) [][]byte {
	if len(b) == 0 {
		return nil
	}
	lines := bytes.SplitAfter(b, []byte{'\n'})
	if len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	return lines
}

const gitContext = 3

func writeHunks(out *bytes.Buffer, a, b [][]byte, removed, added []bool) {
	differs := func(i, j int) bool { return i < len(a) && removed[i] || j < len(b) && added[j] }
	for i, j := 0, 0; i < len(a) || j < len(b); {
		if !differs(i, j) {
			i, j = i+1, j+1
			continue
		}
		// The hunk begins with what was equal before, and ends where more equal
		// lines follow than two contexts.
		start := min(gitContext, i)
		a0, b0 := i-start, j-start
		same := 0
		for (i < len(a) || j < len(b)) && same <= 2*gitContext {
			switch {
			case i < len(a) && removed[i]:
				i, same = i+1, 0
			case j < len(b) && added[j]:
				j, same = j+1, 0
			default:
				i, j, same = i+1, j+1, same+1
			}
		}
		drop := max(0, same-gitContext)
		a1, b1 := i-drop, j-drop
		fmt.Fprintf(out, "@@ -%s +%s @@\n", hunkRange(a0, a1), hunkRange(b0, b1))
		for i, j := a0, b0; i < a1 || j < b1; {
			switch {
			case i < a1 && removed[i]:
				writeHunkLine(out, '-', a[i])
				i++
			case j < b1 && added[j]:
				writeHunkLine(out, '+', b[j])
				j++
			default:
				writeHunkLine(out, ' ', a[i])
				i, j = i+1, j+1
			}
		}
	}
}

// hunkRange counts from 1; an empty range names the line before it.
func hunkRange(from, to int) string {
	switch to - from {
	case 0:
		return fmt.Sprintf("%d,0", from)
	case 1:
		return fmt.Sprint(from + 1)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}

func writeHunkLine(out *bytes.Buffer, sign byte, line []byte) {
	out.WriteByte(sign)
	out.Write(line)
	if len(line) == 0 || line[len(line)-1] != '\n' {
		out.WriteString("\n\\ No newline at end of file\n")
	}
}
