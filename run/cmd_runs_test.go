package run

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// stateRun makes a run's state folder.
func stateRun(t *testing.T, d Dirs, i Info) string {
	t.Helper()
	dir := filepath.Join(d.State, "runs", i.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeInfo(dir, i); err != nil {
		t.Fatal(err)
	}
	return dir
}

func testDirs(t *testing.T) Dirs {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir()) // where doctor's folders are looked for
	return Dirs{State: filepath.Join(t.TempDir(), "state"), Runtime: filepath.Join(t.TempDir(), "runtime")}
}

func TestWriteRuns(t *testing.T) {
	started := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	ended, code := started.Add(90*time.Second), 7
	rows := []runRow{
		{Info: Info{ID: "b", Name: "two\x1b", Argv: []string{"claude", strings.Repeat("x", 80)}, Profile: "web", Started: started}, State: StateCrashed},
		{Info: Info{ID: "a", Argv: []string{"true"}, Profile: "default", Started: started, Ended: &ended, ExitCode: &code, Changes: 3, Refused: 12, Models: &modelTotals{Calls: 2, Unpriced: 1, CostMicroUSD: 1_500_000}}, State: StateEnded, Duration: 90},
	}
	var b strings.Builder
	if err := writeRuns(&b, rows, time.UTC); err != nil {
		t.Fatal(err)
	}
	const want = `ID  NAME       STATE    STARTED              TOOK   EXIT  CHANGES  REFUSED  COST     PROFILE  COMMAND
b   "two\x1b"  crashed  2026-03-04 05:06:07  -      -     -        -        -        web      claude xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
a   -          ended    2026-03-04 05:06:07  1m30s  7     3        12       ≥ $1.50  default  true
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestRunsNewestFirst(t *testing.T) {
	d := testDirs(t)
	start := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	// Two of one second: their ids' ends are random.
	stateRun(t, d, Info{ID: "20260304-050607-ff", Started: start})
	stateRun(t, d, Info{ID: "20260304-050607-00", Started: start.Add(time.Millisecond)})
	stateRun(t, d, Info{ID: "20250101-000000-aa", Started: start.AddDate(-1, 0, 0)})
	runs, err := listRuns(d)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range runs {
		ids = append(ids, r.ID)
	}
	if !slices.Equal(ids, []string{"20260304-050607-00", "20260304-050607-ff", "20250101-000000-aa"}) {
		t.Errorf("got %q", ids)
	}
	if r, err := findRun(d, ""); err != nil || r.ID != ids[0] {
		t.Errorf("the last run is %q, %v", r.ID, err)
	}
	if _, err := findRun(d, "2026"); err == nil || !strings.Contains(err.Error(), "2 runs' ids") {
		t.Errorf("an id that two begin with: %v", err)
	}
}

// A run goes on as long as its lock is held, whatever its info says, and has ended
// once its end is written.
func TestRunState(t *testing.T) {
	d := testDirs(t)
	dir := stateRun(t, d, Info{ID: "a"})
	state := func() string {
		i, err := readInfo(dir)
		if err != nil {
			t.Fatal(err)
		}
		return i.State()
	}
	if got := state(); got != StateCrashed {
		t.Errorf("without a lock: %s", got)
	}
	held, err := lock(filepath.Join(dir, fileLock))
	if err != nil {
		t.Fatal(err)
	}
	if got := state(); got != StateRunning {
		t.Errorf("with its lock held: %s", got)
	}
	now := time.Now()
	if err := writeInfo(dir, Info{ID: "a", Ended: &now}); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != StateEnded {
		t.Errorf("with its end written: %s", got)
	}
	held.Close()
}

func TestClean(t *testing.T) {
	d := testDirs(t)
	runtime := func(id string) string {
		dir := filepath.Join(d.Runtime, id)
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", "deep"), 0o700); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	upper := func(state string) string {
		dir := filepath.Join(state, dirUpper)
		// As an agent leaves it: a folder that nobody may enter.
		if err := os.MkdirAll(filepath.Join(dir, "locked", "in"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, "locked"), 0); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	crashed, alive := stateRun(t, d, Info{ID: "crashed"}), stateRun(t, d, Info{ID: "alive"})
	rebooted := stateRun(t, d, Info{ID: "rebooted"}) // its runtime folder went with the tmpfs
	crashedRun, aliveRun := runtime("crashed"), runtime("alive")
	for path, content := range map[string]string{
		filepath.Join(crashedRun, fileState): crashed,
		filepath.Join(crashed, fileAudit):    "a trail\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{alive, aliveRun} {
		held, err := lock(filepath.Join(dir, fileLock))
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
	}
	doctors, err := newScratch(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	killedDoctor, err := newScratch(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	killedDoctor.held.Close()

	gone := []string{crashedRun, upper(crashed), upper(rebooted), killedDoctor.path}
	kept := []string{aliveRun, upper(alive), filepath.Join(crashed, fileAudit), filepath.Join(crashed, fileInfo), filepath.Join(rebooted, fileInfo), doctors.path}
	there := func(path string) bool {
		_, err := os.Lstat(path)
		return err == nil
	}

	r, err := clean(d, os.Geteuid(), true)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(r.Removed)
	slices.Sort(gone)
	if !r.DryRun || !slices.Equal(r.Removed, gone) {
		t.Errorf("a dry run would remove %q, want %q", r.Removed, gone)
	}
	for _, path := range slices.Concat(gone, kept) {
		if !there(path) {
			t.Fatalf("a dry run removed %s", path)
		}
	}
	if r, err = clean(d, os.Geteuid(), false); err != nil {
		t.Fatal(err)
	}
	for _, path := range gone {
		if there(path) {
			t.Errorf("%s is left", path)
		}
	}
	for _, path := range kept {
		if !there(path) {
			t.Errorf("%s was removed", path)
		}
	}
	if r, err = clean(d, os.Geteuid(), false); err != nil || len(r.Removed) != 0 {
		t.Errorf("a second clean removes %q, %v", r.Removed, err)
	}
	if err := os.Chmod(filepath.Join(alive, dirUpper, "locked"), 0o700); err != nil {
		t.Fatal(err)
	}
	doctors.remove()
}
