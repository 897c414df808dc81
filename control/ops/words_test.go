package ops_test

import (
	"context"
	"regexp"
	"testing"
	"time"

	"activationd/control"
)

// parsersText is what texts of Go's parsers look like. Users must not get any.
var parsersText = regexp.MustCompile(`strconv|invalid syntax|value out of range|time: (invalid|unknown|missing)|parsing "|parse error|invalid character|illegal base64|` +
	`cannot unmarshal|json:|yaml:|%!|\[[a-z]+ [a-z]+ [a-z]+|map\[|&\{|<nil>|no such file or directory: |stat /|open /`)

// lineText is what only the line protocol writes so: "force:yes", "needs arg: or script:".
var lineText = regexp.MustCompile(`\b[a-z-]+:(yes|no)\b|needs ([a-z-]+ )?[a-z-]+:( (and|or) |$|: )`)

// TestWordsOfRefusals gives each argument of each operation values that it cannot have, and
// looks for texts of Go's parsers and of one protocol in the refusals.
func TestWordsOfRefusals(t *testing.T) {
	d := auditDaemon(t)
	if err := d.call(admin, "add", &control.AddIn{In: "20d", Arg: []string{"true"}}); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, op := range d.Ops() {
		for _, a := range op.Args() {
			for _, bad := range []string{"x", "-1", "99999999999999999999", "5x", "1h30", "2099-13-45", "25:00", "NaN", "0x1", "1e9", "/nonexistent", "a=b=c", "a:b:c", `"x`, `{`, "\t", "*", "∞"} {
				ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond) // some wait for what will never be
				err := oneArg(ctx, op, a.Name, bad)
				stop()
				if err == nil {
					continue
				}
				refused++
				if parsersText.MatchString(err.Error()) || lineText.MatchString(err.Error()) {
					t.Errorf("%s, %s: %q: %v", op.Name, a.Name, bad, err)
				}
			}
		}
	}
	if refused < 500 {
		t.Errorf("only %d values were refused", refused)
	}
	for name, value := range map[string]string{"arg.base64": "*", "dir": `"\x"`} {
		dec := d.Lookup("add").Decoder()
		if err := dec.Set([]byte(name), []byte(value)); err == nil || parsersText.MatchString(err.Error()) {
			t.Errorf("add, %s: %q: %v", name, value, err)
		}
	}
}

// oneArg calls an operation with one argument, and with "1" for those that it needs besides.
func oneArg(ctx context.Context, op *control.Op, name, value string) error {
	if op.Name == "backup" || op.Name == "stop" {
		return nil // they have no arguments to refuse
	}
	dec := op.Decoder()
	if err := dec.Set([]byte(name), []byte(value)); err != nil {
		return err
	}
	for _, a := range op.Args() {
		if a.Required && a.Name != name {
			if err := dec.Set([]byte(a.Name), []byte("1")); err != nil {
				return err
			}
		}
	}
	in, err := dec.Input()
	if err != nil {
		return err // another one is missing
	}
	c := admin
	c.Kind = control.ByUID
	if op.Streams() {
		return op.Stream(ctx, c, in, func(any) error { return nil })
	}
	answer := op.Call(ctx, c, in)[0]
	if answer.Lines != nil {
		for _, err := range answer.Lines {
			if err != nil {
				return err
			}
		}
	}
	return answer.Err
}
