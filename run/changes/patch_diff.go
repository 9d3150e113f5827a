package changes

// Line diff: Myers, "An O(ND) Difference Algorithm and Its Variations" (Algorithmica
// 1, 1986), the linear space variant, bounded: where two stretches differ in more
// than diffMaxCost edits, the best way so far is taken for right. The result then is
// not the shortest, but always a correct one, and hostile files cost no more than
// lines × diffMaxCost.
const diffMaxCost = 256

// diffLines tells which lines of a are removed and which of b are added; the others
// are equal, in order. Equal numbers are equal lines.
func diffLines(a, b []int) (removed, added []bool) {
	removed, added = make([]bool, len(a)), make([]bool, len(b))
	// A line that the other side doesn't have can't be kept: without these, the
	// common case of much new text is cheap.
	inA, inB := map[int]bool{}, map[int]bool{}
	for _, l := range a {
		inA[l] = true
	}
	for _, l := range b {
		inB[l] = true
	}
	d := &differ{removed: removed, added: added}
	d.a, d.atA = shared(a, inB, removed)
	d.b, d.atB = shared(b, inA, added)
	d.compare(0, len(d.a), 0, len(d.b))
	return removed, added
}

// shared keeps the lines that the other side has too, with their places, and marks
// the others.
func shared(lines []int, other map[int]bool, mark []bool) (kept, at []int) {
	for i, l := range lines {
		if other[l] {
			kept, at = append(kept, l), append(at, i)
		} else {
			mark[i] = true
		}
	}
	return kept, at
}

type differ struct {
	a, b           []int
	atA, atB       []int // where these lines are in the whole files
	removed, added []bool
	// How far the paths of the present cost reach on each diagonal, from the start
	// and, in mirrored coordinates, from the end; -1 is nowhere.
	forward, backward [2*diffMaxCost + 3]int
}

// compare marks the differences of a[a0:a1] and b[b0:b1].
func (d *differ) compare(a0, a1, b0, b1 int) {
	for {
		for a0 < a1 && b0 < b1 && d.a[a0] == d.b[b0] {
			a0, b0 = a0+1, b0+1
		}
		for a0 < a1 && b0 < b1 && d.a[a1-1] == d.b[b1-1] {
			a1, b1 = a1-1, b1-1
		}
		x, y := 0, 0
		if a0 < a1 && b0 < b1 {
			x, y = d.split(d.a[a0:a1], d.b[b0:b1])
		}
		// A corner is no split: everything in between is replaced. That ends the
		// recursion whatever split does.
		if (x == 0 && y == 0) || (x == a1-a0 && y == b1-b0) {
			for _, i := range d.atA[a0:a1] {
				d.removed[i] = true
			}
			for _, i := range d.atB[b0:b1] {
				d.added[i] = true
			}
			return
		}
		d.compare(a0, a0+x, b0, b0+y)
		a0, b0 = a0+x, b0+y
	}
}

// split finds a point that a shortest way from a to b passes, or, past the cost that
// is allowed, the point furthest from the start.
func (d *differ) split(a, b []int) (x, y int) {
	n, m := len(a), len(b)
	delta := n - m
	const mid = diffMaxCost + 1
	for i := range d.forward {
		d.forward[i], d.backward[i] = -1, -1
	}
	for cost := 0; cost <= diffMaxCost; cost++ {
		for k := -cost; k <= cost; k += 2 {
			x := diffStep(&d.forward, cost, k, n, m)
			if x < 0 {
				continue
			}
			for x < n && x-k < m && a[x] == b[x-k] {
				x++
			}
			d.forward[mid+k] = x
			if r := delta - k; delta&1 != 0 && -cost < r && r < cost {
				if back := d.backward[mid+r]; back >= 0 && x+back >= n {
					return x, x - k
				}
			}
		}
		for k := -cost; k <= cost; k += 2 {
			x := diffStep(&d.backward, cost, k, n, m)
			if x < 0 {
				continue
			}
			for x < n && x-k < m && a[n-1-x] == b[m-1-(x-k)] {
				x++
			}
			d.backward[mid+k] = x
			if r := delta - k; delta&1 == 0 && -cost <= r && r <= cost {
				if there := d.forward[mid+r]; there >= 0 && x+there >= n {
					return n - x, m - (x - k)
				}
			}
		}
	}
	for i, fx := range d.forward {
		if fx >= 0 && 2*fx-(i-mid) > x+y {
			x, y = fx, fx-(i-mid)
		}
	}
	return x, y
}

// diffStep goes one edit further onto diagonal k, by the better of the two
// neighbours from which the grid of n × m is not left; -1 if neither will do.
func diffStep(reach *[2*diffMaxCost + 3]int, cost, k, n, m int) int {
	const mid = diffMaxCost + 1
	best := -1
	if cost == 0 {
		best = 0
	} else {
		if x := reach[mid+k-1]; x >= 0 && x+1 <= n {
			best = x + 1
		}
		if x := reach[mid+k+1]; x > best && x-k <= m {
			best = x
		}
	}
	if best < 0 {
		reach[mid+k] = -1
	}
	return best
}
