package config

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
)

const example = "../../docs/activationd.example.yaml"

func TestNothingGivesDefaults(t *testing.T) {
	for _, data := range []string{"", "\n", "# only a comment\n", "---\n", "{}\n", "listen:\njobs:\nruns: ~\n"} {
		got, err := Parse("d.yaml", []byte(data))
		if err != nil {
			t.Errorf("Parse(%q): %v", data, err)
			continue
		}
		want := Default()
		want.File = "d.yaml"
		got.where = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Parse(%q) = %+v, want %+v", data, got, want)
		}
	}
}

// TestDefaults holds the defaults to what the documentation promises, so that
// neither changes alone.
func TestDefaults(t *testing.T) {
	c, err := Parse("", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		key       string
		got, want any
	}{
		{"listen", len(c.Listen), 0},
		{"sources", len(c.Sources), 0},
		{"reservations.timeout", c.Reservations.Timeout, 10 * time.Minute},
		{"reservations.deactivate_timeout", c.Reservations.DeactivateTimeout, 10 * time.Minute},
		{"reservations.retries", c.Reservations.Retries, 2},
		{"reservations.deactivate_retries", c.Reservations.DeactivateRetries, 5},
		{"reservations.missed", c.Reservations.Missed, "run"},
		{"reservations.backoff.first", c.Reservations.Backoff.First, 5 * time.Second},
		{"reservations.backoff.max", c.Reservations.Backoff.Max, 5 * time.Minute},
		{"max_removal", c.MaxRemoval, Share(0.5)},
		{"jobs.timeout", c.Jobs.Timeout, 24 * time.Hour},
		{"jobs.grace", c.Jobs.Grace, 10 * time.Second},
		{"jobs.retries", c.Jobs.Retries, 0},
		{"jobs.missed_grace", c.Jobs.MissedGrace, 24 * time.Hour},
		{"runs.max_parallel", c.Runs.MaxParallel, 64},
		{"runs.umask", c.Runs.Umask, Mode(0o022)},
		{"runs.arm_ahead", c.Runs.ArmAhead, 50 * time.Millisecond},
		{"runs.output", c.Runs.Output, Output{Head: 1 << 20, Tail: 1 << 20}},
		{"history.keep", c.History.Keep, 30 * 24 * time.Hour},
		{"history.reports", c.History.Reports, 1096 * 24 * time.Hour},
		{"events.keep", c.Events.Keep, 30 * 24 * time.Hour},
		{"events.count", c.Events.Count, 100_000},
		{"logging.level", c.Logging.Level, slog.LevelInfo},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %v, want %v", tt.key, tt.got, tt.want)
		}
	}
}

// TestMergeKeys: a source may have what another one has.
func TestMergeKeys(t *testing.T) {
	c, err := Parse("d.yaml", []byte("sources:\n  - &a {files: one, lead: 2m, tail: 1m}\n  - {lead: 3m, <<: *a, files: two}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Sources[1]; s.Files != "two" || s.Reservations.Lead != 3*time.Minute || s.Reservations.Tail != time.Minute {
		t.Errorf("the second source is %+v", s)
	}
	if _, err := Parse("d.yaml", []byte("sources:\n  - &a\n    files: one\n    lead: 2\n  - {<<: *a, files: two}\n")); err == nil || strings.Count(err.Error(), "d.yaml:4: sources[") != 2 {
		t.Errorf("the errors are %v", err)
	}
}

func TestParse(t *testing.T) {
	const file = `
listen:
  - 127.0.0.1:50002
  - {address: "[::1]:50003", role: viewer, user: 1000}
  - {address: "0.0.0.0:50004", tls: {certificate: c, key: k, client_ca: a}}
sources:
  - files: bookings
    lead: 2m
    environment: {B: "2"}
  - sql: {driver: mysql, dsn: "lab@/virtlab"}
reservations:              # after the sources on purpose
  lead: 1m
  tail: 1d
  environment: {A: "1"}
  activate: [scripts/up, -v]
runs:
  umask: 027
  no_new_privileges: yes
  limits: {nofile: 1024:4096, core: 0, fsize: 1GiB, nproc: unlimited}
  output: {head: 64KiB, tail: 0}
max_removal: 12.5%
logging: {level: debug, format: json}
`
	c, err := Parse("d.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what      string
		got, want any
	}{
		{"short form", c.Listen[0], Listen{Address: "127.0.0.1:50002", Role: "operator"}},
		{"a number as a name", c.Listen[1], Listen{Address: "[::1]:50003", Role: "viewer", User: "1000"}},
		{"known by certificate", c.Listen[2].Role, "operator"},
		{"own lead", c.Sources[0].Reservations.Lead, 2 * time.Minute},
		{"inherited tail", c.Sources[0].Reservations.Tail, 24 * time.Hour},
		{"inherited command", c.Sources[0].Reservations.Activate, []string{"scripts/up", "-v"}},
		{"environment over environment", c.Sources[0].Reservations.Environment, map[string]string{"A": "1", "B": "2"}},
		{"not in the other source", c.Sources[1].Reservations.Environment, map[string]string{"A": "1"}},
		{"nor in the defaults", c.Reservations.Environment, map[string]string{"A": "1"}},
		{"inherited lead", c.Sources[1].Reservations.Lead, time.Minute},
		{"octal", c.Runs.Umask, Mode(0o027)},
		{"yes", c.Runs.NoNewPrivileges, true},
		{"limits", c.Runs.Limits, map[string]Rlimit{
			"nofile": {1024, 4096}, "core": {0, 0}, "fsize": {1 << 30, 1 << 30}, "nproc": {Unlimited, Unlimited},
		}},
		{"sizes", c.Runs.Output, Output{Head: 64 << 10, Tail: 0}},
		{"share", c.MaxRemoval, Share(0.125)},
		{"level", c.Logging.Level, slog.LevelDebug},
	} {
		if !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.what, tt.got, tt.want)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	data, err := os.ReadFile("testdata/ten-faults.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/ten-faults.golden")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse("ten-faults.yaml", data)
	if err == nil || err.Error()+"\n" != string(want) {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	if !errors.Is(err, fault.Invalid) {
		t.Error("not of kind fault.Invalid")
	}
	if n := strings.Count(string(want), "\n"); n != 10 {
		t.Errorf("%d faults, want 10", n)
	}
}

func TestFaults(t *testing.T) {
	tests := []struct{ name, file, want string }{
		{"not YAML", "a: [", "d:1: has no value where one is expected, or a bracket or a comma too many"},
		{"not a mapping", "- a\n", "d:1: want keys and values, have a list"},
		{"two documents", "{}\n---\n{}\n", "d:2: a second document begins; one file is one document"},
		{"dashes for underscores", "max-removal: 1%\n", `d:1: unknown key "max-removal"; did you mean max_removal?`},
		{"letters swapped", "jobs: {grcae: 1s}\n", `d:1: jobs: unknown key "grcae"; did you mean grace?`},
		{"a beginning", "jobs: {env: {}}\n", `d:1: jobs: unknown key "env"; did you mean environment?`},
		{"in the wrong place", "max_parallel: 3\n", `d:1: unknown key "max_parallel"; did you mean runs.max_parallel?`},
		{"a source's key", "sources: [{files: x, timeuot: 1s}]\n", `d:1: sources[0]: unknown key "timeuot"; did you mean timeout?`},
		{"like nothing", "frobnicate: 1\n", `d:1: unknown key "frobnicate"`},
		{"twice", "jobs:\n  grace: 1s\n  grace: 2s\n", "d:3: jobs.grace: is already there on line 2"},
		{"a list for a word", "tokens: [a]\n", "d:1: tokens: want a single value, have a list"},
		{"a word for a list", "sources: x\n", `d:1: sources: want a list, such as [a, b], have "x"`},
		{"a command as one word", "reservations: {activate: run me}\n", `d:1: reservations.activate: want a list, such as [a, b], have "run me"`},
		{"an empty command", "reservations: {activate: []}\n",
			"d:1: reservations.activate: want a command and its arguments, such as [/usr/bin/env, true]"},
		{"a word for keys", "jobs: x\n", `d:1: jobs: want keys and values, have "x"`},
		{"an empty item", "listen:\n  -\n", "d:2: listen[0]: address: missing; write HOST:PORT"},
		{"an empty name", "access:\n  admins:\n    -\n", "d:3: access.admins[0]: is empty"},
		{"no unit", "jobs: {grace: 10}\n", `d:1: jobs.grace: "10" has no unit: write 10s for seconds, 10m for minutes`},
		{"negative", "jobs: {grace: -1s}\n", `d:1: jobs.grace: "-1s" has a minus sign: a duration is not negative`},
		{"no duration", "jobs: {grace: soon}\n", `d:1: jobs.grace: "soon" is not a duration: write it like 90s, 5m, 1h30m, 2d or PT1H30M`},
		{"zero timeout", "reservations: {timeout: 0}\n", "d:1: reservations.timeout: must be more than 0"},
		{"out of range", "runs: {nice: 40}\n", "d:1: runs.nice: must be from -20 to 19, is 40"},
		{"no number", "runs: {max_parallel: many}\n", `d:1: runs.max_parallel: want a whole number, have "many"`},
		{"size out of range", "control: {line: 10}\n", "d:1: control.line: must be from 1KiB to 64MiB, is 10"},
		{"not octal", "runs: {umask: 088}\n", `d:1: runs.umask: want an octal number from 000 to 777, have "088"`},
		{"no bool", "runs: {no_new_privileges: maybe}\n", `d:1: runs.no_new_privileges: want true or false, have "maybe"`},
		{"backoff the wrong way", "jobs:\n  backoff: {first: 10m}\n", "d:2: jobs.backoff: first (10m0s) is more than max (5m0s)"},
		{"no such limit", "runs:\n  limits: {files: 3}\n", "d:2: runs.limits.files: unknown limit; want one of as, core, cpu, " +
			"data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack"},
		{"limits the wrong way", "runs: {limits: {nofile: 5:3}}\n",
			`d:1: runs.limits.nofile: the soft limit is above the hard one in "5:3"`},
		{"a variable of ours", "jobs: {environment: {ACTIVATION_ID: 1}}\n",
			"d:1: jobs.environment.ACTIVATION_ID: names that begin with ACTIVATION are the daemon's own"},
		{"no variable", "jobs: {environment: {a b: 1}}\n", "d:1: jobs.environment.a b: not a name for a variable"},
		{"share", "max_removal: 120%\n", `d:1: max_removal: want a percentage from 0% to 100%, have "120%"`},
		{"level", "logging: {level: loud}\n", `d:1: logging.level: want debug, info, warn or error, have "loud"`},
		{"two roles", "access: {admins: [eve], viewers: [eve]}\n", "d:1: access.viewers[0]: eve is among the admins already"},
		{"open to the world", "listen: [0.0.0.0:1]\n", "d:1: listen[0]: 0.0.0.0:1 can be reached from other machines, " +
			"so it needs tls (or listen on 127.0.0.1)"},
		{"all interfaces", "listen: [\":1\"]\n", "d:1: listen[0]: :1 can be reached from other machines, " +
			"so it needs tls (or listen on 127.0.0.1)"},
		{"a name that is not localhost", "listen: [lab:1]\n", "d:1: listen[0]: lab:1 can be reached from other machines, " +
			"so it needs tls (or listen on 127.0.0.1)"},
		{"TLS for everybody", "listen: [{address: \"lab:1\", role: viewer, tls: {certificate: c, key: k}}]\n",
			"d:1: listen[0]: role: anybody could come in as viewer; set tls.client_ca, or take role none and tokens"},
		{"TLS for nobody", "listen: [{address: \"lab:1\", tls: {certificate: c, key: k}}]\n",
			"d:1: listen[0]: nobody could use it: set tls.client_ca, or tokens at the top of the file"},
		{"this machine, for nobody", "listen: [{address: \"localhost:1\", role: none}]\n",
			"d:1: listen[0]: nobody could use it: take another role, or set tokens at the top of the file"},
		{"a name that begins with localhost", "listen: [localhost.example.org:1]\n",
			"d:1: listen[0]: localhost.example.org:1 can be reached from other machines, so it needs tls (or listen on 127.0.0.1)"},
		{"half of TLS", "listen: [{address: \"lab:1\", tls: {key: k}}]\n", "d:1: listen[0]: tls: needs certificate and key"},
		{"no port", "listen: [localhost]\n", `d:1: listen[0]: want HOST:PORT, have "localhost"`},
		{"no such port", "listen: [\"localhost:70000\"]\n", `d:1: listen[0]: want a port from 0 to 65535, have "70000"`},
		{"twice the same", "listen:\n- localhost:1\n- localhost:1\n", "d:3: listen[1]: localhost:1 is already there on line 2"},
		{"neither", "sources: [{lead: 1s}]\n", "d:1: sources[0]: want either files or sql or http"},
		{"both", "sources: [{files: x, sql: {driver: mysql, dsn: d}}]\n", "d:1: sources[0]: want either files or sql or http"},
		{"a name with a slash", "sources: [{http: a/b}]\n", `d:1: sources[0].http: want a name of up to 64 letters, digits and ._- that begins with a letter or a digit, have "a/b"`},
		{"no driver", "sources: [{sql: {dsn: d}}]\n", "d:1: sources[0].sql: driver: missing; want postgres or mysql"},
		{"an empty driver", "sources: [{sql: {driver: '', dsn: d}}]\n", `d:1: sources[0].sql.driver: want postgres or mysql, have ""`},
		{"no such driver", "sources: [{sql: {driver: oracle, dsn: d}}]\n",
			`d:1: sources[0].sql.driver: want postgres or mysql, have "oracle"`},
		{"no DSN", "sources: [{sql: {driver: mysql}}]\n", "d:1: sources[0].sql: want either dsn or dsn_file"},
		{"recurs twice", "recurrences:\n- {name: a, every: 5m, script: x}\n- {name: a, every: 5m, script: x}\n",
			"d:3: recurrences[1]: name: a is already there on line 2"},
		{"a recurrence's key", "recurrences: [{name: a, every: 5m, script: x, jittr: 1s}]\n",
			`d:1: recurrences[0]: unknown key "jittr"; did you mean jitter?`},
		{"a service's key", "services:\n  web:\n    command: [x]\n    instnces: 2\n", `d:4: services.web: unknown key "instnces"; did you mean instances?`},
		{"a service's key at the top", "stop_signal: INT\n", `d:1: unknown key "stop_signal"; did you mean services.NAME.stop_signal?`},
		{"a service twice", "services:\n  web: {command: [x]}\n  web: {command: [x]}\n", "d:3: services.web: is already there on line 2"},
		{"no service", "services: {web: x}\n", `d:1: services.web: want keys and values, have "x"`},
		{"too many instances", "services:\n  web: {command: [x], instances: 1001}\n", "d:2: services.web.instances: must be from 1 to 1000, is 1001"},
		{"an unknown signal", "services: {web: {stop_signal: KILL}}\n", `d:1: services.web.stop_signal: want TERM, INT, QUIT, HUP, USR1, USR2 or WINCH, have "KILL"`},
		{"a service's limit", "services: {web: {limits: {files: 7}}}\n",
			"d:1: services.web.limits.files: unknown limit; want one of as, core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack"},
		{"a check of nothing", "services: {web: {ready: {interval: 1s}}}\n", "d:1: services.web.ready: want one of notify, tcp, http, exec, log and delay, have none"},
		{"a check of two kinds", "services: {web: {alive: {tcp: ':1', notify: yes}}}\n",
			"d:1: services.web.alive: want one of notify, tcp, http, exec, log and delay, have notify and tcp"},
		{"an unknown check", "services: {web: {ready: tcp}}\n", `d:1: services.web.ready: want keys and values, have "tcp"`},
		{"no pauses", "services:\n  web:\n    backoff: {first: 0}\n    start_limit: {window: 0s}\n    stable: 0\n",
			"d:3: services.web.backoff.first: must be more than 0\nd:4: services.web.start_limit.window: must be more than 0\nd:5: services.web.stable: must be more than 0"},
		{"discover nothing", "discover: [{user: x}]\n", "d:1: discover[0]: env: missing; want a path or a pattern such as /var/www/*/*/.env"},
		{"what the file says", "discover: [{env: '/x/*/*/.env', command: [x]}]\n", `d:1: discover[0]: unknown key "command": it follows from the .env file`},
		{"a bad pattern", "discover: [{env: '[x'}]\n", `d:1: discover[0].env: "[x" is no pattern of paths`},
		{"a listener's key", "listeners:\n- {queues: [a], command: [x], atempts: 2}\n", `d:2: listeners[0]: unknown key "atempts"; did you mean attempts?`},
		{"a hook of nothing", "hooks:\n- {}\n", "d:2: hooks[0]: name: missing; want a name such as oncall\nd:2: hooks[0]: on: missing; want conditions or patterns of topics, such as [failed, stuck]\n" +
			"d:2: hooks[0]: want one of post, command and mail, have none"},
		{"a hook in two ways", "hooks:\n- {name: a b, on: [failed], post: 'https://x/', mail: root}\n", "d:2: hooks[0].name: \"a b\": want letters, digits and ._-, and a letter, a digit or _ first, at most 64\n" +
			"d:2: hooks[0]: want one of post, command and mail, have post and mail"},
		{"empty values of hooks", "hooks:\n- name: a\n  on: []\n  command: []\n", "d:3: hooks[0].on: want conditions or patterns of topics, such as [failed, stuck]\nd:4: hooks[0].command: is empty"},
		{"a hook with keys of others", "hooks:\n- name: a\n  on: [failed]\n  mail: root\n  secret_file: x\n  user: x\n- name: b\n  on: [x]\n  command: [x]\n  allow_private: yes\n",
			"d:5: hooks[0].secret_file: has a meaning only with post\nd:6: hooks[0].user: has a meaning only with command\nd:10: hooks[1].allow_private: has a meaning only with post"},
		{"alike names of hooks", "hooks:\n- {name: a, on: [failed], mail: root}\n- {name: a, on: [stuck], mail: root}\n", "d:3: hooks[1]: name: a is already there on line 2; give each its own name"},
		{"numbers of hooks", "hooks:\n- name: a\n  on: [x]\n  mail: root\n  attempts: 0\n  timeout: 0\n  backoff: {first: 1h}\n",
			"d:5: hooks[0].attempts: must be from 1 to 1000, is 0\nd:6: hooks[0].timeout: must be more than 0\nd:7: hooks[0].backoff: first (1h0m0s) is more than max (30m0s)"},
		{"variables of hooks", "hooks:\n- name: a\n  on: [x]\n  command: [x]\n  environment: {EVENT_ID: 1, EVENTS: 2}\n",
			"d:5: hooks[0].environment.EVENT_ID: QUEUE and names that begin with EVENT_ or MESSAGE_ are the daemon's own"},
		{"a listener's key at the top", "max_wait: 1s\n", `d:1: unknown key "max_wait"; did you mean listeners[].max_wait?`},
		{"a listener of nothing", "listeners:\n- {}\n", `d:2: listeners[0]: queues: missing; want patterns of names, such as ["_model_*"]` + "\n" +
			"d:2: listeners[0]: command: missing; want a command and its arguments, such as [/usr/local/bin/work]"},
		{"empty lists", "listeners:\n- queues: []\n  command: []\n", `d:2: listeners[0].queues: want patterns of names, such as ["_model_*"]` + "\n" +
			"d:3: listeners[0].command: want a command and its arguments, such as [/usr/local/bin/work]"},
		{"no list of queues", "listeners: [{queues: a, command: [x]}]\n", `d:1: listeners[0].queues: want a list, such as [a, b], have "a"`},
		{"no pattern", "listeners:\n- queues: ['[a', ä, a/b*, '']\n  command: [x]\n", "d:2: listeners[0].queues[0]: \"[a\" is not a pattern\n" +
			"d:2: listeners[0].queues[1]: \"ä\" is not the name of a queue: want letters, digits and ._-, and a letter, a digit or _ first\n" +
			"d:2: listeners[0].queues[2]: \"a/b*\": no name of a queue has a /\nd:2: listeners[0].queues[3]: \"\" is not a pattern"},
		{"patterns for all queues", "queues:\n  allow: ['a/b']\n  deny: ['[']\n", "d:2: queues.allow[0]: \"a/b\" is not the name of a queue: want letters, digits and ._-, and a letter, a digit or _ first\n" +
			"d:3: queues.deny[0]: \"[\" is not a pattern"},
		{"a body too large", "queues: {max_body: 1GiB}\n", "d:1: queues.max_body: must be from 1 to 16MiB, is 1GiB"},
		{"routes of nothing", "queues:\n  routes:\n  - {}\n  -\n    path: lab\n    queue: a/{b}\n", `d:3: queues.routes[0]: path: missing; want a path such as "/{service}-{queue}/{method}"` + "\n" +
			`d:3: queues.routes[0]: queue: missing; want the name of a queue, such as "{queue}"` + "\n" +
			`d:5: queues.routes[1].path: want a path such as "/{service}-{queue}/{method}", have "lab"` + "\n" +
			`d:6: queues.routes[1].queue: "a/{b}" cannot be the name of a queue: want letters, digits, ._- and variables of path, and a letter, a digit, _ or a variable first`},
		{"impossible paths", "base_path: /lab\nqueues:\n  routes:\n  - {queue: q, path: '/a//{b}'}\n  - {queue: q, path: '/{a}{b}'}\n  - {queue: q, path: '/{a}/{a}'}\n  - {queue: q, path: '/{A}'}\n" +
			"  - {queue: q, path: /events}\n  - {queue: q, path: '/api/{x}'}\n  - {queue: q, path: '/lab/{x}'}\n  - {queue: q, path: '/a/../b'}\n",
			`d:4: queues.routes[0].path: "/a//{b}": no request has such a path, as clients and servers shorten it` + "\n" +
				"d:5: queues.routes[1].path: {b}: something must be between it and the variable before it, such as a -\n" +
				"d:6: queues.routes[2].path: {a} is there twice\n" +
				`d:7: queues.routes[3].path: "{A}": want letters, digits, ._~- and variables in braces, such as {queue}` + "\n" +
				"d:8: queues.routes[4].path: what begins with /events is the daemon's own\nd:9: queues.routes[5].path: what begins with /api is the daemon's own\n" +
				"d:10: queues.routes[6].path: base_path (/lab) comes before it anyway; write /{x}\n" +
				`d:11: queues.routes[7].path: "/a/../b": no request has such a path, as clients and servers shorten it`},
		{"routes that are hidden", "queues:\n  routes:\n  - {queue: '{a}', path: '/x-{a}/{m}'}\n  - {queue: '{a}', path: '/{a}/{m}'}\n  - {queue: '{b}', path: '/{b}-{c}/get'}\n",
			"d:5: queues.routes[2].path: never used, as /{a}/{m} on line 4 has all these paths and is first; put this route before that one"},
		{"what a route pushes", "queues:\n  routes:\n  - path: '/{a}'\n    queue: '{b}'\n    headers: {M: '{c}', 'x y': z}\n    forward: [m, 'a:', Cookie]\n",
			"d:4: queues.routes[0].queue: {b} is not in path\nd:5: queues.routes[0].headers.M: {c} is not in path\n" +
				"d:5: queues.routes[0].headers.x y: want letters, digits, - and _\n" +
				"d:6: queues.routes[0].forward[0]: m is there already\n" +
				`d:6: queues.routes[0].forward[1]: "a:" is not the name of a header: want letters, digits, - and _` + "\n" +
				"d:6: queues.routes[0].forward[2]: Cookie has a secret, which everybody could read who may see the message"},
		{"a window without a stream", "listeners:\n- queues: [a]\n  command: [x]\n  window: 2\n  replace:\n    age: 1h\n",
			"d:4: listeners[0].window: has a meaning only with per: stream; with per: message each message has a process of its own\n" +
				"d:6: listeners[0].replace: has a meaning only with per: stream; with per: message each message has a process of its own"},
		{"a listener that is hidden", "listeners:\n- {queues: ['_*', b], command: [x]}\n- {queues: [c, '_model_*', b], command: [x]}\n",
			"d:3: listeners[1].queues: _model_*: never used, as _* on line 2 matches all these queues and is first; put this listener before that one\n" +
				"d:3: listeners[1].queues: b: never used, as b on line 2 matches all these queues and is first; put this listener before that one"},
		{"a needless pattern", "listeners: [{queues: ['a*', ab], command: [x]}]\n", "d:1: listeners[0].queues: a* matches all that ab does, so one of them is needless"},
		{"alike names of listeners", "listeners:\n- {queues: ['_a*'], command: [x]}\n- {queues: [a], command: [x]}\n- {name: a b, queues: [c], command: [x]}\n",
			"d:3: listeners[1]: name: a is already there on line 2; give each its own name\n" +
				"d:4: listeners[2].name: \"a b\": want letters, digits and ._-, and a letter, a digit or _ first, at most 64"},
		{"exit statuses", "listeners:\n- queues: [a]\n  command: [x]\n  exits:\n    done: [1]\n    dead: [2, 256]\n    again: [2, 1]\n",
			"d:5: listeners[0].exits.done: 0 is missing; add it here or under another key\nd:6: listeners[0].exits.dead[0]: 2 is under again already\n" +
				"d:6: listeners[0].exits.dead[1]: must be from 0 to 255, is 256\nd:7: listeners[0].exits.again[1]: 1 is under done already"},
		{"nothing to drop", "listeners: [{queues: [a], command: [x], overflow: drop_oldest}]\n", "d:1: listeners[0].overflow: has a meaning only with max_messages or max_bytes"},
		{"weights", "listeners:\n- queues: [a, b]\n  command: [x]\n  weights: {a: 1}\n- queues: [c]\n  command: [x]\n  together: weighted\n  weights:\n    c: 0\n    d: 1\n",
			"d:4: listeners[0].weights: has a meaning only with together: weighted\nd:9: listeners[1].weights.c: must be from 1 to 1000, is 0\n" +
				"d:10: listeners[1].weights.d: is not among the patterns of queues"},
		{"how messages come", "listeners: [{queues: [a], command: [x], per: process}]\n", `d:1: listeners[0].per: want message or stream, have "process"`},
		{"variables of listeners", "listeners:\n- queues: [a]\n  command: [x]\n  environment: {MESSAGE_ID: 1, OTHER: 1, QUEUE: x}\n",
			"d:4: listeners[0].environment.MESSAGE_ID: QUEUE and names that begin with MESSAGE_ or HEADER_ are the daemon's own\n" +
				"d:4: listeners[0].environment.QUEUE: QUEUE and names that begin with MESSAGE_ or HEADER_ are the daemon's own"},
		{"a pause of no time", "listeners: [{queues: [a], command: [x], backoff: 0}]\n", "d:1: listeners[0].backoff: must be more than 0"},
		{"both names of a key", "at:\n  load: 1\n  load_average: 2\n", "d:2: at.load: is the former name of load_average, which is set on line 3; remove one of them"},
		{"a fault behind a former name", "at: {load: much}\n", `d:1: at.load_average: want a number of more than 0, such as 1.5, have "much"`},
		{"a source with the name of another", "sources:\n- sql: {name: book, driver: mysql, dsn: x}\n",
			"d:2: sources[0]: no source can be called book: that is the name of what is booked at the daemon itself; give it another name"},
		{"who may book", "booking: {role: viewer}\n", `d:1: booking.role: want submitter or operator, have "viewer"`},
		{"what can be booked", "booking:\n  devices: [r1, 'r[', '']\n  variables: [IMAGE, ACTIVATION_ID]\n",
			"d:2: booking.devices[1]: \"r[\" is neither the name of a device nor a pattern such as sw*\n" +
				"d:2: booking.devices[2]: \"\" is neither the name of a device nor a pattern such as sw*\n" +
				"d:3: booking.variables[1]: \"ACTIVATION_ID\" is not a variable that a booking can set"},
		{"quotas", "booking:\n  quota: {hours_per_week: 169h, devices: -1}\n  owners:\n    ada: {hours_per_week: 200h}\n",
			"d:2: booking.quota.devices: must be from 0 to 1024, is -1\n" +
				"d:2: booking.quota.hours_per_week: must be from 0s to 168h0m0s, is 169h0m0s\n" +
				"d:4: booking.owners.ada.hours_per_week: must be from 0s to 168h0m0s, is 200h0m0s"},
		{"one source twice", "sources:\n- files: x\n- files: x\n", "d:3: sources[1]: x is already there on line 2"},
		{"one source twice, in other words", "sources:\n- files: x\n- files: ./x/\n", "d:3: sources[1]: x is already there on line 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("d", []byte(tt.file))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got:\n%v\nwant:\n%s", err, tt.want)
			}
			if !errors.Is(err, fault.Invalid) {
				t.Error("not of kind fault.Invalid")
			}
		})
	}
}

// uncommented returns the example with all that it comments out, except the keys of a
// recurrence and of a check that exclude others.
func uncommented(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	data = regexp.MustCompile(`(?m)^# +(calendar|every|script):.*$`).ReplaceAll(data, []byte("# $0"))
	data = regexp.MustCompile(`(?m)^# {6}(notify|tcp|exec|log|delay):.*$`).ReplaceAll(data, []byte("# $0"))
	return regexp.MustCompile(`(?m)^#((?:  )+\S|[a-z])`).ReplaceAll(data, []byte("$1"))
}

func TestExampleIsTheDefault(t *testing.T) {
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("", data)
	if err != nil {
		t.Fatal(err)
	}
	c.where = nil
	if want := Default(); !reflect.DeepEqual(c, want) {
		t.Errorf("the example, as it is, gives %+v, want %+v", c, want)
	}
}

// TestExampleHasEveryKey tries the example's other half: everything that it
// comments out is a key, every key is there, and what it calls a default is.
func TestExampleHasEveryKey(t *testing.T) {
	data := string(uncommented(t))
	data = regexp.MustCompile(`(?m)^.*dsn_file:.*$`).ReplaceAllString(data, "") // it shows both, one is allowed
	c, err := Parse("example", []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	have := []string{"sources[].sql.dsn_file", "recurrences[].calendar", "recurrences[].every", "recurrences[].script"}
	for _, kind := range []string{"notify", "tcp", "exec", "log", "delay"} {
		have = append(have, "services.*.ready."+kind)
	}
	for _, at := range c.where {
		key := regexp.MustCompile(`\[\d+\]`).ReplaceAllString(at.Key, "[]")
		key = regexp.MustCompile(`^services\.\w+`).ReplaceAllString(key, "services.*")
		key = regexp.MustCompile(`^booking\.owners\.\w+`).ReplaceAllString(key, "booking.owners.*")
		key = regexp.MustCompile(`^((?:.*\.)?(?:limits|environment|weights|headers))\.[\w*]+$`).ReplaceAllString(key, "$1.*")
		have = append(have, key)
	}
	schema := schemaOf(reflect.TypeFor[Config](), "")
	for _, key := range schema {
		name, ofSource := strings.CutPrefix(key, "sources[].")
		if ofSource && slices.Contains(schema, "reservations."+name) {
			continue // "a source may have every key of reservations"
		}
		if name, found := strings.CutPrefix(key, "booking."); found && slices.Contains(schema, "reservations."+name) {
			continue // "it can also have the keys of reservations"
		}
		if name, found := strings.CutPrefix(key, "discover[]."); found && slices.Contains(schema, "services.*."+name) {
			continue // "the same meaning"
		}
		if strings.HasPrefix(key, "services.*.alive.") {
			continue // "it has the same keys as ready"
		}
		if !slices.Contains(have, key) {
			t.Errorf("the example lacks %s", key)
		}
	}

	want := Default()
	for _, key := range ChangedKeys(want, c) {
		if !slices.Contains([]string{ // these are called examples
			"listen", "listen_http", "base_path", "http_hosts", "front.users", "sources", "tokens", "socket.path", "socket.mode", "access.admins", "access.operators",
			"access.viewers", "access.others", "topology_directory", "reservations.user", "reservations.environment",
			"jobs.environment", "runs.limits", "lab.inventory", "recurrences", "services", "discover", "listeners", "hooks",
			"queues.store", "queues.pools", "queues.allow", "queues.deny", "queues.routes", "booking",
		}, key) {
			t.Errorf("the example shows a value for %s that is not the default", key)
		}
	}
}

func TestDsnFileInTheExampleIsAKey(t *testing.T) {
	data := regexp.MustCompile(`(?m)^.* dsn:.*$`).ReplaceAllString(string(uncommented(t)), "")
	c, err := Parse("example", []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Sources[1].SQL.DSNFile; got != "virtlab.dsn" {
		t.Errorf("dsn_file is %q, want virtlab.dsn", got)
	}
}

// TestBooking: the key is nil unless it is there, its defaults are those of reservations, and
// an owner's quota has what it leaves open from the quota of all.
func TestBooking(t *testing.T) {
	for _, file := range []string{"", "booking:\n"} {
		if c, err := Parse("d", []byte(file)); err != nil || c.Booking != nil {
			t.Errorf("%q gives %+v, %v, want no booking", file, c.Booking, err)
		}
	}
	c, err := Parse("d", []byte("booking:\n  quota: {hours_per_week: 20h, devices: 4}\n  owners: {ada: {devices: 0}}\n  environment: {B: '2'}\n"+
		"reservations: {lead: 2m, environment: {A: '1'}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	b := c.Booking
	if b.Role != "operator" || b.Topology != "operator" {
		t.Errorf("the roles are %q and %q, want operator", b.Role, b.Topology)
	}
	if b.Reservations.Lead != 2*time.Minute || !maps.Equal(b.Reservations.Environment, map[string]string{"A": "1", "B": "2"}) || len(c.Reservations.Environment) != 1 {
		t.Errorf("the defaults of bookings are %+v", b.Reservations)
	}
	q := b.Owners["ada"].Under(b.Quota)
	if *q.HoursPerWeek != 20*time.Hour || *q.Devices != 0 || q.DaysAhead != nil {
		t.Errorf("ada's quota is %v, %v, %v", *q.HoursPerWeek, *q.Devices, q.DaysAhead)
	}
}

// TestFormerNames tries every key that has been renamed: its former name has the same effect,
// with a notice.
func TestFormerNames(t *testing.T) {
	data, err := os.ReadFile("testdata/former-names.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("d", data)
	if err != nil {
		t.Fatal(err)
	}
	if c.At.LoadAverage != 2.5 {
		t.Errorf("at.load 2.5 has set at.load_average to %v", c.At.LoadAverage)
	}
	if at, ok := c.Place(&c.At.LoadAverage); !ok || at.Line != 3 {
		t.Errorf("at.load is at %+v, %v, want line 3", at, ok)
	}
	want := []string{"d:3: at.load: this key is called load_average now; the next release does not accept the former name"}
	if !slices.Equal(c.Notices, want) {
		t.Errorf("the notices are %q, want %q", c.Notices, want)
	}
	if keys := schemaOf(reflect.TypeFor[Config](), ""); slices.Contains(keys, "at.load") || !slices.Contains(keys, "at.load_average") {
		t.Errorf("the keys are %v", keys)
	}
	if c, err := Parse("d", []byte("at: {load_average: 3}\n")); err != nil || c.At.LoadAverage != 3 || len(c.Notices) > 0 {
		t.Errorf("under its name of today: %v, %v, notices %q", c.At.LoadAverage, err, c.Notices)
	}
}

func TestChangedKeys(t *testing.T) {
	parse := func(s string) *Config {
		c, err := Parse("", []byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := parse("runs: {nice: 1}\nlisten: [localhost:1]\n")
	after := parse("\n\nruns: {nice: 2, umask: 027}\nlisten: [localhost:2]\nhistory: {keep: 30d}\n")
	if got, want := ChangedKeys(before, after), []string{"listen", "runs.umask", "runs.nice"}; !slices.Equal(got, want) {
		t.Errorf("ChangedKeys = %v, want %v", got, want)
	}
	if got := ChangedKeys(after, after); len(got) != 0 {
		t.Errorf("ChangedKeys of the same = %v", got)
	}
}

// TestListeners reads what a listener can say in short, and what it has by default.
func TestListeners(t *testing.T) {
	c, err := Parse("d", []byte(`
listeners:
- {queues: ["_model_*", pool], per: message, instances: 4, attempts: 3, timeout: 5m, command: [./work]}
- {queues: ["io_*"], per: stream, instances: 2, window: 8, command: [./io], backoff: 2s, exits: {dead: [75, 1]}}
- {queues: ["*"], command: [/bin/true]}
`))
	if err != nil {
		t.Fatal(err)
	}
	c.ResolvePaths("/etc/a")
	least := Listener{
		Name: "all", Queues: []string{"*"}, Per: "message", Command: []string{"/bin/true"}, Instances: 1, Window: 1, Attempts: 3,
		Backoff: Backoff{First: time.Second, Max: time.Hour}, Grace: 10 * time.Second, Overflow: "refuse", Together: "no",
		Exits: Exits{Done: []int{0}, Again: []int{75}, Dead: []int{65}, Fault: []int{126, 127}},
	}
	for _, tt := range []struct {
		what      string
		got, want any
	}{
		{"a command alone", c.Listeners[2], least},
		{"a name", c.Listeners[0].Name, "model"},
		{"another", c.Listeners[1].Name, "io"},
		{"a relative command", c.Listeners[0].Command, []string{"/etc/a/work"}},
		{"a timeout", c.Listeners[0].Timeout, 5 * time.Minute},
		{"a window", c.Listeners[1].Window, 8},
		{"a pause in short", c.Listeners[1].Backoff, Backoff{First: 2 * time.Second, Max: time.Hour}},
		{"a status for which the file has another key", c.Listeners[1].Exits.Verdicts(),
			map[int]string{0: "done", 75: "dead", 1: "dead", 126: "fault", 127: "fault"}},
		{"the largest message", c.Queues, Queues{MaxBody: 16 << 20, MaxCreated: 100}},
	} {
		if !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.what, tt.got, tt.want)
		}
	}
}

// TestRoute tries which paths a route is for, and what their variables are.
func TestRoute(t *testing.T) {
	c, err := Parse("d", []byte(`
queues:
  routes:
  - {path: "/{service}-{queue}/{model}/{method}.json", queue: "{service}-{queue}", headers: {Model: "{model}", Method: "m {method}"}}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, want string }{
		{"/a-b/c/d.json", "a-b map[Method:m d Model:c]"},
		{"/a-b-c/%2F{x}%20/d.json.json", "a-b-c map[Method:m d.json Model:/{x} ]"},
		{"/a-b/%7Bmethod%7D/d.json", "a-b map[Method:m d Model:{method}]"}, // a value is not looked at again
		{"/-b/c/d.json", ""},
		{"/a-/c/d.json", ""},
		{"/a-b/c/djson", ""},
		{"/a-b/c/d/e.json", ""},
		{"/a-b/%zz/d.json", ""},
		{"/lab/a-b/c/d.json", ""},
	} {
		got := ""
		if name, headers, ok := c.Queues.Routes[0].Push(tt.path); ok {
			got = fmt.Sprint(name, " ", headers)
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.path, got, tt.want)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"*", "", true}, {"*", "a?[x]*", true}, {"a*", "a", true}, {"a*", "ab*c", true}, {"a*", "?b", false}, {"a?", "a*", false}, {"?*", "*", false},
		{"?*", "a*", true}, {"a?", "a[bc]", true}, {"[a-c]", "b", true}, {"[a-c]", "d", false}, {"[ab]", "[ab]", true}, {"[ab]", "?", false}, {"a", "a?", false},
		{`\*`, "a", false}, {`\a`, "a", true}, {"*a*b", "xaxb", true}, {"*a*b", "xbxa", false}, {"**", "*", true}, {`\*`, "*", false}, {"*", `\*`, true},
	} {
		if got := covers(tt.a, tt.b); got != tt.want {
			t.Errorf("covers(%q, %q) = %t, want %t", tt.a, tt.b, got, tt.want)
		}
	}
}

// FuzzParse checks that no file at all breaks the parse, that every fault has
// a line of the file, and that the same file gives the same again.
func FuzzParse(f *testing.F) {
	for _, name := range []string{example, "testdata/ten-faults.yaml", "testdata/former-names.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(uncommented(f))
	f.Add([]byte("services: {a: ~, b: &b {ready: notify, log: {keep: 0}}, c: *b, d: {<<: *b, ready: {delay: 1s}}}\n"))
	f.Add([]byte("listeners: [{queues: ['*', '[a]'], command: [x], exits: {done: [1]}, weights: {a: 1, b: ~}}, ~]\nqueues: {allow: [x]}\n"))
	f.Add([]byte("a: &a [*a]\nlisten: *a\n"))
	f.Add([]byte("listen: &l [{address: localhost:1, tls: ~}]\nsources: [{files: x, sql: {}}]\naccess: {admins: *l}"))
	f.Add([]byte("runs: {limits: {nofile: 1:2}, output: {head: 9999999TiB}}\njobs: {environment: {A: !!binary YQ==}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		again, err2 := Parse("f", data)
		if (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Fatalf("once %v, then %v", err, err2)
		}
		if err == nil {
			if c.where, again.where = nil, nil; !reflect.DeepEqual(c, again) {
				t.Fatalf("once %+v, then %+v", c, again)
			}
			return
		}
		if !errors.Is(err, fault.Invalid) {
			t.Fatalf("%v: not of kind fault.Invalid", err)
		}
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok {
			t.Fatalf("%v: not a list", err)
		}
		lines := regexp.MustCompile("\r\n|[\r\n\u0085\u2028\u2029]").Split(string(data), -1) // YAML's own idea of lines
		for _, fault := range joined.Unwrap() {
			rest, _ := strings.CutPrefix(fault.Error(), "f:")
			number, _, _ := strings.Cut(rest, ":")
			if n, err := strconv.Atoi(number); err != nil || n < 1 || n > len(lines) {
				t.Fatalf("%v: the file has %d lines", fault, len(lines))
			}
		}
	})
}
