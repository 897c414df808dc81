package main

import (
	"errors"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"activationd/activation"
	"activationd/activation/service"
	"activationd/activation/service/discover"
	"activationd/activation/service/probe"
	"activationd/internal/config"
	"activationd/supervisor/wrapper"
)

func TestFaultsOfServices(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"all right", "services:\n  shop/db: {command: [\"true\"], ready: notify}\n  web: {command: [\"true\"], after: [shop_db]}\n", "<nil>"},
		{"empty", "services:\n  web:\n", `d:2: services.web.command: want a command and its arguments, such as [/usr/bin/redis-server, --port, "6379"]`},
		{"no command", "services:\n  web: {instances: 2}\n", `d:2: services.web.command: want a command and its arguments, such as [/usr/bin/redis-server, --port, "6379"]`},
		{"one fault for a command that cannot be read", "services:\n  web:\n    command: x\n", `d:3: services.web.command: want a list, such as [a, b], have "x"`},
		{"a name", "services:\n  web+1: {command: [x]}\n",
			`d:2: services.web+1: "web+1": a name has letters, digits and ._-, begins with a letter or a digit, has a letter in it, no .., and at most one /, as in project/service`},
		{"alike names", "services:\n  a/b: {command: [x]}\n  a_b: {command: [x]}\n",
			"d:2: services.a/b: is the same name as a_b at d:3: / and _ are alike in names of services\n" +
				"d:3: services.a_b: is the same name as a/b at d:2: / and _ are alike in names of services"},
		{"no check of readiness", "services:\n  db: {command: [x]}\n  web:\n    command: [x]\n    after:\n    - db\n",
			"d:6: services.web.after: db (d:2) has no check of readiness, so nothing would tell when it is ready: give it the key ready, or write db:started"},
		{"a cycle", "services:\n  a:\n    command: [x]\n    after: [b:started]\n  b:\n    command: [x]\n    after: [a:started]\n",
			"d:4: services.a.after: the services wait for each other: a -> b -> a"},
		{"an unknown condition", "services:\n  a: {command: [x], after: ['b:alive']}\n", `d:2: services.a.after: "b:alive": want NAME, NAME:ready or NAME:started`},
		{"a user and a group", "services:\n  a:\n    command: [x]\n    user: nobody-at-all\n    group: no-such-group\n",
			"d:4: services.a.user: there is no user nobody-at-all\nd:5: services.a.group: there is no group no-such-group"},
		{"another's group", "services:\n  a:\n    command: [x]\n    group: '54321'\n", "d:4: services.a.group: only root can run something with the group 54321"},
		{"a variable", "services:\n  a:\n    command: [x]\n    environment:\n      A: x\n      ACTIVATION_ID: x\n      B: '{{port}}'\n",
			"d:6: services.a.environment.ACTIVATION_ID: names that begin with ACTIVATION are the daemon's own\n" +
				"d:7: services.a.environment.B: {{port}} is unknown here; there are {{instance}}, {{service}} and, in PROJECT/SERVICE, {{project}}"},
		{"one port", "services:\n  a:\n    command: [x]\n    instances: 3\n    ready:\n      tcp: 127.0.0.1:80\n",
			"d:6: services.a.ready: instances 1 and 2 would both be at 127.0.0.1:80: write the port as NUMBER+{{instance}}, or take a check that tells them apart, such as notify"},
		{"one fault for a check of no kind", "services:\n  a: {command: [x], ready: {interval: 1s}}\n  b: {command: [x], after: [a]}\n",
			"d:2: services.a.ready: want one of notify, tcp, http, exec, log and delay, have none"},
		{"whose files to look for", "discover:\n- env: /srv/.env\n  user: nobody-at-all\n", "d:3: discover[0].user: there is no user nobody-at-all"},
		{"what holds for all services that are found",
			"services:\n  db: {command: [x]}\ndiscover:\n- env: /srv/*/.env\n  ready: {tcp: 'a b'}\n  after: [db, '{{project}}/cache', other]\n  restart: sometimes\n  stop_signal: KILL\n" +
				"  environment:\n    ACTIVATION_ID: x\n  instances: 2\n- env: /srv/x\n  bind: true\n  ready: {}\n- env: /a\n  bind: true\n  after: [other]\n",
			"d:5: discover[0].ready: tcp: want HOST:PORT, PORT or unix:PATH, have \"a b\"; an IPv6 address is in brackets, as in [::1]:8080\n" +
				"d:6: discover[0].after: db (d:2) has no check of readiness, so nothing would tell when it is ready: give it the key ready, or write db:started\n" +
				"d:7: discover[0].restart: want always, on-failure or no, have \"sometimes\"\n" +
				"d:8: discover[0].stop_signal: want TERM, INT, QUIT, HUP, USR1, USR2 or WINCH, have \"KILL\"\n" +
				"d:10: discover[0].environment.ACTIVATION_ID: names that begin with ACTIVATION are the daemon's own\n" +
				"d:11: discover[0]: unknown key \"instances\": it follows from the .env file\n" +
				"d:13: discover[1].bind: has a meaning only with after\n" +
				"d:14: discover[1].ready: want one of notify, tcp, http, exec, log and delay, have none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := faultsOf(t, tt.file); got != tt.want {
				t.Errorf("got:\n%v\nwant:\n%s", got, tt.want)
			}
		})
	}
}

// TestDeclarationOf checks that each key of a service arrives in its declaration, and that a
// service with a command alone has the defaults of package service.
func TestDeclarationOf(t *testing.T) {
	c, err := config.Parse("d", []byte(`
services:
  least: {command: [x]}
  shop/web:
    command: [/bin/web, "8000+{{instance}}"]
    instances: 3
    user: u
    group: g
    directory: /srv
    environment: {A: b}
    env_file: /srv/.env
    umask: 027
    nice: 5
    limits: {nofile: 1:2, core: unlimited}
    listen: [127.0.0.1:80]
    ready: {http: /ready, host: h, unix: /run/s, interval: 1m, timeout: 2m, failures: 4, successes: 5}
    alive: notify
    ready_timeout: 1m
    after: [least:started]
    bind: yes
    restart: no
    backoff: {first: 40s}
    stable: 2m
    start_limit: {count: 0, window: 3m}
    fatal_retry: 0
    rolling: yes
    surge: 2
    drain: 4s
    stop_signal: INT
    grace: 5s
    groups: [x, y]
    autostart: no
    log: {size: 1MiB, keep: 0}
`))
	if err != nil {
		t.Fatal(err)
	}
	least, faults := declarationOf(c, "least")
	want := service.New("least")
	want.Command, want.Positions = []string{"x"}, map[string]service.Position{"": {File: "d", Line: 3}, "command": {File: "d", Line: 3}}
	if len(faults) > 0 || !reflect.DeepEqual(least, want) {
		t.Errorf("with a command alone, it is %+v, %v, want %+v", least, faults, want)
	}

	umask, nice := 0o27, 5
	full, faults := declarationOf(c, "shop/web")
	want = &service.Declaration{
		Name: "shop_web", Shown: "shop/web", Command: []string{"/bin/web", "8000+{{instance}}"}, Instances: 3,
		Dir: "/srv", Env: map[string]string{"A": "b"}, EnvFile: "/srv/.env", Umask: &umask, Nice: &nice,
		Limits: []wrapper.Limit{{Name: "core", Soft: wrapper.Unlimited, Hard: wrapper.Unlimited}, {Name: "nofile", Soft: 1, Hard: 2}},
		Listen: []string{"127.0.0.1:80"},
		Ready: &service.Check{
			Kind: probe.HTTP, Target: "/ready", Host: "h", Unix: "/run/s",
			Interval: time.Minute, Timeout: 2 * time.Minute, Failures: 4, Successes: 5,
		},
		Alive:        full.Alive, // it has defaults of its kind
		ReadyTimeout: time.Minute, After: []service.Dependency{{Name: "least", Condition: service.Started}}, Bind: true,
		Restart: service.Never, Backoff: service.Backoff{First: 40 * time.Second, Max: 40 * time.Second},
		Stable: 2 * time.Minute, StartLimit: service.StartLimit{Window: 3 * time.Minute},
		Rolling: true, Surge: 2, Drain: 4 * time.Second, StopSignal: "INT", Grace: 5 * time.Second, Groups: []string{"x", "y"},
		Log: service.Log{Size: 1 << 20}, Positions: full.Positions,
	}
	if len(faults) > 0 || !reflect.DeepEqual(full, want) {
		t.Errorf("with all keys, it is\n%+v, %v, want\n%+v", full, faults, want)
	}
	if full.Watchdog() == 0 {
		t.Error("alive: notify has no time")
	}
	var keys []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[config.Service]()) {
		if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); !f.Anonymous {
			keys = append(keys, key)
		}
	}
	keys = append(keys, "", "environment.A")
	slices.Sort(keys)
	if have := slices.Sorted(maps.Keys(full.Positions)); !slices.Equal(have, keys) {
		t.Errorf("the keys with lines are %v, want %v", have, keys)
	}
	if full.Positions[""].Line != 4 || full.Positions["environment.A"].Line != 10 {
		t.Errorf("the positions are %v", full.Positions)
	}
}

// TestEnvironmentFiles checks what is read of environment files, and what is rejected: the rest
// of the services is in force.
func TestEnvironmentFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"good": "A=1\nB='{{instance}}'\n", "bad": "A=1\nB C\n", "own": "\nACTIVATION_ID=7\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	uid := os.Getuid()
	h := &host{uid: uid, getenv: os.Getenv}
	text := "services:\n"
	for _, name := range []string{"good", "bad", "own", "missing"} {
		text += "  " + name + ":\n    command: [x]\n    env_file: " + filepath.Join(dir, name) + "\n"
	}
	c := &configuration{Config: config.Default()}
	if err := c.Read("d", []byte(text)).Err(); err != nil {
		t.Fatal(err)
	}
	declared, rejected, err := h.services(c, &activation.Identity{UID: uid, Name: strconv.Itoa(uid)})
	if err != nil || len(declared) != 1 || !maps.Equal(declared[0].FileEnv, map[string]string{"A": "1", "B": "{{instance}}"}) {
		t.Errorf("declared are %v, %v, want good with its variables", declared, err)
	}
	got := ""
	for _, f := range rejected {
		got += strings.ReplaceAll(f.Error(), dir, "") + "\n"
	}
	want := `d:7: bad.env_file: /bad:2: "B C" is not of the form NAME=VALUE
d:13: missing.env_file: /missing: no such file or directory
d:10: own.env_file: /own:2: ACTIVATION_ID: names that begin with ACTIVATION are the daemon's own
`
	if got != want {
		t.Errorf("rejected are:\n%swant:\n%s", got, want)
	}
}

// TestDiscovered checks what becomes of the services that a scan has found.
func TestDiscovered(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"shop/web": "DAEMON=true\nCOMMAND=run\nA=1\n", "shop/db": "DAEMON=true\nCOMMAND=run\n", "shop/bad": "DAEMON=true\nA B\n",
		"a/b_c": "DAEMON=true\nCOMMAND=run\n", "a_b/c": "DAEMON=true\nCOMMAND=run\n",
	} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, ".env"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	me := os.Getuid()
	name, err := user.LookupId(strconv.Itoa(me))
	if err != nil {
		t.Skipf("this user has no name: %v", err)
	}
	c := &configuration{Config: config.Default()}
	if err := c.Read("d", []byte("discover:\n- env: "+dir+"/*/*/.env\n  user: "+name.Username+"\n")).Err(); err != nil {
		t.Fatal(err)
	}
	entries, err := entriesOf(c)
	if err != nil || len(entries) != 1 || entries[0].UID != me {
		t.Fatalf("the entries are %+v, %v", entries, err)
	}
	r := discover.Scan(entries, time.Now().Add(time.Hour), discover.Result{})
	declared := service.New("shop/db")
	declared.Positions = map[string]service.Position{"": {File: "d", Line: 7}}
	lookup := func(uid int) (*activation.Identity, error) { return &activation.Identity{UID: uid, Name: "me"}, nil }

	h := &host{uid: me}
	found, rejected := h.discovered(c, r, []*service.Declaration{declared}, nil, lookup)
	if len(found) != 1 || found[0].Name != "shop_web" || found[0].User == nil || found[0].User.UID != me || found[0].FileEnv["A"] != "1" {
		t.Errorf("found are %+v, want shop/web", found)
	}
	var got []string
	for _, f := range rejected {
		// Without the name, the instances of a service would be removed or not as if it were rejected.
		got = append(got, strings.ReplaceAll(f.Service.Name+" "+f.Error(), dir, ""))
	}
	want := []string{
		" /shop/db/.env:1: shop/db: the configuration declares the service shop/db, too (d:7), and wins: rename the directory, or remove DAEMON=true",
		"a_b_c /a/b_c/.env:1: a/b_c: is the same name as a_b/c at /a_b/c/.env:1: / and _ are alike in names of services",
		"a_b_c /a_b/c/.env:1: a_b/c: is the same name as a/b_c at /a/b_c/.env:1: / and _ are alike in names of services",
		`shop_bad d:2: shop/bad: /shop/bad/.env:2: "A B" is not of the form NAME=VALUE`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("rejected are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	// What the entry says holds for all its services, and can depend on what the configuration
	// declares.
	text := "services:\n  db: {command: [x]}\ndiscover:\n- env: " + dir + "/shop/*/.env\n  user: " + name.Username + "\n  after:\n  - '{{project}}/db'\n  ready: {http: 'http://{{project}}.test/{{service}}'}\n" +
		"  environment: {A: '2', B: '{{service}}'}\n  log: {age: 1d}\n  umask: 027\n  limits: {nofile: 7}\n"
	ruled := &configuration{Config: config.Default()}
	if err := ruled.Read("d", []byte(text)).Err(); err != nil {
		t.Fatal(err)
	}
	if entries, err = entriesOf(ruled); err != nil {
		t.Fatal(err)
	}
	r = discover.Scan(entries, time.Now().Add(time.Hour), discover.Result{})
	declared.Command, declared.Ready = []string{"x"}, &service.Check{Kind: probe.Notify}
	found, rejected = h.discovered(ruled, r, nil, []*service.Fault{{Service: declared}}, lookup) // it cannot be read now
	if len(found) != 1 || len(rejected) != 2 {
		t.Fatalf("found are %v, rejected %v; want shop/web", found, rejected)
	}
	web := found[0]
	if web.Ready.Target != "http://shop.test/web" || !reflect.DeepEqual(web.After, []service.Dependency{{Name: "shop_db", Condition: service.Ready}}) ||
		!maps.Equal(web.Env, map[string]string{"B": "web"}) || web.FileEnv["A"] != "1" || web.Log.Age != 24*time.Hour || *web.Umask != 0o27 || web.Limits[0].Soft != 7 {
		t.Errorf("shop/web is %+v", web)
	}
	_, rejected = h.discovered(ruled, discover.Result{Found: r.Found[1:]}, nil, nil, lookup)
	if len(rejected) != 1 || rejected[0].Error() != "d:7: shop/web.after: there is no service shop_db; did you mean shop_web?" {
		t.Errorf("rejected are %v, want shop/web, with the line of the entry", rejected)
	}

	for name, want := range map[string]int{"shop/db": 0, "shop/web": 1} { // a service does not need itself
		d, faults := discoveredDeclaration(ruled.Config, &ruled.Discover[0], name)
		if len(d.After) != want || len(faults) > 0 {
			t.Errorf("%s needs %v, %v, want %d", name, d.After, faults, want)
		}
	}
	db := discover.Rejected{Name: "shop/db", Err: errors.New("is being changed"), Changing: true}
	_, rejected = h.discovered(ruled, discover.Result{Found: r.Found[1:], Rejected: []discover.Rejected{db}}, nil, nil, lookup)
	if len(rejected) != 2 || rejected[0].Service.Name != "shop_web" || rejected[0].Text != "" {
		t.Errorf("rejected are %v, want shop/web without a text, as what it needs is being written", rejected)
	}

	// A file that was changed just now is no fault, but its instances must not be removed.
	r = discover.Result{Rejected: []discover.Rejected{{File: dir + "/shop/new/.env", Name: "shop/new", Err: errors.New("is being changed"), Changing: true}}}
	if _, rejected := h.discovered(c, r, nil, nil, lookup); len(rejected) != 1 || rejected[0].Service.Name != "shop_new" || rejected[0].Text != "" {
		t.Errorf("rejected are %v, want shop/new without a text", rejected)
	}
	r = discover.Scan(entries, time.Now().Add(time.Hour), discover.Result{})

	h.uid = 54321 // a daemon of another user
	if found, rejected := h.discovered(c, r, nil, nil, lookup); len(found) > 0 || !strings.Contains(rejected[0].Text, "only root can run something as another user") {
		t.Errorf("another user's daemon would run %v; rejected are %v", found, rejected)
	}
}
