package timetext

import (
	"strconv"
	"strings"
)

// A cursor is the rest of a text that is being read.
type cursor struct{ rest string }

// at returns the byte at an index, 0 if there is none.
func (c *cursor) at(i int) byte {
	if i < len(c.rest) {
		return c.rest[i]
	}
	return 0
}

// digits returns how many digits come next.
func (c *cursor) digits() (n int) {
	for '0' <= c.at(n) && c.at(n) <= '9' {
		n++
	}
	return n
}

// number reads a number of at least and at most so many digits, and returns how many it
// read: 0 if there are fewer. It leaves further digits. No number has more than 18.
func (c *cursor) number(least, most int) (v, n int) {
	n = min(c.digits(), most)
	if n < least {
		return 0, 0
	}
	v, _ = strconv.Atoi(c.rest[:n]) // they are digits
	c.rest = c.rest[n:]
	return v, n
}

// fraction reads digits after a point or a comma, if there is one, as nanoseconds. It cuts
// off finer ones.
func (c *cursor) fraction() (nano int, ok bool) {
	if !c.take('.') && !c.take(',') {
		return 0, c.digits() == 0
	}
	n := c.digits()
	if n == 0 {
		return 0, false
	}
	nano, _ = strconv.Atoi((c.rest[:min(n, 9)] + "00000000")[:9])
	c.rest = c.rest[n:]
	return nano, true
}

// take reads a byte, if that comes next.
func (c *cursor) take(b byte) bool {
	if c.rest == "" || c.rest[0] != b {
		return false
	}
	c.rest = c.rest[1:]
	return true
}

// spaces reads spaces and tabs, and counts them.
func (c *cursor) spaces() int {
	n := len(c.rest)
	c.rest = strings.TrimLeft(c.rest, " \t")
	return n - len(c.rest)
}

// word reads letters.
func (c *cursor) word() string {
	n := 0
	for 'a' <= c.at(n)|0x20 && c.at(n)|0x20 <= 'z' {
		n++
	}
	w := c.rest[:n]
	c.rest = c.rest[n:]
	return w
}

// sign is 1 or -1 if a sign comes next, else 0. It does not read it.
func (c *cursor) sign() int {
	switch c.at(0) {
	case '+':
		return 1
	case '-':
		return -1
	}
	return 0
}
