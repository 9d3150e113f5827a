package gate

import (
	"regexp"
	"sync"
)

// compileLazily compiles a pattern when it is first asked for: every start of this program would
// pay for it, and few ask.
func compileLazily(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}
