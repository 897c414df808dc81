// Command atwrap is the parent of one run: it starts the run's script, limits
// it, ends it together with everything that it started, and writes down how it ended.
// The daemon starts it; it cannot be used by hand. See package wrapper.
package main

import (
	"syscall" // package os would cost every start of a wrapper 30 µs

	"activationd/supervisor/wrapper"
)

func main() { syscall.Exit(wrapper.Main()) }
