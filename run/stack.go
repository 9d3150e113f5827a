package run

import (
	"errors"
	"fmt"
)

// stack holds what must be undone, and undoes it last in, first out. It is run by
// a defer, so that a panic takes the same way down.
type stack struct {
	steps []step
	// failed is what went wrong on the way down.
	failed []error
}

type step struct {
	what string
	undo func() error
}

// push notes how to undo what was just done.
func (s *stack) push(what string, undo func() error) {
	s.steps = append(s.steps, step{what, undo})
}

// unwind undoes everything. A step that fails or panics does not keep the others
// from being undone.
func (s *stack) unwind() error {
	for len(s.steps) > 0 {
		last := s.steps[len(s.steps)-1]
		s.steps = s.steps[:len(s.steps)-1]
		if err := guarded(last.undo); err != nil {
			s.failed = append(s.failed, fmt.Errorf("%s: %w", last.what, err))
		}
	}
	return errors.Join(s.failed...)
}

func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}
