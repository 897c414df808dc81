package test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Groups of TestGroups, as numbers.
const (
	crew   = 20101 // operators
	watch  = 20102 // viewers
	chiefs = 20103 // admins; the group has no name
)

// withGroups lets the daemon see a file of the test as /etc/group. It returns what
// replaces its last lines.
func (d *daemon) withGroups() (set func(more string)) {
	d.t.Helper()
	text, err := os.ReadFile("/etc/group")
	if err != nil {
		d.t.Fatal(err)
	}
	set = func(more string) { // in place: the mount is of the file that is there
		d.t.Helper()
		if err := os.WriteFile(d.dir+"/group", []byte(string(text)+more), 0o644); err != nil {
			d.t.Fatal(err)
		}
	}
	set("")
	d.Prefix = []string{"unshare", "-m", "sh", "-ec", `mount --make-rprivate /; mount --bind "$0/group" /etc/group; exec "$@"`, d.dir}
	return set
}

// inGroups is the command line of games with these groups, of which the first is the
// process's own.
func inGroups(groups []int, argv ...string) []string {
	numbers := make([]string, len(groups))
	for i, g := range groups {
		numbers[i] = strconv.Itoa(g)
	}
	more := "--clear-groups"
	if len(groups) > 1 {
		more = "--groups=" + strings.Join(numbers[1:], ",")
	}
	return append([]string{"setpriv", fmt.Sprintf("--reuid=%d", games), "--regid=" + numbers[0], more}, argv...)
}

// TestGroups gives roles to groups, and asks what a user may do by whose processes the
// kernel says that they are in these groups.
func TestGroups(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv", "unshare", "mount")
	d := newDaemon(t, "access: {admins: ['%20103'], operators: ['%crew'], viewers: ['%watch'], others: none}\n")
	set := d.withGroups()
	set("crew:x:20101:\nwatch:x:20102:\n")
	d.Start()
	many := []int{gamesGroup}
	for g := range 200 {
		many = append(many, 30000+g)
	}
	for _, tt := range []struct {
		what   string
		groups []int
		role   string
	}{
		{"no group", []int{gamesGroup}, "none"},
		{"a group of viewers", []int{gamesGroup, watch}, "viewer"},
		{"a group of operators", []int{gamesGroup, crew}, "operator"},
		{"as the process's own, as after newgrp", []int{crew}, "operator"},
		{"two groups, the lower one first", []int{watch, crew}, "operator"},
		{"two groups, the higher one first", []int{gamesGroup, crew, watch}, "operator"},
		{"a number", []int{gamesGroup, watch, chiefs}, "admin"},
		{"more groups than most have", append(many, crew), "operator"},
		{"many others", many, "none"},
	} {
		for _, verb := range []struct {
			role string // the least that may
			args []string
		}{{"viewer", []string{"list"}}, {"operator", []string{"pause", "device", "sw1"}}, {"admin", []string{"forgive", "4711"}}} {
			o := d.run("", inGroups(tt.groups, append([]string{d.Bin + "/atctl"}, verb.args...)...)...)
			order := map[string]int{"none": 0, "viewer": 1, "operator": 2, "admin": 3}
			if denied := o.status == 5; denied != (order[tt.role] < order[verb.role]) {
				t.Errorf("%s: atctl %v: %+v, want the role %s", tt.what, verb.args, o, tt.role)
			}
		}
	}
}

// TestGroupIsTakenAway takes a group from a user while the daemon runs: from the user's
// processes, from the configuration, and from /etc/group, for users whom a front server
// names.
func TestGroupIsTakenAway(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv", "unshare", "mount", "socat", "curl")
	d := newDaemon(t, "access: {operators: ['%crew']}\nlisten_http: ['unix:DIR/http.sock']\nfront: {users: [mail]}\n")
	set := d.withGroups()
	set("crew:x:20101:games\n")
	d.Start()

	open := newTalker(t, inGroups([]int{gamesGroup, crew}, "socat", "-", "UNIX-CONNECT:"+d.socket)...)
	open.reload("200")
	front := func(want string) {
		t.Helper()
		o := d.as(mail, "", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "-H", "X-Remote-User: games", "--unix-socket", d.dir+"/http.sock",
			"http://localhost/api/v1/reload")
		if o.out != want {
			t.Errorf("a reload by games, whom the front server names: %+v, want %s", o, want)
		}
	}
	front("200")

	set("crew:x:20101:\n")
	front("403")
	open.reload("200") // the kernel says that this process is in the group, as for every other use of it
	if o := d.run("", inGroups([]int{gamesGroup}, d.Bin+"/atctl", "reload")...); o.status != 5 {
		t.Errorf("a new process of games, without the group: %+v, want status 5", o)
	}
	set("crew:x:20101:mail,games\n")
	front("200")
	d.write("config.yaml", strings.ReplaceAll("access: {operators: []}\nlisten_http: ['unix:DIR/http.sock']\nfront: {users: [mail]}\n", "DIR", d.dir), 0o644)
	d.must("reload")
	front("403")
	open.reload("403")
}

// TestUnknownGroups checks what the check of the configuration says about groups, and
// that a group that is made later counts after a reload.
func TestUnknownGroups(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv", "unshare", "mount")
	d := newDaemon(t, "access:\n  operators: ['%crew']\n")
	set := d.withGroups()
	check := func() output {
		t.Helper()
		return d.run("", d.Bin+"/activationd", "--check-config", "--config", d.dir+"/config.yaml", "--state-dir", d.state, "--runtime-dir", d.runtime)
	}
	if o := check(); o.status != 0 || !strings.Contains(o.out+o.err, "config.yaml:2: access.operators[0]: there is no group crew, so nobody has a role through it") {
		t.Errorf("a group that does not exist: %+v, want status 0 and a notice", o)
	}
	d.Start()
	if log := d.Logged(); !strings.Contains(log, "there is no group crew") {
		t.Errorf("the daemon's log says nothing of it:\n%s", log)
	}
	reload := func(status int) {
		t.Helper()
		if o := d.run("", inGroups([]int{gamesGroup, crew}, d.Bin+"/atctl", "reload")...); o.status != status {
			t.Errorf("atctl reload by a member: %+v, want status %d", o, status)
		}
	}
	reload(5)
	set("crew:x:20101:\n")
	d.must("reload")
	reload(0)

	d.configure("access:\n  operators: ['%']\n  viewers: ['%x', '%x']\n")
	if o := check(); o.status != 2 || !strings.Contains(o.err, "config.yaml:2: access.operators[0]: want a group's name or number after %") ||
		!strings.Contains(o.err, "config.yaml:3: access.viewers[1]: %x is among the viewers already") {
		t.Errorf("a group without a name, and one that is named twice: %+v", o)
	}
}
