package run_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// beyond are sequences that a terminal does more with than to show them, in the words of
// printf(1), and what is left of the text around them.
const (
	beyond     = `before \033]52;c;aGVsbG8=\007\033]0;title\007\033[c\033[5n\033[?u\033P$qm\033\134\033]8;;https://evil.example\033\134link\033]8;;\033\134\033[31m behind\n`
	beyondLeft = "before link\x1b[31m behind"
)

// whole is beyond as it was written.
var whole = strings.NewReplacer(`\033`, "\x1b", `\007`, "\x07", `\134`, `\`, `\n`, "").Replace(beyond)

// terminalFindings are the lines of the caller's trail about what was taken out. Its first
// line says of the filter that it is in a state, or nothing for "".
func terminalFindings(t *testing.T, c *caller, state string) (lines []string) {
	t.Helper()
	trails, err := filepath.Glob(filepath.Join(c.home, ".local/state/agentjail/runs/*/audit.jsonl"))
	if err != nil || len(trails) != 1 {
		t.Fatalf("the trails: %q, %v", trails, err)
	}
	data, err := os.ReadFile(trails[0])
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(data), "\n")
	if said := strings.Contains(first, `"name":"terminal output"`); said != (state != "") || said && !regexp.MustCompile(`"name":"terminal output"[^}]*"state":"`+state+`"`).MatchString(first) {
		t.Errorf("the first event does not say %q of the filter: %s", state, first)
	}
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, "taken out of the output to the terminal: ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// shows checks all that the screen has got, once agentjail has ended.
func (k *console) shows(want string) {
	k.t.Helper()
	for end := time.Now().Add(10 * time.Second); k.screen() != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			k.t.Errorf("the screen has %q, want %q", k.screen(), want)
			return
		}
	}
}

func TestJailScreen(t *testing.T) {
	t.Run("a terminal", func(t *testing.T) {
		c := newCaller(t, "")
		k := openConsole(t, c, "sh", "-c", "printf '"+beyond+"'; printf 'half\\033]0;never'")
		k.end(0)
		k.shows(beyondLeft + "\r\nhalf")
		lines := terminalFindings(t, c, "enforced")
		if len(lines) != 1 {
			t.Fatalf("the trail has %q", lines)
		}
		for _, want := range []string{"clipboard 1, link 2, query 3, terminal command 1, title 2", `"severity":"Medium"`, `"disposition":"Blocked"`} {
			if !strings.Contains(lines[0], want) {
				t.Errorf("the trail has no %s: %s", want, lines[0])
			}
		}
	})
	t.Run("a terminal, and a profile that passes", func(t *testing.T) {
		c := newCaller(t, `process { terminal = "pass" }`)
		k := openConsole(t, c, "sh", "-c", "printf '"+beyond+"'")
		k.end(0)
		k.shows(whole + "\r\n")
		if lines := terminalFindings(t, c, "off"); len(lines) > 0 {
			t.Errorf("the trail has %q", lines)
		}
	})
	t.Run("a terminal that only its output goes to", func(t *testing.T) {
		c := newCaller(t, "")
		ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
		defer cancel()
		k := startConsole(t, c.command(ctx, []string{"--tty", "never", "--quiet"}, "sh", "-c", "printf '"+beyond+"'; printf '"+beyond+"' >&2"))
		k.end(0)
		k.shows(strings.Repeat(beyondLeft+"\r\n", 2))
	})
	t.Run("a pipe and a file", func(t *testing.T) {
		c := newCaller(t, "")
		if o := c.must("sh", "-c", "printf '"+beyond+"'; printf '"+beyond+"' >&2"); o.stdout != whole+"\n" || !strings.Contains(o.stderr, whole) {
			t.Errorf("a pipe gets %q and %q", o.stdout, o.stderr)
		}
		if lines := terminalFindings(t, c, ""); len(lines) > 0 {
			t.Errorf("the trail has %q", lines)
		}
		// Each end for itself: stdout is a file, and stderr is the terminal.
		out, err := os.Create(filepath.Join(c.dir, "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
		defer cancel()
		// The shell that puts the file there, since a console has all three ends.
		cmd := c.command(ctx, []string{"--quiet"}, "sh", "-c", "printf '"+beyond+"'; printf '"+beyond+"' >&2")
		cmd.Args = append([]string{"sh", "-c", `exec "$@" >"$0"`, out.Name()}, append([]string{cmd.Path}, cmd.Args[1:]...)...)
		cmd.Path = "/bin/sh"
		k := startConsole(t, cmd)
		k.end(0)
		if data, err := io.ReadAll(out); err != nil || string(data) != whole+"\n" {
			t.Errorf("a file gets %q, %v", data, err)
		}
		k.shows(beyondLeft + "\r\n")
	})
	t.Run("programs that draw", func(t *testing.T) {
		// What terminfo has for the screen, as less, vim and tmux write it.
		draw := `\033[?1049h\033[22;0;0t\033[?1h\033=\033[?2004h\033[1;24r\033[H\033[2J\033[?25l\033[1;31mred\033[m\033(0lqk\033(B\033[10;5H\033[K\033[?1002;1006h\033[5 q\033[?2026hGrüße\033[?2026l\033[?12l\033[?25h\033[?1l\033>\033[23;0;0t\033[?1049l`
		k := openConsole(t, newCaller(t, ""), "sh", "-c", "printf '"+draw+"'")
		k.end(0)
		k.shows(strings.ReplaceAll(draw, `\033`, "\x1b"))
	})
}
