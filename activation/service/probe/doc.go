// Package probe finds out whether the instances of services are ready, and whether they are
// alive. Its user tells a [Keeper] which instances run and which checks they have. It runs the
// checks and reports each change: an instance is ready, unready, late (it did not become ready within
// its limit) or dead.
//
// Whether an instance is ready says whether others may use it. If its ready check fails later,
// it is unready until the check succeeds again; this is no reason to restart it, because the
// cause may be outside (a vendor's failure must not restart everybody). Only an instance that
// is late or dead should be restarted. Both are final: the next run of the instance is
// another key.
//
// Checks of a program that tells by itself (sd_notify) are of kind [Notify]. Whoever
// receives the program's messages hands them to [Keeper.Notified].
//
// # Ownership
//
// One goroutine, the one in [Keeper.Run], owns all instances and the only timer. Start, Stop
// and Notified leave it a request and return at once. It starts one more goroutine for each
// check that is being made, at most [Limit] in time at once, and waits for them before it
// returns. A check that does not answer in time is canceled and counts as failed at once. Until
// it has really returned it is not made again, but other checks do not wait for it.
//
// If no check is due and none is being made, the timer is stopped. So instances that have no
// check, or whose readiness comes from sd_notify, from a line of the log or from a delay, cause
// no wake-ups once they are ready.
//
// # What it leaves to others
//
// How a command is run as the instance's user is the [Runner]'s affair, and where a log is kept
// that of the function that opens it. What follows from a report (dependants start, a run is
// replaced) is decided by package activation, which this package does not know.
package probe
