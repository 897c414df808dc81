// Activationd activates a laboratory's reservations on time, runs one-shot
// jobs, and leaves nothing of them behind.
//
// This package is wiring and nothing else: it reads the settings, makes the
// directories, opens the sockets, and starts by name everything that runs.
// What should run and why is package activation's affair.
package main
