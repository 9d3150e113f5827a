package monitor

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Past is what is kept of one run for those to come.
type Past struct {
	Run     string             `json:"run"`
	Ended   time.Time          `json:"ended"`
	Span    time.Duration      `json:"span"`  // that a peak is the mean of
	Peaks   map[string]float64 `json:"peaks"` // by signal, a second
	Most    map[string]int64   `json:"most"`  // executions of the programs that were executed most
	Regular []string           `json:"regular"`
}

// The bounds of a profile's history.
const (
	maxPast     = 30
	maxMost     = 8
	maxHistory  = 1 << 20 // bytes of the file
	historyForm = 1
)

// Past gives what is kept of the run that was judged.
func (d *Detector) Past(run string, ended time.Time) Past {
	p := Past{Run: run, Ended: ended.UTC(), Span: d.peakSpan(), Peaks: map[string]float64{}, Most: d.repeats.most(maxMost), Regular: d.regular.found}
	for _, t := range d.tracks {
		p.Peaks[t.name] = t.peak
	}
	return p
}

// file is a profile's history on disk.
type file struct {
	Version int    `json:"version"`
	Profile string `json:"profile"`
	Runs    []Past `json:"runs"` // the oldest first
}

// History keeps what earlier runs of the profiles did, one small file a profile.
type History struct{ dir string }

// OpenHistory takes the folder, and makes it where it is not there.
func OpenHistory(dir string) (*History, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("history of runs: %w", err)
	}
	return &History{dir}, nil
}

// path is a profile's file. A profile's name may be a path, with anything in it.
func (h *History) path(profile string) string {
	sum := sha256.Sum256([]byte(profile))
	return filepath.Join(h.dir, hex.EncodeToString(sum[:12])+".json")
}

// Load gives the profile's earlier runs, the oldest first. What is damaged is no past:
// the error says so, and the next run to end begins a new one.
func (h *History) Load(profile string) ([]Past, error) {
	f, err := os.OpenFile(h.path(profile), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("history of runs: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxHistory+1))
	if err != nil {
		return nil, fmt.Errorf("history of runs: %w", err)
	}
	runs, err := parse(data, profile)
	if err != nil {
		return nil, fmt.Errorf("history of runs %s: %w\nhint: it is begun anew with the next run's end", h.path(profile), err)
	}
	return runs, nil
}

// parse believes nothing that is out of bounds.
func parse(data []byte, profile string) ([]Past, error) {
	if len(data) > maxHistory {
		return nil, fmt.Errorf("it has more than %d bytes", maxHistory)
	}
	var x file
	if err := json.Unmarshal(data, &x); err != nil {
		return nil, err
	}
	if x.Version != historyForm {
		return nil, fmt.Errorf("it is of version %d, this agentjail reads version %d", x.Version, historyForm)
	}
	if x.Profile != profile {
		return nil, fmt.Errorf("it is of another profile, %q", x.Profile)
	}
	if len(x.Runs) > maxPast {
		return nil, fmt.Errorf("it has %d runs", len(x.Runs))
	}
	for _, p := range x.Runs {
		for _, v := range p.Peaks {
			if v < 0 {
				return nil, errors.New("it has a rate below zero")
			}
		}
		if len(p.Regular) > maxRhythms || len(p.Most) > maxMost {
			return nil, errors.New("it has too many names")
		}
	}
	return x.Runs, nil
}

// Add puts a run at the end of the profile's history. Runs that end at the same time wait
// for each other.
func (h *History) Add(profile string, p Past) error {
	lock, err := os.OpenFile(filepath.Join(h.dir, ".lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("history of runs: %w", err)
	}
	defer lock.Close()
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return fmt.Errorf("history of runs: %w", os.NewSyscallError("flock", err))
		}
	}
	runs, err := h.Load(profile)
	if err != nil {
		runs = nil // damaged: Load has told the run that began with it
	}
	runs = append(runs, p)
	data, err := json.Marshal(file{historyForm, profile, runs[max(0, len(runs)-maxPast):]})
	if err != nil {
		return fmt.Errorf("history of runs: %w", err)
	}
	// Beside it and renamed, so that nobody reads half of it.
	tmp := filepath.Join(h.dir, ".new")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("history of runs: %w", err)
	}
	if err := os.Rename(tmp, h.path(profile)); err != nil {
		return fmt.Errorf("history of runs: %w", err)
	}
	return nil
}
