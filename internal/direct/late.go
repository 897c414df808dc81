//go:build !early

package direct

import "os"

var _ = late()

// late takes the direct path in a program that has no entry of its own.
func late() int {
	status := process.begin(os.Args, os.Environ())
	if status != leave {
		os.Exit(status)
	}
	return status
}
