package queue

import (
	"time"
)

// A Verdict is what becomes of a message after an attempt.
type Verdict string

// The verdicts.
const (
	VerdictDone  Verdict = "done"
	VerdictAgain Verdict = "again" // it is tried again, until its attempts are used up
	VerdictDead  Verdict = "dead"  // it becomes a dead letter
	VerdictFault Verdict = "fault" // the listener cannot run: the queue is paused, and the attempt does not count
)

// How an attempt ended, in the words of the wrapper's results, and of the broker for
// listeners that take several messages.
const (
	HowExited     = "exited"      // by itself: Exit or Signal says how
	HowTimedOut   = "timeout"     // it was ended at its timeout
	HowStopped    = "stopped"     // the daemon ended it, and not for this message
	HowFailed     = "failed"      // the listener cannot be started
	HowLost       = "lost"        // the wrapper was killed
	HowDisarmed   = "disarmed"    // it was ended before it began, as all that follow
	HowNotStarted = "not-started" //
	HowVoid       = "void"
	HowUnborn     = "unborn"
	HowError      = "error" // the listener answered so
)

// The exit statuses that have a verdict of their own. The first two are those of sysexits.h;
// the others are what a shell says of a command that it cannot run or find.
const (
	ExitDataErr  = 65
	ExitTempFail = 75
	ExitCannot   = 126
	ExitNotFound = 127
)

// A Policy says what becomes of messages after their attempts.
type Policy struct {
	Attempts   int             // how many there are; 0: any number
	Backoff    time.Duration   // the pause after the first one, which doubles with each; 0: there is none
	BackoffMax time.Duration   // the longest pause; 0: as long as it becomes
	Exits      map[int]Verdict // in place of the usual verdict on an exit status
}

// A Decision is a verdict with its particulars.
type Decision struct {
	Verdict
	Count bool          // the attempt counts
	After time.Duration // the pause before the next one
}

// Decide says what becomes of a message whose attempt, of that number, has ended:
//
//	exit status 0         done
//	exit status 65        a dead letter at once
//	exit status 75        again, after a pause
//	exit status 126, 127  the listener is at fault: its queue is paused
//	another one           again, after a pause
//	an answer that says   a dead letter at once
//	that it is one
//	a signal, a timeout,  again, after a pause
//	an answer that says so
//	its listener is gone  again: at once after the first attempt, otherwise after a pause
//	it never began        again, after the first pause; the attempt does not count
//	the daemon ended it   again, at once; the attempt does not count
//
// After the last of its attempts, a message becomes a dead letter instead. Random returns a
// number from 0 to one less than its argument. It shortens pauses by up to a half, so that
// messages that failed together are not tried again together.
func (p Policy) Decide(attempt int, e Ending, random func(int64) int64) Decision {
	verdict, counts := p.verdict(e), e.ran()
	switch {
	case verdict == VerdictFault:
		return Decision{Verdict: VerdictFault}
	case verdict == VerdictAgain && e.How == HowStopped:
		return Decision{Verdict: VerdictAgain}
	case verdict == VerdictAgain && !counts:
		return Decision{Verdict: VerdictAgain, After: p.pause(1, random)}
	case verdict == VerdictAgain && p.Attempts > 0 && attempt >= p.Attempts:
		return Decision{Verdict: VerdictDead, Count: true}
	case verdict == VerdictAgain && e.How == HowLost: // the listener's end is a fact, and nothing says that the message is at fault
		return Decision{Verdict: VerdictAgain, Count: true, After: p.pause(attempt-1, random)}
	case verdict == VerdictAgain:
		return Decision{Verdict: VerdictAgain, Count: true, After: max(p.pause(attempt, random), e.Pause)}
	}
	return Decision{Verdict: verdict, Count: true}
}

// ran reports whether the message was, or may have been, worked on in vain.
func (e *Ending) ran() bool {
	switch e.How {
	case HowStopped, HowDisarmed, HowNotStarted, HowVoid, HowUnborn:
		return false
	}
	return true
}

func (p Policy) verdict(e Ending) Verdict {
	switch {
	case e.How == HowFailed:
		return VerdictFault
	case e.How == HowError && e.Outcome == OutcomeDead:
		return VerdictDead
	case e.How != HowExited || e.Signal != "":
		return VerdictAgain
	}
	if v, ok := p.Exits[e.Exit]; ok {
		return v
	}
	switch e.Exit {
	case 0:
		return VerdictDone
	case ExitDataErr:
		return VerdictDead
	case ExitCannot, ExitNotFound:
		return VerdictFault
	}
	return VerdictAgain
}

// pause returns the pause after an attempt.
func (p Policy) pause(attempt int, random func(int64) int64) time.Duration {
	if attempt < 1 {
		return 0
	}
	d := p.Backoff
	most := p.BackoffMax
	if most <= 0 {
		most = maxDuration
	}
	for i := 1; i < attempt && d < most; i++ {
		d *= 2
	}
	if d = min(d, most); d <= 0 {
		return 0
	}
	return d - time.Duration(random(int64(d)/2+1))
}
