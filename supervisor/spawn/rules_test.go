package spawn

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"activationd/internal/fault"
)

// least are the rules without which there are none.
const least = "daemon: atd\nruns: [/r]\nconfig: /c\n"

func TestParseRules(t *testing.T) {
	t.Parallel()
	leastRules := func(set func(*Rules)) *Rules {
		r := &Rules{Daemon: "atd", Runs: []string{"/r"}, Config: "/c"}
		set(r)
		return r
	}
	for _, tt := range []struct {
		name, text string
		want       *Rules
	}{
		{"the least", least, leastRules(func(*Rules) {})},
		{"lines that end as on Windows", strings.ReplaceAll(least, "\n", "\r\n"), leastRules(func(*Rules) {})},
		{"without a last end of line", strings.TrimSuffix(least, "\n"), leastRules(func(*Rules) {})},
		{"comments", "# a: b\n  # c\n" + least + "at: yes # every user\n", leastRules(func(r *Rules) { r.At = true })},
		{"a # in a word", least + "users: [a#b]\n", leastRules(func(r *Rules) { r.Users = []string{"a#b"} })},
		{"a list in lines", least + "users:\n- a\n  - \"b c\"\nat: true\n", leastRules(func(r *Rules) { r.Users, r.At = []string{"a", "b c"}, true })},
		{"a list in a line", least + `users: [a, "web-*", 1000]` + "\n", leastRules(func(r *Rules) { r.Users = []string{"a", "web-*", "1000"} })},
		{"a pattern without quotes", least + "users: [*-x]\n", leastRules(func(r *Rules) { r.Users = []string{"*-x"} })},
		{"empty lists", least + "users: []\nkept: [ ]\nlisten:\n", leastRules(func(*Rules) {})},
		{"everything", least + "at: no\nallow_root: yes\nkept: [/k]\nlisten: [\"*:80\", /run/x/*.sock]\n",
			leastRules(func(r *Rules) {
				r.AllowRoot, r.Kept, r.Listen = true, []string{"/k"}, []string{"*:80", "/run/x/*.sock"}
			})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got, err := ParseRules("f", []byte(tt.text)); err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%q = %+v, %v, want %+v", tt.text, got, err, tt.want)
			}
		})
	}
}

func TestParseRulesWrong(t *testing.T) {
	t.Parallel()
	const keys = "; there are daemon, users, at, allow_root, runs, config, kept and listen"
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "f: daemon: which user is the daemon's?\nf: runs and config: which directories may it touch?"},
		{"no configuration directory", "daemon: atd\nruns: [/r]\n", "f: runs and config: which directories may it touch?"},
		{"no daemon", "runs: [/r]\nconfig: /c\n", "f: daemon: which user is the daemon's?"},
		{"an empty daemon", "daemon:\nruns: [/r]\nconfig: /c\n", "f:1: \"\" is no value\nf: daemon: which user is the daemon's?"},
		{"a key that there is not", least + "allow-root: yes\n", `f:4: there is no key "allow-root"` + keys},
		{"a key in another case", least + "At: yes\n", `f:4: there is no key "At"` + keys},
		{"a key twice", least + "config: /d\n", "f:4: config is there twice"},
		{"no key", least + "users\n", `f:4: want KEY: VALUE, have "users"`},
		{"a key that is moved in", least + " at: yes\n", `f:4: want KEY: VALUE, have " at: yes"`},
		{"no space after the colon", least + "at:yes\n", `f:4: want KEY: VALUE, have "at:yes"`},
		{"neither yes nor no", least + "allow_root: on\n", `f:4: want yes or no, have "on"`},
		{"neither yes nor no, but nothing", least + "allow_root:\n", `f:4: want yes or no, have ""`},
		{"a list that does not end", least + "users: [a\n", `f:4: want a list, have "[a"`},
		{"a value for a list", least + "users: a\n", `f:4: want a list, have "a"`},
		{"a bracket for a list", least + "users: [\n", `f:4: want a list, have "["`},
		{"an element that is empty", least + "users: [a,,b]\n", `f:4: "" is no value`},
		{"an element without a list", "- a\n" + least, "f:1: an element without a list before it"},
		{"an element after a value", least + "- a\n", "f:4: an element without a list before it"},
		{"an element after a whole list", least + "users: [a]\n- b\n", "f:5: an element without a list before it"},
		{"something escaped", least + `users: ["a\n"]` + "\n", `f:4: no \ in a value: nothing is escaped`},
		{"a quote that does not end", least + "users: [\"a]\n", `f:4: "\"a": want a plain value, or one in double quotes`},
		{"a quote in a word", least + "users: [a\"b]\n", `f:4: "a\"b" is no value`},
		{"empty quotes", least + "users: [\"\"]\n", `f:4: "\"\"" is no value`},
		{"an anchor", least + "users: [&a]\n", `f:4: "&a": want a plain value, or one in double quotes`},
		{"a tab", least + "users:\t[a]\n", "f:4: a character that is none of text"},
		{"a zero byte", least + "users: [a\x00]\n", "f:4: a character that is none of text"},
		{"no text", least + "users: [\xff]\n", "f:4: a character that is none of text"},
		{"a path from here", "daemon: atd\nruns: [r]\nconfig: /c\n", `f: "r": want an absolute path without . and ..`},
		{"a path with ..", "daemon: atd\nruns: [/r/../etc]\nconfig: /c\n", `f: "/r/../etc": want an absolute path without . and ..`},
		{"a path with a / at its end", "daemon: atd\nruns: [/r]\nconfig: /c/\n", `f: "/c/": want an absolute path without . and ..`},
		{"everything as a place", least + "kept: [/]\n", `f: "/": want an absolute path without . and ..`},
		{"a pattern that is none", least + "users: [\"a[\"]\n", `f: "a[" is no pattern`},
		{"a pattern of addresses that is none", least + "listen:\n- /run/[\n", `f: "/run/[" is no pattern`},
		{"two faults", "x: y\n" + least + "at: maybe\n", `f:1: there is no key "x"` + keys + "\n" + `f:5: want yes or no, have "maybe"`},
		{"a large file", least + strings.Repeat("#", maxRules), "f: more than 65536 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := ParseRules("f", []byte(tt.text))
			if err == nil {
				t.Fatalf("%q = %+v, want an error", tt.text, r)
			}
			if want := tt.want + ": " + string(fault.Invalid); err.Error() != want || !errors.Is(err, fault.Invalid) {
				t.Errorf("%q:\n%s\nwant:\n%s", tt.text, err, want)
			}
		})
	}
}

// text writes rules as ParseRules reads them.
func (r *Rules) text() string {
	var b strings.Builder
	quoted := func(v string) string {
		if strings.Contains(v, `\`) { // it had no quotes
			return v
		}
		return `"` + v + `"`
	}
	fmt.Fprintf(&b, "daemon: %s\nconfig: %s\nat: %t\nallow_root: %t\n", quoted(r.Daemon), quoted(r.Config), r.At, r.AllowRoot)
	for _, l := range []struct {
		key    string
		values []string
	}{{"users", r.Users}, {"runs", r.Runs}, {"kept", r.Kept}, {"listen", r.Listen}} {
		b.WriteString(l.key + ":\n")
		for _, v := range l.values {
			b.WriteString("- " + quoted(v) + "\n")
		}
	}
	return b.String()
}

// FuzzRules looks whether what is read as rules has the right paths, and can be written and read again.
func FuzzRules(f *testing.F) {
	for _, seed := range []string{least, least + "kept: [/]", least + "kept: [/a/../b]", least + "users: [a\\b]", least + "users:\n- a\nat: yes # x\n", "kept: [/k, \"/l\"]\n" + least, "- a", "users: [\"a b\", 1]\n" + least} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRules("f", data)
		if err != nil {
			if !errors.Is(err, fault.Invalid) {
				t.Errorf("%v is not of kind %s", err, fault.Invalid)
			}
			return
		}
		for _, dir := range append(append([]string{r.Config}, r.Runs...), r.Kept...) {
			if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/" {
				t.Errorf("the directory %q", dir)
			}
		}
		if again, err := ParseRules("f", []byte(r.text())); err != nil && len(r.text()) <= maxRules || err == nil && !reflect.DeepEqual(again, r) {
			t.Errorf("%+v, written and read again, is %+v, %v", r, again, err)
		}
	})
}
