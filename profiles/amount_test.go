package profiles

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
)

func TestAmount(t *testing.T) {
	for text, want := range map[string]Amount{
		"0": 0, "1": One, "0.000001": 1, "12.5": 12_500_000, "0.10": 100_000, "007": 7 * One,
		"1000000000000": MaxAmount,
	} {
		got, err := ParseAmount(text)
		if err != nil || got != want {
			t.Errorf("%q is %d, %v, want %d", text, got, err, want)
		}
		if again, err := ParseAmount(got.String()); err != nil || again != got {
			t.Errorf("%q is written %q, which reads %d, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", " 1", "0x1", "NaN", "Inf", "0.0000001", "1000000000000.000001",
		"99999999999999999999", "٣"} {
		if got, err := ParseAmount(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
	for a, want := range map[Amount]string{1: "0.000001", 1_100_000: "1.1", -1: "-0.000001", -2_500_000: "-2.5", MaxAmount: "1000000000000"} {
		if got := a.String(); got != want {
			t.Errorf("%d is written %q, want %q", int64(a), got, want)
		}
	}
	if MaxAmount.Add(MaxAmount) != MaxAmount || Amount(1).Sub(2) != 0 || Amount(3).Sub(2) != 1 {
		t.Error("sums leave the range of amounts")
	}
	data, err := json.Marshal(map[string]Amount{"x": 300_000})
	if err != nil || string(data) != `{"x":"0.3"}` {
		t.Errorf("in JSON %s, %v", data, err)
	}
	var x struct{ X Amount }
	if err := json.Unmarshal([]byte(`{"X":"-5"}`), &x); err == nil {
		t.Error("a negative amount is read")
	}
}

// A spend is a number of HCL's, which are binary: what was written in decimals must
// come out as it was written, and what is no amount as an error.
func TestAmountOf(t *testing.T) {
	number := func(s string) *big.Float {
		f, _, err := big.ParseFloat(s, 10, 512, big.ToNearestEven)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	quo := func(a, b string) *big.Float { return new(big.Float).Quo(number(a), number(b)) }
	sum := new(big.Float).SetPrec(512)
	for range 1000 {
		sum.Add(sum, number("0.1"))
	}
	difference := new(big.Float).Sub(new(big.Float).Sub(number("0.3"), number("0.1")), number("0.2"))
	for _, c := range []struct {
		name  string
		f     *big.Float
		want  Amount
		exact bool
	}{
		{"0.1", number("0.1"), 100_000, true},
		{"0.07", number("0.07"), 70_000, true},
		{"1999/100", quo("1999", "100"), 19_990_000, true},
		{"a third, rounded up", quo("1", "3"), 333_334, false},
		{"a thousand tenths", sum, 100 * One, true},
		{"what arithmetic leaves of nothing", difference, 0, true},
		{"less than a millionth is a millionth", number("0.0000001"), 1, false},
		{"the largest", number("1e12"), MaxAmount, true},
		{"a number of a billion digits behind the point", number("1e-300000000"), 0, true},
		{"minus nothing", new(big.Float).Neg(number("0")), 0, true},
	} {
		got, exact, err := amountOf(c.f)
		if err != nil || got != c.want || exact != c.exact {
			t.Errorf("%s: %d, %v, %v, want %d, %v", c.name, got, exact, err, c.want, c.exact)
		}
	}
	for name, f := range map[string]*big.Float{
		"negative":              number("-0.5"),
		"very negative":         number("-1e300000000"),
		"a little too large":    number("1000000000000.0000001"),
		"a billion digits":      number("1e300000000"),
		"endless":               new(big.Float).SetInf(false),
		"endlessly little":      new(big.Float).SetInf(true),
		"the least that counts": number("-1e-17"),
	} {
		if got, _, err := amountOf(f); err == nil {
			t.Errorf("%s is %d", name, got)
		}
	}
}

func FuzzAmount(f *testing.F) {
	for _, s := range []string{"1", "0.000001", "1000000000000", "1e5", "-0", "12.3456789", strings.Repeat("9", 30)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAmount(s)
		if err != nil {
			return
		}
		if a < 0 || a > MaxAmount {
			t.Fatalf("%q is %d", s, int64(a))
		}
		// The two ways to an amount agree.
		if len(s) < 40 {
			n, _, err := big.ParseFloat(s, 10, 512, big.ToNearestEven)
			if err != nil {
				t.Fatal(err)
			}
			if b, exact, err := amountOf(n); err != nil || !exact || a != b {
				t.Fatalf("%q is %s, and as a number %s, %v, %v", s, a, b, exact, err)
			}
		}
	})
}
