// Package hook hands events to others: it posts them to a URL, runs a command for each, or
// mails them.
//
// A hook has filters, which choose events by their topics or by a condition such as failed, and
// one way in which it hands them on. The package decides which events a hook gets, makes the
// request, the mail or the command's input, and judges by the answer what follows.
//
// # What it leaves to others
//
// The events come from package event, in their JSON form for clients, which package control/ops
// makes. The configuration's file is read by internal/config; cmd/activationd looks at the
// machine's files and users.
package hook
