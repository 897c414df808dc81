// Package timetext reads instants and durations that programs and people have
// written: in reservations, in databases, in the configuration, in an inventory and
// on the command line. There is one list of forms, in docs/times.md; a setting decides only
// which range it accepts, and what a time without a zone means.
//
// It imports only the standard library, so that every package may import it, also those of
// atctl, which has to start fast.
package timetext
