// Package control declares operations and calls them. An operation is declared once
// ([Declare]); package control/line makes it a command of the line protocol. [Client]
// speaks that protocol from the other side.
//
// The package also has the wire forms: the inputs and the outputs of operations.
//
// # The line protocol
//
// A request is a command of one or two words, its arguments, each on a line of its own,
// and an empty line:
//
//	show
//	id:1042@ostrava
//
// A line ends with LF; CR is ignored, and so are blanks and tabs at the beginning of a
// line. Names are case-insensitive, and arguments may come in any order. The value
// follows the colon directly. A value that starts with a double quote is a JSON string;
// this is how a value contains newlines. Arguments may also follow the command on its
// line, separated by blanks; a value with blanks then needs the quotes. Everything is
// UTF-8 without NUL.
//
// A command that takes no arguments runs at once. If the first line has all required
// arguments, the command runs at the empty line, when the client closes its side of the
// connection, when another command follows, or when nothing follows for a tenth of a
// second. Any other command needs the empty line. Empty lines between requests are
// ignored. A client may send several requests without waiting for the replies, which
// come in the same order; a client that sends many must read while it sends.
//
// A reply is a line with a code, a blank and a description, then lines of JSON,
// one object each, then a line with a dot:
//
//	200 OK generation=4 added=0 changed=1 removed=0 rejected=0
//	{"what":"changed","id":"1042@ostrava"}
//	.
//
// Codes have the same meaning as in HTTP. A reply with a code other than 200 may have
// lines, too. If a reply fails after it was begun, its last line is
// {"error":{"code":503,"text":"..."}}. A stream may contain empty lines, which are to be
// ignored. A malformed request gets the code 400, and the connection is closed.
//
// An argument token:SECRET in any request identifies the caller of that request. The
// command "token" with this argument does so for all requests that follow on the
// connection. If the command takes no arguments, token: must be on the command's line.
package control
