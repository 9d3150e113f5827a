package run

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/agentjail/agentjail/netns"
	"github.com/agentjail/agentjail/profiles"
)

// Host is what a run takes from the caller: streams, environment, identity. Tests
// give another one.
type Host struct {
	Stdin          *os.File
	Stdout, Stderr *os.File
	Environ        []string
	Cwd            string
	Home           string
	UID, GID       int
	Version        string
}

// ThisHost is the process's own.
func ThisHost(version string) (Host, error) {
	h := Host{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(),
		UID: os.Geteuid(), GID: os.Getegid(), Version: version}
	var err error
	if h.Cwd, err = os.Getwd(); err != nil {
		return h, err
	}
	// A logical $PWD through a symlink is not what the kernel will show inside.
	if h.Cwd, err = filepath.EvalSymlinks(h.Cwd); err != nil {
		return h, err
	}
	if h.Home = h.getenv("HOME"); h.Home == "" {
		if u, err := user.LookupId(strconv.Itoa(h.UID)); err == nil {
			h.Home = u.HomeDir
		}
	}
	return h, nil
}

func (h Host) lookup(name string) (string, bool) {
	for _, kv := range h.Environ {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v, true
		}
	}
	return "", false
}

func (h Host) getenv(name string) string {
	v, _ := h.lookup(name)
	return v
}

// proxy is the host's own proxy setting, for the gateway's dials only.
func (h Host) proxy() netns.ProxyEnv {
	first := func(names ...string) string {
		for _, n := range names {
			if v := h.getenv(n); v != "" {
				return v
			}
		}
		return ""
	}
	return netns.ProxyEnv{
		HTTP:  first("http_proxy", "HTTP_PROXY"),
		HTTPS: first("https_proxy", "HTTPS_PROXY"),
		All:   first("all_proxy", "ALL_PROXY"),
		No:    first("no_proxy", "NO_PROXY"),
	}
}

// profileOptions is what loading a profile may know of the host.
func (h Host) profileOptions(d Dirs, vars map[string]string) profiles.Options {
	return profiles.Options{
		Home: h.Home, Cwd: h.Cwd, Env: h.lookup, ReadFile: os.ReadFile, Dirs: d.Config, Vars: vars,
		ListDir: func(dir string) []string {
			entries, _ := os.ReadDir(dir) // an unreadable folder lists nothing
			names := make([]string, len(entries))
			for i, e := range entries {
				names[i] = e.Name()
			}
			return names
		},
	}
}
