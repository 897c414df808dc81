package spawn

import (
	"errors"
	"os"
	"testing"

	"activationd/internal/fault"
)

func TestPermits(t *testing.T) {
	t.Parallel()
	const daemon = 100
	user := identity{name: "web-1", uid: 1000}
	unknown := identity{uid: 1001}
	for _, tt := range []struct {
		name  string
		rules Rules
		id    identity
		want  bool
	}{
		{"nobody", Rules{}, user, false},
		{"the daemon itself", Rules{}, identity{name: "atd", uid: daemon}, true},
		{"by name", Rules{Users: []string{"db", "web-1"}}, user, true},
		{"by another name", Rules{Users: []string{"web-10", "web"}}, user, false},
		{"by a pattern", Rules{Users: []string{"web-*"}}, user, true},
		{"by another pattern", Rules{Users: []string{"web-[2-9]"}}, user, false},
		{"by number", Rules{Users: []string{"1000"}}, user, true},
		{"by a number that only begins so", Rules{Users: []string{"100", "10000"}}, user, false},
		{"by a pattern of numbers", Rules{Users: []string{"10??"}}, unknown, false},
		{"a user without a name, by number", Rules{Users: []string{"1001"}}, unknown, true},
		{"a user without a name, by a pattern of all names", Rules{Users: []string{"*"}}, unknown, false},
		{"a user without a name, by an empty name", Rules{Users: []string{""}}, unknown, false},
		{"root, by nothing", Rules{}, identity{name: "root"}, false},
		{"root, by name", Rules{Users: []string{"root", "0", "*"}}, identity{name: "root"}, false},
		{"root, by at", Rules{At: true}, identity{name: "root"}, false},
		{"root, allowed", Rules{AllowRoot: true}, identity{name: "root"}, true},
		{"root allowed, but not others", Rules{AllowRoot: true}, user, false},
		{"a user of at without a name", Rules{At: true}, unknown, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.rules.permits(tt.id, daemon)
			if (err == nil) != tt.want || err != nil && !errors.Is(err, fault.Denied) {
				t.Errorf("permits(%+v) = %v, want %t", tt.id, err, tt.want)
			}
		})
	}
}

func TestAtPermits(t *testing.T) {
	t.Parallel()
	const none = "-" // there is no such file
	for _, tt := range []struct {
		name, allow, deny string
		want              bool
	}{
		{"no file: only root", none, none, false},
		{"an empty at.deny: everybody", none, "", true},
		{"in at.deny", none, "bob\nann\n", false},
		{"another in at.deny", none, "bob\nanna\n", true},
		{"in at.deny, without a last end of line", none, "bob\nann", false},
		{"in at.allow", "bob\nann\n", none, true},
		{"an empty at.allow: nobody", "", none, false},
		{"another in at.allow", "bob\nanna\n", none, false},
		{"at.allow comes first: in both", "ann\n", "ann\n", true},
		{"at.allow comes first: in neither", "bob\n", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			allow, deny := dir+"/at.allow", dir+"/at.deny"
			for name, text := range map[string]string{allow: tt.allow, deny: tt.deny} {
				if text != none {
					must(t, os.WriteFile(name, []byte(text), 0o600))
				}
			}
			if got := atPermits("ann", allow, deny); got != tt.want {
				t.Errorf("at.allow %q, at.deny %q: %t, want %t", tt.allow, tt.deny, got, tt.want)
			}
		})
	}
	// A file that cannot be read permits nobody.
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/at.allow", 0o700), os.WriteFile(dir+"/at.deny", nil, 0o600))
	if atPermits("ann", dir+"/at.allow", dir+"/at.deny") || atPermits("ann", dir+"/none", dir+"/at.allow") {
		t.Error("a file that cannot be read permits a user")
	}
}
