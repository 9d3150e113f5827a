package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/agentjail/agentjail/profiles"
)

// missingSecrets names the optional secrets that are not there. A file that can't be
// read is there: what is wrong with it is said when it is read.
func missingSecrets(h Host, s *profiles.Spec) (names []string) {
	for _, x := range s.Secrets {
		if !x.Optional {
			continue
		}
		gone := false
		switch {
		case x.Env != "":
			v, ok := h.lookup(x.Env)
			gone = !ok || v == ""
		case x.File != "":
			_, err := os.Stat(x.File)
			gone = errors.Is(err, fs.ErrNotExist)
		}
		if gone {
			names = append(names, x.Name)
		}
	}
	return names
}

// missingHint says of a command that is not in the jail where it is on the host, whose
// PATH is the caller's; empty where that is no help.
func missingHint(command, path string) string {
	if strings.Contains(command, "/") {
		return ""
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, command)
		if st, err := os.Stat(file); err == nil && filepath.IsAbs(dir) && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return fmt.Sprintf("it is %s on this host, and the profile does not show it; name its folder in files { exec = [...] }", strconv.Quote(file))
		}
	}
	return "no folder of your PATH has such a program either: install it first, or name its path"
}

// missingNote is what a run says that begins with none of the secrets that its profile
// names: it is meant for one of them, and which is not for it to say.
func missingNote(s *profiles.Spec, missing []string) string {
	if len(missing) == 0 || len(missing) < len(s.Secrets) {
		return ""
	}
	var places []string
	for _, x := range s.Secrets {
		if x.Env != "" {
			places = append(places, x.Env)
		} else {
			places = append(places, x.File)
		}
	}
	return "no credential is there, so that nothing that needs one is allowed: set one of " + strings.Join(places, ", ")
}
