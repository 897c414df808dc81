package main

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A timeFormat is a format of strftime(3) in the locale C, with the flags and widths of
// glibc.
type timeFormat string

// maxWidth is the greatest width of a conversion: nobody needs gigabytes of spaces.
const maxWidth = 1000

// append appends t.
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
	pad      byte // the last of - _ 0; 0: none
	upper    bool // ^
	change   bool // #
	width    int
	modifier byte // E or O; 0: none
	letter   byte // 0 if the format ends before it
}

// readConversion reads the conversion at the beginning of f, and returns the rest of f.
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

// layouts are the conversions to text for which package time has a layout.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'h': "Jan", 'p': "PM", 'P': "pm", 'Z': "MST",
	'T': "15:04:05", 'R': "15:04", 'r': "03:04:05 PM", 'D': "01/02/06", 'F': "2006-01-02", 'x': "01/02/06", 'X': "15:04:05",
	'c': "Mon Jan _2 15:04:05 2006", 'n': "\n", 't': "\t", '%': "%",
}

// unmodified are, for each modifier, the letters that it does not apply to.
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
	text := c.text // unchanged
	if c.upper && c.letter < utf8.RuneSelf {
		text = strings.ToUpper(text)
	}
	return c.fill(b, text, c.pad == '0', c.width)
}

// inCase returns text in upper or lower case, as the flags say.
func (c *conversion) inCase(text string) string {
	switch {
	case c.change && strings.IndexByte("pZ", c.letter) >= 0:
		return strings.ToLower(text)
	case c.letter != 'P' && (c.upper || c.change && strings.IndexByte("aAbBh", c.letter) >= 0):
		return strings.ToUpper(text)
	}
	return text
}

// fill appends text after as many zeros or spaces as the width needs.
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
		width = c.width // spaces fill it nevertheless
	}
	zeros := c.pad == '0' || c.pad == 0 && strings.IndexByte("ekl", c.letter) < 0
	return c.fill(b, strconv.Itoa(value), zeros, width)
}

// appendOffset appends the offset from UTC. Like glibc, it fills up the sign and the digits
// separately.
func (c *conversion) appendOffset(b []byte, t time.Time) []byte {
	sign := "+"
	_, offset := t.Zone()
	if offset < 0 {
		sign, offset = "-", -offset
	}
	b = c.fill(b, sign, c.pad == '0', c.width)
	return c.appendNumber(b, offset/3600*100+offset/60%60, 4)
}

// number returns the number that a letter stands for, with its least number of digits. It
// reports whether the letter stands for a number.
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
