// Package filewatch sees changes of the workspace as they happen, for the trail and the
// monitor. It is about visibility and never a boundary: what is in the upper layer when
// the run ends is the truth about what changed, and what this missed is in there.
//
//	fanotify (the upper layer's tmpfs) ─┐                    ┌▶ Totals (all of it, counted)
//	                                    ├─▶ tree ─▶ Change ──┤
//	inotify (a watch for each folder) ──┘    ▲               └▶ scribe ─▶ trail (bounded)
//	                                         │ eyes: what the host's folder has at a path,
//	                                         │       what lies in the layer at one
//
// fanotify's events of a file system come in one queue, in order, and name folders by file
// handles: how a handle came to its path is in the events before. inotify's folders have
// to be watched one by one, and what happens in a new one before it is, is found by
// reading it.
//
// tree and scribe are pure, and so is the reading of the kernel's records.
package filewatch
