package jail

import (
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// readyFilter is the program for a profile that opens no call and watches none, as nearly
// all do: readyAMD64 is what libseccomp makes of the rules of this package, so that not each
// start has it made again, which takes 3 ms. nil where it has to be made.
func readyFilter(opened, watched []string, naming bool) []unix.SockFilter {
	if runtime.GOARCH != "amd64" || len(opened) > 0 || len(watched) > 0 || naming || mutate.Any() {
		return nil
	}
	return slices.Clone(readyAMD64)
}
