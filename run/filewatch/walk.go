package filewatch

import (
	"os"

	"golang.org/x/sys/unix"
)

// maxWalked bounds the names that one walk looks at: an agent makes as many as it likes.
const maxWalked = 1_000_000

// walk goes through all folders below one. know is told of each, by an open folder and its
// name in there, and gives its node; what it gives none for is not entered, and where it
// says that there are no more it was the last. No link is followed.
func walk(root int, top *node, know func(at int, p *node, name string) (n *node, more bool)) {
	type step struct {
		path string
		n    *node
	}
	left := maxWalked
	for steps := []step{{".", top}}; len(steps) > 0; {
		st := steps[len(steps)-1]
		steps = steps[:len(steps)-1]
		fd, err := openBeneath(root, st.path, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		dir := os.NewFile(uintptr(fd), st.path)
		for left > 0 {
			entries, err := dir.ReadDir(1024)
			for _, e := range entries {
				left--
				if !e.IsDir() {
					continue
				}
				n, more := know(fd, st.n, e.Name())
				if !more {
					dir.Close()
					return
				}
				if n != nil {
					steps = append(steps, step{st.path + "/" + e.Name(), n})
				}
			}
			if err != nil || len(entries) == 0 {
				break
			}
		}
		dir.Close()
	}
}
