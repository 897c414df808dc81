// Package device talks to one device over SSH, telnet, RFC 2217, raw TCP or a serial line:
// to a switch, a router or a host that a person could also log in to. It logs in ([Open]),
// sends configurations ([Send], [Session.Configure]), reads the device's state
// ([Session.Show]), and keeps a record of the session ([Transcript]).
//
// # What it promises
//
//   - Only the intended commands are executed. A line is typed in pieces as small as the
//     device needs, and return is pressed only when the device has shown the whole line.
//     Characters that were lost are erased and typed again, a bounded number of times.
//   - A prompt is the line at the cursor when nothing more comes. It must have the host name
//     that was learned for its mode, and is tested: a word that no device knows is typed
//     behind it, seen there, and erased. So a # in a banner, a description or a secret is
//     text. A shell gets a prompt that nothing else contains and that shows the exit status.
//   - Whatever a device does, each call ends: at one of its [Limits], or with its context.
//     That includes blocked writes.
//   - No secret of the login is in a transcript or in an error.
//
// # The files
//
//   - session.go opens and closes a session; transport.go connects, with ssh*.go, telnet.go,
//     rfc2217.go and serial.go; link.go moves the bytes.
//   - login.go and ssh_login.go log in; guard.go keeps refused passwords from being tried
//     again.
//   - exchange.go reads prompts and answers, typing.go types lines by their echo,
//     configure.go and send.go send configurations.
//   - patterns*.go have the compiled patterns of a platform, terminal.go what the device's
//     screen would show, secrets.go and masker.go what must not be printed.
//
// # What it leaves to others
//
// Package lab decides which lines are sent, and verifies afterwards what the device says;
// this package does neither. The caller makes sure that one program at a time writes to a
// device.
//
// # Ownership
//
// A [Session] belongs to one caller at a time. A reader and a writer goroutine move its
// bytes, and for telnet a third one answers the other side; Close waits for them. All
// decisions are made in the caller's goroutine, by what the device's screen shows.
//
// # Why this is our own code
//
// No library kept the promise about deadlines when we tried or read it:
//
//   - scrapligo v1.4.3 stays in SendCommand when a write blocks, whatever its timeout. Its v2
//     downloads a native library at run time.
//   - google/goexpect passes data to a goroutine that writes without a deadline; its timeout
//     covers only the passing. Netflix/go-expect has deadlines only for reading. Both match
//     an expression anywhere in the received bytes, so a # in a banner is a prompt.
//   - gnetcli knows RFC 2217 and telnet, but its Write takes neither a context nor a deadline,
//     does not double the byte 255, and supports neither the converter's settings nor its
//     flow control.
//   - None of them types a line in pieces by its echo.
//   - go.bug.st/serial v1.8.0 turns all flow control off, and a blocked Write stays blocked
//     after Close (tried on a pty).
//
// Libraries that are maintained and keep the promise are used: golang.org/x/crypto/ssh, where
// closing the connection ends every blocked call, and, for serial lines, the kernel's
// interface by golang.org/x/sys/unix, on a file that Go's poller serves.
package device
