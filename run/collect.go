package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/changes"
)

// collect writes what the agent left: changes.patch, changes.json, the artifacts.
// Nothing runs in the jail any more.
func (s *session) collect() error {
	w := s.plan.Workspace
	upper := s.jail.Upper
	if upper != nil {
		defer upper.Close()
	}
	lower := w.Path
	if w.Mode == profiles.ModeEmpty {
		lower = ""
	}
	hidden := hiddenSet(w.Hidden)
	// A full disk may keep the artifacts out; the changes are still worth having.
	manifest, aerr := s.artifacts(changes.ArtifactSource{Upper: upper, Lower: lower, Hidden: hidden})
	if upper == nil {
		return aerr
	}
	list, err := changes.Read(upper, lower, changes.Options{Hidden: hidden})
	if err != nil {
		return errors.Join(aerr, err)
	}
	if aerr == nil {
		list.MarkArtifacts(manifest)
	}
	s.info.Changes = len(list.Changes)
	for _, r := range list.Records() {
		s.sink.Emit(r)
	}
	return errors.Join(aerr, s.writeChanges(list, upper))
}

// writeChanges writes the patch, the contents and the list, here and where the caller looks.
func (s *session) writeChanges(list *changes.List, upper *os.File) error {
	err := writeFile(filepath.Join(s.state, filePatch), func(f io.Writer) error { return changes.WritePatch(f, list, changes.PatchOptions{}) })
	if err != nil {
		return err
	}
	err = writeFile(filepath.Join(s.state, fileContents), func(f io.Writer) error {
		return changes.WriteContents(f, list, changes.ContentOptions{MaxTotal: s.plan.Workspace.Size})
	})
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(s.state, fileChanges), list.WriteJSON); err != nil {
		return err
	}
	if s.opt.Artifacts != "" {
		// Where the caller looks: the same two files beside the artifacts.
		for _, name := range []string{filePatch, fileChanges} {
			if err := copyFile(filepath.Join(s.info.Artifacts, name), filepath.Join(s.state, name)); err != nil {
				return err
			}
		}
	}
	if s.opt.Keep {
		return s.keep(upper)
	}
	return nil
}

// artifacts copies what the profile collects.
func (s *session) artifacts(src changes.ArtifactSource) (*changes.Manifest, error) {
	if err := os.MkdirAll(s.info.Artifacts, 0o755); err != nil {
		return nil, fmt.Errorf("artifacts folder: %w", err)
	}
	root, err := os.OpenRoot(s.info.Artifacts)
	if err != nil {
		return nil, fmt.Errorf("artifacts folder: %w", err)
	}
	defer root.Close()
	m, err := changes.CollectArtifacts(src, s.spec.Artifacts.Collect, root, changes.ArtifactCaps{Size: s.spec.Artifacts.Size})
	if err != nil {
		return nil, err
	}
	if a := s.spec.Artifacts; m.NoRoom > 0 {
		s.hitLimit(audit.LimitHit{Limit: limitArtifacts, Value: a.Size, Unit: "bytes", Action: "refused", Rule: a.Origin.String(), Ends: true,
			Detail: plural(m.NoRoom, "file") + " left out; manifest.json names them"})
	}
	return m, writeManifest(s.info.Artifacts, m)
}

// limitArtifacts is what the limit of artifacts is called. The run has ended when it is
// reached: nothing is left to stop.
const limitArtifacts = "artifacts size"

func writeManifest(dir string, m *changes.Manifest) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "manifest.json"), func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
}

// keep copies every file that the agent added or changed, for --keep.
func (s *session) keep(upper *os.File) error {
	dir := filepath.Join(s.state, "kept")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	m, err := changes.CollectArtifacts(changes.ArtifactSource{Upper: upper}, []profiles.Pattern{{Pattern: "**"}}, root, changes.ArtifactCaps{Size: s.plan.Workspace.Size})
	if err != nil {
		return err
	}
	// It says which names were made harmless, and what could not be kept.
	return writeManifest(dir, m)
}

// hiddenSet tells which paths the jail could not see.
func hiddenSet(paths []string) func(string) bool {
	set := make(map[string]bool, len(paths))
	for _, p := range paths {
		set[p] = true
	}
	return func(p string) bool { return set[p] }
}

// writeFile makes a new file; one that is there already, or a symlink, is refused.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", path, err)
	}
	return f.Close()
}

func copyFile(dst, src string) error {
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeFile(dst, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}
