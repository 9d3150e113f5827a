package audit

import (
	"encoding/json"
	"strings"
	"testing"
)

func unmapped(t *testing.T, e Event) map[string]any {
	t.Helper()
	var m map[string]any
	if len(e.Unmapped) > 0 {
		if err := json.Unmarshal(e.Unmapped, &m); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestLongValueIsCut(t *testing.T) {
	long := strings.Repeat("x", 4095) + "é" + strings.Repeat("y", 1<<20)
	log, _ := writeLog(t, nil, Exec{Process: Process{PID: 1, Path: long}, Outcome: Allowed})
	e := events(t, log)[0]
	if e.Process.Path != long[:4095] { // the é would be split
		t.Errorf("path has %d bytes", len(e.Process.Path))
	}
	if !strings.Contains(string(e.Raw), `"is_truncated":true`) {
		t.Error("metadata does not say that it is truncated")
	}
	for _, c := range unmapped(t, e)["cut"].([]any) {
		if m := c.(map[string]any); m["path"] == "process.path" {
			if m["size"] != float64(len(long)) || m["sha256"] != hexDigest(long) {
				t.Errorf("cut: %v", m)
			}
			return
		}
	}
	t.Error("nothing says that the path was cut")
}

// The digest of a cut value is of the redacted text: it must not let anyone check
// a guess of the secret.
func TestCutDigestIsOfRedactedText(t *testing.T) {
	long := strings.Repeat("x", 5000) + "canary-7f3a9c"
	log, _ := writeLog(t, func(c *Config) { c.Redact = []string{"canary-7f3a9c"} }, Exec{Process: Process{PID: 1, Path: long}, Outcome: Allowed})
	redacted := strings.Repeat("x", 5000) + "[redacted:secret]"
	if strings.Contains(string(log), hexDigest(long)) || !strings.Contains(string(log), hexDigest(redacted)) {
		t.Errorf("digest of the wrong text in %s", log)
	}
}

func TestManyArgumentsAreBounded(t *testing.T) {
	argv := make([]string, 100000)
	for i := range argv {
		argv[i] = "\x01\x01\x01\x01\x01\x01\x01\x01"
	}
	m := make(map[string]string)
	for i := range 10000 {
		m[strings.Repeat("\x01", 1+i%50)+string(rune('a'+i%26))+argv[0]+string(rune(i+256))] = "\x01"
	}
	log, _ := writeLog(t, nil, Exec{Process: Process{PID: 1, Argv: argv}, Outcome: Allowed}, RunStart{Argv: argv, Limits: m, ProfileHashes: m, Syscalls: argv})
	for i, e := range events(t, log) {
		if len(e.Raw) > MaxLine/2 {
			t.Errorf("line %d has %d bytes", i+1, len(e.Raw))
		}
		if !strings.Contains(string(e.Raw), `"elements":100000`) {
			t.Errorf("line %d does not say how many arguments there were", i+1)
		}
	}
}

func TestCleanStrings(t *testing.T) {
	tests := []struct {
		name, in, want, note string
	}{
		{"plain", "abc", "abc", ""},
		{"utf-8", "日本語 é", "日本語 é", ""},
		{"c0", "a\x1b[31m\nb\x00", "a\x1b[31m\nb\x00", ""}, // JSON escapes these
		{"invalid", "a\xff\xfeb", "a\ufffdb", "invalid_utf8"},
		{"surrogate", "a\xed\xa0\x80b", "a\ufffdb", "invalid_utf8"},
		{"c1", "a\u009b31m", "a\ufffd31m", "control_characters"},
		{"del", "a\x7f", "a\ufffd", "control_characters"},
		{"separator", "a\u2028b", "a\ufffdb", "control_characters"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log, _ := writeLog(t, nil, Connect{Network: "tcp", Name: tt.in, Outcome: Blocked})
			e := events(t, log)[0]
			if e.Dst.Hostname != tt.want {
				t.Errorf("got %q, want %q", e.Dst.Hostname, tt.want)
			}
			notes := unmapped(t, e)
			for _, key := range []string{"invalid_utf8", "control_characters"} {
				if _, noted := notes[key]; noted != (key == tt.note) {
					t.Errorf("notes: %v", notes)
				}
			}
			for _, c := range e.Raw {
				if c < 0x20 || c == 0x7f {
					t.Errorf("raw control character in %q", e.Raw)
				}
			}
		})
	}
}

func TestNumbersBeyondDoubles(t *testing.T) {
	log, _ := writeLog(t, nil, File{Op: FileCreated, Path: "sparse", Type: "file", Size: 1<<63 - 1})
	e := events(t, log)[0]
	if e.File.Size != maxExact {
		t.Errorf("size %d", e.File.Size)
	}
	if exact, _ := unmapped(t, e)["exact"].(map[string]any); exact["file.size"] != "9223372036854775807" {
		t.Errorf("exact: %v", exact)
	}
}

func TestKeysThatBecomeTheSame(t *testing.T) {
	log, _ := writeLog(t, func(c *Config) { c.Redact = []string{"secret-one", "secret-two"} },
		RunEnd{Details: map[string]string{"secret-one": "1", "secret-two": "2", "\xff": "3", "\xfe": "4"}})
	details, _ := unmapped(t, events(t, log)[0])["details"].(map[string]any)
	if len(details) != 4 {
		t.Errorf("details: %v", details)
	}
}
