// Activationd activates a laboratory's reservations on time, runs one-shot
// jobs, and leaves nothing of them behind.
//
// This package is wiring: it checks the configuration against the machine, makes
// the directories, opens the sockets, and starts by name everything that runs.
// Package internal/config reads the configuration's file, and package activation
// decides what should run and why.
//
// # Files
//
// main.go starts the program and serve.go its tasks; daemon.go has what they share.
// init.go is the program as process 1 of a container, which starts the daemon.
// configuration.go finds the configuration, validate.go and trust.go check it, and
// settings.go and recurrences.go translate it for the engine. reload.go and
// shutdown.go do what signals and operations ask for.
package main
