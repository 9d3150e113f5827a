package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	tests := []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{5, 1, 100}, 5},
		{[]float64{4, 1, 100, 2}, 3},
	}
	for _, tt := range tests {
		s := sample{values: tt.values}
		if got, err := s.median(); err != nil || got != tt.want {
			t.Errorf("median of %v is %v, %v; want %v", tt.values, got, err, tt.want)
		}
	}
	if _, err := (&sample{}).median(); err == nil {
		t.Error("nothing measured has a median")
	}
}

func TestOneFailureFailsTheSample(t *testing.T) {
	var s sample
	s.add([]float64{1}, nil)
	s.add(nil, errors.New("died"))
	s.add([]float64{1}, nil)
	if _, err := s.median(); err == nil || err.Error() != "died" {
		t.Errorf("got %v, want the failure", err)
	}
}

func TestCells(t *testing.T) {
	jail := &sample{name: "agentjail", values: []float64{0.020}}
	tests := []struct {
		name   string
		peer   sample
		target target
		want   string // peer's median, ratio, target, verdict
	}{
		{"met", sample{values: []float64{0.040}}, target{atMost: 0.7}, "40.0 ms|0.50|≤ 0.70|met"},
		{"exactly", sample{values: []float64{0.040}}, target{atMost: 0.5}, "40.0 ms|0.50|≤ 0.50|met"},
		{"too slow", sample{values: []float64{0.025}}, target{atMost: 0.5}, "25.0 ms|0.80|≤ 0.50|missed by 60.0 %"},
		{"too few", sample{values: []float64{0.020}}, target{atLeast: 2}, "20.0 ms|1.00|≥ 2.00|missed by 50.0 %"},
		{"no target", sample{values: []float64{2}}, target{}, "2.00 s|0.01|-|-"},
		{"not there", sample{err: fmt.Errorf("firejail: %w", errNotInstalled)}, target{atMost: 1}, "not installed|-|≤ 1.00|not measured"},
		{"failed", sample{err: errors.New("exit\nstatus 1")}, target{atMost: 1}, "failed: exit status 1|-|≤ 1.00|not measured"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cells := comparison{"w", seconds, jail, &tt.peer, tt.target}.cells()
			if got := strings.Join(cells[4:], "|"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	broken := comparison{"w", seconds, &sample{err: errors.New("exit 125")}, jail, target{atMost: 1}}.cells()
	if got := broken[7]; got != "not measured" {
		t.Errorf("an agentjail that failed has the verdict %q", got)
	}
}

func TestUnsteadyPeerIsTakenAtItsBest(t *testing.T) {
	jail := &sample{name: "agentjail", values: []float64{12e9}}
	stalling := &sample{name: "pasta", values: []float64{0.1e9, 0.2e9, 0.5e9, 8e9, 10e9}}
	cells := comparison{"w", bitsPerSecond, jail, stalling, target{atLeast: 2}}.cells()
	if got, want := strings.Join(cells[4:], "|"), "10.00 Gbit/s (best; unsteady)|1.20|≥ 2.00|missed by 40.0 %"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	slow := &sample{name: "firejail", values: []float64{0.1, 0.1, 0.3, 0.3}}
	jail.values = []float64{0.09}
	cells = comparison{"w", seconds, jail, slow, target{atMost: 0.7}}.cells()
	if got, want := strings.Join(cells[4:], "|"), "100.0 ms (best; unsteady)|0.90|≤ 0.70|missed by 28.6 %"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// One run in which the machine was busy is no unsteadiness.
	if (&sample{values: []float64{1, 1.1, 1.2, 1.3, 9}}).unsteady() {
		t.Error("an outlier made a sample unsteady")
	}
}

func TestDefaultGateway(t *testing.T) {
	const route = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" +
		"eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
	if got, err := defaultGateway(route); err != nil || got != "192.0.2.1" {
		t.Errorf("got %q, %v", got, err)
	}
	without := strings.Join(slices.Delete(strings.Split(route, "\n"), 2, 3), "\n")
	if got, err := defaultGateway(without); err == nil {
		t.Errorf("a table without a default route has the gateway %q", got)
	}
}

func TestIperfBits(t *testing.T) {
	got, err := iperfBits([]byte(`{"end":{"sum_sent":{"bits_per_second":9},"sum_received":{"bits_per_second":7.5}}}`))
	if err != nil || got != 7.5 {
		t.Errorf("got %v, %v; want what was received", got, err)
	}
	for _, bad := range []string{`{"error":"unable to connect"}`, `{"end":{}}`, `iperf3: error`} {
		if got, err := iperfBits([]byte(bad)); err == nil {
			t.Errorf("%s was taken for %v bit/s", bad, got)
		}
	}
}
