// Package supervisor starts runs, each under a wrapper process of its own,
// follows them, stops them, and finds them again after a restart of the daemon.
//
// A run's wrapper is cmd/atwrap; see package wrapper for what it does. The two
// sides know each other through the run's directory and one lock in it: the
// daemon takes the lock and hands it to the wrapper, whose it is until it has
// exited. So, whatever was killed and when, one question has one answer: a run
// whose lock is held goes on; one whose lock is free has a result, or may have
// run (it is lost), or never ran and never will. See [Supervisor.Adopt].
//
// # Ownership
//
// Each run that is followed has one goroutine, which sleeps in the runtime's
// poller until the wrapper's pidfd says that it is gone; it costs no thread and
// no wake-up. [Supervisor.Close] ends them all and stops no run.
//
// # What it leaves to others
//
// When and why a process should run is package activation's affair; where that
// is written is package store's. After a loss of power a run's directory may
// not show what had happened in it: whoever recorded durably, with the boot's
// id, that the run was to be started knows better than [Void].
package supervisor
