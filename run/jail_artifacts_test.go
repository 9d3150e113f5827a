package run_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestJailArtifactsHowever: what is collected is collected however the agent ends: by
// itself, by an error, by a signal, by a limit. The patch applies with git, each file's
// fingerprint is right, and what there was no room for is said.
func TestJailArtifactsHowever(t *testing.T) {
	const profile = `limits { output = "4KiB" }
artifacts {
  collect = ["dist/**"]
  size    = "1KiB"
}
`
	const work = `mkdir -p dist; echo kept >dist/a; head -c 2000 /dev/zero >dist/large; echo new >file; `
	for name, tt := range map[string]struct {
		end    string
		code   int
		reason string
	}{
		"by itself":   {"true", 0, "exited"},
		"by an error": {"exit 7", 7, "exited"},
		"by a signal": {"kill -KILL $$", 137, "signal"},
		"by a limit":  {"exec yes", 137, "output limit"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCaller(t, profile)
			c.write("file", "old\n")
			into := filepath.Join(c.dir, "out")
			o := c.runWith([]string{"--artifacts", into}, "sh", "-c", work+tt.end)
			if o.code != tt.code || o.status.Reason != tt.reason {
				t.Errorf("exit code %d, reason %q, want %d and %q\n%s", o.code, o.status.Reason, tt.code, tt.reason, clip(o.stderr))
			}
			data, err := os.ReadFile(filepath.Join(into, "manifest.json"))
			if err != nil {
				t.Fatal(err)
			}
			var m struct {
				Files []struct{ Path, SHA256 string } `json:"files"`
				Left  []struct{ Path, Reason string } `json:"left_out"`
			}
			if err := json.Unmarshal(data, &m); err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256([]byte("kept\n"))
			if len(m.Files) != 1 || m.Files[0].Path != "dist/a" || m.Files[0].SHA256 != hex.EncodeToString(sum[:]) {
				t.Errorf("files %+v", m.Files)
			}
			if len(m.Left) != 1 || m.Left[0].Path != "dist/large" || !strings.Contains(m.Left[0].Reason, "size cap") {
				t.Errorf("left out %+v", m.Left)
			}
			wantReached(t, o, "artifacts size", "artifacts size: 1KiB limit reached")
			if got, err := os.ReadFile(filepath.Join(into, "dist", "a")); err != nil || string(got) != "kept\n" {
				t.Errorf("dist/a: %q %v", got, err)
			}
			git, err := exec.LookPath("git")
			if err != nil {
				t.Skip("the host lacks git, to apply the patch with")
			}
			cmd := exec.Command(git, "apply", filepath.Join(into, "changes.patch"))
			cmd.Dir = c.workspace
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("git apply: %v\n%s", err, out)
			}
			if got, err := os.ReadFile(filepath.Join(c.workspace, "file")); err != nil || string(got) != "new\n" {
				t.Errorf("the patched file: %q %v", got, err)
			}
		})
	}
}
