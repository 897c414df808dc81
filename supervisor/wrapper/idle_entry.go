//go:build idle

package wrapper

// entry is where the program begins.
func entry()
