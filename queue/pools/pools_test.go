package pools

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"activationd/internal/fault"
)

func TestAllows(t *testing.T) {
	list, err := Parse("/etc/pools.json", []byte("[\"a\",\n \"_model_*\",\n \"!_model_x*\"\n]\n"))
	if err != nil {
		t.Fatal(err)
	}
	none, err := Parse("p", []byte(" [ ] "))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what  string
		rules Rules
		queue string
		want  string // why not; empty: it is served
	}{
		{"no file", Rules{}, "x", ""},
		{"an empty list", Rules{List: none}, "x", "not in p"},
		{"a name", Rules{List: list}, "a", ""},
		{"a pattern", Rules{List: list}, "_model_a", ""},
		{"an exclusion", Rules{List: list}, "_model_xy", "denied by pools.json line 3"},
		{"no entry", Rules{List: list}, "b", "not in pools.json"},
		{"denied", Rules{List: list, Deny: []string{"c", "a*"}}, "a", "denied by queues.deny (a*)"},
		{"not allowed", Rules{List: list, Allow: []string{"b"}}, "a", "not in queues.allow"},
		{"allowed by both", Rules{List: list, Allow: []string{"?"}}, "a", ""},
		{"allowed by one", Rules{List: list, Allow: []string{"?"}}, "b", "not in pools.json"},
	} {
		if ok, why := tt.rules.Allows(tt.queue); ok != (tt.want == "") || why != tt.want {
			t.Errorf("%s: Allows(%s) = %t, %q, want %q", tt.what, tt.queue, ok, why, tt.want)
		}
	}
}

func TestParseFaults(t *testing.T) {
	const want = `want a list of names of queues, such as ["a", "_model_b"]`
	for _, tt := range []struct{ file, want string }{
		{"", "p:1: " + want}, {"{}", "p:1: " + want}, {`"a"`, "p:1: " + want}, {"[1]", "p:1: " + want}, {"[\n\"a\",\nnull]", "p:3: " + want},
		{"[\"a\",\n\"[\"]", `p:2: "[" is neither a name nor a pattern`}, {`["!"]`, `p:1: "!" is neither a name nor a pattern`},
		{"[\"a\"\n", "p:1: the list has no end: EOF"}, {"[] []", "p:1: more follows after the list"},
	} {
		_, err := Parse("p", []byte(tt.file))
		if err == nil || fault.Text(err) != tt.want || !errors.Is(err, fault.Invalid) {
			t.Errorf("Parse(%q): %v, want %s", tt.file, err, tt.want)
		}
	}
}

// TestEdit gives the list after each command, and checks that what was allowed is allowed, and
// what was denied is not.
func TestEdit(t *testing.T) {
	for _, tt := range []struct{ list, edit, want string }{
		{"-", "allow a", "-"},
		{"-", "deny a", "* !a"},
		{"* !a", "allow a", "*"},
		{"*", "deny a*", "* !a*"},
		{"", "allow a", "a"},
		{"a", "allow a", "a"},
		{"a", "allow b", "a b"},
		{"a b", "deny a", "b"},
		{"a", "deny a", ""},
		{"a", "deny b", "a"},
		{"a* b", "deny ab", "a* b !ab"},
		{"a* !ab", "deny ab", "a* !ab"},
		{"a* !ab", "allow ab", "a*"},
		{"a* !ab", "allow a*", "a*"},
		{"a ab c", "deny a*", "c"},
		{"a* ?b", "deny a*", "?b !a*"},
		{"!a* b", "allow a", "!a* b a"},
	} {
		list := Only(strings.Fields(tt.list)...)
		if tt.list == "-" {
			list = nil
		}
		verb, name, _ := strings.Cut(tt.edit, " ")
		before := list.Entries()
		edit := list.Allow
		if verb == "deny" {
			edit = list.Deny
		}
		got := edit(name)
		text := strings.Join(got.Entries(), " ")
		if got == nil {
			text = "-"
		}
		if text != tt.want {
			t.Errorf("%s, %s: %s, want %s", tt.list, tt.edit, text, tt.want)
		}
		if !slices.Equal(before, list.Entries()) {
			t.Errorf("%s, %s: has changed the list itself", tt.list, tt.edit)
		}
		if ok, why := got.Allows(strings.ReplaceAll(name, "*", "1")); ok != (verb == "allow") && tt.list != "!a* b" {
			t.Errorf("%s, %s: %t, %s", tt.list, tt.edit, ok, why)
		}
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pools.json")
	if list, err := Read(file); list != nil || err != nil {
		t.Errorf("a file that does not exist: %v, %v", list, err)
	}
	if err := Only("a", "<b*>").Write(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	list, err := Read(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := list.Deny("a").Write(link); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if want := "[\n  \"<b*>\"\n]\n"; err != nil || string(data) != want {
		t.Errorf("the file has %q, %v, want %q", data, err, want)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".pools*")); left != nil {
		t.Errorf("left over: %v", left)
	}
	if err := list.Write(filepath.Join(dir, "none", "pools.json")); !errors.Is(err, fault.Unavailable) {
		t.Errorf("without a directory: %v", err)
	}
	if _, err := Read(dir); err == nil {
		t.Error("a directory was read")
	}
}
