package profiles

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Amount is an amount of whatever a budget counts (money, tokens, mails), in
// millionths of its unit. It is a whole number, so that sums neither drift nor depend
// on the order in which they are made: 0.1 + 0.2 is 0.3.
type Amount int64

// One is one of a budget's unit.
const One Amount = 1_000_000

// MaxAmount is the largest amount, a million million of the unit. Two of them still
// fit into an int64.
const MaxAmount = 1_000_000_000_000 * One

// amountDigits is how many digits an amount has behind the point.
const amountDigits = 6

// ParseAmount reads an amount: "12", "0.05".
func ParseAmount(s string) (Amount, error) {
	whole, fraction, point := strings.Cut(s, ".")
	switch {
	case whole == "" || leadingDigits(whole) != whole || leadingDigits(fraction) != fraction || point && fraction == "":
		return 0, fmt.Errorf("amount %q is not known: write for example 12 or 0.05", s)
	case len(fraction) > amountDigits:
		return 0, fmt.Errorf("amount %q has more than %d digits behind the point", s, amountDigits)
	}
	n, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", amountDigits-len(fraction)), 10, 64)
	if err != nil || Amount(n) > MaxAmount {
		return 0, fmt.Errorf("amount %q is too large: the largest is %s", s, MaxAmount)
	}
	return Amount(n), nil
}

// String writes an amount so that ParseAmount reads it back, without the zeros at its
// end. A negative one, which is none, has its sign.
func (a Amount) String() string {
	sign, n := "", uint64(a)
	if a < 0 {
		sign, n = "-", -uint64(a)
	}
	s := strconv.FormatUint(n/uint64(One), 10)
	if rest := n % uint64(One); rest != 0 {
		s += "." + strings.TrimRight(fmt.Sprintf("%0*d", amountDigits, rest), "0")
	}
	return sign + s
}

// MarshalText implements encoding.TextMarshaler: as text no reader of JSON makes a
// floating-point number of it.
func (a Amount) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Amount) UnmarshalText(b []byte) (err error) {
	*a, err = ParseAmount(string(b))
	return err
}

// Add is the sum of two amounts. What would be more than MaxAmount stays there: a
// count of what was spent must never become small again.
func (a Amount) Add(b Amount) Amount { return min(a+b, MaxAmount) }

// Sub is the difference, and never less than nothing.
func (a Amount) Sub(b Amount) Amount { return max(a-b, 0) }

// noise is below what any amount means and above what HCL's arithmetic (512 bits)
// gets wrong: 0.1 has no exact form in it, and 0.3 - 0.1 - 0.2 is not quite nothing.
const noise = 1e-18

var (
	errNegativeAmount = errors.New("the amount is negative")
	errHugeAmount     = fmt.Errorf("the amount is more than %s", MaxAmount)
)

// amountOf makes an amount of a number. What is less than a millionth is rounded up,
// since rounded down a million small spends would be free; exact says whether there
// was nothing to round.
func amountOf(f *big.Float) (a Amount, exact bool, err error) {
	switch least := big.NewFloat(noise); {
	case f.IsInf() || f.Cmp(big.NewFloat(float64(MaxAmount/One))) > 0:
		return 0, false, errHugeAmount
	case new(big.Float).Abs(f).Cmp(least) < 0:
		return 0, true, nil
	case f.Sign() < 0:
		return 0, false, errNegativeAmount
	}
	// From here on the number is between 1e-18 and 1e12, and its digits are few.
	scale := func(digits int64) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(digits), nil) }
	r, _ := f.Rat(nil)
	r.Mul(r, new(big.Rat).SetInt(scale(24)))
	// Half up, to a millionth of a millionth of a millionth of an Amount.
	n := new(big.Int).Add(new(big.Int).Lsh(r.Num(), 1), r.Denom())
	n.Quo(n, new(big.Int).Lsh(r.Denom(), 1))
	whole, rest := new(big.Int).QuoRem(n, scale(24-amountDigits), new(big.Int))
	if rest.Sign() != 0 {
		whole.Add(whole, big.NewInt(1))
	}
	return Amount(whole.Int64()), rest.Sign() == 0, nil
}
