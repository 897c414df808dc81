// Command atwrap is the parent of one run: it starts the run's script, limits
// it, ends it with everything that it started, and writes down how it ended.
// The daemon starts it; it is of no use by hand. See package wrapper.
package main

import (
	"os"

	"activationd/supervisor/wrapper"
)

func main() { os.Exit(wrapper.Main(os.Args)) }
