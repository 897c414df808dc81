package ops

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"activationd/activation"
	"activationd/control"
)

// TestStdin checks what show tells about a script or an input.
func TestStdin(t *testing.T) {
	many := strings.Repeat("line\n", 15)
	at := "#!/bin/sh\n# atrun uid=0 gid=0\numask 22\nTOKEN=hush; export TOKEN\ncd /srv || {\n\t exit 1\n}\n"
	for _, tt := range []struct {
		name string
		argv []string
		text string
		at   bool
		want *control.Stdin
	}{
		{"none", []string{"true"}, "", false, nil},
		{"a shell script", []string{"/bin/sh"}, "a\nb", false, &control.Stdin{Script: true, Size: 3, Lines: 2, Shown: 2, Text: "a\nb"}},
		{"a long one", []string{"/bin/sh"}, many, false,
			&control.Stdin{Script: true, Size: 75, Lines: 15, Shown: 10, Text: many[:50]}},
		{"a wide one", []string{"/bin/sh"}, "a\n" + strings.Repeat("b", 5000), false,
			&control.Stdin{Script: true, Size: 5002, Lines: 2, Shown: 1, Text: "a\n"}},
		{"an interpreter's", []string{"/usr/bin/env", "python3"}, "#!  /usr/bin/env   python3\r\nx\n", false,
			&control.Stdin{Script: true, Size: 30, Lines: 2, Shown: 2, Text: "#!  /usr/bin/env   python3\r\nx\n"}},
		{"the input of another command", []string{"cat"}, "#!/bin/cat\nx", false, &control.Stdin{Size: 12, Lines: 2}},
		{"an input", []string{"sort"}, "b\na\n", false, &control.Stdin{Size: 4, Lines: 2}},
		{"bytes", []string{"/bin/sh"}, "\xff\n", false, &control.Stdin{Script: true, Size: 2, Lines: 1, Shown: 1, Base64: "/wo="}},
		{"of at", []string{"/bin/sh"}, at + "echo\n", true,
			&control.Stdin{Script: true, Size: len(at) + 5, Lines: 8, Before: 7, Shown: 1, Text: "echo\n"}},
	} {
		o := &activation.Order{Argv: tt.argv, Stdin: []byte(tt.text)}
		if tt.at {
			o.AtJob = &activation.AtJob{Queue: "a"}
		}
		switch got := stdin(o); {
		case got == nil || tt.want == nil:
			if got != tt.want {
				t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
			}
		case *got != *tt.want:
			t.Errorf("%s:\n%+v, want\n%+v", tt.name, *got, *tt.want)
		}
		if !bytes.Equal(o.Stdin, []byte(tt.text)) {
			t.Errorf("%s: the input itself has become %q", tt.name, o.Stdin)
		}
	}
}

// TestVariables checks which variables are masked.
func TestVariables(t *testing.T) {
	env, hidden := variables(
		map[string]string{"SITE": "ostrava", "LEVEL": "1", "api_token": "hush"},
		map[string]string{"LEVEL": "2", "PGPASSWORD": "hush", "SSH_KEY_FILE": "hush", "X": "\xff",
			"DB": "postgres://ann:hush@db/lab", "MAIL": "ann@example.org", "URL": "http://host:80/a@b"},
	)
	want := map[string]string{
		"SITE": "ostrava", "LEVEL": "2", "api_token": "***", "PGPASSWORD": "***", "SSH_KEY_FILE": "***", "X": `\xff`,
		"DB": "postgres://ann:***@db/lab", "MAIL": "ann@example.org", "URL": "http://host:80/a@b",
	}
	if !maps.Equal(env, want) {
		t.Errorf("the variables are %v, want %v", env, want)
	}
	if want := []string{"DB", "PGPASSWORD", "SSH_KEY_FILE", "api_token"}; !slices.Equal(hidden, want) {
		t.Errorf("masked are %v, want %v", hidden, want)
	}
	if env, hidden := variables(nil, nil); env != nil || hidden != nil {
		t.Errorf("without variables there are %v, %v", env, hidden)
	}
}
