// Package supervisor starts runs, each under a wrapper process of its own,
// follows them, stops them, and finds them again after a restart of the daemon.
//
// A run's wrapper is cmd/atwrap; package wrapper says what it does. The daemon and
// the wrapper communicate through the run's directory and one lock in it. The daemon
// takes the lock and hands it to the wrapper, which holds it until it has exited. So
// there is one test, whatever was killed and when. While the lock is held, the run goes
// on. Once it is free, there is a result, or the run may have run and is lost, or it
// never ran and never will. See [Supervisor.Adopt].
//
// # Ownership
//
// Each run that is followed has one goroutine, which sleeps in the runtime's
// poller until the wrapper's pidfd reports its end; it costs no thread and
// no wake-up, unless the system has no pidfds, see privileged_pid.go. One more goroutine sleeps until a run reports something, if there is a run
// that may, see [Supervisor.Notices]. [Supervisor.Close] ends all these goroutines and
// stops no run.
//
// # Rights
//
// Everything that needs more rights than an ordinary user has goes through one
// interface, [Privileged]; the files privileged_*.go implement it. No other code of the
// daemon does such a thing, and a test of package deps checks that.
//
// # What it leaves to others
//
// Package activation decides when and why a process should run; package store records
// it. After a loss of power a run's directory may not show what had happened in it: a
// caller that recorded durably, with the boot's id, that the run was to be started
// knows better than [Void].
package supervisor
