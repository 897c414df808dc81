// Package timetext reads instants and durations that programs and people have
// written: in reservations, in databases, in the configuration, in an inventory and
// on the command line. There is one list of forms, which docs/times.md has; a setting
// decides only what range it takes, and what a time without a zone means.
//
// It knows the standard library alone, so that every package may import it, atctl's
// too, which has to start fast.
package timetext
