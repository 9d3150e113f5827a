package run

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
	"github.com/agentjail/agentjail/run/changes"
	"github.com/agentjail/agentjail/run/evidence"
)

// The bounds of an archive of a frozen run.
const (
	packSize    = 16 << 30 // of everything in it, before it is compressed
	regionSize  = 1 << 30  // of one region of memory
	packSpan    = 9999     // archives of one run
	filePrefix  = "frozen-"
	fileSuffix  = ".tar.zst"
	recordSpace = 1 << 30 // of the trail that is packed
)

// packOptions say what goes into an archive, and who asked for it.
type packOptions struct {
	who    string
	memory bool
}

var errNotHeld = errors.New("only a frozen run is packed\nhint: agentjail freeze --pack")

// pack puts what the frozen run is at this moment into an archive in its state folder.
// Nothing of it runs meanwhile: orders are carried out one after the other.
func (s *session) pack(o packOptions) (path string, err error) {
	s.still.turn.Lock()
	defer s.still.turn.Unlock()
	if !s.still.frozen() {
		return "", errNotHeld
	}
	// What is recorded so far has to be in the trail that is packed.
	if err := s.trail.Flush(); err != nil {
		return "", err
	}
	f, err := s.newArchive()
	if err != nil {
		return "", err
	}
	defer f.Close()
	mask := s.masking.Mask
	if mutate.Off(mutate.Masking) {
		mask = func([]byte) int { return 0 }
	}
	w, err := evidence.NewWriter(f, evidence.Options{Run: s.id, Now: time.Now(), Size: packSize, Mask: mask})
	if err == nil {
		err = errors.Join(s.fillArchive(w, o), w.Close())
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("pack the run: %w", err), os.Remove(f.Name()))
	}
	detail := filepath.Base(f.Name())
	if o.memory {
		detail += ", memory with it"
	}
	s.sink.Emit(audit.RunState{State: "packed", By: o.who, Detail: detail})
	return f.Name(), nil
}

// newArchive makes the next archive's file.
func (s *session) newArchive() (*os.File, error) {
	for n := 1; n <= packSpan; n++ {
		f, err := os.OpenFile(filepath.Join(s.state, filePrefix+strconv.Itoa(n)+fileSuffix), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, os.ErrExist) {
			return f, err
		}
	}
	return nil, fmt.Errorf("run %s has %d archives already", s.id, packSpan)
}

func (s *session) fillArchive(w *evidence.Writer, o packOptions) error {
	// Small and telling things first: a full disk or archive cuts off the rest.
	if err := w.JSON("run.json", struct {
		Info   Info        `json:"run"`
		Frozen jail.Frozen `json:"frozen"`
		Stats  runStats    `json:"stats"`
	}{s.info, s.still.how, s.stats()}); err != nil {
		return err
	}
	if err := w.JSON("profile.json", s.spec); err != nil {
		return err
	}
	if err := w.JSON("gateway.json", s.gatewayState()); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return s.packProcesses(w, false) },
		func() error { return s.packFile(w, "audit.jsonl", s.info.Audit, recordSpace) },
		func() error { return s.packChanges(w) },
		func() error {
			if o.memory {
				return s.packProcesses(w, true)
			}
			w.Skip("processes/*/memory", "it was not asked for (--memory)")
			return nil
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// packFile packs a file that only the supervisor writes.
func (s *session) packFile(w *evidence.Writer, name, path string, most int64) error {
	f, err := os.Open(path)
	if err != nil {
		w.Skip(name, err.Error())
		return nil
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() > most {
		w.Skip(name, fmt.Sprintf("only its first %d of %d bytes are packed", most, st.Size()))
	}
	return w.Stream(name, min(st.Size(), most), f)
}

// packProcesses packs the table of processes, or the memory of each.
func (s *session) packProcesses(w *evidence.Writer, memory bool) error {
	list, complete := s.jail.ProcessTable()
	if !complete {
		w.Skip("processes", fmt.Sprintf("there are more than %d", len(list)))
	}
	for _, p := range list {
		dir := fmt.Sprintf("processes/%d/", p.PID)
		if memory {
			if err := packMemory(w, dir, p); err != nil {
				return err
			}
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(p.Files)) {
			if err := w.Bytes(dir+name, p.Files[name]); err != nil {
				return err
			}
		}
		if err := w.JSON(dir+"links.json", p.Links); err != nil {
			return err
		}
		if err := w.JSON(dir+"descriptors.json", p.FDs); err != nil {
			return err
		}
	}
	if memory {
		return nil
	}
	tables := s.jail.SocketTables()
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		if err := w.Bytes("sockets/"+name, tables[name]); err != nil {
			return err
		}
	}
	return nil
}

func packMemory(w *evidence.Writer, dir string, p jail.ProcessRecord) error {
	mem, err := p.Memory()
	if err != nil {
		w.Skip(dir+"memory", err.Error())
		return nil
	}
	defer mem.Close()
	for _, r := range p.Private() {
		name := fmt.Sprintf("%smemory/%x-%x", dir, r.Start, r.End)
		if r.Size() > regionSize {
			w.Skip(name, fmt.Sprintf("the region has %d bytes", r.Size()))
			continue
		}
		if err := w.Stream(name, r.Size(), r.Reader(mem)); err != nil {
			return err
		}
	}
	return nil
}

// packChanges packs what the agent changed: the list, and every file that it added or
// changed. They are copied first, since a file's size has to be known before it is packed.
func (s *session) packChanges(w *evidence.Writer) error {
	upper := s.jail.Upper
	if upper == nil {
		w.Skip("files", fmt.Sprintf("the workspace is in %s mode: there is nothing between it and the host's folder", s.plan.Workspace.Mode))
		return nil
	}
	lower := s.plan.Workspace.Path
	if s.plan.Workspace.Mode == profiles.ModeEmpty {
		lower = ""
	}
	hidden := hiddenSet(s.plan.Workspace.Hidden)
	dir, err := os.MkdirTemp(s.state, ".packing-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if list, err := changes.Read(upper, lower, changes.Options{Hidden: hidden}); err != nil {
		w.Skip("changes.json", err.Error())
	} else if err := writeFile(filepath.Join(dir, fileChanges), list.WriteJSON); err != nil {
		w.Skip("changes.json", err.Error())
	} else if err := s.packFile(w, fileChanges, filepath.Join(dir, fileChanges), packSize); err != nil {
		return err
	}
	files := filepath.Join(dir, "files")
	if err := os.Mkdir(files, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(files)
	if err != nil {
		return err
	}
	defer root.Close()
	m, err := changes.CollectArtifacts(changes.ArtifactSource{Upper: upper}, []profiles.Pattern{{Pattern: "**"}}, root, changes.ArtifactCaps{Size: packSize})
	if err != nil {
		w.Skip("files", err.Error())
	}
	if m == nil {
		return nil
	}
	if err := w.JSON("files.json", m); err != nil {
		return err
	}
	for _, a := range m.Files {
		name := cmp.Or(a.Stored, a.Path)
		f, err := root.Open(name)
		if err != nil {
			w.Skip("files/"+name, err.Error())
			continue
		}
		err = w.Stream("files/"+name, a.Size, io.LimitReader(f, a.Size))
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
