// Package broker hands the messages of queues to listeners, and records what became of
// them.
//
// The store has the truth: package queue keeps the messages in it. The broker keeps in
// memory only what is in work, and the next few messages of each queue. A delivery is not
// written: a message is in work as long as its run lives, which the run directory's lock
// shows, or as long as the journal names it beside a listener that lives. So a daemon that
// starts again finds out what is in work without a word in the store, and the end of a
// process, not a timeout, gives its message back.
//
// One goroutine, [Broker.Run], owns all that is in memory. In each turn it takes what has
// happened (ends of runs, answers, pushes, times, verbs), records the consequences in one
// transaction, and then hands out as many messages as the listeners have room for.
package broker
