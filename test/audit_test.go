package test

import (
	"os/user"
	"strings"
	"testing"
	"time"

	"activationd/control"
)

// told checks that lines of a text begin and go on with these words, in this order. Other
// lines may be in between.
func told(t *testing.T, text string, lines ...string) {
	t.Helper()
	rest := text
	for _, want := range lines {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("after what came before, %q is missing in\n%s", want, text)
		}
		rest = after
	}
}

// Who did what is known to why and audit: of the users and tokens that requested something,
// and of the source of a reservation; also after the daemon was killed.
func TestWhoDidWhat(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, `
tokens: DIR/tokens
sources: [{files: DIR/res.yaml}]
reservations: {activate: ["true"], deactivate: [DIR/deactivate], deactivate_retries: 0}
`)
	d.write("res.yaml", yaml(), 0o644)
	d.write("deactivate", "#!/bin/sh\nexit 1\n", 0o755)
	d.write("tokens", "olga operator open-sesame-open-sesame\n", 0o600)
	token := d.write("token", "open-sesame-open-sesame\n", 0o600)
	olga := func(args ...string) string {
		t.Helper()
		return d.must(append([]string{"--token-file", token}, args...)...)
	}
	d.Start()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}

	id := d.add("--in", "20d", "--label", "report", "--env", "PASSWORD=secret1", "--", "sh", "-c", "exit 3")
	olga("edit", id, "--in", "30d", "--priority", "5")
	d.must("edit", id, "--env", "PASSWORD=secret2")
	d.must("hold", id)
	olga("release", id)
	olga("run", id)
	d.ended(id, "failed", 3)
	d.must("retry", id)
	d.ended(id, "failed", 3)
	cancelled := d.add("--in", "20d", "--", "true")
	olga("cancel", "--reason", "not today", cancelled)

	// The file changes by itself, then olga requests a reload.
	now := time.Now().Truncate(time.Second)
	d.write("res.yaml", yaml(resv{id: "1@x", start: now, end: now.Add(time.Hour)}), 0o644)
	d.InState("1@x", "active")
	d.write("res.yaml", yaml(resv{id: "1@x", start: now, end: now.Add(2 * time.Hour), more: "  label: longer\n"}), 0o644)
	olga("reload")
	d.Until("1@x", "its new label", func(a control.Detail) bool { return a.Label == "longer" })
	d.must("cancel", "1@x")
	d.InState("1@x", "stuck")

	d.Kill()
	d.Start()
	d.must("forgive", "1@x")

	why := d.must("why", id)
	told(t, why, "job "+id+" of "+me.Username+": report (times are in ",
		"  submitted by "+me.Username, ", due at 2", "\n", "  edited by olga (token): start: 2", " -> 2", "; priority: 0 -> 5\n",
		"  edited by "+me.Username+": env: PASSWORD changed\n", "  held by "+me.Username+"\n", "  released by olga (token)\n",
		"  run now by olga (token)\n", "exited with status 3\n", "  retried by "+me.Username+"\n", "exited with status 3\n", "  it is finished, failed: ")
	if strings.Contains(why, "secret") {
		t.Errorf("why tells a secret:\n%s", why)
	}
	told(t, d.must("why", "1@x"), "reservation 1@x of nobody: longer", "  announced by source ", ", load ", ", for the slot from ",
		"  changed by source ", "end: 2", "label: none -> longer", "  cancelled by "+me.Username+"\n", "  forgiven by "+me.Username+"\n")

	actions := func(args ...string) (all []string) {
		t.Helper()
		for line := range strings.Lines(d.must(append([]string{"audit", "--json"}, args...)...)) {
			ev := parse[control.Event](t, line)
			all = append(all, ev.Actor.Name+" "+ev.Action+" "+ev.ID)
		}
		return all
	}
	equal := func(got []string, want ...string) {
		t.Helper()
		if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
			t.Errorf("the audit says\n%s\nwant\n%s", a, b)
		}
	}
	mine := me.Username + " "
	equal(actions(id), mine+"add "+id, "olga edit "+id, mine+"edit "+id, mine+"hold "+id, "olga release "+id, "olga run "+id, mine+"retry "+id)
	equal(actions("--by", "olga", "--action", "cancel,release"), "olga release "+id, "olga cancel "+cancelled)
	equal(actions("--by", "olga", "--since", "yesterday", "-n", "1"), "olga reload ")
	equal(actions("--match", "not TODAY"), "olga cancel "+cancelled)
	equal(actions("1@x", "--by", me.Username), mine+"cancel 1@x", mine+"forgive 1@x")
	if got := actions("1@x"); len(got) != 4 || !strings.HasSuffix(got[0], "/res.yaml announce 1@x") || !strings.HasSuffix(got[1], " change 1@x") {
		t.Errorf("of the reservation the audit says %q", got)
	}
	told(t, d.must("audit", "--action", "cancel"), "TIME (", "WHO", "ACTION", "ID", "WHAT\n", "olga (token)", "cancel", cancelled, "not today\n")
}
