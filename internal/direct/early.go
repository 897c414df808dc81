//go:build early

package direct

import "unsafe"

// entry is where the program begins.
func entry()

// noRuntime is the g of the direct path, as large as one of Go's: its stack has no limit, so it never grows.
// tls is what the thread's register points behind: the address of noRuntime. initial is the stack as the kernel made
// it: the number of arguments, pointers to them, 0, pointers to the environment, 0.
var (
	noRuntime [1024]byte
	tls       [2]uintptr
	initial   unsafe.Pointer
)

// words are the arguments and the environment.
var words [4096]string

// early is called by entry. The result is an exit status, or leave.
func early() int {
	const word = unsafe.Sizeof(uintptr(0))
	next, n, args := initial, 0, 0
	for part := range 2 {
		for next = unsafe.Add(next, word); *(*unsafe.Pointer)(next) != nil; next = unsafe.Add(next, word) {
			if n == len(words) {
				return leave
			}
			words[n] = textz(*(*unsafe.Pointer)(next))
			n++
		}
		if part == 0 {
			args = n
		}
	}
	return process.begin(words[:args], words[args:n])
}

// textz returns a text that ends with a zero byte.
func textz(p unsafe.Pointer) string {
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return unsafe.String((*byte)(p), n)
}
