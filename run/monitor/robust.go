package monitor

import (
	"math"
	"slices"
)

// sigma is the factor that makes the median absolute deviation an estimate of the
// standard deviation where values are normal: 1/Φ⁻¹(3/4). Unlike the mean and the
// standard deviation, median and MAD stay where they are until half of the values are
// outliers (Huber, Robust Statistics, 1981).
const sigma = 1.4826

// center gives the median of values and their scaled median absolute deviation.
func center(values []float64) (median, spread float64) {
	if len(values) == 0 {
		return 0, 0
	}
	sorted := slices.Sorted(slices.Values(values))
	median = middle(sorted)
	for i, v := range sorted {
		sorted[i] = math.Abs(v - median)
	}
	slices.Sort(sorted)
	return median, sigma * middle(sorted)
}

func middle(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// quantile gives the value that a share q of values is not above.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// beyond is from where on a value stands out of others: five times what is usual, and
// six spreads away from it (the spread is at least a tenth of the median, or a past that
// never changed would make everything stand out), and twice the highest that they reached
// but for a share of outliers, and never below a floor.
func beyond(values []float64, highest, floor float64) (limit, median float64) {
	median, spread := center(values)
	spread = max(spread, median/10)
	return max(floor, 5*median, median+6*spread, 2*quantile(values, highest)), median
}
