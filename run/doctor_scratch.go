package run

import (
	"os"
	"path/filepath"
)

// scratchPattern names doctor's folders, so that clean finds one that a killed
// doctor left.
const scratchPattern = ".agentjail-doctor-*"

// scratch is a folder of doctor's own. It is locked as long as its doctor lives.
type scratch struct {
	path string
	held *os.File
}

func newScratch(parent string) (*scratch, error) {
	path, err := os.MkdirTemp(parent, scratchPattern)
	if err != nil {
		return nil, err
	}
	held, err := lock(filepath.Join(path, fileLock))
	if err != nil {
		os.RemoveAll(path)
		return nil, err
	}
	// A jail's own user passes through it.
	if err := os.Chmod(path, 0o711); err != nil {
		held.Close()
		os.RemoveAll(path)
		return nil, err
	}
	return &scratch{path, held}, nil
}

// remove removes the folder. What is left of it is named by the next clean.
func (s *scratch) remove() {
	_ = removeTree(s.path)
	s.held.Close()
}

// strayScratch lists the folders of doctors that were killed.
func strayScratch(parents ...string) []string {
	var found []string
	for _, parent := range parents {
		paths, _ := filepath.Glob(filepath.Join(parent, scratchPattern)) // the pattern is valid
		for _, path := range paths {
			info, err := os.Lstat(path)
			if err == nil && info.IsDir() && ownedByUs(info) && !locked(filepath.Join(path, fileLock)) {
				found = append(found, path)
			}
		}
	}
	return found
}
