package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A question is one that an administrator asks in the morning after a bad night, and what
// the answer of one command must have.
type question struct {
	asks   string
	cmd    []string
	status int
	has    []string // each in the answer
	hasNot []string
	rows   int // lines of the answer, with a heading; 0: any number
}

// TestBadNight lets 200 jobs and 40 reservations have a night in which one reservation is
// rejected, one is stuck, three jobs fail, and two are cancelled by different people. Then
// each question about it is answered by one command, without another program.
func TestBadNight(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv")
	d := newDaemon(t, `
sources: [{files: DIR/res.yaml}]
reservations: {deactivate_retries: 0}
`)
	apply := d.script("apply", "#!/bin/sh\nexit 0\n")
	broken := d.script("broken", "#!/bin/sh\necho 'sw7: no route to host' >&2\nexit 9\n")
	d.Start()

	// The night: what goes well is much more than what does not.
	const good = 195
	d.run("", "sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do %s add --label nightly -- true >>ids || exit; i=$((i+1)); done", good, d.Bin+"/atctl"))
	full := d.add("--label", "backup", "--tag", "night", "--", "sh", "-c", "echo copying; echo 'disk is full' >&2; exit 3")
	slow := d.add("--label", "index", "--timeout", "4s", "--", "sleep", "1000")
	gone := d.add("--label", "report", "--", "/nonexistent/report")
	ours := d.add("--label", "update", "--in", "10h", "--", "true")
	theirs := d.addAs(games, gamesGroup, "--label", "render", "--in", "10h", "--", "true")
	d.must("cancel", ours)
	if o := d.atctlAs(games, gamesGroup, "cancel", theirs); o.status != 0 {
		t.Fatalf("cancel of an own job: %+v", o)
	}

	begin := time.Now()
	const slot = 20 * time.Second // in which all begin, also on a slow machine
	var all []resv
	for i := range 37 {
		all = append(all, resv{fmt.Sprintf("%d@lab", 100+i), begin, begin.Add(slot), fmt.Sprintf("r%d", i),
			fmt.Sprintf("  activate: [%s]\n  deactivate: [%s]\n", apply, apply)})
	}
	all = append(all,
		resv{"200@lab", begin, begin.Add(slot), "sw7", fmt.Sprintf("  activate: [%s]\n  deactivate: [%s]\n", apply, broken)},
		resv{"201@lab", begin.Add(time.Hour), begin, "sw8", ""},
		resv{"202@lab", begin.Add(-2 * time.Hour), begin.Add(-time.Hour), "sw9", ""},
	)
	d.write("res.yaml", yaml(all...), 0o644)
	d.atctl("reload") // it says that some were rejected
	for _, id := range []string{full, slow, gone} {
		d.atctl("wait", id)
	}
	for _, r := range all[:37] {
		d.ended(r.id, "succeeded", 0)
	}
	d.InState("200@lab", "stuck")

	d.answers(t, []question{
		{asks: "does anything need me?", cmd: []string{"status", "--check"}, status: 4},
		{asks: "what needs me?", cmd: []string{"status"}, has: []string{"200@lab", "201@lab", full, slow, gone}, hasNot: []string{ours, "100@lab"}},
		{asks: "what failed last night?", cmd: []string{"list", "--failed", "--kind", "job", "--since", "12h"}, rows: 4,
			has: []string{full, slow, gone, "exited with status 3", "timeout", "/nonexistent/report"}, hasNot: []string{ours, theirs}},
		{asks: "which ended last?", cmd: []string{"list", "--state", "finished", "--kind", "reservation", "--limit", "5"}, rows: 6},
		{asks: "which took longest?", cmd: []string{"list", "--all", "--kind", "job", "--sort", "took", "--reverse", "--limit", "1"}, rows: 2, has: []string{slow}},
		{asks: "what is stuck, and what can I do?", cmd: []string{"why", "200@lab"}, has: []string{"atctl retry 200@lab", "atctl forgive 200@lab", "status 9"}},
		{asks: "why was it rejected?", cmd: []string{"why", "201@lab"}, has: []string{"res.yaml:", "201@lab"}},
		{asks: "where is 202?", cmd: []string{"why", "202@lab"}, has: []string{"res.yaml", "over"}},
		{asks: "who cancelled it?", cmd: []string{"why", ours}, has: []string{"cancelled by root"}},
		{asks: "and the other one?", cmd: []string{"why", theirs}, has: []string{"cancelled by games"}},
		{asks: "what did games do?", cmd: []string{"audit", "--by", "games"}, has: []string{theirs, "add", "cancel"}, hasNot: []string{ours}},
		{asks: "who cancelled what?", cmd: []string{"audit", "--action", "cancel"}, has: []string{ours, theirs, "root", "games"}, hasNot: []string{full}},
		{asks: "what did the broken ones say?", cmd: []string{"log", "--grep", "full|route", full, "200@lab"}, has: []string{"disk is full", "sw7: no route to host"}, hasNot: []string{"copying"}},
		{asks: "who had sw7?", cmd: []string{"list", "--all", "--device", "sw7"}, rows: 2, has: []string{"200@lab"}},
		{asks: "which job spoke of the report?", cmd: []string{"list", "--all", "--match", "REPORT"}, rows: 2, has: []string{gone}},
		{asks: "was the reload right?", cmd: []string{"reload"}, status: 2, has: []string{"rejected=1", "over=1", "201@lab", "202@lab"}},
	})
	d.must("forgive", "200@lab")
	d.nothingLeft()
}

// answers asks questions, each as a test of its own.
func (d *daemon) answers(t *testing.T, questions []question) {
	t.Helper()
	for _, q := range questions {
		t.Run(strings.Trim(strings.ReplaceAll(q.asks, " ", "-"), "?"), func(t *testing.T) {
			o := d.atctl(q.cmd...)
			said := fmt.Sprintf("atctl %s: status %d\n%s%s", strings.Join(q.cmd, " "), o.status, o.out, o.err)
			if o.status != q.status {
				t.Errorf("want status %d; %s", q.status, said)
			}
			for _, text := range q.has {
				if !strings.Contains(o.out, text) {
					t.Errorf("%q is not in the answer; %s", text, said)
				}
			}
			for _, text := range q.hasNot {
				for line := range strings.Lines(o.out) {
					if strings.HasPrefix(line, text+" ") || strings.Contains(line, " "+text+" ") {
						t.Errorf("%q is in the answer; %s", text, said)
					}
				}
			}
			if n := strings.Count(o.out, "\n"); q.rows > 0 && n != q.rows {
				t.Errorf("%d lines, want %d; %s", n, q.rows, said)
			}
		})
	}
}
