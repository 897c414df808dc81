package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestNamesLeadNowhere gives every operation that takes a name, as a submitter, as an
// operator and as a reservation, names that would lead to another directory.
func TestNamesLeadNowhere(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv")
	d := newDaemon(t, "access: {operators: [mail]}\nsources: [{files: DIR/lab}]\ntopology_directory: DIR/topologies\n")
	// A run of a job whose number is given again, as after a backup is restored.
	d.write("state/runs/1.activate.1/log", secret+"\n", 0o600)
	d.write("topologies/good.yml", "topology: {nodes: {r1: {}}}\n", 0o644)
	d.write("outside.yml", "topology: {nodes: {"+secret+": {}}}\n", 0o600)
	d.write("lab/inside.yml", "topology: {nodes: {r1: {}}}\n", 0o644)
	for _, dir := range []string{"topologies", "lab"} {
		if err := os.Symlink(d.dir+"/outside.yml", d.dir+"/"+dir+"/link.yml"); err != nil {
			t.Fatal(err)
		}
	}
	bad := []string{"../x", "..", ".", "/etc/passwd", "a/../../x", "x/y", "%2e%2e%2fx", "x\u0000y", "../../runs/1.activate.1"}
	text := "reservations:\n"
	for _, id := range bad {
		text += fmt.Sprintf("- {id: %q, owner: x, start: 2030-01-01T10:00:00Z, end: 2030-01-01T12:00:00Z, devices: [r1]}\n", id)
		text += fmt.Sprintf("- {id: %q, owner: x, start: 2030-01-01T10:00:00Z, end: 2030-01-01T12:00:00Z, devices: [%q]}\n", "1@x", id)
	}
	for _, topology := range []string{"../outside.yml", "link.yml", d.dir + "/outside.yml"} {
		text += fmt.Sprintf("- {id: %q, owner: x, start: 2030-01-01T10:00:00Z, end: 2030-01-01T12:00:00Z, topology: %q}\n", "2@x", topology)
	}
	d.write("lab/r.yaml", text, 0o644)
	for _, dir := range []string{"state", "state/runs"} { // as the daemon itself makes them
		if err := os.Chmod(d.dir+"/"+dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d.Start()
	o := d.atctl("reload")
	if o.status != 2 || strings.Contains(o.out+o.err, secret) {
		t.Errorf("atctl reload: %+v, want rejects", o)
	}
	if got := d.must("--json", "list", "--all"); got != "" {
		t.Errorf("these are known now:\n%s", got)
	}

	first := d.addAs(games, gamesGroup, "--", "echo", "mine")
	d.wait(first)
	for _, args := range [][]string{{"log", first}, {"log", "--attempt", "1", first}, {"log", "--phase", "activate", "--attempt", "1", first}} {
		if o := d.atctlAs(games, gamesGroup, args...); strings.Contains(o.out, secret) {
			t.Errorf("a new job's log is an old one's: atctl %q: %+v", args, o)
		}
	}
	held := d.add("--hold", "--", "echo", secret)
	ran := d.add("--", "echo", secret)
	d.ended(ran, "succeeded", 0)
	mine := d.addAs(games, gamesGroup, "--", "echo", "mine")
	d.ended(mine, "succeeded", 0)

	before := d.places()
	const mail = 8
	for _, uid := range []int{games, mail} {
		for _, name := range append(bad, "../"+ran+".activate.1", ran+"/..", "+"+ran) {
			for _, args := range [][]string{
				{"show", name}, {"why", name}, {"log", name}, {"wait", name}, {"cancel", name}, {"run", name}, {"edit", name, "--label", "x"},
				{"log", "--phase", name, mine}, {"log", "--phase", "../" + ran + ".activate", mine}, {"log", "--attempt", "-1", mine},
				{"add", "--lock", name, "--", "true"}, {"add", "--tag", name, "--", "true"}, {"add", "--after", name, "--", "true"},
				{"progress", "--id", name, "x"}, {"linkconf", name, "good.yml"}, {"linkconf", "3@x", name}, {"dellinkconf", name},
				{"vlan", "alloc", "--holder", name, "x:y"}, {"vlan", "section", "--name", name, "--", "true"},
			} {
				if strings.Contains(name, "\x00") { // cannot be an argument of a program
					continue
				}
				o := d.atctlAs(uid, uid, args...)
				explained := args[0] == "why" && strings.Contains(o.out, "rejects reservation "+name)
				if o.status == 0 && !explained || strings.Contains(o.out+o.err, secret) {
					t.Errorf("atctl %q as %d: %+v", args, uid, o)
				}
			}
		}
	}
	for _, topology := range []string{"../outside.yml", "link.yml", d.dir + "/outside.yml", "lab/../../outside.yml"} {
		if o := d.atctlAs(mail, mail, "linkconf", "3@x", topology); o.status == 0 || strings.Contains(o.out+o.err, secret) {
			t.Errorf("atctl linkconf 3@x %q: %+v", topology, o)
		}
	}
	if after := d.places(); !slices.Equal(after, before) {
		t.Errorf("the daemon's places have become\n%q, were\n%q", after, before)
	}
	d.must("cancel", held)
	d.nothingLeft()
}

// places lists the daemon's files, without those of runs that succeeded.
func (d *daemon) places() (paths []string) {
	d.t.Helper()
	err := filepath.Walk(d.dir, func(path string, info os.FileInfo, err error) error {
		if os.IsNotExist(err) { // a job that has just ended
			return nil
		}
		if info != nil && info.IsDir() && filepath.Dir(path) == d.state+"/runs" {
			return filepath.SkipDir
		}
		paths = append(paths, strings.TrimPrefix(path, d.dir))
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return paths
}
