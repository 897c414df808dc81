package test

import (
	"strings"
	"testing"
)

// TestWhyNotStarted checks that a command that cannot be started is noticed when it is
// submitted, which is accepted all the same, and that each way of asking tells why it did
// not run.
func TestWhyNotStarted(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	d.Start()
	crlf := d.write("crlf.sh", "#!/bin/sh\r\ntrue\r\n", 0o755)
	plain := d.write("plain.sh", "#!/bin/sh\n", 0o644)
	none := d.write("none.sh", "echo hi\n", 0o755)
	orphan := d.write("orphan.sh", "#!/opt/no/python\n", 0o755)
	tests := []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"--", crlf}, 127, "the #! line of " + crlf + " ends with CR LF"},
		{[]string{"--", plain}, 126, plain + " is not executable; make it so with: chmod +x " + plain},
		{[]string{"--", none}, 126, none + " has no #! line; begin it with #!/bin/sh, for instance"},
		{[]string{"--", orphan}, 127, "there is no /opt/no/python, the interpreter that the #! line of " + orphan + " names"},
		{[]string{"--", "ehco", "hi"}, 127, "there is no command ehco in PATH, which is /usr/local/sbin:"},
		{[]string{"--env", "PATH=/opt/no", "--", "true"}, 127, "there is no command true in PATH, which is /opt/no"},
		{[]string{"--", "~/x"}, 127, "/~/x; ~ is the home directory only in a shell: write "},
		{[]string{"--dir", "/nonexistent", "--", "true"}, 126, "there is no working directory /nonexistent"},
		{[]string{"--dir", "~/lab", "--", "true"}, 126, "/~/lab; ~ is the home directory only in a shell: write "},
	}
	for _, tt := range tests {
		out := d.atctl(append([]string{"add"}, tt.args...)...)
		id := strings.TrimSpace(out.out)
		if out.status != 0 || !strings.HasPrefix(out.err, "atctl: notice: job "+id+" could not run now: ") || !strings.Contains(out.err, tt.says) {
			t.Errorf("atctl add %q: status %d, %q, want a notice that %s", tt.args, out.status, out.err, tt.says)
		}
		if out := d.atctl("wait", id); out.status != tt.status || !strings.HasPrefix(out.err, "atctl: "+id+" has failed: could not be run: ") || !strings.Contains(out.err, tt.says) {
			t.Errorf("atctl wait after %q: status %d, %q; want %d, %s", tt.args, out.status, out.err, tt.status, tt.says)
		}
		if out := d.atctl("log", id); out.status != 0 || !strings.Contains(out.err, tt.says) {
			t.Errorf("atctl log after %q: status %d, %q, want %s", tt.args, out.status, out.err, tt.says)
		}
		for _, args := range [][]string{{"why", id}, {"show", id}, {"list", "--all", "--json"}} {
			if said := d.must(args...); !strings.Contains(said, tt.says) {
				t.Errorf("atctl %s after %q says\n%s\nwant %s", args[0], tt.args, said, tt.says)
			}
		}
	}

	// The exit status alone does not tell why a script ended with it.
	id := d.add("--", "sh", "-c", "ehco hi")
	if out := d.atctl("wait", id); out.status != 127 || !strings.Contains(out.err, id+" has failed: exited with status 127; its output may say more: atctl log "+id) {
		t.Errorf("wait: %d, %q", out.status, out.err)
	}

	// What is changed later is checked, too, and so are recurrences.
	later := d.add("--in", "1h", "--", "true")
	if out := d.atctl("edit", later, "--label", "x"); out.status != 0 || out.err != "" {
		t.Errorf("edit of the label: %d, %q", out.status, out.err)
	}
	if out := d.atctl("edit", later, "--", "ehco"); out.status != 0 || !strings.Contains(out.err, "notice: job "+later+" could not run now: there is no command ehco in PATH") {
		t.Errorf("edit of the command: %d, %q", out.status, out.err)
	}
	if out := d.atctl("every", "add", "often", "--cron", "@daily", "--", "ehco"); out.status != 0 || !strings.Contains(out.err, "notice: the job of often could not run now: there is no command ehco in PATH") {
		t.Errorf("every add: %d, %q", out.status, out.err)
	}
	if out := d.run("echo hi\r\n", d.Bin+"/atctl", "add", "--in", "1h"); out.status != 0 || !strings.Contains(out.err, "the lines of the script end with CR LF") {
		t.Errorf("add of a script with CR LF: %d, %q", out.status, out.err)
	}
	if out := d.run("echo hi\n", d.Bin+"/atctl", "add", "--in", "1h"); out.status != 0 || out.err != "" {
		t.Errorf("add of a script: %d, %q", out.status, out.err)
	}

	// atctl is found in a script, wherever it is installed.
	d.ended(d.add("--", "sh", "-c", "atctl progress half-way"), "succeeded", 0)
}
