//go:build !mutate

package mutate

// Off says whether a layer is switched off: never.
func Off(Layer) bool { return false }

// Any says whether one is: never.
func Any() bool { return false }

// Environ is what a process of ours hands to the next one: nothing.
func Environ() []string { return nil }
