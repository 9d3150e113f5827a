package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentjail/agentjail/netns"
	"github.com/agentjail/agentjail/profiles"
)

// roleVariable makes this test binary one of many runs that spend.
const roleVariable = "AGENTJAIL_LEDGER_TEST"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := spender(role); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func shared() []profiles.Budget {
	limit, most := 100*profiles.One, 7*profiles.One
	return []profiles.Budget{
		{Name: "a", Unit: "usd", PerDay: &limit, Each: &most},
		{Name: "b", PerWeek: &limit},
	}
}

// spender is one run. "many DIR" spends as often as it can and says how much; "once
// DIR" reserves, says so, and then hangs.
func spender(role string) error {
	what, dir, _ := strings.Cut(role, " ")
	store, err := Open(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := NewSession(ctx, store, shared(), func(Notice) {}, func([]netns.BudgetState) {})
	if err != nil {
		return err
	}
	if what == "once" {
		if _, _, err := s.Reserve(ctx, []netns.Charge{{Budget: "a", Amount: 5 * profiles.One}}); err != nil {
			return err
		}
		fmt.Println("reserved")
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	}
	spent := profiles.Amount(0)
	for range 100 {
		id, _, err := s.Reserve(ctx, []netns.Charge{{Budget: "b", Amount: 3 * profiles.One}, {Budget: "a", Amount: 3 * profiles.One}})
		var r *netns.BudgetRefusal
		if errors.As(err, &r) {
			fmt.Println(int64(spent))
			return nil
		}
		if err != nil {
			return err
		}
		// It turns out to have been a little less.
		if _, err := s.Settle(ctx, id, []netns.Charge{{Budget: "a", Amount: 2 * profiles.One}, {Budget: "b", Amount: 2 * profiles.One}}); err != nil {
			return err
		}
		spent += 2 * profiles.One
	}
	return errors.New("there is no end of it")
}

// runAs starts this test binary as a run.
func runAs(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = []string{roleVariable + "=" + role}
	return cmd
}

// Fifty runs at once spend what there is and no more, and what they say they have spent
// is what is written down.
func TestManyRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "budgets")
	var wg sync.WaitGroup
	var mu sync.Mutex
	sum := profiles.Amount(0)
	for range 50 {
		cmd := runAs(t, "many "+dir)
		wg.Go(func() {
			out, err := cmd.CombinedOutput()
			var n int64
			if _, serr := fmt.Sscan(string(out), &n); err != nil || serr != nil {
				t.Errorf("%v: %s", err, out)
			}
			mu.Lock()
			defer mu.Unlock()
			sum += profiles.Amount(n)
		})
	}
	wg.Wait()
	store, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := store.List()
	if err != nil || len(list) != 2 || list[0].Err != nil || list[1].Err != nil {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, e := range list {
		if e.Account.Total != sum || sum > 100*profiles.One || sum < 97*profiles.One {
			t.Errorf("of 100 there are %s spent of %s, and the runs have spent %s", e.Account.Total, e.Name, sum)
		}
	}
}

// A run that is killed between reserving and settling has spent what it reserved.
func TestKilledRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "budgets")
	for i := range 3 {
		cmd := runAs(t, "once "+dir)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, len("reserved\n"))
		if _, err := io.ReadFull(out, line); err != nil || string(line) != "reserved\n" {
			t.Errorf("%q, %v", line, err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("it ended by itself")
		}
		stdin.Close()
		store, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := store.read("a"); err != nil || a.Total != profiles.Amount(i+1)*5*profiles.One {
			t.Errorf("after %d killed runs: %+v, %v", i+1, a, err)
		}
	}
}

func TestStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x", "budgets")
	store, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	begin := func() error {
		_, err := NewSession(ctx, store, shared(), func(Notice) {}, func([]netns.BudgetState) {})
		return err
	}
	if err := begin(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "a.json", "b.json", fileLock} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	path := filepath.Join(dir, "a.json")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("what can't be read stops every run, until it is reset", func(t *testing.T) {
		for name, spoil := range map[string]func() error{
			"cut short": func() error { return os.WriteFile(path, good[:len(good)-9], 0o600) },
			"edited":    func() error { return os.WriteFile(path, []byte(strings.Replace(string(good), `"0"`, `"1"`, 1)), 0o600) },
			"empty":     func() error { return os.WriteFile(path, nil, 0o600) },
			"too large": func() error { return os.WriteFile(path, make([]byte, maxFile+1), 0o600) },
			"a link":    func() error { return os.Symlink("b.json", path) },
			"a folder":  func() error { return os.Mkdir(path, 0o700) },
		} {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			if err := begin(); err == nil || !strings.Contains(err.Error(), "agentjail budget reset a") {
				t.Errorf("%s: %v", name, err)
			}
			if list, err := store.List(); err != nil || len(list) != 2 || list[0].Err == nil || list[1].Err != nil {
				t.Errorf("%s: listed as %+v, %v", name, list, err)
			}
			if err := store.Reset(ctx, "a"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := begin(); err != nil {
				t.Errorf("%s, after a reset: %v", name, err)
			}
		}
	})
	t.Run("reset of what is not there", func(t *testing.T) {
		if err := store.Reset(ctx, "c"); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if err := store.Reset(ctx, "../budgets/a"); err == nil {
			t.Error("it leaves the folder")
		}
	})
	t.Run("what a crash left half written", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(dir, ".a.json"), good[:10], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := begin(); err != nil {
			t.Error(err)
		}
		if list, err := store.List(); err != nil || len(list) != 2 {
			t.Errorf("%+v, %v", list, err)
		}
	})
	t.Run("two units", func(t *testing.T) {
		other := shared()
		other[0].Unit = "eur"
		if _, err := NewSession(ctx, store, other, nil, nil); err == nil || !strings.Contains(err.Error(), `is in "eur"`) {
			t.Error(err)
		}
	})
	t.Run("a locked ledger is not waited for without end", func(t *testing.T) {
		held, err := store.lock(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		if err := store.update(short, shared(), func([]*Account) error { return nil }); err == nil || !strings.Contains(err.Error(), "locked") {
			t.Error(err)
		}
	})
	t.Run("a folder that others can write to", func(t *testing.T) {
		if err := os.Chmod(dir, 0o770); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil {
			t.Error("it is taken")
		}
		link := filepath.Join(t.TempDir(), "link")
		if err := errors.Join(os.Chmod(dir, 0o700), os.Symlink(dir, link)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(link); err == nil {
			t.Error("a link is taken")
		}
	})
}

// resummed is an account's text in a file whose sum is right.
func resummed(t *testing.T, account []byte) []byte {
	t.Helper()
	var compact json.RawMessage = account
	data, err := json.Marshal(file{Version: version, Account: compact})
	if err != nil {
		return account
	}
	var f file // as it is written, compacted
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(f.Account)
	f.SHA256 = hex.EncodeToString(sum[:])
	data, err = json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
