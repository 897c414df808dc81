package service

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/activation"
	"activationd/activation/service/probe"
	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// declare returns a service with a command, as changed by edit.
func declare(name string, edit ...func(*Declaration)) *Declaration {
	d := New(name)
	d.Command = []string{"/bin/sleep", "60"}
	d.Positions = map[string]Position{"": {"d.yaml", 1}}
	for _, e := range edit {
		e(d)
	}
	return d
}

// on names what a service needs, and puts its key after on a line.
func on(line int, needs ...string) func(*Declaration) {
	return func(d *Declaration) {
		for _, text := range needs {
			need, err := ParseDependency(text)
			if err != nil {
				panic(err)
			}
			d.After = append(d.After, need)
		}
		d.Positions["after"] = Position{"d.yaml", line}
	}
}

func notify(d *Declaration) { d.Ready = &Check{Kind: probe.Notify} }

func instances(n int) func(*Declaration) { return func(d *Declaration) { d.Instances = n } }

func listen(addresses ...string) func(*Declaration) {
	return func(d *Declaration) { d.Listen = addresses }
}

func readyAt(kind, target string) func(*Declaration) {
	return func(d *Declaration) { d.Ready = &Check{Kind: kind, Target: target} }
}

func aliveAt(kind, target string) func(*Declaration) {
	return func(d *Declaration) { d.Alive = &Check{Kind: kind, Target: target} }
}

func TestTemplates(t *testing.T) {
	tests := []struct{ name, text, want string }{ // for instance 3
		{"the number", "{{instance}}", "3"},
		{"blanks in the braces", "web-{{ instance }}.log", "web-3.log"},
		{"twice", "{{instance}}{{instance}}", "33"},
		{"a whole word", "8000+{{instance}}", "8003"},
		{"minus", "8000-{{instance}}", "7997"},
		{"the port of an address", "127.0.0.1:8000+{{instance}}", "127.0.0.1:8003"},
		{"the port of an IPv6 address", "[::1]:8000+{{instance}}", "[::1]:8003"},
		{"the port of a URL", "http://[::1]:8000+{{instance}}/health", "http://[::1]:8003/health"},
		{"the value of an option", "--port=8000+{{instance}}", "--port=8003"},
		{"in a list", "1+{{instance}},2+{{instance}} 5", "4,5 5"},
		{"leading zeros are dropped", "007+{{instance}}", "10"},
		{"no word of its own", "app2-{{instance}}", "app2-3"},
		{"no word of its own behind", "2+{{instance}}x", "2+3x"},
		{"a date", "2026-01-{{instance}}", "2026-01-3"},
		{"a path", "/srv/1-{{instance}}", "/srv/1-3"},
		{"other braces", "{{.Name}} {{range .}} {instance} ${instance}", "{{.Name}} {{range .}} {instance} ${instance}"},
		{"not a number", "x+{{instance}}", "x+3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := declare("web", instances(3), func(d *Declaration) { d.Command = []string{"/bin/echo", tt.text} })
			i, err := d.Instance(3)
			if err != nil || i.Command[1] != tt.want {
				t.Errorf("%q for instance 3 is %q, %v; want %q", tt.text, i.Command[1], err, tt.want)
			}
		})
	}
}

// TestNamesInTexts checks that the name of a service can be in all of its texts.
func TestNamesInTexts(t *testing.T) {
	const text = "{{project}} {{ service }} {{instance}}"
	texts := func(d *Declaration) []string {
		all := slices.Concat(d.Command, d.Listen, d.Groups, []string{d.Dir, d.Env["A"]})
		for _, c := range []*Check{d.Ready, d.Alive} {
			all = append(all, c.Target, c.Host, c.Unix, c.Command[0])
		}
		return all
	}
	list, check := []string{text}, Check{Target: text, Host: text, Unix: text, Command: []string{text}}
	for name, want := range map[string]string{"shop/web": "shop web {{instance}}", "web": "{{project}} web {{instance}}"} {
		d := declare(name, func(d *Declaration) {
			d.Command, d.Listen, d.Groups, d.Dir = list, list, list, text
			d.Env, d.Ready, d.Alive = map[string]string{"A": text}, &check, &check
		})
		before := texts(d)
		d.FillNames()
		for i, got := range texts(d) {
			if got != want || before[i] != text || list[0] != text || check.Command[0] != text {
				t.Errorf("text %d of %s is %q, want %q; before it was %q", i, name, got, want, before[i])
			}
		}
	}
}

func TestTemplateFaults(t *testing.T) {
	tests := []struct{ name, text, want string }{ // of instance 3
		{"unknown word", "{{instnace}}", "command: {{instnace}} is unknown here; there are {{instance}}, {{service}} and, in PROJECT/SERVICE, {{project}}"},
		{"no project", "{{ project }}", "command: {{ project }} is unknown here"},
		{"unknown word behind a number", "8000+{{port}}", "command: {{port}} is unknown here"},
		{"negative", "2-{{instance}}", "command: 2-{{instance}} is negative for instance 3"},
		{"too large", "99999999999999999999+{{instance}}", "command: 99999999999999999999 is too large"},
		{"as large as a number can be", "9223372036854775807+{{instance}}", "command: 9223372036854775807 is too large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := declare("web", func(d *Declaration) { d.Command = []string{"/bin/echo", tt.text} })
			_, err := d.Instance(3)
			if fault.Of(err) != fault.Invalid || !strings.HasPrefix(fault.Text(err), tt.want) {
				t.Errorf("%q: %v; want %q", tt.text, err, tt.want)
			}
		})
	}
}

// TestInstance checks that each text of a declaration is a template, and that nothing of the
// environment file is one.
func TestInstance(t *testing.T) {
	d := declare("shop/web", instances(2), listen("127.0.0.1:8000+{{instance}}", "/run/shop/{{instance}}.sock"), func(d *Declaration) {
		d.Command = []string{"/srv/{{instance}}/web", "--port", "8000+{{instance}}"}
		d.Dir = "/srv/{{instance}}"
		d.Env = map[string]string{"PORT": "8000+{{instance}}", "MODE": "declared"}
		d.FileEnv = map[string]string{"MODE": "of the file", "SECRET": "{{instance}}"}
		d.Ready = &Check{Kind: probe.HTTP, Target: "http://127.0.0.1:8000+{{instance}}/ready"}
		d.Alive = &Check{Kind: probe.Exec, Command: []string{"/bin/check", "{{instance}}"}}
	})
	i, err := d.Instance(2)
	if err != nil {
		t.Fatal(err)
	}
	want := Instance{
		Service: "shop_web", N: 2, ID: "shop_web@2",
		Command: []string{"/srv/2/web", "--port", "8002"},
		Dir:     "/srv/2",
		Env:     map[string]string{"PORT": "8002", "MODE": "declared", "SECRET": "{{instance}}"},
		Ready:   &Check{Kind: probe.HTTP, Target: "http://127.0.0.1:8002/ready", Command: []string{}},
		Alive:   &Check{Kind: probe.Exec, Command: []string{"/bin/check", "2"}},
		Listen:  []string{"127.0.0.1:8002", "/run/shop/2.sock"},
	}
	if !reflect.DeepEqual(i, want) {
		t.Errorf("instance 2 is\n%+v, want\n%+v", i, want)
	}
	if name, n, ok := ParseID(i.ID); name != "shop_web" || n != 2 || !ok {
		t.Errorf("ParseID(%q) = %q, %d, %t", i.ID, name, n, ok)
	}
}

func TestParseID(t *testing.T) {
	for _, id := range []string{"", "web", "web@", "web@0", "web@01", "web@-1", "web@+1", "web@x", "web@1001", "shop/web@1", "@1", "1042@1", "web@1@2"} {
		if name, n, ok := ParseID(id); ok {
			t.Errorf("ParseID(%q) = %q, %d; want no id of an instance", id, name, n)
		}
	}
}

func TestCheckName(t *testing.T) {
	tests := []struct {
		name string
		ok   bool
	}{
		{"web", true}, {"Web-2_x", true}, {"shop/web", true}, {"2fa", true}, {"shop_web", true}, {strings.Repeat("a", MaxName), true},
		{"", false}, {"12", false}, {"a/b/c", false}, {"/a", false}, {"a/", false}, {"a//b", false}, {"-a", false}, {"_a", false},
		{"a/-b", false}, {"a.b", true}, {"example.org/web", true}, {"a..b", false}, {".a", false}, {"a/.b", false}, {"a b", false}, {"a@1", false}, {"é", false}, {strings.Repeat("a", MaxName+1), false},
	}
	for _, tt := range tests {
		if err := CheckName(tt.name); (err == nil) != tt.ok {
			t.Errorf("CheckName(%q) = %v", tt.name, err)
		}
	}
	if id := ID(strings.Repeat("a", MaxName), MaxInstances); !activation.ValidName(id) {
		t.Errorf("%s is too long for the id of an activation", id)
	}
}

func TestParseDependency(t *testing.T) {
	tests := []struct{ text, name, condition string }{
		{"db", "db", Ready}, {"db:ready", "db", Ready}, {"db:started", "db", Started}, {"shop/db", "shop_db", Ready},
		{"db:alive", "", ""}, {"db:", "", ""}, {":ready", "", ""}, {"a b", "", ""},
	}
	for _, tt := range tests {
		d, err := ParseDependency(tt.text)
		if d != (Dependency{tt.name, tt.condition}) || (err != nil) != (tt.name == "") {
			t.Errorf("ParseDependency(%q) = %+v, %v", tt.text, d, err)
		}
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name  string
		all   []*Declaration
		want  string // the faults, one a line
		sound string // the keys of the services without faults
	}{
		{"nothing wrong", []*Declaration{declare("db", notify), declare("shop/web", on(5, "db"))}, "", "db shop_web"},
		{
			"no command", []*Declaration{declare("web", func(d *Declaration) { d.Command = nil })},
			`d.yaml:1: web.command: want a command and its arguments, such as [/usr/bin/redis-server, --port, "6379"]`, "",
		},
		{
			"no check of readiness", []*Declaration{declare("db"), declare("web", on(5, "db")), declare("other", on(7, "db:started"))},
			"d.yaml:5: web.after: db (d.yaml:1) has no check of readiness, so nothing would tell when it is ready: give it the key ready, or write db:started",
			"db other",
		},
		{
			"unknown dependency", []*Declaration{declare("postgres", notify), declare("web", on(5, "postgers"))},
			"d.yaml:5: web.after: there is no service postgers; did you mean postgres?", "postgres",
		},
		{
			"dependency on a refused one", []*Declaration{declare("a", notify, on(2, "b")), declare("b", notify, on(3, "nil")), declare("c", on(4, "a")), declare("d")},
			"d.yaml:3: b.after: there is no service nil\nd.yaml:2: a.after: b is refused\nd.yaml:4: c.after: a is refused", "d",
		},
		{
			"a cycle", []*Declaration{declare("x", notify, on(2, "a")), declare("a", notify, on(3, "b")), declare("b", notify, on(4, "c")), declare("c", notify, on(5, "a"))},
			"d.yaml:3: a.after: the services wait for each other: a -> b -> c -> a\nd.yaml:2: x.after: a is refused", "",
		},
		{
			"two cycles", []*Declaration{declare("a", notify, on(2, "a")), declare("b", notify, on(3, "c")), declare("c", notify, on(4, "b:started"))},
			"d.yaml:2: a.after: the services wait for each other: a -> a\nd.yaml:3: b.after: the services wait for each other: b -> c -> b", "",
		},
		{
			"a diamond is no cycle", []*Declaration{declare("a", notify), declare("b", notify, on(3, "a")), declare("c", notify, on(4, "a")), declare("d", on(5, "b", "c"))},
			"", "a b c d",
		},
		{
			"twice in after", []*Declaration{declare("a", notify), declare("b", on(3, "a", "a:started"))},
			"d.yaml:3: b.after: names a twice", "a",
		},
		{
			"one name", []*Declaration{declare("shop/web"), declare("shop_web"), declare("web")},
			"d.yaml:1: shop/web: is the same name as shop_web at d.yaml:1: / and _ are alike in names of services\n" +
				"d.yaml:1: shop_web: is the same name as shop/web at d.yaml:1: / and _ are alike in names of services", "web",
		},
		{
			"one port for two instances", []*Declaration{declare("web", instances(2), readyAt(probe.TCP, "127.0.0.1:8000"))},
			"d.yaml:1: web.ready: instances 1 and 2 would both be at 127.0.0.1:8000: write the port as NUMBER+{{instance}}, or take a check that tells them apart, such as notify", "",
		},
		{"a port for each instance", []*Declaration{declare("web", instances(9), readyAt(probe.HTTP, "http://127.0.0.1:8000+{{instance}}/"))}, "", "web"},
		{
			"ranges of ports overlap", []*Declaration{declare("a", instances(9), listen(":8000+{{instance}}")), declare("b", readyAt(probe.TCP, "localhost:8007"))},
			"d.yaml:1: b.ready: instance 1 would be at localhost:8007, as instance 7 of a (d.yaml:1) is", "a",
		},
		{"other addresses", []*Declaration{declare("a", listen("127.0.0.1:80")), declare("b", listen("127.0.0.2:80")), declare("c", listen("192.0.2.1:80"))}, "", "a b c"},
		{
			"all addresses", []*Declaration{declare("a", listen("127.0.0.1:80")), declare("b", listen("0.0.0.0:80")), declare("c", listen("[::]:80"))},
			"d.yaml:1: b.listen: instance 1 would be at 0.0.0.0:80, as instance 1 of a (d.yaml:1) is\n" +
				"d.yaml:1: c.listen: instance 1 would be at [::]:80, as instance 1 of a (d.yaml:1) is", "a",
		},
		{"readiness elsewhere", []*Declaration{declare("a", instances(2), readyAt(probe.HTTP, "http://example.org/")), declare("b", readyAt(probe.TCP, "192.0.2.1:80"))}, "", "a b"},
		{"one socket that the instances share", []*Declaration{declare("a", instances(3), notify, listen("127.0.0.1:80"))}, "", "a"},
		{"its own socket", []*Declaration{declare("a", listen("127.0.0.1:80"), readyAt(probe.HTTP, "http://127.0.0.1/"))}, "", "a"},
		{"own sockets of instances", []*Declaration{declare("a", instances(3), listen(":8000+{{instance}}", "/run/a{{instance}}"), readyAt(probe.HTTP, "8000+{{instance}}/up"))}, "", "a"},
		{
			"the socket of the daemon accepts", []*Declaration{declare("a", listen("/run/a", ":80"), readyAt(probe.TCP, "80")), declare("b", listen("/run/b{{instance}}"), aliveAt(probe.TCP, "unix:/run/b{{instance}}")), declare("c", listen("192.0.2.1:82"), readyAt(probe.TCP, "192.0.2.1:82"))},
			"d.yaml:1: a.ready: :80, of listen, accepts connections even if no instance works: want notify, http or exec\n" +
				"d.yaml:1: b.alive: /run/b1, of listen, accepts connections even if no instance works: want notify, http or exec\n" +
				"d.yaml:1: c.ready: 192.0.2.1:82, of listen, accepts connections even if no instance works: want notify, http or exec", "",
		},
		{
			"another instance could answer", []*Declaration{declare("a", instances(2), listen("127.0.0.1:80"), readyAt(probe.HTTP, "http://localhost/")), declare("b", instances(2), notify, listen("127.0.0.1:81"), aliveAt(probe.HTTP, "81/up"))},
			"d.yaml:1: a.ready: the instances share 127.0.0.1:80, of listen, so another one could answer: want notify or exec\n" +
				"d.yaml:1: b.alive: the instances share 127.0.0.1:81, of listen, so another one could answer: want notify or exec", "",
		},
		{"a check of another port", []*Declaration{declare("a", listen("127.0.0.1:80"), readyAt(probe.TCP, "127.0.0.1:81")), declare("b", listen("/run/b"), readyAt(probe.TCP, "unix:/run/c"))}, "", "a b"},
		{
			"one path", []*Declaration{declare("a", listen("/run/a.sock")), declare("b", listen("/run/a.sock"))},
			"d.yaml:1: b.listen: instance 1 would be at /run/a.sock, as instance 1 of a (d.yaml:1) is", "a",
		},
		{
			"twice in listen", []*Declaration{declare("a", listen("127.0.0.1:80", "localhost:80"))},
			"d.yaml:1: a.listen: localhost:80 is named twice", "",
		},
		{
			"a port that is too large", []*Declaration{declare("a", instances(9), listen(":65530+{{instance}}"))},
			`d.yaml:1: a.listen: want a port from 1 to 65535, have "65536" in ":65536"`, "",
		},
		{
			"bind without after", []*Declaration{declare("a", func(d *Declaration) { d.Bind = true })},
			"d.yaml:1: a.bind: has a meaning only with after", "",
		},
		{
			"alive by the log", []*Declaration{declare("a", func(d *Declaration) { d.Alive = &Check{Kind: probe.Log, Target: "x"} })},
			"d.yaml:1: a.alive: log says nothing about whether a process still works; want notify, tcp, http or exec", "",
		},
		{
			"bad targets", []*Declaration{declare("a", readyAt(probe.TCP, "db")), declare("b", readyAt(probe.HTTP, "/health")), declare("c", readyAt(probe.Log, "(")), declare("d", readyAt(probe.Exec, ""))},
			`d.yaml:1: a.ready: tcp: want HOST:PORT, PORT or unix:PATH, have "db"; an IPv6 address is in brackets, as in [::1]:8080` + "\n" +
				`d.yaml:1: b.ready: http: "/health": a path needs a port before it, as in 8080/health, or a socket (unix)` + "\n" +
				"d.yaml:1: c.ready: log: error parsing regexp: missing closing ): `(`" + "\n" +
				`d.yaml:1: d.ready: exec: want a command and its arguments, such as [/usr/bin/pg_isready, -q]`, "",
		},
		{
			"variables of the daemon", []*Declaration{declare("a", func(d *Declaration) { d.Env = map[string]string{"ACTIVATION_ID": "x"} })},
			"d.yaml:1: a.environment.ACTIVATION_ID: names that begin with ACTIVATION are the daemon's own", "",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sound, faults := Validate(tt.all)
			var lines []string
			for _, f := range faults {
				lines = append(lines, f.Error())
			}
			if got := strings.Join(lines, "\n"); got != tt.want {
				t.Errorf("faults:\n%s\nwant:\n%s", got, tt.want)
			}
			if got := strings.Join(slices.Sorted(maps.Keys(sound)), " "); got != tt.sound {
				t.Errorf("sound are %q, want %q", got, tt.sound)
			}
		})
	}
}

// TestEveryFieldHasAPlace changes each field of a declaration, and checks what the change
// would do: every field either belongs to a process, or can be applied while it runs.
func TestEveryFieldHasAPlace(t *testing.T) {
	number := 7
	tests := []struct {
		field string
		edit  func(*Declaration)
		want  string
	}{
		{"Command", func(d *Declaration) { d.Command = []string{"/bin/true"} }, "restart"},
		{"User", func(d *Declaration) { d.User = &activation.Identity{UID: 7} }, "restart"},
		{"Dir", func(d *Declaration) { d.Dir = "/srv" }, "restart"},
		{"Env", func(d *Declaration) { d.Env = map[string]string{"A": ""} }, "restart"},
		{"FileEnv", func(d *Declaration) { d.FileEnv = map[string]string{"A": "\xff"} }, "restart"},
		{"Umask", func(d *Declaration) { d.Umask = &number }, "restart"},
		{"Nice", func(d *Declaration) { d.Nice = &number }, "restart"},
		{"Limits", func(d *Declaration) { d.Limits = append(d.Limits, limit("nofile", 7)) }, "restart"},
		{"Listen", listen(":80"), "restart"},
		{"Ready", notify, "restart"}, // its process needs a socket
		{"Ready", readyAt(probe.TCP, "127.0.0.1:80"), "live"},
		{"Alive", func(d *Declaration) { d.Alive = &Check{Kind: probe.Notify, Timeout: time.Second} }, "restart"},
		{"Alive", func(d *Declaration) { d.Alive = &Check{Kind: probe.TCP, Target: "127.0.0.1:80"} }, "live"},
		{"Instances", instances(5), ""}, // its records are made and removed
		{"ReadyTimeout", func(d *Declaration) { d.ReadyTimeout = 7 }, "live"},
		{"After", on(1, "db:started"), "live"},
		{"Bind", func(d *Declaration) { d.Bind = true }, "live"},
		{"Restart", func(d *Declaration) { d.Restart = Never }, "live"},
		{"Backoff", func(d *Declaration) { d.Backoff.Max = 7 }, "live"},
		{"Stable", func(d *Declaration) { d.Stable = 7 }, "live"},
		{"StartLimit", func(d *Declaration) { d.StartLimit.Count = 7 }, "live"},
		{"FatalRetry", func(d *Declaration) { d.FatalRetry = 7 }, "live"},
		{"Rolling", func(d *Declaration) { d.Rolling = true }, "live"},
		{"Surge", func(d *Declaration) { d.Surge = 1 }, "live"},
		{"Drain", func(d *Declaration) { d.Drain = 7 }, "live"},
		{"StopSignal", func(d *Declaration) { d.StopSignal = "INT" }, "live"},
		{"Grace", func(d *Declaration) { d.Grace = 7 }, "live"},
		{"Groups", func(d *Declaration) { d.Groups = []string{"shop"} }, "live"},
		{"Autostart", func(d *Declaration) { d.Autostart = false }, "live"},
		{"Log", func(d *Declaration) { d.Log.Keep = 7 }, "live"},
		{"Shown", func(d *Declaration) { d.Shown = "WEB" }, "live"},
		{"Name", func(d *Declaration) { d.Name = "other" }, "live"},
		{"EnvFile", func(d *Declaration) { d.EnvFile = "/srv/.env" }, ""},
		{"Positions", func(d *Declaration) { d.Positions[""] = Position{"other.yaml", 7} }, ""},
	}
	tested := map[string]bool{}
	for _, tt := range tests {
		tested[tt.field] = true
		was, is := declare("web"), declare("web", tt.edit)
		is.Positions["other"] = Position{"d.yaml", 8} // a line more above it is no change
		if got := change(was, is); got != tt.want {
			t.Errorf("%s changed: %q, want %q", tt.field, got, tt.want)
		}
	}
	for f := range reflect.TypeFor[Declaration]().Fields() {
		if !tested[f.Name] {
			t.Errorf("no row changes %s", f.Name)
		}
	}
}

// TestNoChange checks that what says the same in other words is no change.
func TestNoChange(t *testing.T) {
	was := declare("web", notify, on(1, "a:started", "b:started"), func(d *Declaration) {
		d.Groups = []string{"x", "y"}
		d.User = &activation.Identity{UID: 7, Name: "u", Shell: "/bin/sh", Groups: []int{1}}
		d.Env = map[string]string{"A": "1", "B": "2"}
	})
	is := declare("web", notify, on(9, "b:started", "a:started"), func(d *Declaration) {
		d.Groups = []string{"y", "x"}
		d.User = &activation.Identity{UID: 7, Name: "u", Shell: "/bin/bash", Groups: []int{1, 2}}
		d.Env, d.FileEnv = map[string]string{"B": "2", "A": "1"}, map[string]string{}
	})
	if got := change(was, is); got != "" {
		t.Errorf("the change is %q, want none", got)
	}
}

// change returns what one declaration in place of another one means for an instance: restart,
// live (it is applied while the instance runs) or nothing.
func change(was, is *Declaration) string {
	switch {
	case was.RestartHash() != is.RestartHash():
		return "restart"
	case was.LiveHash() != is.LiveHash():
		return "live"
	}
	return ""
}

// TestStoredDeclaration checks that a declaration that was stored is no change.
func TestStoredDeclaration(t *testing.T) {
	d := declare("shop/web", notify, on(1, "db"), listen(":80"), func(d *Declaration) { d.Alive = &Check{Kind: probe.Notify, Timeout: time.Minute} })
	var back Declaration
	if err := roundTrip(d, &back); err != nil {
		t.Fatal(err)
	}
	if got := change(d, &back); got != "" {
		t.Errorf("stored and read, the change is %q, want none", got)
	}
}

func roundTrip(from, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

func limit(name string, n uint64) wrapper.Limit { return wrapper.Limit{Name: name, Soft: n, Hard: n} }
