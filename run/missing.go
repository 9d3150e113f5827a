package run

import (
	"errors"
	"io/fs"
	"os"
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
