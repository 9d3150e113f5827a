package run

import (
	"fmt"
	"os"
)

// reserve holds descriptors back for the way down. An agent can make the supervisor
// hold many (one for each process that executes something, see jail's exits), and a
// run that has none left must still collect what the agent made and wipe the rest.
type reserve []*os.File

// wipeFiles is what that takes at a time: a folder's descriptor for each level of what
// is walked over (the runtime and state folders are flat), the files that are written.
const wipeFiles = 16

func holdBack() (r reserve, err error) {
	for range wipeFiles {
		f, err := os.Open(os.DevNull)
		if err != nil {
			r.release()
			return nil, fmt.Errorf("set descriptors aside for the wipe: %w\nhint: raise the limit of open files (ulimit -n)", err)
		}
		r = append(r, f)
	}
	return r, nil
}

// release gives them to whoever opens the next files; it may be called again.
func (r *reserve) release() {
	for _, f := range *r {
		f.Close()
	}
	*r = nil
}
