package changes

import "bytes"

// A Hunk is one stretch of lines that a change replaces by others.
type Hunk struct {
	From    int // first line of the old side, from 0
	Removed []byte
	Added   []byte
}

// Hunks splits what lies between two texts into stretches that can be taken one by
// one; false where one of them is no text.
func Hunks(old, now []byte) ([]Hunk, bool) {
	_, text := gitHunks(old, now)
	if !text {
		return nil, false
	}
	var out []Hunk
	walkHunks(old, now, func(h Hunk) bool {
		out = append(out, h)
		return true
	})
	return out, true
}

// TakeHunks is the old text with only the hunks that take says, counted from 0.
func TakeHunks(old, now []byte, take func(n int) bool) []byte {
	n := -1
	return walkHunks(old, now, func(Hunk) bool {
		n++
		return take(n)
	})
}

// walkHunks goes through both texts and builds the one that the answers make.
func walkHunks(old, now []byte, take func(Hunk) bool) []byte {
	a, b := splitLines(old), splitLines(now)
	removed, added := compareLines(a, b)
	out := []byte{}
	for i, j := 0, 0; i < len(a) || j < len(b); {
		if !(i < len(a) && removed[i]) && !(j < len(b) && added[j]) {
			out = append(out, a[i]...)
			i, j = i+1, j+1
			continue
		}
		i0, j0 := i, j
		for i < len(a) && removed[i] {
			i++
		}
		for j < len(b) && added[j] {
			j++
		}
		h := Hunk{From: i0, Removed: bytes.Join(a[i0:i], nil), Added: bytes.Join(b[j0:j], nil)}
		if take(h) {
			out = append(out, h.Added...)
		} else {
			out = append(out, h.Removed...)
		}
	}
	return out
}
