package profiles

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// diskOptions are the options of a caller whose home is /home/u and whose own
// profiles are in dirs.
func diskOptions(t *testing.T, dirs ...string) Options {
	t.Helper()
	return Options{
		Home:     "/home/u",
		Cwd:      "/ws",
		Env:      func(name string) (string, bool) { return "", false },
		ReadFile: os.ReadFile,
		Dirs:     dirs,
	}
}

// mapOptions are the same over files that are only in memory.
func mapOptions(files map[string]string) Options {
	return Options{
		Home: "/home/u",
		Cwd:  "/ws",
		ReadFile: func(path string) ([]byte, error) {
			if s, ok := files[path]; ok {
				return []byte(s), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
	}
}

// TestBroken holds the exact text that each kind of mistake gets.
func TestBroken(t *testing.T) {
	dir, err := filepath.Abs("testdata/broken")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, pattern := range []string{"*.hcl", "*.json"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 60 {
		t.Fatalf("only %d broken profiles were found", len(files))
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			// Under a name that is as long everywhere, since long lines are broken.
			const place = "/broken"
			options := diskOptions(t)
			options.ReadFile = func(path string) ([]byte, error) {
				b, err := os.ReadFile(strings.Replace(path, place, dir, 1))
				var pe *fs.PathError
				if errors.As(err, &pe) {
					pe.Path = path
				}
				return b, err
			}
			spec, diags, parsed := Load(strings.Replace(path, dir, place, 1), options)
			if spec != nil || !diags.HasErrors() {
				t.Fatal("the profile loads")
			}
			var out bytes.Buffer
			if err := Render(&out, diags, parsed, 78, false); err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(out.String(), place+"/", "DIR/")
			golden := path + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the diagnostics differ (-want +got):\n%s", diff)
			}
		})
	}
}
