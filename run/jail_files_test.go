package run_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// plantMain makes 20,000 files in 2,000 new folders, folders in folders, from 8 threads at
// once, and with "fell" removes half of the folders again.
func plantMain(args []string) int {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 250 {
				top := fmt.Sprintf("new/%d/%d", i, n/5)
				dir := fmt.Sprintf("%s/%d", top, n%5)
				if n%5 == 0 {
					dir = top
				}
				if err := os.MkdirAll(dir, 0o755); err != nil {
					fmt.Println(err)
				}
				for k := range 10 {
					if err := os.WriteFile(fmt.Sprintf("%s/f%d", dir, k), []byte("x"), 0o644); err != nil {
						fmt.Println(err)
					}
				}
				if len(args) > 0 && n%5 == 4 && n%2 == 0 {
					if err := os.RemoveAll(top); err != nil {
						fmt.Println(err)
					}
				}
			}
		})
	}
	wg.Wait()
	fmt.Println("done")
	return 0
}

// overflowMain makes more files than the kernel's queue has room for, says so by a file,
// and makes one more in a folder of theirs when it is told to.
func overflowMain(args []string) int {
	fmt.Println("begun")
	for { // until nobody reads the queue
		if told, _ := os.ReadFile(args[0]); len(told) > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for i := range 300 {
		dir := fmt.Sprintf("new/%d", i)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			fmt.Println(err)
		}
		for k := range 10 {
			if err := os.WriteFile(fmt.Sprintf("%s/f%d", dir, k), nil, 0o644); err != nil {
				fmt.Println(err)
			}
		}
	}
	for i := range 20_000 { // in a folder that was there before
		if err := os.WriteFile(fmt.Sprintf("flat/%d", i), nil, 0o644); err != nil {
			fmt.Println(err)
		}
	}
	if err := os.WriteFile("planted", nil, 0o644); err != nil {
		fmt.Println(err)
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
	time.Sleep(3 * time.Second) // the events of that second are over
	if err := os.WriteFile("new/299/late", nil, 0o644); err != nil {
		fmt.Println(err)
	}
	return 0
}

// planted is what plantMain leaves: 20,000 files, 2,000 folders, and those they are in.
const planted = 20_000 + 2_000 + 9

// seen is what a trail has of changes as they happened, and of those found at the end.
type seen struct {
	live   map[audit.FileOp]int64 // by what each is called, those that are only counted too
	paths  map[string]bool        // "create new/0/1", of those that have an event
	found  map[string]bool        // at the end
	events int                    // of live ones
	counts map[string]int64       // that the last event has
	end    string                 // what it says of them
	layer  string                 // of the first event
	wipe   string
}

func seenIn(t *testing.T, events []audit.Event) seen {
	t.Helper()
	s := seen{live: map[audit.FileOp]int64{}, paths: map[string]bool{}, found: map[string]bool{}}
	for _, e := range events {
		var u struct {
			Mass    map[audit.FileOp]int64 `json:"mass"`
			Counts  map[string]int64       `json:"counts"`
			Details map[string]string      `json:"details"`
			Layers  []audit.Layer          `json:"layers"`
		}
		if err := json.Unmarshal(e.Unmapped, &u); err != nil && len(e.Unmapped) > 0 {
			t.Fatal(err)
		}
		switch v := e.View(); v.Kind {
		case "start":
			for _, l := range u.Layers {
				if l.Name == "file changes" {
					s.layer = l.State + ": " + l.Detail
				}
			}
		case "wipe":
			s.wipe = v.Target
		case "live":
			s.events++
			if u.Mass != nil {
				for op, n := range u.Mass {
					s.live[op] += n
				}
				continue
			}
			s.paths[v.Target] = true
			s.live[map[int]audit.FileOp{1: audit.FileCreated, 3: audit.FileModified, 4: audit.FileDeleted, 5: audit.FileRenamed}[e.ActivityID]] += v.Count
		case "file":
			s.found[v.Target] = true
		case "end":
			s.counts, s.end = u.Counts, u.Details["files seen live"]
		}
	}
	return s
}

// TestJailFilesSeen: everything that is there at the end was seen as it was made, once,
// and the trail has it twice: as what was seen, and as what has come of it.
func TestJailFilesSeen(t *testing.T) {
	for _, mode := range []string{"memory", "disk", "direct", "empty"} {
		t.Run(mode, func(t *testing.T) {
			profile := map[string]string{"memory": "", "disk": "workspace { upper = \"disk\" }\n", "direct": direct(""), "empty": "workspace { mode = \"empty\" }\n"}[mode]
			c := newCaller(t, fmt.Sprintf("files {\n  exec = [%q]\n}\n", self(t))+profile)
			c.write("old/folder/file", "x")
			begun := time.Now()
			s := seenIn(t, c.must(self(t), helperArg, "plant").events())
			t.Log(s.layer, "|", s.end, "|", s.events, "events |", s.counts)
			if s.wipe != "Success" {
				t.Errorf("the wipe: %s", s.wipe)
			}
			if s.counts["live_lost"] > 0 {
				t.Errorf("lost: %s", s.end)
			}
			// Folders of four: 8 × 50 that are made with the first of their five.
			if n := s.live[audit.FileCreated]; n != planted || s.counts["live_created"] != planted {
				t.Errorf("created: the trail says %d, counted are %d, made were %d", n, s.counts["live_created"], planted)
			}
			if s.counts["live_deleted"]+s.counts["live_renamed"] > 0 || s.live[audit.FileDeleted]+s.live[audit.FileRenamed] > 0 {
				t.Errorf("%+v", s.counts)
			}
			if most := 61 * (2 + int(time.Since(begun).Seconds())); s.events > most {
				t.Errorf("%d events for it", s.events)
			}
			if mode != "direct" && (s.counts["file"] != planted || len(s.found) != planted) {
				t.Errorf("at the end %d, %d", s.counts["file"], len(s.found))
			}
		})
	}
}

// TestJailFilesOrder: what each command does is an event, and what comes and goes leaves
// one too.
func TestJailFilesOrder(t *testing.T) {
	const script = `
echo x >new; mkdir -p nd/sub; echo x >nd/sub/x; mv nd moved; mv old/a old/b; rm gone/1; rm -r gone
echo x >brief; rm brief; echo y >>kept; mkdir gone; rm -r moved; sleep 1.2; rm -r old`
	for mode, want := range map[string]string{
		"memory": "create new|create nd|create nd/sub|create nd/sub/x|rename nd to moved|rename old/a to old/b|delete gone/1|delete gone/2|delete gone|create brief|delete brief|update kept|create gone|delete moved/sub/x|delete moved|delete old/b|delete old",
		// The first one of a folder's may be done with before the folder is watched.
		"disk":   "create new|create nd|rename nd to moved|delete gone|create brief|delete brief|update kept|delete moved|delete old",
		"direct": "create new|create nd|rename nd to moved|rename old/a to old/b|delete gone/1|delete gone/2|delete gone|create brief|delete brief|update kept|create gone|delete moved|delete old/b|delete old",
	} {
		t.Run(mode, func(t *testing.T) {
			profile := map[string]string{"memory": "", "disk": "workspace { upper = \"disk\" }\n", "direct": direct("")}[mode]
			c := newCaller(t, profile)
			for _, f := range []string{"old/a", "gone/1", "gone/2", "kept"} {
				c.write(f, "x")
			}
			o := c.must("sh", "-c", script)
			s := seenIn(t, o.events())
			if mode == "memory" && strings.Contains(s.layer, "inotify") {
				t.Skip("this kernel has no overlay in memory for the jail (before Linux 6.6), and the test has one on disk")
			}
			for _, w := range strings.Split(want, "|") {
				if !s.paths[w] {
					t.Errorf("no event says %q", w)
				}
			}
			if t.Failed() || s.paths["update gone/1"] || s.paths["create gone/1"] {
				t.Errorf("%s: %s, %v", s.layer, s.end, s.paths)
			}
			if mode != "direct" && (s.found["create brief"] || !s.found["update kept"] || int64(o.status.Changes) != s.counts["file"]) {
				t.Errorf("at the end: %v, %d changes, %+v", s.found, o.status.Changes, s.counts)
			}
			// Nothing of it is in what people count.
			b := &background{caller: c}
			for _, args := range [][]string{{"diff", "--stat"}, {"logs", "--class", "file"}} {
				if mode == "direct" {
					break
				}
				if out, _ := b.order(0, args...); strings.Contains(out, "brief") {
					t.Errorf("agentjail %q: %s", args, out)
				}
			}
			if out, _ := b.order(0, "logs", "--class", "live"); !strings.Contains(out, "brief") {
				t.Errorf("agentjail logs --class live: %s", out)
			}
		})
	}
}

// TestJailFilesFollow: the events are there while the run goes on.
func TestJailFilesFollow(t *testing.T) {
	b := newCaller(t, "").background("seen", "sh", "-c", "echo begun; echo x >made; read wait </dev/zero; sleep 60")
	b.until("the file", func() bool {
		out, _ := b.order(0, "logs", "seen", "--class", "live")
		return strings.Contains(out, "create made")
	})
	if out, _ := b.order(0, "top", "--json"); !strings.Contains(out, `"created":1`) && !strings.Contains(out, `"created": 1`) {
		t.Errorf("top: %s", out)
	}
	b.order(0, "kill", "seen")
	<-b.done
}

// TestJailFilesOverflow: more than the kernel keeps is lost to the watch, which says so,
// finds its way again, and loses nothing of what the end has.
func TestJailFilesOverflow(t *testing.T) {
	for _, mode := range []string{"memory", "direct"} {
		t.Run(mode, func(t *testing.T) {
			// What it has is seen in the jail; new names of a folder need not be.
			signs := t.TempDir()
			if err := os.WriteFile(filepath.Join(signs, "go"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			c := newCaller(t, fmt.Sprintf("files {\n  exec = [%q]\n  read = [%q]\n}\n", self(t), signs)+map[string]string{"direct": direct("")}[mode])
			c.write("flat/file", "x")
			in, told, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			defer told.Close()
			c.stdin = in
			flood := []string{self(t), helperArg, "overflow", filepath.Join(signs, "go")}
			var outside *exec.Cmd
			var b *background
			inside := c.workspace
			if mode == "direct" {
				// The agent can give no name while nobody answers; whoever shares the folder can.
				outside = exec.Command(flood[0], flood[1:]...)
				outside.Dir, outside.Stdin = c.workspace, in
				c.stdin = nil
				b = c.background("flood", "sh", "-c", "echo begun; until [ -e new/299/late ]; do sleep 0.1; done")
				if err := outside.Start(); err != nil {
					t.Fatal(err)
				}
			} else {
				b = c.background("flood", flood...)
				// The workspace as the agent sees it, through PID 1.
				inside = fmt.Sprintf("/proc/%d/root%s", below(t, b.cmd.Process.Pid)[0].pid, c.workspace)
			}
			// Nobody reads the queue meanwhile.
			if err := b.cmd.Process.Signal(unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(signs, "go"), []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
			b.until("the files", func() bool { _, err := os.Stat(filepath.Join(inside, "planted")); return err == nil })
			if err := b.cmd.Process.Signal(unix.SIGCONT); err != nil {
				t.Fatal(err)
			}
			if _, err := told.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if outside != nil {
				if err := outside.Wait(); err != nil {
					t.Error(err)
				}
			}
			if code := exitOf(t, <-b.done); code != 0 {
				t.Fatalf("exit code %d: %s", code, b.stderr)
			}
			s := seenIn(t, readEvents(t, filepath.Join(b.state(), "audit.jsonl")))
			t.Log(s.layer, "|", s.end, "|", s.counts)
			if s.counts["live_lost"] == 0 || !strings.Contains(s.end, "with gaps") {
				t.Errorf("nothing was lost: %s", s.end)
			}
			if !s.paths["create new/299/late"] {
				t.Error("what came after it was not seen")
			}
			if mode != "direct" && s.counts["file"] < 23_300 {
				t.Errorf("the end has %d", s.counts["file"])
			}
		})
	}
}

// TestJailFilesFelled: folders that are removed while others are made.
func TestJailFilesFelled(t *testing.T) {
	for _, mode := range []string{"memory", "disk"} {
		t.Run(mode, func(t *testing.T) {
			c := newCaller(t, fmt.Sprintf("files {\n  exec = [%q]\n}\n", self(t))+map[string]string{"disk": "workspace { upper = \"disk\" }\n"}[mode])
			s := seenIn(t, c.must(self(t), helperArg, "plant", "fell").events())
			t.Log(s.layer, "|", s.end, "|", s.counts)
			left := s.counts["live_created"] - s.counts["live_deleted"]
			if strings.Contains(s.layer, "fanotify") && (s.counts["live_created"] != planted || left != s.counts["file"]) {
				t.Errorf("%d are left of those that were seen, and there are %d", left, s.counts["file"])
			}
			if s.counts["file"] == 0 || s.counts["live_deleted"] == 0 || s.counts["live_created"] < s.counts["file"] {
				t.Errorf("%+v", s.counts)
			}
		})
	}
}

// TestJailFilesAnomaly: 5,000 files that are deleted at once stop the run.
func TestJailFilesAnomaly(t *testing.T) {
	c := newCaller(t, "on \"anomaly\" {\n action = \"stop\"\n after = \"2s\"\n}")
	for i := range 5000 {
		c.write(fmt.Sprintf("data/%d/%d", i%50, i), "")
	}
	o := c.run("sh", "-c", "sleep 4; rm -r data; sleep 60")
	wantAnomaly(t, o, "far more files deleted")
	for i := range 5000 {
		if _, err := os.Stat(filepath.Join(c.workspace, fmt.Sprintf("data/%d/%d", i%50, i))); err != nil {
			t.Fatal(err)
		}
	}
}
