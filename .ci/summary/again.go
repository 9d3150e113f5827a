package main

import (
	"regexp"
	"slices"
	"strings"
)

// unsteady is the verdict on a test that failed and passed when it was run again.
const unsteady = "unsteady"

// failedPattern is the pattern of `go test -run` for the tests of which a part failed;
// empty, where none did or where a package failed by itself.
func failedPattern(results []result) string {
	var names []string
	for _, r := range results {
		if r.verdict != failed {
			continue
		}
		if r.test == "" {
			return ""
		}
		name, _, _ := strings.Cut(r.test, "/")
		if !slices.Contains(names, name) {
			names = append(names, regexp.QuoteMeta(name))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "^(" + strings.Join(names, "|") + ")$"
}

// merge puts a second run beside the first. A failure of the first that passed in the
// second is unsteady, and so is a package that died by itself and ran to its end; whatever
// failed in the second has failed, and so has what failed and did not run again. What the
// first never came to counts as the second has it.
func merge(first, second []result) []result {
	type key struct{ half, pkg, test string }
	later := map[key]result{}
	ran := map[key]bool{} // packages
	for _, r := range second {
		later[key{r.half, r.pkg, r.test}] = r
		ran[key{r.half, r.pkg, ""}] = true
	}
	var all []result
	for _, r := range first {
		k := key{r.half, r.pkg, r.test}
		again, both := later[k]
		delete(later, k)
		switch {
		case both && again.verdict == failed:
			r = again
		case r.verdict != failed:
		case both && again.verdict == passed, r.test == "" && ran[k] && !both:
			r.verdict = unsteady
		}
		all = append(all, r)
	}
	for _, r := range second { // in their order
		if _, left := later[key{r.half, r.pkg, r.test}]; left {
			all = append(all, r)
		}
	}
	return all
}
