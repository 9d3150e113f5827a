// Package run is the command line and the life of one run: it loads the profile,
// lets package jail build the box and package netns serve its network, relays the
// terminal, writes the trail, collects what the agent leaves, and wipes the rest.
//
// It never decides what a profile means, and it never goes on when a stage failed:
// stages are put up in order and taken down in the opposite one (stack.go), also on
// a panic, on a signal and on an error half way.
package run
