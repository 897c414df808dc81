// Package recurring makes jobs by rules that say what runs and when.
//
// A [Rule] in force is a [Recurrence]: the rule, and how far it has come. It has no
// states of its own, because the jobs that it makes have them. The [Book] has all
// recurrences, and is a producer of package activation. When an occurrence of a
// recurrence is due, the book makes a job of it, or records why it was skipped, and
// enters the due time of the next one, in one transaction. An occurrence that a
// recurrence has passed is decided for good.
//
// Package schedule computes the occurrences of a rule; package activation runs the jobs.
//
// The package starts no goroutine. [Book.Run] runs in its caller's, and checks whether
// the rules of time zones have changed.
package recurring
