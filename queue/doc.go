// Package queue keeps messages in queues, in a store. It knows no process and no clock: its
// functions read and write through a [store.Tx], and are given the time. Package
// queue/broker decides who gets which message, and when.
//
// # What is written
//
// A message is written when it is pushed: its body, with what the sender said of it, and a
// small entry in the index of what is ready. The body is never written again. That a message
// is handed out is not written: it stays in the index, and who works on it is known by the
// run that does. When the work is done, both entries are removed. Only what is not the rule
// has a further entry, the [State]: an attempt that failed, a message that a listener started by
// hand has (a hold), one that is to be cancelled, a dead letter.
//
// # Keys
//
// N is the number of a queue, and SEQ the id of a message. Numbers have a fixed width, so the
// order of keys is the order of numbers. A queue that is created again has another number. So
// it shares no key with the one before, which may still be in deletion.
//
//	mq/q/NAME             the queue
//	mq/i/N                the queue's name
//	mq/n/N                its Counts
//	mq/b/N/SEQ            a message: what the sender said of it, and the body
//	mq/b/N/SEQ/PART       a part of a large body
//	mq/r/N/RANK/SEQ       it is ready or in work; RANK is 9 minus its priority
//	mq/d/INSTANT/N/SEQ    it is delayed
//	mq/x/N/SEQ            it is a dead letter
//	mq/s/N/SEQ            its State, unless that is zero
//	mq/h/INSTANT/N/SEQ    when the listener that holds it loses it
//	mq/u/N/KEY            the message that has a key, and until when its window keeps it
//	mq/k/N/SEQ            a result that is kept
//	mq/e/INSTANT/N/SEQ    when that is removed
//	mq/e/INSTANT/N/SEQ/w  when the window of the message's key is over
//	mq/v/NUMBER           a Notice that has not been moved into the log of events yet
//
// Each message is in exactly one of r, d and x. [Verify] checks that, and that all entries
// agree.
package queue
