// Package announce turns the reservations of sources into activations. It does that in
// loads.
//
// A load reads the configuration, puts it in force, reads the sources, compares what they
// announce with what they announced before, and writes the difference. A small load is
// one transaction. On a store that limits transactions a load takes as many as it needs.
// Then the first transaction writes a mark and the last one removes it, so a load that
// was interrupted is applied again as a whole. Reservations that a source no longer
// announces are withdrawn last, after other sources have announced those that moved to
// them.
//
// # Ownership
//
// [Loader.Run] is the only goroutine that loads, and owns the goroutines that watch the
// sources. The other methods of a [Loader] may be called from any goroutine.
//
// # What it leaves to others
//
// Package activation decides what happens to an activation when its reservation is
// announced, changed or withdrawn. Package reservation reads the sources.
package announce
