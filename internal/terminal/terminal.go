// Package terminal is what the programs for people know about terminals: their width, and a
// line that shows how far something has come.
package terminal

import (
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
	"unsafe"
)

// Width returns the width of a file, or 0 if f is not a terminal.
func Width(f any) int {
	file, ok := f.(*os.File)
	if !ok {
		return 0
	}
	var size struct{ rows, columns, x, y uint16 }
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
	switch {
	case errno != 0:
		return 0
	case size.columns == 0: // a terminal that does not know its size
		return 80
	}
	return int(size.columns)
}

// again is the time after which a line is replaced at the earliest.
const again = 100 * time.Millisecond

// A Line is the last line of a terminal, which shows how far something has come, until it is
// cleared. On a file that is not a terminal it shows nothing. Several goroutines may use it.
type Line struct {
	out   io.Writer
	width int // 0: not a terminal

	mu    sync.Mutex
	shown time.Time // zero: there is nothing
}

// NewLine returns a line on a file, which is standard error as a rule.
func NewLine(out *os.File) *Line { return &Line{out: out, width: Width(out)} }

// Show replaces the line, unless it was replaced a moment ago.
func (l *Line) Show(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.width == 0 || time.Since(l.shown) < again {
		return
	}
	if utf8.RuneCountInString(text) >= l.width {
		text = string([]rune(text)[:l.width-2]) + "…"
	}
	l.shown = time.Now()
	fmt.Fprint(l.out, "\r"+text+"\x1b[K")
}

// Clear removes the line. Call it before anything else is printed on the terminal.
func (l *Line) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.shown.IsZero() {
		fmt.Fprint(l.out, "\r\x1b[K")
		l.shown = time.Time{}
	}
}

// Elapsed shows text with the time since the call, from the first second on, until stop is
// called.
func (l *Line) Elapsed(text string) (stop func()) {
	if l.width == 0 {
		return func() {}
	}
	begun, ended := time.Now(), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticks := time.NewTicker(time.Second)
		defer ticks.Stop()
		for {
			select {
			case <-ended:
				return
			case <-ticks.C:
				l.Show(fmt.Sprintf("%s (%v)", text, time.Since(begun).Round(time.Second)))
			}
		}
	})
	return func() {
		close(ended)
		wg.Wait()
		l.Clear()
	}
}
