package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	osuser "os/user"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/test/harness"
	"activationd/vlanstore/vlantest"
)

// vlanConfig has a pool of four VLANs.
const vlanConfig = labConfig + "lab: {inventory: DIR/inventory.yaml}\n"

const vlanInventory = "pools:\n  ostrava: {ranges: [100-104], exclude: [102]}\n"

// vlanLab returns a lab whose scripts lease VLANs: two, or five for the owner "greedy".
// They report to the beacon which ones they got. The deactivation fails until the file
// shared/healed is there.
func vlanLab(t *testing.T, config string) (*daemon, *beacon) {
	t.Helper()
	d, b := lab(t, config)
	d.write("inventory.yaml", vlanInventory, 0o644)
	d.script("activate", `
[ "$ACTIVATION_INVENTORY" = "`+d.dir+`/inventory.yaml" ] || exit 9
set -- ostrava:a ostrava:b
[ "$ACTIVATION_OWNER" = greedy ] && set -- ostrava:a ostrava:b ostrava:c ostrava:d ostrava:e
ids=$(`+harness.Bin+`/atctl vlan alloc "$@") || { echo "refused $ACTIVATION_ID" >`+b.path+`; exit 1; }
again=$(`+harness.Bin+`/atctl vlan alloc "$@")
[ "$ids" = "$again" ] || exit 9
echo "$ids" >"$ACTIVATION_KEEP_DIR/applied"
echo "has" $ids "as $(id -un)" >`+b.path+"\n")
	d.script("deactivate", `
echo "undoes" $(cat "$ACTIVATION_KEEP_DIR/applied") "with" $(`+harness.Bin+`/atctl --json vlan list --holder "$ACTIVATION_ID" | grep -c leased) >`+b.path+`
[ -e `+d.shared("healed")+" ]\n")
	return d, b
}

// vlans returns the output of atctl vlan list, as "100 leased 1@x a".
func (d *daemon) vlans() string {
	d.t.Helper()
	var all []string
	for l := range strings.Lines(d.must("--json", "vlan", "list")) {
		v := parse[control.VLANLease](d.t, l)
		all = append(all, fmt.Sprintf("%d %s %s %s", v.ID, v.State, v.Holder, v.Link))
	}
	return strings.Join(all, ", ")
}

// TestVLANsOfALab follows the VLANs of a lab whose deactivation fails at first,
// while the daemon is killed again and again.
func TestVLANsOfALab(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"", "nobody"} {
		t.Run("user "+user, func(t *testing.T) {
			t.Parallel()
			config := strings.Replace(vlanConfig, "retries: 0,", "retries: 0, deactivate_retries: 1,", 1)
			me, err := osuser.Current()
			if err != nil {
				t.Fatal(err)
			}
			as := me.Username
			if user != "" {
				needRoot(t)
				as, config = user, strings.Replace(config, "retries: 0,", "retries: 0, user: "+user+",", 1)
			}
			d, b := vlanLab(t, config)
			d.Start()
			now := time.Now()
			first := resv{id: "1@x", start: now, end: now.Add(time.Hour), devices: "r1"}
			d.announce(first)
			if got, want := b.next(), "has 100 101 as "+as; got != want {
				t.Fatalf("the script %q, want %q", got, want)
			}
			d.InState("1@x", "active")
			const leased = "100 leased 1@x a, 101 leased 1@x b"
			d.Kill()
			d.Start()
			if got := d.vlans(); got != leased {
				t.Errorf("after kill -9: %s", got)
			}

			// One who wants more than there are gets none, is undone and leaves nothing.
			d.announce(first, resv{id: "2@x", start: now, end: now.Add(time.Hour), devices: "r2", more: "  owner: greedy\n"})
			if got := b.next(); got != "refused 2@x" {
				t.Fatalf("the script %q, want refused 2@x", got)
			}
			if got := b.next(); got != "undoes with 0" {
				t.Errorf("then %q", got)
			}
			if got := d.vlans(); got != leased {
				t.Errorf("with one who wants too many: %s", got)
			}
			if log := d.must("log", "--phase", "activate", "2@x"); !strings.Contains(log, "pool ostrava (100-104 but 102) is 3 short for 2@x; its ids are held by: 1@x 2") {
				t.Errorf("its log is %q", log)
			}
			if got := b.next(); got != "undoes with 0" {
				t.Errorf("then %q", got)
			}
			d.InState("2@x", "stuck")

			// While it is being undone it has them all the same, and when that cannot be
			// proved nobody has.
			d.must("cancel", "1@x")
			for range 2 {
				if got := b.next(); got != "undoes 100 101 with 2" {
					t.Errorf("then %q", got)
				}
			}
			d.InState("1@x", "stuck")
			const quarantined = "100 quarantined 1@x a, 101 quarantined 1@x b"
			if got := d.vlans(); got != quarantined {
				t.Errorf("stuck: %s", got)
			}
			d.Kill()
			d.Start()
			if got := d.vlans(); got != quarantined {
				t.Errorf("stuck, after kill -9: %s", got)
			}
			if l := d.must("vlan", "list", "--state", "quarantined"); !strings.Contains(l, "deactivate attempt 2 exited with status 1") {
				t.Errorf("the reason is not in\n%s", l)
			}
			if o := d.atctl("vlan", "alloc", "--holder", "me", "ostrava/100:x"); o.status != 4 || !strings.Contains(o.err, "in quarantine since") {
				t.Errorf("for another: %+v", o)
			}
			if o := d.atctl("vlan", "alloc", "--holder", "1@x", "ostrava:x"); o.status != 4 || !strings.Contains(o.err, "stuck") {
				t.Errorf("for itself: %+v", o)
			}
			if _, err := os.Stat(d.state + "/kept/1@x/applied"); err != nil {
				t.Errorf("what it kept: %v", err)
			}

			// A later proof.
			if err := os.WriteFile(d.shared("healed"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			d.must("retry", "1@x", "2@x")
			d.ended("1@x", "cancelled", 125)
			d.ended("2@x", "failed", 1)
			if got := d.vlans(); got != "" {
				t.Errorf("at the end: %s", got)
			}
			d.await("what was kept is removed", func() bool {
				_, err := os.Stat(d.state + "/kept/1@x")
				return errors.Is(err, fs.ErrNotExist)
			})
			d.nothingLeft()
		})
	}
}

// await asks repeatedly for something of which no event reports.
func (d *daemon) await(what string, ok func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestVLANForgiven checks that the VLANs of a forgiven activation stay in quarantine
// until they are freed, and that nothing else is kept.
func TestVLANForgiven(t *testing.T) {
	t.Parallel()
	d, b := vlanLab(t, strings.Replace(vlanConfig, "retries: 0,", "retries: 0, deactivate_retries: 0,", 1))
	d.Start()
	now := time.Now()
	d.announce(resv{id: "1@x", start: now, end: now.Add(time.Hour), devices: "r1"})
	b.next()
	d.InState("1@x", "active")
	d.must("cancel", "1@x")
	d.InState("1@x", "stuck")
	d.must("forgive", "1@x")
	d.await("what was kept is removed", func() bool {
		_, err := os.Stat(d.state + "/kept/1@x")
		return errors.Is(err, fs.ErrNotExist)
	})
	if got := d.vlans(); got != "100 quarantined 1@x a, 101 quarantined 1@x b" {
		t.Errorf("forgiven: %s", got)
	}
	d.must("vlan", "free", "ostrava", "100", "101")
	if got := d.vlans(); got != "" {
		t.Errorf("freed: %s", got)
	}
}

// TestVLANPoolsAreReloaded makes a pool smaller and larger while its ids are leased,
// and then damages the inventory.
func TestVLANPoolsAreReloaded(t *testing.T) {
	t.Parallel()
	d, _ := vlanLab(t, vlanConfig)
	d.Start()
	d.must("vlan", "alloc", "--holder", "me", "ostrava/104:x")
	d.write("inventory.yaml", "pools: {ostrava: {ranges: [100]}, praha: {ranges: [7]}}\n", 0o644)
	d.must("reload")
	if got := d.must("vlan", "alloc", "--holder", "me", "ostrava:x", "praha:x", "ostrava:y"); got != "104\n7\n100" {
		t.Errorf("then %q", got)
	}
	pools := d.must("--json", "vlan", "pools")
	for _, want := range []string{
		`{"domain":"ostrava","ranges":"100","size":1,"free":0,"leased":1,"quarantined":0,"outside":1}`,
		`{"domain":"praha","ranges":"7","size":1,"free":0,"leased":1,"quarantined":0}`,
	} {
		if !strings.Contains(pools+"\n", want+"\n") {
			t.Errorf("pools are\n%s, want in it\n%s", pools, want)
		}
	}
	d.write("inventory.yaml", "pools:\n  ostrava: {ranges: [9-5]}\n", 0o644)
	if o := d.atctl("reload"); o.status == 0 || !strings.Contains(o.err, "inventory.yaml:2") {
		t.Errorf("reload of a damaged inventory: %+v", o)
	}
	d.must("vlan", "release", "--holder", "me")
	if got := d.must("vlan", "alloc", "--holder", "me", "praha:x"); got != "7" {
		t.Errorf("by the pools of before: %q", got)
	}
	d.Kill()
	d.refuses(2, "inventory.yaml:2")
}

// A sectioner is an atctl that runs a command in a section.
type sectioner struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	pid    int // of what it runs, once that has told
}

// section starts one. Its command reports its pid and then does more.
func (d *daemon) section(b *beacon, more string, flags ...string) *sectioner {
	d.t.Helper()
	args := append([]string{"vlan", "section"}, flags...)
	s := &sectioner{cmd: exec.Command(d.Bin+"/atctl", append(args, "--", "sh", "-c", "echo $$ >"+b.path+"; "+more)...)}
	s.cmd.Env = append(os.Environ(), "ACTIVATIOND_SOCKET="+d.socket)
	s.cmd.Stderr = &s.stderr
	if err := s.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	return s
}

// inside waits until the command reports that it runs.
func (s *sectioner) inside(b *beacon) {
	b.t.Helper()
	var err error
	if s.pid, err = strconv.Atoi(b.next()); err != nil {
		b.t.Fatal(err)
	}
}

// exits checks the exit status and the output.
func (s *sectioner) exits(t *testing.T, status int, says string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		_ = s.cmd.Wait() // how, is looked at below
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("atctl vlan section does not end")
	}
	if got := s.cmd.ProcessState.ExitCode(); got != status || !strings.Contains(s.stderr.String(), says) {
		t.Errorf("it exits with %d and says %q, want %d and %q", got, s.stderr.String(), status, says)
	}
}

// waits waits until n visitors wait for a section.
func (d *daemon) waits(n int) {
	d.t.Helper()
	d.await(fmt.Sprint(n, " wait"), func() bool { return strings.Count(d.must("--json", "vlan", "sections"), `"waiting"`) == n })
}

// TestSections ends the commands in a section in every way.
func TestSections(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	d.Start()
	b := d.beacon()

	s := d.section(b, "exit 7")
	s.inside(b)
	s.exits(t, 7, "")
	s = d.section(b, "kill -SEGV $$")
	s.inside(b)
	s.exits(t, 128+11, "")

	// A holder is killed: what it ran is dead, too, and the next one comes in.
	first := d.section(b, "exec sleep 300")
	first.inside(b)
	second := d.section(b, "exec sleep 300")
	d.waits(1)
	third := d.section(b, "exit 0")
	d.waits(2)
	b.quiet()
	if o := d.atctl("vlan", "section", "--wait", "100ms", "--", "true"); o.status != 125 || !strings.Contains(o.err, "section vlan is not free: ") {
		t.Errorf("one who does not wait: %+v", o)
	}
	if o := d.atctl("vlan", "section", "--name", "other", "--wait", "0s", "--", "true"); o.status != 0 {
		t.Errorf("another section: %+v", o)
	}
	_ = first.cmd.Process.Kill()
	second.inside(b)
	awaitGone(t, first.pid)
	first.exits(t, -1, "")

	// A child of what a killed holder ran lives on: nobody comes in before it has gone.
	gate := d.shared("section-gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	parent := d.section(b, "(echo child >"+b.path+"; read word <"+gate+"; echo gone >"+b.path+") & wait", "--name", "family")
	parent.inside(b)
	if got := b.next(); got != "child" {
		t.Fatalf("the child says %q", got)
	}
	_ = parent.cmd.Process.Kill()
	awaitGone(t, parent.pid)
	heir := d.section(b, "exit 0", "--name", "family")
	d.waits(2) // the third of before is the other
	b.quiet()
	d.open(gate, "go")
	if got := b.next(); got != "gone" {
		t.Errorf("%q came in before the child had gone", got)
	}
	heir.inside(b)
	heir.exits(t, 0, "")
	parent.exits(t, -1, "")

	// A SIGTERM is passed on to the command, and the next one enters.
	if err := second.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	third.inside(b)
	second.exits(t, 128+15, "")
	third.exits(t, 0, "")

	const hold = "5s" // in which they can say that they are inside, also on a slow machine
	// Held too long, also by a command that ignores SIGTERM, and by its children.
	s = d.section(b, "exec sleep 300", "--hold", hold)
	s.inside(b)
	s.exits(t, 124, "sh was ended because it held the section for "+hold)
	s = d.section(b, "trap '' TERM; sleep 300 & echo $! >"+b.path+"; wait; sleep 300", "--hold", hold)
	s.inside(b)
	child, err := strconv.Atoi(b.next())
	if err != nil {
		t.Fatal(err)
	}
	waiting := d.section(b, "kill -0 "+strconv.Itoa(s.pid)+" 2>/dev/null && exit 9; exit 0")
	s.exits(t, 124, "held the section")
	awaitGone(t, child)
	waiting.inside(b)
	waiting.exits(t, 0, "")

	// The daemon goes away: nobody is alone any more.
	s = d.section(b, "exec sleep 300")
	s.inside(b)
	waiting = d.section(b, "exit 0")
	d.waits(1)
	d.Kill()
	s.exits(t, 125, "the section was lost, so sh was ended")
	awaitGone(t, s.pid)
	waiting.exits(t, 125, "")
	d.Start()
	if o := d.atctl("vlan", "section", "--", "true"); o.status != 0 {
		t.Errorf("with the next daemon: %+v", o)
	}

	for _, tt := range []struct {
		status int
		args   []string
	}{
		{125, []string{}}, {125, []string{"--wait", "soon", "true"}}, {125, []string{"--hold", "0s", "true"}}, {125, []string{"--name", "a b", "true"}},
		{127, []string{"no-such-command"}}, {126, []string{d.dir}}, {126, []string{d.write("not-a-program", "x", 0o755)}},
	} {
		if o := d.atctl(append([]string{"vlan", "section"}, tt.args...)...); o.status != tt.status || o.err == "" {
			t.Errorf("section %q: %+v, want status %d", tt.args, o, tt.status)
		}
	}
	d.nothingLeft()
}

// TestVLANTorture kills the daemon repeatedly while clients request the few VLANs that
// there are. The answers must be those of a history in which one request came after the
// other, though some were not answered; and in the end nothing is lost.
func TestVLANTorture(t *testing.T) {
	t.Parallel()
	deaths := 12
	if testing.Short() {
		deaths = 3
	}
	d := newDaemon(t, "lab: {inventory: DIR/inventory.yaml}\n")
	d.write("inventory.yaml", "pools: {a: {ranges: [10-14]}, b: {ranges: [20-22]}}\n", 0o644)
	h := vlantest.New(map[string]string{"a": "10-14", "b": "20-22"})
	seed := harness.Random(t).Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for death := range deaths {
		d.Start()
		answered := make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		var wg sync.WaitGroup
		for n := range 6 {
			rnd := rand.New(rand.NewPCG(seed, uint64(death*10+n+1)))
			wg.Go(func() {
				c := &control.Client{Address: d.socket}
				defer func() { _ = c.Close() }()
				for {
					if err := h.Ask(ctx, c, death*10+n, h.Random(rnd)); err != nil {
						if fault.Of(err) != fault.Unavailable {
							t.Error(err)
						}
						return
					}
					select {
					case answered <- struct{}{}:
					case <-ctx.Done():
						return
					}
				}
			})
		}
		for range 20 + rnd.IntN(80) {
			select {
			case <-answered:
			case <-ctx.Done():
				t.Fatal("nothing is answered any more")
			}
		}
		stop := make(chan struct{})
		var drain sync.WaitGroup
		drain.Go(func() { // they go on asking while it is killed
			for {
				select {
				case <-answered:
				case <-stop:
					return
				}
			}
		})
		d.Kill()
		wg.Wait()
		close(stop)
		drain.Wait()
		cancel()
		h.Dead()
	}
	d.Start()
	c := &control.Client{Address: d.socket}
	if err := h.Ask(t.Context(), c, 9999, vlantest.Request{Do: "list"}); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	h.Check(t)

	for l := range strings.Lines(d.must("--json", "vlan", "list")) {
		v := parse[control.VLANLease](t, l)
		verb := map[string]string{"leased": "release", "quarantined": "free"}[v.State]
		d.must("vlan", verb, v.Domain, strconv.Itoa(v.ID))
	}
	if got := d.must("vlan", "alloc", "--holder", "all", "a:1", "a:2", "a:3", "a:4", "a:5", "b:1", "b:2", "b:3"); got != "10\n11\n12\n13\n14\n20\n21\n22" {
		t.Errorf("in the end there are %q", got)
	}
	if log := d.read(d.dir + "/daemon.log"); strings.Contains(log, "not sound") {
		t.Errorf("a daemon found:\n%s", log)
	}
}
