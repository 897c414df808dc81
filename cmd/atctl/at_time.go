package main

import (
	"fmt"
	"strconv"
	"time"
)

// A timeFormat is a format of strftime(3), in the language C.
type timeFormat string

// append writes t.
func (f timeFormat) append(b []byte, t time.Time) []byte {
	for i := 0; i < len(f); i++ {
		c := f[i]
		if c != '%' || i+1 == len(f) {
			b = append(b, c)
			continue
		}
		i++
		c = f[i]
		if (c == 'E' || c == 'O') && i+1 < len(f) { // other numerals, which C has not
			i++
			c = f[i]
		}
		b = appendTime(b, t, c)
	}
	return b
}

// layouts are those conversions for which package time has a layout.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'h': "Jan", 'd': "02", 'e': "_2", 'm': "01", 'y': "06", 'Y': "2006",
	'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'P': "pm", 'T': "15:04:05", 'R': "15:04", 'r': "03:04:05 PM",
	'D': "01/02/06", 'F': "2006-01-02", 'x': "01/02/06", 'X': "15:04:05", 'c': "Mon Jan _2 15:04:05 2006",
	'z': "-0700", 'Z': "MST", 'j': "002",
}

func appendTime(b []byte, t time.Time, c byte) []byte {
	if l, ok := layouts[c]; ok {
		return t.AppendFormat(b, l)
	}
	year, week := t.ISOWeek()
	switch c {
	case 'n':
		return append(b, '\n')
	case 't':
		return append(b, '\t')
	case '%':
		return append(b, '%')
	case 's':
		return strconv.AppendInt(b, t.Unix(), 10)
	case 'C':
		return fmt.Appendf(b, "%02d", t.Year()/100)
	case 'k':
		return fmt.Appendf(b, "%2d", t.Hour())
	case 'l':
		return fmt.Appendf(b, "%2d", (t.Hour()+11)%12+1)
	case 'u':
		return strconv.AppendInt(b, int64(t.Weekday()+6)%7+1, 10)
	case 'w':
		return strconv.AppendInt(b, int64(t.Weekday()), 10)
	case 'U':
		return fmt.Appendf(b, "%02d", (t.YearDay()+6-int(t.Weekday()))/7)
	case 'W':
		return fmt.Appendf(b, "%02d", (t.YearDay()+6-int(t.Weekday()+6)%7)/7)
	case 'V':
		return fmt.Appendf(b, "%02d", week)
	case 'G':
		return strconv.AppendInt(b, int64(year), 10)
	case 'g':
		return fmt.Appendf(b, "%02d", year%100)
	}
	return append(b, '%', c)
}
