// Package config reads the daemon's configuration file. It is a pure parse: the same bytes
// always give the same settings and the same faults, and one reading finds all faults, each
// with its line. The package reads no environment, no other file and no network, and logs
// nothing.
//
// # What it leaves to others
//
// Whether the machine has what the settings name (users, files, certificates, time zones) is
// checked by the daemon, which adds its faults to those of the parse, so that its user sees
// them together. The daemon also finds the file, and decides which changes take effect in a
// reload and which need a restart.
//
// # Files
//
// config.go has the settings, defaults.go their defaults, units.go the values with units of
// their own. decode.go lays a file's nodes over the settings by reflection, check.go and
// listen.go check the result, and suggest.go names the key that was meant by an unknown one.
package config
