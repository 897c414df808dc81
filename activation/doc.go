// Package activation is the core: it decides what should run and why, and makes
// it so. It keeps one record for each reservation and each job, from its
// announcement to the end of its history.
//
// # How it works
//
// The package is level-triggered. When something wakes it (a due time, the end of an
// attempt, a verb, a load, its own start after a crash), it takes the records that are
// due or touched. For each it compares the wanted state with the actual one in one pure
// function ([Record.decide]) and takes the step that the table of transitions allows. So
// recovery after a crash is no separate path: it is the first comparison. The records are
// found by an index; the package never reads all of them.
//
// # Ownership
//
// Every change of state happens in a transaction of the store, by [Txn.Apply], and is
// checked against the table. The verbs ([Engine.Cancel] and the like) change the wanted
// state, in their caller's goroutine, and touch the record. Only the goroutine in
// [Engine.Run] claims attempts, starts and stops runs and records their ends; so it alone
// counts them. Run starts two more goroutines and waits for them: one removes old run
// directories, the other removes old events.
//
// A transaction may run again. So its effects outside of the store are gathered while it
// runs (effects) and carried out once it is durable.
//
// # What it leaves to others
//
// Code that makes activations by itself, as recurrences do, is a [Producer], in a package
// that imports this one. A producer takes part in the turns and has its own state in the
// same transactions. Package announce reads the sources and makes the loads.
//
// Package supervisor starts, limits and ends processes; package store keeps records;
// package reservation reads reservations. The wire forms of package control are made
// elsewhere.
package activation
