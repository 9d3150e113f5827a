package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

func TestTargetsWithoutARatio(t *testing.T) {
	value := func(v float64) *sample { return &sample{values: []float64{v}} }
	tests := []struct {
		name string
		row  comparison
		want string // against, its median, ratio, target, verdict
	}{
		{"dearer by less", comparison{"w", seconds, value(0.000520), value(0.000500), target{more: 30e-6}}, "|500 µs|+20 µs|≤ +30 µs|met"},
		{"dearer by more", comparison{"w", seconds, value(0.000560), value(0.000500), target{more: 30e-6}}, "|500 µs|+60 µs|≤ +30 µs|missed by 100.0 %"},
		{"cheaper", comparison{"w", seconds, value(0.000490), value(0.000500), target{more: 30e-6}}, "|500 µs|-10 µs|≤ +30 µs|met"},
		{"small", comparison{"w", bytesHeld, value(20e6), nil, target{below: 25e6}}, "-|-|-|≤ 25.0 MB|met"},
		{"large", comparison{"w", bytesHeld, value(50e6), nil, target{below: 25e6}}, "-|-|-|≤ 25.0 MB|missed by 100.0 %"},
		{"to know", comparison{"w", bytesHeld, value(50e6), nil, target{}}, "-|-|-|-|-"},
		{"not there", comparison{"w", bytesHeld, &sample{err: errors.New("died")}, nil, target{below: 25e6}}, "-|-|-|≤ 25.0 MB|not measured"},
	}
	for _, tt := range tests {
		if got := strings.Join(tt.row.cells()[3:], "|"); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestTraceMarks(t *testing.T) {
	got, err := traceMarks("agentjail: something else\nagentjail: trace     0.15 ms  +   0.15  command checked\n" +
		"agentjail: trace    30.81 ms  +  22.52  jail: container, root folder and filter made\n")
	// To the microsecond: no binary fraction is a decimal one.
	text := ""
	for _, m := range got {
		text += fmt.Sprintf("%s %.6f %.6f\n", m.what, m.at, m.took)
	}
	want := "command checked 0.000150 0.000150\njail: container, root folder and filter made 0.030810 0.022520\n"
	if err != nil || text != want {
		t.Errorf("got %v, %v; want %s", got, err, want)
	}
	if got, err := traceMarks("agentjail: run ended\n"); err == nil {
		t.Errorf("no trace was read as %v", got)
	}
}

func TestSizesOf(t *testing.T) {
	proc := t.TempDir()
	process := func(pid int, status, rollup string) {
		folder := filepath.Join(proc, strconv.Itoa(pid))
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"status": status, "smaps_rollup": rollup} {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	process(70, "Pid:\t70\nPPid:\t1\nNSpid:\t70\n", "Rss:  1000 kB\nPss:  100 kB\n")
	process(71, "Pid:\t71\nPPid:\t70\nNSpid:\t71\t1\n", "Rss:  2000 kB\nPss:  200 kB\n")
	process(72, "Pid:\t72\nPPid:\t71\nNSpid:\t72\t9\n", "Rss:  9000 kB\nPss:  900 kB\n") // the agent
	if got, err := sizesOf(proc, 70); err == nil {
		t.Errorf("without a gateway: %v", got)
	}
	process(73, "Pid:\t73\nPPid:\t70\nNSpid:\t73\n", "Rss:  4000 kB\nPss:  400 kB\n")
	got, err := sizesOf(proc, 70)
	want := map[string]float64{
		"Rsssupervisor": 1024e3, "RssPID 1": 2048e3, "Rsssupervisor and PID 1": 3072e3, "Rssgateway": 4096e3,
		"Psssupervisor": 102400, "PssPID 1": 204800, "Psssupervisor and PID 1": 307200, "Pssgateway": 409600,
	}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

func TestBetweenKeepsWhatPeopleWrote(t *testing.T) {
	page := "above\n" + markBegin + "old\n" + markEnd + "below\n"
	got, err := between(page, "new\n")
	if want := "above\n" + markBegin + "new\n" + markEnd + "below\n"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	for _, bad := range []string{"", "above\n", markBegin, markEnd + markBegin} {
		if got, err := between(bad, "new\n"); err == nil {
			t.Errorf("%q became %q", bad, got)
		}
	}
}
