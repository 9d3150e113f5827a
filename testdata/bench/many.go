package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// many are how many jails run at once.
var many = []int{1, 10, 50, 100}

// benchMany measures from the start of the first of many jails to the end of the last.
func benchMany(ctx context.Context, b *bench) ([]comparison, error) {
	contestants := b.starts()[:3] // agentjail, bwrap, firejail
	var table []comparison
	for _, n := range many {
		samples := make([]*sample, len(contestants))
		for i, c := range contestants {
			samples[i] = &sample{name: c.name, err: installed(c.argv[0])}
		}
		for range b.rounds {
			for i, c := range contestants {
				if samples[i].err != nil {
					continue
				}
				took, err := b.atOnce(ctx, n, c.argv)
				samples[i].add([]float64{took}, err)
			}
		}
		what := fmt.Sprintf("start to exit of all, %d at once", n)
		for _, peer := range samples[1:] {
			table = append(table, comparison{what, seconds, samples[0], peer, target{}})
		}
	}
	return table, nil
}

// atOnce runs argv n times at once. One that fails fails all: the others had more room.
func (b *bench) atOnce(ctx context.Context, n int, argv []string) (float64, error) {
	failed := make([]error, n)
	var all sync.WaitGroup
	begun := time.Now()
	for i := range n {
		all.Go(func() { _, failed[i] = b.output(ctx, argv...) })
	}
	all.Wait()
	return time.Since(begun).Seconds(), errors.Join(failed...)
}
