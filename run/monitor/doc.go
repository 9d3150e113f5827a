// Package monitor watches what a run does over time: it folds samples into a timeline
// for the trail, and judges the rates of a run against its own past and against the
// profile's earlier runs.
//
//	trail's records ─▶ Counts ─┐
//	                           ├─ each second ─▶ Fold ─▶ audit.Resources (a minute's steps)
//	cgroup, /proc ─▶ Usage ────┘              └▶ Detector ─▶ Anomaly (with figures)
//	                                               ▲
//	                  History (a file in the state folder, of earlier runs)
//
// Everything but History's file is pure: time comes in with the samples, and tests run
// on a clock of their own. Nothing in it decides what becomes of a run.
package monitor
