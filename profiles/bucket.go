package profiles

import (
	"math"
	"time"
)

// Bucket is a token bucket: full at first, and filled again evenly. One of a whole run
// is never filled again. Whoever keeps it locks it.
type Bucket struct {
	tokens float64
	filled time.Time // zero: never used, so full
}

// Fill brings the bucket up to now. It says whether there is a token to take, and if not
// how long there will be none; 0: never in this run.
func (b *Bucket) Fill(r Rate, now time.Time) (ok bool, wait time.Duration) {
	switch {
	case b.filled.IsZero():
		b.tokens = float64(r.Count)
	case r.Per > 0:
		b.tokens = min(float64(r.Count), b.tokens+float64(r.Count)*float64(now.Sub(b.filled))/float64(r.Per))
	}
	b.filled = now
	if b.tokens >= 1 {
		return true, 0
	}
	if r.Per > 0 {
		wait = time.Duration(math.Ceil((1 - b.tokens) * float64(r.Per) / float64(r.Count)))
	}
	return false, wait
}

// Take takes a token that Fill said is there.
func (b *Bucket) Take() { b.tokens-- }
