package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

const testRun = "2026-01-02-brave-otter"

// epoch is the time at which all tests take place.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)

// stepClock is a clock that goes on by a millisecond at each look.
func stepClock() func() time.Time {
	var mu sync.Mutex
	now := epoch
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Millisecond)
		return now
	}
}

// samples has every kind of record, and every outcome of those that have one.
func samples() map[string]Record {
	curl := Process{PID: 12, Parent: 3, Name: "curl", Path: "/usr/bin/curl", Argv: []string{"curl", "-s", "https://example.com/a b"}, Cwd: "/src"}
	m := map[string]Record{
		"start": RunStart{
			RunID: testRun, Name: "nightly", Argv: []string{"claude", "-p", "fix it"}, Cwd: "/src", Workspace: "/src", WorkspaceMode: "overlay",
			Profile: "web.hcl", ProfileHashes: map[string]string{"web.hcl": strings.Repeat("a", 64), "base.hcl": strings.Repeat("b", 64)},
			BinaryHash: strings.Repeat("c", 64), Version: "1.0.0", Kernel: "6.18.1", Mode: "rootless", Caller: "ann",
			Layers:   []Layer{{Name: "landlock", State: "enforced", Detail: "ABI 7", Probe: "write refused"}, {Name: "cgroup", State: "degraded", Detail: "v1"}},
			Limits:   map[string]string{"memory": "4GiB", "time": ""},
			Syscalls: []string{"@ptrace"},
		},
		"start empty": RunStart{},
		"end": RunEnd{ExitCode: 3, Reason: "exited", Duration: time.Second, UserCPU: time.Millisecond, MaxRSS: 1 << 20, Counts: map[string]int64{"exec": 4, "dns_blocked": 1}, Details: map[string]string{"a": "b"},
			Budgets: []BudgetUse{{Name: "model", Limit: "per_run", Unit: "usd", Spent: 1_200_000, Of: 5_000_000}}},
		"end killed":  RunEnd{ExitCode: 137, Signal: "SIGKILL", Reason: "time limit"},
		"end empty":   RunEnd{},
		"wipe":        Wipe{Removed: []string{"/tmp/x"}, Gone: []string{"cgroup"}},
		"wipe left":   Wipe{Left: []string{"/tmp/x: busy"}},
		"exit":        Exit{Process: curl, ExitCode: 6, UserCPU: time.Millisecond, MaxRSS: 4096},
		"exit signal": Exit{Process: Process{PID: 4}, Signal: "SIGSEGV"},
		"closed":      ConnectClosed{ID: 7, Name: "example.com", Addr: "198.18.0.1", Port: 443, BytesIn: 10, BytesOut: 20, Duration: time.Second},
		"closed late": ConnectClosed{ID: 8, Addr: "fd00::1", Port: 443, Error: "reset by peer"},
		"limit":       LimitHit{Limit: "time", Value: 3600, Unit: "s", Action: "killed", Rule: "web.hcl:90", Process: curl, Detail: "after 1h"},
		"resources": Resources{Start: time.UnixMilli(1).UTC(), Step: time.Second, End: time.UnixMilli(1501).UTC(), Source: "cgroup v2",
			Points: []Point{{CPU: time.Second, Memory: 1 << 30, Processes: 4, Network: 7, Execs: 1, Connects: 2, Requests: 3, Denials: 4, Tokens: 5, Cost: 6}, {}}},
		"resources empty": Resources{},
		"state":           RunState{State: "frozen", By: "uid 1000", How: "cgroup v1 freezer", Detail: "12 processes", Rule: "web.hcl:3"},
		"state empty":     RunState{},
		"limit soft":      LimitHit{Limit: "output", Value: 1, Unit: "bytes", Action: "logged"},
		"model": ModelCall{ID: 7, Provider: "anthropic", Model: "claude-x", Host: "api.example.com", Port: 443, Path: "/v1/messages", Status: 200, Usage: "whole",
			Input: 25, Output: 89, CacheRead: 2000, CacheWrite: 100, CacheWriteLong: 60, CostMicroUSD: new(int64(3930)), Tools: 2, Outcome: Allowed, Rule: "web.hcl:20", Process: curl},
		"model unknown":     ModelCall{Provider: "openai-compatible", Usage: "unknown", Outcome: Failed, Reason: "cut off"},
		"model empty":       ModelCall{},
		"tool":              ModelTool{ID: 7, Provider: "anthropic", Model: "claude-x", Host: "api.example.com", Port: 443, Name: "Bash", Digest: strings.Repeat("e", 64), Rule: "web.hcl:20", Process: curl},
		"tool empty":        ModelTool{},
		"approval asked":    Approval{Step: ApprovalAsked, ID: "1", Kind: "connect", What: "connect to example.com:443", Held: 1, Rule: "web.hcl:20", Reason: "because", Process: curl},
		"approval answered": Approval{Step: ApprovalAnswered, ID: "1", Kind: "connect", What: "connect to example.com:443", Yes: true, By: "ann", UID: new(uint32(1000)), Channel: "control", For: time.Minute, Rule: "web.hcl:20", Process: curl},
		"approval granted":  Approval{Step: ApprovalGranted, ID: "1", Kind: "connect", What: "connect to example.com:443", Yes: true, Until: epoch, Held: 3, Rule: "web.hcl:20", Process: curl},
		"approval refused":  Approval{Step: ApprovalRefused, ID: "1", Kind: "exec", What: "git push", Process: curl},
		"approval late":     Approval{Step: ApprovalTimedOut, ID: "1", Kind: "spend", What: "30 usd"},
		"approval flood":    Approval{Step: ApprovalFlooded, Kind: "connect", What: "connect to a.example:443", Reason: "16 questions are open already"},
		"approval empty":    Approval{},
		"signature":         Signature{Key: "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", Comment: "me@laptop", Purpose: "a login as \"git\"", Outcome: Allowed, Rule: "web.hcl:20", Process: curl},
		"signature refused": Signature{Outcome: Blocked, Reason: "request 17 is not passed on"},
		"signature empty":   Signature{},
		"live":              LiveFile{At: epoch, Op: FileCreated, Path: "src/a.go", Type: "file"},
		"live again":        LiveFile{At: epoch, First: epoch.Add(-time.Millisecond), Op: FileModified, Path: "src/a.go", Count: 3},
		"live rename":       LiveFile{At: epoch, Op: FileRenamed, OldPath: "a", Path: "b", Type: "folder"},
		"live empty":        LiveFile{},
		"live mass":         LiveFiles{Start: epoch, End: epoch.Add(time.Second), Under: "node_modules", Created: 1234, Deleted: 20},
		"live mass empty":   LiveFiles{},
		"icmp":              Connect{Network: "icmp", Addr: "fd00::2", Outcome: Blocked, Reason: "no policy allows icmp"},
		"sctp":              Connect{Network: "ip-proto-132", Addr: "10.0.0.1", Outcome: Blocked},
		"no address":        Connect{Network: "tcp", Addr: "fe80::1%eth0\n", Outcome: Blocked},
	}
	for _, o := range []Outcome{Allowed, Blocked, Failed} {
		m["exec "+string(o)] = Exec{Process: curl, Outcome: o, Rule: "web.hcl:14", Reason: "because", ArgsCut: 2, ArgBytes: 999}
		m["exec unknown "+string(o)] = Exec{Outcome: o}
		m["connect "+string(o)] = Connect{
			ID: 7, Network: "tcp", Name: "example.com", Addr: "198.18.0.1", Port: 443, SrcPort: 40000, Dialled: "93.184.216.34:443",
			Protocol: "tls", SNI: "example.com", Outcome: o, Rule: "web.hcl:20", Reason: "because", Process: curl,
		}
		m["dns "+string(o)] = DNS{Name: "example.com", Type: "A", Answers: []string{"198.18.0.1"}, RCode: "NOERROR", Outcome: o, Rule: "web.hcl:20", Process: curl}
		m["dns odd "+string(o)] = DNS{Type: "TYPE65534", RCode: "BADVERS", Outcome: o}
		m["http "+string(o)] = HTTP{ID: 7, Method: "POST", Scheme: "https", Host: "example.com", Port: 443, Path: "/v1/messages", Version: "2", Status: 200,
			BytesOut: 10, BytesIn: 20, Duration: time.Second, Latency: time.Millisecond, Secrets: []string{"api"}, Outcome: o, Rule: "web.hcl:20", Reason: "because", Process: curl}
		m["http changed "+string(o)] = HTTP{Method: "GET", Scheme: "https", Host: "example.com", Port: 443, Path: "/", Version: "1.1", Status: 503, Outcome: o,
			Fault: "status 503", Sanitized: &Sanitized{Elements: 3, Comments: 2, Attributes: 9, Texts: 1, Characters: 5, Bytes: 1000}}
		m["http odd "+string(o)] = HTTP{Method: "BREW", Outcome: o}
		for _, severity := range []string{"low", "medium", "high", "odd"} {
			m["finding "+severity+string(o)] = Finding{Title: "escape attempt", Detail: "io_uring_setup", Severity: severity, Outcome: o, Rule: "base.hcl:3", Process: curl}
		}
	}
	for _, op := range []FileOp{FileCreated, FileModified, FileDeleted, FileRenamed} {
		for _, kind := range []string{"file", "folder", "symlink", "fifo", "odd"} {
			m["file "+string(op)+kind] = File{Op: op, Path: "dist/a.js", OldPath: "dist/b.js", Type: kind, Size: 12, Mode: 0o644, SHA256: strings.Repeat("d", 64), Artifact: true}
		}
	}
	return m
}

// A memFile is a log in memory that can run out of space.
type memFile struct {
	mu     sync.Mutex
	b      bytes.Buffer
	writes int
	syncs  int
	space  int   // bytes until ENOSPC; -1: endless
	noTrim bool  // Truncate fails too
	synced []int // size at each sync
}

var errNoSpace = errors.New("no space left on device")

func newMemFile() *memFile { return &memFile{space: -1} }

func (f *memFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	if f.space >= 0 && len(p) > f.space-f.b.Len() {
		n := max(0, f.space-f.b.Len())
		f.b.Write(p[:n])
		return n, errNoSpace
	}
	return f.b.Write(p)
}

func (f *memFile) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.syncs++
	f.synced = append(f.synced, f.b.Len())
	return nil
}

func (f *memFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.noTrim {
		return errors.New("operation not permitted")
	}
	f.b.Truncate(int(size))
	return nil
}

func (f *memFile) Close() error { return nil }

func (f *memFile) bytes() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return bytes.Clone(f.b.Bytes())
}

func (f *memFile) setSpace(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.space = n
}

// newTestWriter has a clock of its own and ticks only when the test says so.
func newTestWriter(t testing.TB, f LogFile, change func(*Config)) (*Writer, chan time.Time) {
	t.Helper()
	tick := make(chan time.Time)
	c := Config{RunID: testRun, Version: "1.0.0", Size: 64 << 20, Clock: stepClock(), tick: tick}
	if change != nil {
		change(&c)
	}
	w, err := NewWriter(f, c)
	if err != nil {
		t.Fatal(err)
	}
	return w, tick
}

// writeLog writes records and gives the log and its head.
func writeLog(t testing.TB, change func(*Config), records ...Record) ([]byte, *Head) {
	t.Helper()
	f := newMemFile()
	w, _ := newTestWriter(t, f, change)
	for _, r := range records {
		w.Emit(r)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	h := w.Head()
	return f.bytes(), &h
}

// events reads a log that must be whole.
func events(t testing.TB, log []byte) []Event {
	t.Helper()
	var list []Event
	for e, err := range Read(bytes.NewReader(log)) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

func lines(log []byte) []string {
	return strings.SplitAfter(strings.TrimSuffix(string(log), "\n"), "\n")
}

func hexDigest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
