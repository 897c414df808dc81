package main

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A timeFormat is a format of strftime(3), in the language C, with glibc's flags
// and widths.
type timeFormat string

// maxWidth is the widest that a conversion is filled up to: nobody waits for
// gigabytes of spaces.
const maxWidth = 1000

// append writes t.
func (f timeFormat) append(b []byte, t time.Time) []byte {
	for f != "" {
		n := strings.IndexByte(string(f), '%')
		if n < 0 {
			return append(b, f...)
		}
		b = append(b, f[:n]...)
		var c conversion
		c, f = readConversion(f[n:])
		b = c.append(b, t)
	}
	return b
}

// A conversion is a part of a format that begins with %.
type conversion struct {
	text     string
	pad      byte // of - _ 0 the last; or none
	upper    bool // ^
	change   bool // #
	width    int
	modifier byte // E or O; or none
	letter   byte // none if the format ends before it
}

// readConversion reads the one that f begins with, and returns what follows it.
func readConversion(f timeFormat) (c conversion, rest timeFormat) {
	n := 1
	for ; n < len(f) && strings.IndexByte("-_0^#", f[n]) >= 0; n++ {
		switch f[n] {
		case '^':
			c.upper = true
		case '#':
			c.change = true
		default:
			c.pad = f[n]
		}
	}
	for ; n < len(f) && f[n] >= '0' && f[n] <= '9'; n++ {
		c.width = min(10*c.width+int(f[n]-'0'), maxWidth)
	}
	if n < len(f) && (f[n] == 'E' || f[n] == 'O') {
		c.modifier = f[n]
		n++
	}
	if n < len(f) {
		c.letter = f[n]
		n++
	}
	c.text = string(f[:n])
	return c, f[n:]
}

// layouts are those conversions that are text and for which package time has a
// layout.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'h': "Jan", 'p': "PM", 'P': "pm", 'Z': "MST",
	'T': "15:04:05", 'R': "15:04", 'r': "03:04:05 PM", 'D': "01/02/06", 'F': "2006-01-02", 'x': "01/02/06", 'X': "15:04:05",
	'c': "Mon Jan _2 15:04:05 2006", 'n': "\n", 't': "\t", '%': "%",
}

// unmodified are the letters that have no such modifier.
var unmodified = map[byte]string{'E': "aAbBhdegjklmwDFGHIMSUVW", 'O': "aAcDFxXY"}

func (c *conversion) append(b []byte, t time.Time) []byte {
	if strings.IndexByte(unmodified[c.modifier], c.letter) < 0 {
		switch c.letter {
		case 'z':
			return c.appendOffset(b, t)
		case 's':
			return c.fill(b, strconv.FormatInt(t.Unix(), 10), c.pad == '0', c.width)
		}
		if value, digits, ok := number(t, c.letter); ok {
			return c.appendNumber(b, value, digits)
		}
		if l, ok := layouts[c.letter]; ok {
			if len(c.text) == 2 { // atq has many lines
				return t.AppendFormat(b, l)
			}
			return c.fill(b, c.inCase(t.Format(l)), c.pad == '0', c.width)
		}
	}
	text := c.text // as it stands
	if c.upper && c.letter < utf8.RuneSelf {
		text = strings.ToUpper(text)
	}
	return c.fill(b, text, c.pad == '0', c.width)
}

// inCase is text in the case that the flags say.
func (c *conversion) inCase(text string) string {
	switch {
	case c.change && strings.IndexByte("pZ", c.letter) >= 0:
		return strings.ToLower(text)
	case c.letter != 'P' && (c.upper || c.change && strings.IndexByte("aAbBh", c.letter) >= 0):
		return strings.ToUpper(text)
	}
	return text
}

// fill writes text behind as many zeros, or spaces, as make it so wide.
func (c *conversion) fill(b []byte, text string, zeros bool, width int) []byte {
	with := byte(' ')
	if zeros {
		with = '0'
	}
	for range width - len(text) {
		b = append(b, with)
	}
	return append(b, text...)
}

func (c *conversion) appendNumber(b []byte, value, digits int) []byte {
	width := max(digits, c.width)
	if c.pad == '-' {
		width = c.width // it is filled with spaces all the same
	}
	zeros := c.pad == '0' || c.pad == 0 && strings.IndexByte("ekl", c.letter) < 0
	return c.fill(b, strconv.Itoa(value), zeros, width)
}

// appendOffset writes the offset from UTC; glibc fills the sign and the digits
// up, each by itself.
func (c *conversion) appendOffset(b []byte, t time.Time) []byte {
	sign := "+"
	_, offset := t.Zone()
	if offset < 0 {
		sign, offset = "-", -offset
	}
	b = c.fill(b, sign, c.pad == '0', c.width)
	return c.appendNumber(b, offset/3600*100+offset/60%60, 4)
}

// number returns what a letter stands for, if that is a number, and how many
// digits it has at least.
func number(t time.Time, letter byte) (value, digits int, ok bool) {
	digits = 2
	switch letter {
	case 'd', 'e':
		value = t.Day()
	case 'm':
		value = int(t.Month())
	case 'y':
		value = t.Year() % 100
	case 'H', 'k':
		value = t.Hour()
	case 'I', 'l':
		value = (t.Hour()+11)%12 + 1
	case 'M':
		value = t.Minute()
	case 'S':
		value = t.Second()
	case 'C':
		value = t.Year() / 100
	case 'g':
		value, _ = t.ISOWeek()
		value %= 100
	case 'U':
		value = (t.YearDay() + 6 - int(t.Weekday())) / 7
	case 'W':
		value = (t.YearDay() + 6 - int(t.Weekday()+6)%7) / 7
	case 'V':
		_, value = t.ISOWeek()
	case 'j':
		value, digits = t.YearDay(), 3
	case 'Y':
		value, digits = t.Year(), 1
	case 'G':
		value, _ = t.ISOWeek()
		digits = 1
	case 'u':
		value, digits = int(t.Weekday()+6)%7+1, 1
	case 'w':
		value, digits = int(t.Weekday()), 1
	default:
		return 0, 0, false
	}
	return value, digits, true
}
