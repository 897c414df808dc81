// Package control declares operations and asks for them. An operation is
// declared once ([Declare]); package control/line makes of it a command of the
// line protocol. [Client] speaks that protocol from the other side.
//
// It also holds the wire forms: what goes in and comes out of operations.
//
// # The line protocol
//
// A request is a command of one word or two, its arguments, each on a line, and
// an empty line:
//
//	show
//	id:1042@ostrava
//
// A line ends with LF; CR is ignored, and so are blanks and tabs at a line's
// beginning. Names are case-insensitive; arguments come in any order, and
// nothing stands between the colon and the value. A value that starts with a
// double quote is a JSON string: that is how a value contains newlines.
// Arguments may also follow the command on its line, separated by blanks; a
// value with blanks then needs the quotes. All is UTF-8 without NUL.
//
// A command that takes no arguments runs at once. One that has all it needs
// with its first line runs at the empty line, when the client ends its side of
// the connection, when another command follows, or when nothing follows for a
// tenth of a second. Any other needs the empty line. Empty lines between
// requests mean nothing. Several requests may be sent without waiting for the
// replies, which come in the same order; whoever sends many must read while he
// sends.
//
// A reply is a line with a code, a blank and a description, then lines of JSON,
// one object each, then a line with a dot:
//
//	200 OK generation=4 added=0 changed=1 removed=0 rejected=0
//	{"what":"changed","id":"1042@ostrava"}
//	.
//
// Codes mean what they mean in HTTP. A reply other than 200 may have lines,
// too. When lines that were begun cannot be finished, the last is
// {"error":{"code":503,"text":"..."}}. A stream may contain empty lines, which
// mean nothing. After nonsense, which gets 400, the connection is closed.
//
// An argument token:SECRET, in any request, says who asks it; a command "token"
// with it says so for all that follow on the connection. With a command that
// takes no arguments it stands on the command's line.
package control
