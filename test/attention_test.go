package test

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/control"
)

// needs returns what needs attention by a reply of status: "kind id" for each.
func needs(s control.StatusOut) (all []string) {
	for _, n := range s.Attention {
		all = append(all, strings.TrimRight(n.Kind+" "+n.ID, " "))
	}
	return all
}

// TestAttention makes one thing of each kind that needs attention, and checks that status
// names each, what status --check exits with, that the next daemon knows all of it too, and
// that a user sees no failed job of another and no refused logins.
func TestAttention(t *testing.T) {
	t.Parallel()
	d, _ := lab(t, vlanConfig)
	d.write("inventory.yaml", vlanInventory, 0o644)
	d.script("deactivate", "exit 1\n")
	d.Start()
	if o := d.atctl("status", "--check", "--wait", "10m"); o != (output{}) {
		t.Errorf("atctl status --check of a new daemon: %+v, want nothing", o)
	}
	if got := d.must("status"); !strings.HasPrefix(got, "nothing needs attention\n") {
		t.Errorf("atctl status of a new daemon says\n%s", got)
	}

	d.wait(d.add("--", "true"))
	failed := d.add("--", "false")
	d.ended(failed, "failed", 1)
	cancelled := d.add("--in", "1h", "--", "false")
	d.must("cancel", cancelled)
	rs := []resv{{id: "1@x", start: time.Now().Add(-time.Minute), end: time.Now().Add(time.Hour), devices: "r1"}}
	d.announce(rs...)
	d.InState("1@x", "active")
	d.must("cancel", "1@x")
	d.InState("1@x", "stuck")
	d.must("vlan", "quarantine", "--reason", "port 7 is broken", "ostrava", "101")
	_, _, err := control.Call[control.LoginOut](t.Context(), &d.Client, "login try", control.LoginIn{
		Step: "refused", Device: "sw1", User: "admin", What: "password", Digest: strings.Repeat("ab", 32), Said: "denied",
	})
	if err != nil {
		t.Fatal(err)
	}
	rs = append(rs, resv{id: "2@x", start: time.Now().Add(2 * time.Hour), end: time.Now().Add(time.Hour), devices: "r1"})
	d.write("res.yaml", yaml(rs...), 0o644)
	d.configure(strings.Replace(vlanConfig, "res.yaml}", "res.yaml}, {sql: {driver: postgres, dsn: 'postgres://lab@127.0.0.1:1/lab?sslmode=disable'}}", 1))
	d.atctl("reload")

	want := []string{"stuck 1@x", "source", "rejected 2@x", "login", "quarantined", "failed " + failed}
	check := func() {
		t.Helper()
		o := d.atctl("status", "--check", "--wait", "10m")
		lines := strings.Split(strings.TrimSpace(o.out), "\n")
		if o.status != 4 || o.err != "" || len(lines) != len(want) {
			t.Errorf("atctl status --check: %+v, want status 4 and %d lines", o, len(want))
		}
		for _, part := range []string{
			"1@x, ", "; try: atctl retry 1@x; or, after cleaning up by hand, atctl forgive 1@x\n", "postgres", "2@x, ", "res.yaml:", "end: is before start",
			"sw1, ", "refused the password of admin", "(denied); try: correct it in the inventory, or atctl retry --device sw1\n",
			"VLAN 101 of ostrava, ", "port 7 is broken", "atctl vlan free ostrava 101\n", failed + ", ", "exited with status 1; try: atctl why " + failed + "\n",
		} {
			if !strings.Contains(o.out, part) {
				t.Errorf("atctl status --check says\n%swithout %q", o.out, part)
			}
		}
		if got := d.must("status"); !strings.HasPrefix(got, "stuck  ") {
			t.Errorf("atctl status does not begin with what needs attention:\n%s", got)
		}
		if got := needs(d.status()); !slices.Equal(got, want) {
			t.Errorf("%q needs attention, want %q", got, want)
		}
	}
	check()
	if os.Getuid() == 0 {
		o := d.as(nobody, "", d.Bin+"/atctl", "status", "--json")
		if got, want := needs(parse[control.StatusOut](t, o.out)), []string{"stuck 1@x", "source", "rejected 2@x", "quarantined"}; !slices.Equal(got, want) {
			t.Errorf("nobody sees that %q needs attention, want %q", got, want)
		}
	}
	for range 7 {
		d.wait(d.add("--", "false"))
	}
	if got := d.status().Attention; got[len(got)-1].More != 5 || got[len(got)-1].Kind != "failed" {
		t.Errorf("of 8 failures, the last entry is %+v, want one that counts 5 more", got[len(got)-1])
	}
	d.stop()
	d.Start()
	want = append(want[:5], "failed 10", "failed 9", "failed 8", "failed")
	d.must("status", "--wait", "10m")
	if got := needs(d.status()); !slices.Equal(got, want) {
		t.Errorf("after a restart %q needs attention, want %q", got, want)
	}
	d.stop()
	if o := d.atctl("status", "--check"); o.status != 6 || o.out != "" {
		t.Errorf("atctl status --check without a daemon: %+v, want status 6", o)
	}
}

// TestFirstLoad checks that status says that the first load is not done while a source does
// not answer, and that status --wait waits for it.
func TestFirstLoad(t *testing.T) {
	t.Parallel()
	database, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connected := make(chan net.Conn, 100)
	go func() {
		for {
			c, err := database.Accept()
			if err != nil {
				close(connected)
				return
			}
			connected <- c // and says nothing
		}
	}()
	config := strings.Replace(labConfig, "{files: DIR/res.yaml}",
		"{sql: {driver: postgres, dsn: 'postgres://lab@"+database.Addr().String()+"/lab?sslmode=disable'}}, {files: DIR/res.yaml}", 1)
	d, _ := lab(t, config)
	d.write("res.yaml", yaml(someDay(1)...), 0o644)
	d.Start()
	first := <-connected
	s := d.status()
	if !s.Loading || len(s.Sources) != 2 || !s.Sources[1].Read.IsZero() {
		t.Errorf("during the first load status says %+v, want that, and two sources that were not read", s)
	}
	if got := d.must("status"); !strings.Contains(got, "the first load since the start is not done yet") || !strings.Contains(got, "res.yaml  -") {
		t.Errorf("during the first load atctl status says\n%s", got)
	}
	waited := make(chan output)
	go func() { waited <- d.run("", d.Bin+"/atctl", "status", "--json", "--wait", "10m") }()
	if err := database.Close(); err != nil {
		t.Fatal(err)
	}
	for c := first; c != nil; c = <-connected {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	o := <-waited
	s = parse[control.StatusOut](t, o.out)
	if o.status != 0 || s.Loading || len(s.Sources) != 2 {
		t.Fatalf("atctl status --wait: %+v, want a daemon that has loaded", o)
	}
	for _, src := range s.Sources {
		if files := strings.HasSuffix(src.Name, "res.yaml"); files != (src.Error == "") || files && src.Live != 1 {
			t.Errorf("status of a source: %+v, want one live in the file, and an error of the database", src)
		}
	}
	if want := []string{"source"}; !slices.Equal(needs(s), want) {
		t.Errorf("%q needs attention, want %q", needs(s), want)
	}
}
