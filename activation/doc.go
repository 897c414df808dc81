// Package activation is the core: it decides what should run and why, and makes
// it so. It keeps one record for each reservation and each job, from its
// announcement to the end of its history.
//
// # How it works
//
// The package is level-triggered. Whatever wakes it (an instant, the end of an
// attempt, a verb, a load, its own start after a crash), it takes the records
// concerned, compares by one pure function ([Record.decide]) what should be with
// what is, and takes the step that the table of transitions allows. So recovery
// after a crash is no separate path: it is the first comparison. It looks at
// the records that are due or touched, found by an index; never at all of them.
//
// # Ownership
//
// Every change of state happens in a transaction of the store, by [txn.apply],
// and is checked against the table. The verbs ([Engine.Cancel] and the like)
// change what should be, in their caller's goroutine, and touch the record. The
// goroutine in [Engine.Run] alone claims attempts, starts and stops runs and
// records how they ended; so it alone counts them. A second goroutine, which
// Run starts and waits for, removes the evidence of what is not kept any more.
// [Engine.RunLoads] does the loads.
//
// # What it leaves to others
//
// How a process is started, limited and ended is package supervisor's affair;
// where records are kept is package store's; what reservations there are is
// package reservation's. The wire forms of package control are made elsewhere.
package activation
