// Package settings takes credentials out of settings files: JSON (with comments, as
// editors write it), TOML and YAML by the names and the values of their entries, and any
// other text by its values alone.
//
// It is pure, and fails closed: a file that it does not understand is left out whole by
// its caller. What it can't know is a credential that neither its name nor its form
// tells, such as a password under the name "note".
package settings
