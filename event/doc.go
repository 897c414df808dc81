// Package event is the log of what happened: stored, numbered facts, each with a
// topic.
//
// An event is appended in the transaction that makes it true, so it is in the log if, and
// only if, the change is in the store. The store numbers an event when its transaction
// commits. Numbers rise, also across restarts; gaps between them mean nothing. Old events
// are pruned by count and by age. A reader that asks for pruned events first gets an
// event that says so: see [Gap].
//
// An event that somebody requested is an act, see [Event.Action]. Pruning leaves the acts
// where they are, for longer: readers skip them from then on, but [Log.Acts] finds them. So
// who did what is written once, with the change itself.
//
// Readers page through the log from a number that they remember, and have no other state.
// This holds for a client that reconnects and for a consumer that keeps its number in the
// store. A slow reader delays no writer, and never costs more memory than one page.
//
// Clients publish events, too: see [Publish].
//
// The package that appends an event defines its fields. They are for programs, except
// Reason, which is for people: no program may decide anything by it.
//
// [Log.Prune] and [Log.Follow] run in their callers' goroutines. [Log.FollowWish] starts one for
// all followers with the same wish, and ends it with the last of them.
package event
