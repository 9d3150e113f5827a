package changes

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// FuzzJournal lets Recover read a journal that somebody changed: whatever it says, nothing
// outside of the workspace is touched, and nothing but the stage and what it names in it.
func FuzzJournal(f *testing.F) {
	for _, s := range []string{
		`{"stage":"STAGE","ops":[{"kind":"replace","path":"a","ino":1,"old":420},{"kind":"remove","path":"d/x"},{"kind":"place","path":"new","ino":3},{"kind":"chmod","path":"d","old":493,"new":448}]}`,
		`{"stage":"STAGE","ops":[{"kind":"remove","path":"../outside"},{"kind":"remove","path":"/etc/x"},{"kind":"place","path":"d/../../outside"}]}`,
		`{"stage":"STAGE","ops":[{"kind":"remove","path":"link/x"},{"kind":"chmod","path":"link","old":511}]}`,
		`{"stage":"STAGE","ops":[{"kind":"remove","path":"","path_base64":"/w=="},{"kind":"none","path":"a"}]}`,
		`{"stage":"..","ops":[]}`, `{"stage":"d","ops":null}`, `{"ops":[{}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		base := t.TempDir()
		work, outside, dir := base+"/work", base+"/outside", base+"/journal"
		for _, d := range []string{work, work + "/d", work + "/" + StagePrefix + "x", outside, dir} {
			must(t, os.Mkdir(d, 0o755))
		}
		for _, p := range []string{work + "/a", work + "/d/x", work + "/" + StagePrefix + "x/b0", work + "/" + StagePrefix + "x/n0", work + "/" + StagePrefix + "x/b1", outside + "/x"} {
			must(t, os.WriteFile(p, []byte(filepath.Base(p)), 0o644))
		}
		must(t, os.Symlink("../outside", work+"/link"))
		before := treeSnapshot(t, outside)
		var st unix.Stat_t
		must(t, unix.Stat(work, &st))
		// The folder is the right one, or nothing at all would be done.
		text := strings.ReplaceAll(string(data), "STAGE", StagePrefix+"x")
		if rest, ok := strings.CutPrefix(text, "{"); ok {
			text = "{" + rest
			if i := strings.LastIndexByte(text, '}'); i > 0 {
				sep := ","
				if strings.TrimSpace(text[1:i]) == "" {
					sep = ""
				}
				text = text[:i] + sep + `"workspace":"` + work + `","dev":` + strconv.FormatUint(uint64(st.Dev), 10) + `,"ino":` + strconv.FormatUint(st.Ino, 10) + text[i:] //nolint:unconvert // 32 bits wide elsewhere
			}
		}
		must(t, os.WriteFile(dir+"/"+journalFile, []byte(text), 0o600))
		err := Recover(dir)
		if err == nil && Pending(dir) {
			t.Error("a journal is still there, and nobody is told")
		}
		if diff := cmp.Diff(before, treeSnapshot(t, outside)); diff != "" {
			t.Errorf("outside of the workspace (-want +got):\n%s", diff)
		}
	})
}
