// Package hook tells others about events: it posts them to a URL, runs a command for each, or
// mails them.
//
// A hook has filters, which choose events by their topics or by a condition such as failed. The
// [Feeder] follows the log of events, and pushes the events that a hook wants into the hook's
// queue, each once. Package queue/broker delivers them from there, in order and with retries:
// by a [Poster], or by a command, for which [Environment] and [Letter] make the input. A hook is
// in [Trouble] if its events are not delivered.
//
// # What it leaves to others
//
// Package queue keeps undelivered events and dead letters. The events come from package event, in their JSON form for clients, which package control/ops
// makes. The configuration's file is read by internal/config; cmd/activationd looks at the
// machine's files and users.
package hook
