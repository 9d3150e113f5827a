// Package jail is the box that an agent runs in: it turns a profile's Spec and
// what the host can do into a Plan, and a Plan into a container.
//
//	Spec + Features + Facts ──▶ Plan ──▶ libcontainer ──▶ PID 1 ──▶ agent
//	       (pure data)          (pure)   (namespaces,     (overlay,   (Landlock,
//	                                      file view)       network)    seccomp)
//
// The decisions are pure functions over plain data (plan.go, view.go,
// syscalls.go, landlock.go) and are tested without privileges; what touches the
// kernel stands in files of its own (probe.go, start.go, container.go, shim.go, stage.c,
// notify.go).
//
// It never decides what a profile means (that is package profiles), never looks at
// what goes over the network (package netns), and never runs a layer at half
// strength: a layer that was asked for is in force before the agent's first
// instruction, or Finish fails with a *LayerError that names it.
package jail
