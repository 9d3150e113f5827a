package run

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
	"github.com/agentjail/agentjail/run/filewatch"
)

// watchFiles begins to see changes of the workspace as they happen, before the agent's
// first instruction. How it is done is a line of the trail's first event; a run in which it
// can't be done goes on, since the changes are read from the layer when it has ended.
func (s *session) watchFiles() []jail.Layer {
	w := s.plan.Workspace
	if w.Mode == profiles.ModeReadonly || mutate.Off(mutate.FileWatch) {
		return nil
	}
	c := filewatch.Config{Group: s.jail.Changes, Probe: s.plan.FileProbe(), Root: s.jail.Upper, Size: s.spec.Audit.Size, Emit: s.sink.Emit}
	s.jail.Changes = nil // it is the watch's
	switch {
	case w.Mode == profiles.ModeDirect:
		root, err := openWatched(w.Path)
		if err != nil {
			return unwatched(err)
		}
		s.stack.push("close the workspace", root.Close)
		c.Root, c.Direct = root, true
	case w.Mode == profiles.ModeOverlay:
		c.Lower, c.Hidden = w.Path, hiddenSet(w.Hidden)
	}
	if c.Root == nil { // a build for tests that has no overlay
		return nil
	}
	if w.AloneInMemory() {
		c.Mark = func() (*os.File, error) { return jail.MarkFiles(c.Root) }
	}
	files, err := filewatch.Start(c)
	if err != nil {
		return unwatched(err)
	}
	s.files = files
	s.sink.files.Store(files)
	s.stack.push("end the watch of files", func() error { files.Close(); return nil })
	how, probe := files.How()
	return []jail.Layer{{Name: layerFiles, State: "enforced", Detail: how, Probe: probe}}
}

const layerFiles = "file changes"

func unwatched(err error) []jail.Layer {
	return []jail.Layer{{Name: layerFiles, State: "degraded", Detail: "not seen as they happen: " + strings.ReplaceAll(err.Error(), "\n", "; ")}}
}

// openWatched opens the host's own folder, only to look at what lies in it.
func openWatched(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
