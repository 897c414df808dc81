package test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestNamesAreBytes gives jobs a command, arguments, a directory, variables and input
// that are no text in any encoding, as file names may be. The script gets them
// unchanged, also after the daemon was killed, after an edit, from a recurrence and
// from at. They are shown as text that does a terminal no harm.
func TestNamesAreBytes(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "listen: [{address: '127.0.0.1:0', user: "+userName(t)+"}]\n")
	const odd = "f\xff\xfe\x1b[31m\xc3(é"
	dir := d.dir + "/" + odd
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	b := d.beacon()
	// What it was given, in hexadecimal: its own name's end, its argument, its directory's, two variables', its input.
	program := d.script(odd+".sh", `hex() { od -An -v -tx1 | tr -d ' \n'; }
{ printf %s "${0##*/}" | hex; printf ' '; printf %s "$1" | hex; printf ' '; pwd | sed 's,.*/,,' | tr -d '\n' | hex; printf ' '
printenv ODD | tr -d '\n' | hex; printf ' '; cat | hex; echo; } >`+b.path+"\n")
	hexOf := func(s string) string {
		var w strings.Builder
		for i := range len(s) {
			w.WriteString(string("0123456789abcdef"[s[i]>>4]) + string("0123456789abcdef"[s[i]&15]))
		}
		return w.String()
	}
	want := func(input string) string {
		return strings.Join([]string{hexOf(odd + ".sh"), hexOf(odd), hexOf(odd), hexOf(odd), hexOf(input)}, " ")
	}
	d.write("input", odd+"\x00\n"+odd, 0o644)
	input := odd + "\x00\n" + odd
	flags := []string{"--dir", dir, "--env", "ODD=" + odd, "--stdin", d.dir + "/input", "--", program, odd}
	d.Start()

	id := d.add(flags...)
	if got := b.next(); got != want(input) {
		t.Errorf("it was given\n%s, want\n%s", got, want(input))
	}
	d.ended(id, "succeeded", 0)
	// Killed in between, and changed.
	id = d.add(append([]string{"--hold"}, flags...)...)
	d.Kill()
	d.Start()
	d.must("edit", id, "--label", "x")
	d.must("release", id)
	if got := b.next(); got != want(input) {
		t.Errorf("after a kill it was given\n%s, want\n%s", got, want(input))
	}
	d.ended(id, "succeeded", 0)
	id = d.add("--hold", "--", "true")
	d.must("edit", id, "--dir", dir, "--env", "ODD="+odd, "--", program, odd)
	d.must("release", id)
	if got := b.next(); got != want("") {
		t.Errorf("after an edit it was given\n%s, want\n%s", got, want(""))
	}
	d.ended(id, "succeeded", 0)

	// One that is not there is named so that it can be recognised.
	gone := d.add("--", dir+"/gone")
	if a := d.ended(gone, "failed", 127); !strings.Contains(a.Reason, `f\xff\xfe`) {
		t.Errorf("of a command that is not there it says %q", a.Reason)
	}

	// It is shown as text, from which the bytes can be recovered.
	shown := d.must("show", "--json", id)
	if !utf8.ValidString(shown) || !json.Valid([]byte(shown)) {
		t.Errorf("show --json is no text: %q", shown)
	}
	a := d.show(id)
	if argv, _, where := a.Bytes.Restore(a.Activate, a.Deactivate, a.Dir); len(argv) != 2 || argv[0] != program || argv[1] != odd || where != dir {
		t.Errorf("show --json has %q and %q, want %q, %q and %q", argv, where, program, odd, dir)
	}
	if !strings.Contains(a.Activate[1], `f\xff\xfe`) || !strings.Contains(a.Dir, `f\xff\xfe`) {
		t.Errorf("for people it has %q and %q, want the bytes as \\xff", a.Activate, a.Dir)
	}
	for _, args := range [][]string{{"show", id}, {"list", "--all"}, {"why", id}} {
		if got := d.must(args...); !utf8.ValidString(got) || strings.Contains(got, "\x1b") {
			t.Errorf("atctl %q prints what is no text, or commands a terminal: %q", args, got)
		}
	}
	if got := d.must("show", id); !strings.Contains(got, `$'`) || !strings.Contains(got, `\xff\xfe`) {
		t.Errorf("atctl show prints %q, want words that a shell takes", got)
	}

	// What recurs.
	d.must(append([]string{"every", "add", "odd", "--every", "1h", "--start", "now"}, append(flags[:4:4], flags[6:]...)...)...)
	d.Kill()
	d.Start()
	d.must("every", "run", "odd")
	if got := b.next(); got != want("") {
		t.Errorf("what recurs was given\n%s, want\n%s", got, want(""))
	}
	if got := d.must("every", "show", "odd"); !utf8.ValidString(got) || !strings.Contains(got, `\xff\xfe`) {
		t.Errorf("every show prints %q", got)
	}
	d.must("every", "remove", "odd")

	// By at, whose script enters the directory and sets the variables.
	o := d.run(`hex() { od -An -v -tx1 | tr -d ' \n'; }
{ pwd | sed 's,.*/,,' | tr -d '\n' | hex; printf ' '; printenv ODD | tr -d '\n' | hex; echo; } >`+b.path+"\n",
		"/bin/sh", "-c", `cd "$0" && ODD="$1" exec `+d.installAt()+"/at now", dir, odd)
	if o.status != 0 {
		t.Fatalf("at: %+v", o)
	}
	if got := b.next(); got != hexOf(odd)+" "+hexOf(odd) {
		t.Errorf("at's job was given %s, want %s twice", got, hexOf(odd))
	}

	// Over TCP, as a client in another language would.
	got := ask(t, "tcp", d.tcp(), "add\narg:/bin/sh\narg:-c\narg.base64:OiAnwygnOyBleGl0IDc=\n\n")
	id, ok := strings.CutPrefix(strings.SplitN(got, "\n", 2)[0], "200 OK id=")
	if !ok {
		t.Fatalf("arg.base64 over TCP is answered with %q", got)
	}
	d.ended(id, "failed", 7)
	for _, bad := range []string{"arg.base64:%%%", "label.base64:/w=="} {
		if got := ask(t, "tcp", d.tcp(), "add\narg:true\n"+bad+"\n\n"); !strings.HasPrefix(got, "400 ") {
			t.Errorf("%s is answered with %q, want 400", bad, got)
		}
	}
	d.nothingLeft()
}

// userName is the user whom the test runs as.
func userName(t *testing.T) string {
	t.Helper()
	if os.Getuid() == 0 {
		return "root"
	}
	return os.Getenv("USER")
}
