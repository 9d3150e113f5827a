// Package report tells what a run did: it reads the trail once, front to back, into a
// model of bounded size, and writes that for a terminal, as Markdown, as one HTML page
// or as JSON.
//
//	trail ──▶ Build ──▶ Report ──▶ Text, Markdown, HTML, JSON
//	          (bounded)  (data)
//
// All that is in a trail came from a jail once and is hostile. The three renderers for
// people see a copy of the model in which every string is printable and short (clean.go):
// no terminal escape, no character that turns text round. What is escaped beyond that is
// each format's own business.
//
// It never looks at anything but the trail, so that a run can be reported again at any
// time. The differences of files, which the trail has no room for, are given to it by
// whoever still has them.
package report
