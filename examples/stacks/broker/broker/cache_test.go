package main

import (
	"bufio"
	"reflect"
	"strings"
	"testing"
)

func TestReadReply(t *testing.T) {
	for _, tt := range []struct {
		name, reply string
		want        any
		err         string
	}{
		{"a status", "+OK\r\n", "OK", ""},
		{"a number", ":-12\r\n", -12, ""},
		{"a large number", ":4398046511104\r\n", 1 << 42, ""},
		{"a string of any bytes", "$4\r\na\r\nb\r\n", "a\r\nb", ""},
		{"an empty string", "$0\r\n\r\n", "", ""},
		{"nothing", "$-1\r\n", nil, ""},
		{"no list", "*-1\r\n", nil, ""},
		{"a list of lists", "*2\r\n*1\r\n:1\r\n$-1\r\n", []any{[]any{1}, nil}, ""},
		{"a refusal", "-ERR unknown command\r\n", nil, `the server says "ERR unknown command"`},
		{"the end before the line's", "+OK", nil, "EOF"},
		{"the end before the string's", "$4\r\nab", nil, "unexpected EOF"},
		{"the end before the list's", "*2\r\n:1\r\n", nil, "EOF"},
		{"a string that is too long", "$9999999999\r\n", nil, `the server says "9999999999"`},
		{"no length", "$x\r\n", nil, `the server says "x"`},
		{"another protocol", "HTTP/1.1 400 Bad Request\r\n", nil, `the server says "TTP/1.1 400 Bad Request"`},
		{"an empty line", "\r\n", nil, `the server says "\r\n"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readReply(bufio.NewReader(strings.NewReader(tt.reply)))
			said := ""
			if err != nil {
				said = err.Error()
			}
			if !reflect.DeepEqual(got, tt.want) || said != tt.err {
				t.Errorf("readReply(%q) = %v, %q, want %v, %q", tt.reply, got, said, tt.want, tt.err)
			}
		})
	}
}
