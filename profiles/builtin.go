package profiles

import (
	"embed"
	"path"
	"slices"
	"strings"
)

// builtinFS holds the profiles that come with the binary.
//
//go:embed builtin/*.hcl
var builtinFS embed.FS

// baseProfile is what a profile extends that does not say what it extends.
const baseProfile = "base"

// Builtins lists the names of the built-in profiles, sorted.
func Builtins() []string {
	entries, err := builtinFS.ReadDir("builtin")
	if err != nil {
		panic(err) // the folder is part of the binary
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".hcl"))
	}
	return names
}

func builtinSource(name string) ([]byte, bool) {
	if !slices.Contains(Builtins(), name) {
		return nil, false
	}
	src, err := builtinFS.ReadFile(path.Join("builtin", name+".hcl"))
	if err != nil {
		panic(err) // it was listed a moment ago
	}
	return src, true
}

// Listed is one profile that a name can mean.
type Listed struct {
	Name    string `json:"name"`
	Path    string `json:"path"` // absolute path, or "built-in"
	Builtin bool   `json:"builtin,omitempty"`
	Hidden  bool   `json:"hidden,omitempty"` // an earlier one has the same name
}

// List gives every profile that Load finds by name, sorted by name and then in the
// order in which Load looks.
func List(o Options) []Listed {
	var list []Listed
	seen := map[string]bool{}
	add := func(l Listed) {
		l.Hidden = seen[l.Name]
		seen[l.Name] = true
		list = append(list, l)
	}
	for _, dir := range o.Dirs {
		if o.ListDir == nil {
			break
		}
		for _, file := range o.ListDir(dir) {
			if name, ok := strings.CutSuffix(file, ".hcl"); ok && name != "" && checkProfileName(name) == nil {
				add(Listed{Name: name, Path: path.Join(dir, file)})
			}
		}
	}
	for _, name := range Builtins() {
		add(Listed{Name: name, Path: builtinPath, Builtin: true})
	}
	slices.SortStableFunc(list, func(a, b Listed) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func profileNames(o *Options) []string {
	var names []string
	for _, l := range List(*o) {
		if !l.Hidden {
			names = append(names, l.Name)
		}
	}
	return names
}

// refusedProfiles are names that people look for, and why there is no such profile.
var refusedProfiles = map[string]string{
	"docker-client": "Whoever can talk to a Docker socket is root on the host: one request starts a container with all of the host's files in it. A jail with such a socket would be none, so there is no profile that gives it, and every profile on \"base\" denies the sockets of container engines. Build and start containers outside of the jail, or give the agent an engine on a machine of its own, as a host that it may connect to.",
}

// forCommand are the built-in profiles of programs that have one.
var forCommand = map[string]string{
	"aider": "aider", "claude": "claude-code", "codex": "codex", "cursor-agent": "cursor-agent", "gemini": "gemini-cli",
	"goose": "goose", "opencode": "opencode", "pi": "pi", "qwen": "qwen-code",
}

// ForCommand is the profile of a program by its file's name; "" where none is made for
// it. The name is only a convenience: it chooses among profiles that were written for
// agents, and never gives more than the one that it chooses.
func ForCommand(program string) string { return forCommand[path.Base(program)] }
