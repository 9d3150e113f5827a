package profiles

import (
	"regexp"
	"sync"
)

// lazy compiles a pattern when it is first asked for. A run starts this program three
// times, and only the first of them reads profiles.
func lazy(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}
