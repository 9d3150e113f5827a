package ledger

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
)

const (
	extension = ".json"
	fileLock  = "lock"

	// lockTimeout is how long a lock is waited for. Whoever holds it writes a few
	// hundred bytes; who holds it longer was stopped, and spending waits for nobody.
	lockTimeout = 30 * time.Second
)

// Store is the folder of a user's accounts, one file a budget.
//
// One lock is over all of them, so that a spend from several budgets is one. A file is
// written beside, put on the disk and renamed, so that a crash leaves the old or the
// new one whole; the folder is put on the disk too, so that a power cut does not bring
// back what had been spent already.
type Store struct {
	dir string
	now func() time.Time
}

// Open takes a folder, and makes it where it is not there yet.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the budgets: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return nil, fmt.Errorf("folder of the budgets: %w", &os.PathError{Op: "lstat", Path: dir, Err: err})
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("folder of the budgets %s is no folder that belongs to you alone\nhint: look at it, then chmod 700 it or move it away", dir)
	}
	return &Store{dir: dir, now: time.Now}, nil
}

// lock takes the lock over all accounts. It falls with the process, however that ends
// (flock(2)).
func (s *Store) lock(ctx context.Context) (*os.File, error) {
	path := filepath.Join(s.dir, fileLock)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 16*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, &os.PathError{Op: "flock", Path: path, Err: err}
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("%s is locked by another process for %v already\nhint: a run was stopped while it was writing (fuser %s names it); continue or end it", path, lockTimeout, path)
		case <-time.After(wait/2 + time.Duration(mathrand.Int64N(int64(wait)))): // not all at once
		}
	}
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name+extension) }

// read reads an account; nil where there is none yet.
func (s *Store) read(name string) (*Account, error) {
	if !profiles.BudgetName(name) {
		return nil, fmt.Errorf("%q is no name of a budget", name)
	}
	// Not blocking, should it be a FIFO.
	f, err := os.OpenFile(s.path(name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var data []byte
	if err == nil {
		defer f.Close()
		data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	}
	if err == nil && len(data) > maxFile {
		err = errors.New("it is too large")
	}
	var a *Account
	if err == nil {
		a, err = decode(name, data)
	}
	if err != nil {
		return nil, fmt.Errorf("the ledger of the budget %q (%s) can't be read: %w\nhint: nothing can be spent from it until it is mended; agentjail budget reset %s begins anew", name, s.path(name), err, name)
	}
	return a, nil
}

// write replaces an account's file.
func (s *Store) write(a *Account) error {
	data, err := encode(a)
	if err != nil {
		return err
	}
	// One name is enough, since there is one lock; what a crash left under it goes.
	tmp := filepath.Join(s.dir, "."+a.Name+extension)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, s.path(a.Name))
	}
	return err
}

// sync puts the folder on the disk.
func (s *Store) sync() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// update changes some accounts, all under one lock, each rolled on to now. An account
// that is not there yet is made by its unit. Where change fails nothing is written;
// where writing fails half way, what was written stays, and counts.
func (s *Store) update(ctx context.Context, budgets []profiles.Budget, change func([]*Account) error) error {
	lock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	accounts := make([]*Account, len(budgets))
	now := s.now()
	for i, b := range budgets {
		if accounts[i], err = s.account(b, now); err != nil {
			return err
		}
	}
	if err := change(accounts); err != nil {
		return err
	}
	for _, a := range accounts {
		if err := s.write(a); err != nil {
			return fmt.Errorf("the ledger of the budget %q can't be written: %w", a.Name, err)
		}
	}
	return s.sync()
}

// account is a budget's account as it is now, made where there is none.
func (s *Store) account(b profiles.Budget, now time.Time) (*Account, error) {
	a, err := s.read(b.Name)
	if err != nil {
		return nil, err
	}
	if a == nil {
		var id [8]byte
		if _, err := rand.Read(id[:]); err != nil {
			return nil, err
		}
		return newAccount(b.Name, b.Unit, hex.EncodeToString(id[:]), now), nil
	}
	if a.Unit != b.Unit {
		return nil, fmt.Errorf("the budget %q is in %q at %s, and what was spent of it before is in %q\nhint: give it another name, or begin anew with agentjail budget reset %s", b.Name, b.Unit, b.Origin, a.Unit, b.Name)
	}
	a.roll(now)
	return a, nil
}

// Entry is one account of a list, or why it can't be read.
type Entry struct {
	Name    string
	Account *Account
	Err     error
}

// List reads all accounts as they are now. It writes nothing and waits for nobody: a
// file is replaced as a whole.
func (s *Store) List() ([]Entry, error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("folder of the budgets: %w", err)
	}
	var list []Entry
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), extension)
		if !ok || !profiles.BudgetName(name) {
			continue
		}
		e := Entry{Name: name}
		if e.Account, e.Err = s.read(name); e.Account != nil {
			e.Account.roll(s.now())
		} else if e.Err == nil {
			continue // gone since
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Reset forgets what was spent of a budget, also where its file can't be read. Runs
// that go on count anew from here, but for what their own per_run says.
func (s *Store) Reset(ctx context.Context, name string) error {
	lock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	if !profiles.BudgetName(name) {
		return fmt.Errorf("%q is no name of a budget", name)
	}
	if err := os.Remove(s.path(name)); err != nil {
		return err
	}
	return s.sync()
}
