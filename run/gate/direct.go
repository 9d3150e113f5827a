package gate

import (
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Below tells whether a folder that gets this name could have something in it that is
// protected because of the name: "workflows" is nothing, and something in ".github". What is
// protected wherever it lies was so before.
func (g *Gate) Below(name string) bool {
	parts := strings.Split(fold(name), "/")
	return slices.ContainsFunc(g.holds, func(c compiled) bool { return c.below(parts) }) ||
		slices.ContainsFunc(g.rules, func(c compiled) bool { return (c.check == nil || c.direct) && c.below(parts) })
}

// below says whether the last parts of a name can be the first ones of a pattern.
func (r *compiled) below(name []string) bool {
	for _, p := range r.globs {
		parts := strings.Split(strings.TrimPrefix(p, "**/"), "/")
		for n := 1; n < len(parts); n++ {
			// Braces may have slashes in them.
			if strings.ContainsAny(p, "{") || slices.Contains(parts[:n], "**") {
				return true
			}
			if n <= len(name) && doublestar.MatchUnvalidated(strings.Join(parts[:n], "/"), strings.Join(name[len(name)-n:], "/")) {
				return true
			}
		}
	}
	return false
}

// early are folders that something on the host reads without anybody's doing more than
// having the workspace open: an editor, a hook of git's, another agent.
//
// Not among them are those that something else takes for more than they are while they are
// empty, as seen in 2026: ".git", with which "go build" fails (Go 1.26 asks git for the
// version), and ".opencode", to which OpenCode 1.18 writes at its start if it is there, and
// ends if it can't.
var early = []string{".claude", ".codex", ".cursor", ".devcontainer", ".fleet", ".gemini", ".githooks", ".husky", ".idea", ".vs", ".vscode", ".windsurf", ".zed"}

// Early are the folders of a workspace's root that nobody must make while an agent works
// on the host's own folder, not for a moment: those of early that are protected with all
// that is in them.
func (g *Gate) Early() (names []string) {
	for _, name := range early {
		if g.Protects(name, true) != "" {
			names = append(names, name)
		}
	}
	return names
}
