// Package cast records a terminal session in asciicast v3 and plays such a recording.
//
// What is recorded was made by an agent and is hostile: a recording has nothing of a
// credential that is known or looks like one, and the player passes on only what moves
// the cursor, colours and clears. It never lets a recording ask the terminal anything,
// since the answer would be typed into whatever reads the terminal next.
//
// https://docs.asciinema.org/manual/asciicast/v3/ is the format: a header in the first
// line, then one event a line, [seconds since the one before, code, data].
package cast
