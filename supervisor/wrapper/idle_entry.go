//go:build idle

package wrapper

// entry is where the program begins.
func entry()

// noRuntime is the g of the early stage, as large as one of Go's: its stack has no limit, so it never grows.
// tls is what the thread's register points behind: the address of noRuntime.
var (
	noRuntime [1024]byte
	tls       [2]uintptr
)

// forRuntime is what the runtime takes when it begins, see idleName: threads, and memory. threadPause is how long those
// threads stay, in seconds and nanoseconds.
var (
	forRuntime  = [2]byte{'0' + 3, '0' + 10}
	threadPause = [2]int64{0, 50_000_000}
)

// early is called by entry.
func early() int {
	if _, ok := idleState(); ok {
		return wake
	}
	return process.early()
}
