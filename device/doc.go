// Package device talks with one device: a switch, a router or a host that somebody
// could also log in to by hand, over SSH, telnet, RFC 2217, raw TCP or a serial line.
// It logs in ([Open]), sends configurations ([Send], [Session.Configure]), reads what
// is there ([Session.Show]), and keeps what was said ([Transcript]).
//
// # What it promises
//
//   - Nothing is executed but what was meant. A line is typed, in pieces as small as the
//     device needs, and return is pressed when the device has shown all of it. What was
//     lost on the way is taken back and typed again, a bounded number of times.
//   - A prompt is the line on which the cursor stands when nothing more comes, of the
//     host that was learned for its mode, and proved: a word that no device knows is typed
//     behind it, seen there, and erased. A # in a banner, a description or a secret is
//     text. A shell gets a prompt that nothing else says and that tells the exit status.
//   - Whatever a device does, each call ends: at the limits of its [Limits], or with its
//     context. That holds for blocked writes, too.
//   - No secret of the login is in a transcript or in an error.
//
// # What it leaves to others
//
// Which lines are to be sent, and whether what a device says afterwards is what it
// should be, is package lab's affair: an OK is not believed here, nor checked. That a
// device has one writer at a time is the caller's to see to.
//
// # Ownership
//
// A [Session] is one caller's at a time. Two goroutines, a reader and a writer, and for
// telnet a third that answers, move its bytes; Close waits for them. What decides is the
// caller's goroutine, over a terminal's picture of what has come.
//
// # Why it is own code
//
// No library kept the promise about deadlines when we tried them or read them. scrapligo
// v1.4.3 stays in SendCommand when a write blocks, whatever its timeout, and its v2
// downloads a native library at run time. google/goexpect hands what is to be sent to a
// goroutine that writes without a deadline, and its timeout ends with the handing over;
// Netflix/go-expect has deadlines for reading only; both match an expression anywhere in
// what has come, so that a # in a banner is a prompt. gnetcli knows RFC 2217 and telnet,
// but its Write takes neither a context nor a deadline, doesn't double the byte 255, and
// leaves the converter's settings and its flow control undone. None sends a line in
// pieces by its echo. go.bug.st/serial v1.8.0 turns all flow control off, and a Write
// that blocks stays blocked after its Close (tried on a pty). What is well kept and does
// keep its promises is used: golang.org/x/crypto/ssh, where closing the connection ends
// every blocked call; and for serial lines the kernel's own interface through
// golang.org/x/sys/unix, with a file that Go's poller serves.
package device
