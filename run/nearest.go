package run

import "github.com/agext/levenshtein"

// nearest is the word that somebody who wrote name most likely meant, or "". Two
// slips are a typing mistake, more are another word; in a short word one.
func nearest(name string, words []string) string {
	most := 2
	switch {
	case name == "":
		return ""
	case len(name) < 5:
		most = 1
	}
	best, distance := "", most+1
	for _, w := range words {
		if d := levenshtein.Distance(name, w, nil); d < distance {
			best, distance = w, d
		}
	}
	return best
}
