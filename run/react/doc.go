// Package react does what a profile says is done when something happens to a run: the
// `on "limit"`, `on "budget"`, `on "escape"` and `on "anomaly"` blocks.
//
//	a record of the trail ──▶ Of ──▶ Event ──▶ Dispatcher ──▶ Act: stop, kill, pause, freeze
//	or Happened, by whoever finds it                    └──▶ the profile's command, its webhook
//
// Whoever finds something either emits a record that Of knows (audit.LimitHit; an
// audit.Finding whose Event names the kind) into the run's sink, or calls Happened. Both
// return at once: an agent that does something ten thousand times a second neither
// holds the run up nor starts ten thousand commands.
//
// What an event says is partly the agent's own text. It reaches the command on its
// standard input and the webhook in the body, as JSON, and nothing else: never in an
// argument, in the environment or in the URL.
package react
