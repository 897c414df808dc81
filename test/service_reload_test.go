package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestServiceReload changes the declarations of services step by step. A dry run prints what
// the reload then does, and no other process is replaced: each tells of its start.
func TestServiceReload(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	b := d.beacon()
	const (
		command = "[/bin/sh, -c, 'echo $ACTIVATION_ID $$ ${COLOUR-none} ${SIZE-none} $PORT $0 >BEACON; exec sleep 1000', \"8000+{{instance}}\"]\n"
		db      = "services:\n  db:\n    command: " + command
		web     = db + "  shop/web:\n    command: " + command +
			"    environment: {PORT: \"9000+{{instance}}\"}\n    env_file: DIR/env\n    after: [db:started]\n"
	)
	reports := func(what string, numbers ...int) (text string) {
		for _, n := range numbers {
			text += fmt.Sprintf("%s configuration shop_web@%d\n", what, n)
		}
		return text
	}
	steps := []struct {
		name, config, env string
		want              string   // the report, without its summary
		begin             []string // what the processes tell that start, without their ids, sorted
		end               []string // whose processes end for good
	}{
		{
			name: "new", config: web + "    instances: 3\n", env: "COLOUR=red\nSIZE=7\n",
			begin: []string{
				"db@1 none none 8001", "shop_web@1 red 7 9001 8001", "shop_web@2 red 7 9002 8002", "shop_web@3 red 7 9003 8003",
			},
		},
		{name: "a comment", config: "# x\n" + web + "    instances: 3\n"},
		{
			name: "what the daemon does", config: web + "    instances: 3\n    restart: on-failure\n    log: {keep: 1}\n    drain: 1ms\n",
			want: reports("live", 1, 2, 3),
		},
		{
			name: "a variable is gone from the file", config: web + "    instances: 3\n", env: "COLOUR=\n",
			want:  reports("changed", 1, 2, 3),
			begin: []string{"shop_web@1 none 9001 8001", "shop_web@2 none 9002 8002", "shop_web@3 none 9003 8003"},
		},
		{
			name: "two more", config: web + "    instances: 5\n", want: reports("added", 4, 5),
			begin: []string{"shop_web@4 none 9004 8004", "shop_web@5 none 9005 8005"},
		},
		{
			name: "three less", config: web + "    instances: 2\n", want: reports("removed", 5, 4, 3),
			end: []string{"shop_web@3", "shop_web@4", "shop_web@5"},
		},
		{
			name: "a file that cannot be read", config: web + "    instances: 2\n", env: "COLOUR red\n",
			want: "rejected configuration shop/web DIR/config.yaml:7: shop/web.env_file: DIR/env:1: \"COLOUR red\" is not of the form NAME=VALUE\n",
		},
		{
			name: "fewer services", config: db, want: reports("removed", 2, 1),
			end: []string{"shop_web@1", "shop_web@2"},
		},
	}
	pids := make(map[string]string)
	for i, s := range steps {
		if s.env != "" {
			d.write("env", s.env, 0o644)
		}
		d.configure(strings.ReplaceAll(s.config, "BEACON", b.path))
		commands := [][]string{{"reload", "--dry-run"}, {"reload"}}
		if i == 0 {
			d.Start()
			commands = nil
		}
		for _, args := range commands {
			o := d.atctl(args...)
			_, got, _ := strings.Cut(o.out, "\n")
			if want := strings.ReplaceAll(s.want, "DIR", d.dir); got != want {
				t.Errorf("%s: %s prints\n%s%swant\n%s", s.name, args, o.out, o.err, want)
			}
		}
		var begin []string
		for range s.begin {
			words := strings.Fields(b.next())
			pids[words[0]] = words[1]
			begin = append(begin, strings.Join(slices.Delete(words, 1, 2), " "))
		}
		if slices.Sort(begin); !slices.Equal(begin, s.begin) {
			t.Errorf("%s: started are %q, want %q", s.name, begin, s.begin)
		}
		for _, id := range s.end {
			d.InState(id, "finished")
			if _, err := os.Stat("/proc/" + pids[id]); err == nil {
				t.Errorf("%s: %s still runs", s.name, id)
			}
			delete(pids, id)
		}
		for id, pid := range pids {
			if _, err := os.Stat("/proc/" + pid); err != nil {
				t.Errorf("%s: the process of %s has ended", s.name, id)
			}
		}
	}
	b.quiet()
}

// TestServiceProcess checks what a service's process gets: its limits, niceness, umask and
// directory, and the signal that asks it to stop.
func TestServiceProcess(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	b := d.beacon()
	d.script("serve", `trap 'echo INT >`+b.path+`; exit' INT
trap 'echo TERM >`+b.path+`; exit' TERM
echo $(ulimit -n) $(ulimit -c) $(nice) $(umask) $PWD >`+b.path+`
while :; do sleep 1000 & wait; done
`)
	d.configure(`
runs: {limits: {nofile: 100, core: 0}, nice: 1}
services:
  plain: {command: [DIR/serve], directory: /}
  web: {command: [DIR/serve], limits: {nofile: 77:88}, nice: 3, umask: 027, directory: DIR/shared, stop_signal: INT, after: [plain:started]}
`)
	base, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	niceness := 20 - base // as the system call itself returns it
	d.Start()
	got := []string{b.next(), b.next()}
	want := []string{
		fmt.Sprintf("100 0 %d 0022 /", niceness+1),
		fmt.Sprintf("77 0 %d 0027 %s/shared", niceness+3, d.dir),
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the processes have %q, want %q", got, want)
	}
	for _, stop := range [][2]string{{"web", "INT"}, {"plain", "TERM"}} {
		d.must("service", "stop", stop[0])
		if got := b.next(); got != stop[1] {
			t.Errorf("%s is stopped by %s, want %s", stop[0], got, stop[1])
		}
	}
}
