package docs

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"activationd/activation/service"
	"activationd/control"
	"activationd/hook"
	"activationd/internal/config"
	"activationd/internal/document"
	"activationd/internal/timetext"
	"activationd/queue"
	"activationd/reservation"
	"activationd/reservation/file"
)

// compile makes a validator of a schema, after a look at the schema itself.
func compile(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(Schema(name))))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(name, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// validate reads YAML as editors do, which know only the types of JSON.
func validate(t *testing.T, schema *jsonschema.Schema, text string) error {
	t.Helper()
	root, wrong := document.Parse([]byte(text), 0)
	if wrong != nil {
		t.Fatalf("%v\n%s", wrong, text)
	}
	return schema.Validate(values(t, root))
}

func values(t *testing.T, n *yaml.Node) any {
	n = document.Deref(n)
	switch n.Kind {
	case yaml.MappingNode:
		m := object{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[document.Deref(n.Content[i]).Value] = values(t, n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		l := []any{}
		for _, c := range n.Content {
			l = append(l, values(t, c))
		}
		return l
	}
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return n.Value == "true"
	case "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return json.Number(data)
	}
	return n.Value
}

// entry returns a reservations file with one entry, which is valid apart from the given line.
func entry(line string) string {
	key, _, _ := strings.Cut(line, ":")
	text := "reservations:\n  - " + line + "\n"
	for _, l := range []string{"id: 1@x", "start: 2099-12-21T10:00:00+01:00", "end: 2099-12-21T12:00:00+01:00"} {
		if !strings.HasPrefix(l, key+":") {
			text += "    " + l + "\n"
		}
	}
	return text
}

func load(t *testing.T, text string) reservation.Set {
	t.Helper()
	name := filepath.Join(t.TempDir(), "r.yaml")
	topology, err := os.ReadFile("../examples/labs/ospf-chain.clab.yml")
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string]string{name: text, filepath.Dir(name) + "/ospf-chain.clab.yml": string(topology)} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := file.New(name).Load(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return set
}

// TestReservations tries what reservations.md says: the reader and the schema accept the
// examples, and refuse what it says is refused.
func TestReservations(t *testing.T) {
	schema := compile(t, "reservations")
	// These need a look at another value, at a file, or at all forms of times.
	unknown := []string{
		"end: 2099-12-21T10:00:00+01:00", "end: 2099-12-21T24:00:00+01:00", "end: 2 hours", "tail: 3h", `deactivate: [""]`,
		`owner: "two\nlines"`, "topology: {topology: {links: []}}",
	}
	keys := documentedKeys(t)
	for _, key := range reservation.FieldNames() {
		example := span.FindStringSubmatch(keys[key].rows["example"])[1]
		if set := load(t, entry(example)); len(set.Rejects) > 0 {
			t.Errorf("%s: the example is refused: %v", key, set.Rejects)
		}
		if err := validate(t, schema, entry(example)); err != nil {
			t.Errorf("%s: the schema refuses the example: %v", key, err)
		}
		for _, m := range span.FindAllStringSubmatch(keys[key].rows["refused"], -1) {
			if set := load(t, entry(m[1])); len(set.Rejects) != 1 || !strings.HasPrefix(set.Rejects[0].Text, key+":") {
				t.Errorf("%s is not refused: %v", m[1], set.Rejects)
			}
			if err := validate(t, schema, entry(m[1])); (err != nil) == slices.Contains(unknown, m[1]) {
				t.Errorf("the schema's word about %s: %v", m[1], err)
			}
		}
	}
	text, err := os.ReadFile("reservations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, whole, _ := strings.Cut(string(text), "\n    reservations:\n")
	whole, _, _ = strings.Cut(whole, "\n\n")
	whole = strings.ReplaceAll("    reservations:\n"+whole+"\n", "\n    ", "\n")[4:]
	if set := load(t, whole); len(set.Reservations) != 2 || len(set.Rejects) > 0 {
		t.Errorf("the example file has %+v\n%s", set, whole)
	}
	example, err := os.ReadFile("../examples/labs/reservations.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{whole, string(example), "reservations: []\n"} {
		if err := validate(t, schema, file); err != nil {
			t.Errorf("the schema refuses\n%s\n%v", file, err)
		}
	}
	for _, file := range []string{"", "reservations:\n", "reservation: []\n", "reservations: []\ndefaults: {}\n", entry("grase: 5s"), entry("env:\n      A: [b]"), "reservations: [{id: 1@x}]\n"} {
		if root, _ := document.Parse([]byte(file), 0); root != nil && validate(t, schema, file) == nil {
			t.Errorf("the schema accepts\n%s", file)
		}
	}
}

// TestDefaultsOfReservations compares the defaults that reservations.md names with those of
// the configuration.
func TestDefaultsOfReservations(t *testing.T) {
	named := regexp.MustCompile("which is `([^`]+)` by default")
	seen := 0
	defaults := reflect.ValueOf(config.Default().Reservations)
	for key, k := range documentedKeys(t) {
		m := named.FindStringSubmatch(k.rows["default"])
		if m == nil {
			continue
		}
		seen++
		value := defaults.FieldByNameFunc(func(n string) bool { return strings.EqualFold(n, key) })
		got := m[1]
		if d, err := timetext.Duration(got); err == nil && value.Kind() == reflect.Int64 {
			got = d.String()
		}
		if want := value.Interface(); got != strings.TrimSpace(text(want)) {
			t.Errorf("%s: the default is %v, not %s", key, want, m[1])
		}
	}
	if seen != 6 {
		t.Errorf("%d defaults are named", seen)
	}
}

func text(v any) string {
	if s, ok := v.(interface{ String() string }); ok {
		return s.String()
	}
	data, _ := json.Marshal(v)
	return strings.Trim(string(data), `"`)
}

// TestOtherNames compares the table of other names in reservations.md with the fields of
// replies and with the variables of scripts. A test of reservation/sql looks at the columns.
func TestOtherNames(t *testing.T) {
	data, err := os.ReadFile("reservations.md")
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := os.ReadFile("scripts.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(data), "| key | SQL column |")
	var keys []string
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 7 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		name := func(cell string) string {
			if m := span.FindStringSubmatch(cell); m != nil {
				return m[1]
			}
			return ""
		}
		key := name(cells[1])
		keys = append(keys, key)
		if field := name(cells[4]); (field != "") != hasField(reflect.TypeFor[control.Detail](), key) || field != "" && field != key {
			t.Errorf("%s: the field of a reply is called %q", key, field)
		}
		if variable := name(cells[5]); variable != "" && !strings.Contains(string(scripts), "`"+variable+"`") {
			t.Errorf("%s: scripts.md does not know %s", key, variable)
		}
	}
	if want := reservation.FieldNames(); !slices.Equal(keys, want) {
		t.Errorf("the table has %v, want %v", keys, want)
	}
}

// hasField reports whether a type has a field of that name in JSON.
func hasField(typ reflect.Type, name string) bool {
	for f := range typ.Fields() {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == name || f.Anonymous && hasField(f.Type, name) {
			return true
		}
	}
	return false
}

// TestConfig tries the schema of the configuration on configurations that the daemon
// accepts, and on faults.
func TestConfig(t *testing.T) {
	schema := compile(t, "config")
	example, err := os.ReadFile("activationd.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`(?m)^#((  )*(- )?[a-z_]+:)`).ReplaceAllString(string(example), "$1")
	for _, good := range []string{
		all, "{}\n", "jobs:\nreservations: {timeout: 5m, retries: 1}\n", "listen: [127.0.0.1:50002, {address: '[::1]:1', role: viewer}]\n",
		"runs: {umask: 027, limits: {nofile: 1024:4096, core: 0}, no_new_privileges: yes}\nmax_removal: 12.5%\n",
		"sources: [{files: bookings, lead: 0}, {sql: {driver: mysql, dsn: x}, timeout: 1d}]\nhistory: {size: 10GiB}\n", "at: {load: 1.5}\n",
		"services: {shop/web: {command: [x], ready: notify, alive: {tcp: 127.0.0.1:80}, limits: {nofile: 7}, log: {keep: 0}}}\n",
		"hooks: [{name: a, on: [failed, 'x.#'], post: 'https://x/', secret_file: f, allow_private: yes, attempts: 2}, {name: b, on: [stuck], mail: root}]\n",
		"queues: {pools: pools.json, max_bytes: 1GiB}\nlisteners: [{queues: ['_model_*', pool], per: stream, command: [x], backoff: 5s, together: no, exits: {dead: [2]}}]\n",
	} {
		c, err := config.Parse("d", []byte(good))
		if err != nil && good != all { // the example shows alternatives
			t.Errorf("%v\n%s", err, good)
		}
		if err := validate(t, schema, good); c == nil || err != nil {
			t.Errorf("the schema refuses %.200s\n%v", good, err)
		}
	}
	for _, bad := range []string{
		"listne: []\n", "jobs: {grcae: 1s}\n", "reservations: {timeout: 5}\n", "jobs: {retries: 1001}\n", "runs: {guard: none}\n",
		"sources: {files: x}\n", "sources: [{sql: {dsn: x}}]\n", "runs: {nice: 20}\n", "access: {others: all}\n", "runs: []\n",
		"services: []\n", "services: {web: {comand: [x]}}\n", "services: {web: {ready: yes}}\n", "services: {web: {ready: {htpp: x}}}\n",
		"services: {web: {restart: never}}\n", "services: {web: {instances: 0}}\n", "discover: {env: x}\n",
		"listeners: {queues: [x]}\n", "listeners: [{queues: x}]\n", "listeners: [{per: process}]\n", "listeners: [{together: yes}]\n", "listeners: [{window: 0}]\n",
		"queues: {allowed: [x]}\n", "hooks: {name: a}\n", "hooks: [{on: failed}]\n", "hooks: [{url: x}]\n", "listeners: [{backoff: soon}]\n",
	} {
		if _, err := config.Parse("d", []byte(bad)); err == nil {
			t.Errorf("the reader accepts\n%s", bad)
		}
		if validate(t, schema, bad) == nil {
			t.Errorf("the schema accepts\n%s", bad)
		}
	}
}

// TestHooks tries what hooks.md says: its example has no fault, its conditions are all there
// are, and its receiver accepts what a hook posts.
func TestHooks(t *testing.T) {
	data, err := os.ReadFile("hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	_, example, _ := strings.Cut(text, "\n\n    hooks:")
	example, _, _ = strings.Cut("    hooks:"+example, "\n\n[activationd")
	example = strings.ReplaceAll(example, "\n    ", "\n")[4:] + "\n"
	c, err := config.Parse("hooks.md", []byte(example))
	if err != nil || len(c.Hooks) != 3 {
		t.Fatalf("%v\n%s", err, example)
	}
	if err := validate(t, compile(t, "config"), example); err != nil {
		t.Errorf("the schema refuses the example: %v", err)
	}
	for _, h := range c.Hooks {
		for _, on := range h.On {
			if _, err := hook.ParseFilter(on); err != nil {
				t.Error(err)
			}
		}
	}
	table := ""
	for _, c := range hook.Conditions() {
		table += "| `" + c.Word + "` | " + c.Meaning + " |\n"
	}
	if !strings.Contains(text, "|---|---|\n"+table+"\n") {
		t.Errorf("hooks.md does not have the table of conditions:\n%s", table)
	}

	_, python, _ := strings.Cut(text, "    def verify")
	python, _, _ = strings.Cut("    def verify"+python, "\n\n")
	python = "import hmac, hashlib, time, sys\n" + strings.ReplaceAll(python[4:], "\n    ", "\n") +
		"\nprint(verify(b'0123456789abcdef', {'X-Timestamp': sys.argv[1], 'X-Signature': sys.argv[2]}, b'{}'))\n"
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	now := time.Now().Unix()
	for _, tt := range []struct {
		at         int64
		body, want string
	}{{now, "{}", "True"}, {now - 3600, "{}", "False"}, {now, "{} ", "False"}} {
		stamp := strconv.FormatInt(tt.at, 10)
		signature := "sha256=" + hook.Sign([]byte("0123456789abcdef"), stamp, []byte(tt.body))
		out, err := exec.CommandContext(t.Context(), "python3", "-c", python, stamp, signature).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != tt.want {
			t.Errorf("what was signed %d s ago, of %q: %s, %v", now-tt.at, tt.body, out, err)
		}
	}
}

// TestServices tries what services.md says: its example has no fault, its table of keys is
// complete, and its templates give what they are said to give.
func TestServices(t *testing.T) {
	data, err := os.ReadFile("services.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	_, example, _ := strings.Cut(text, "## An example\n\n")
	example, _, _ = strings.Cut(example, "\n\n`db` has")
	example = strings.ReplaceAll(example, "\n    ", "\n")[4:] + "\n"
	c, err := config.Parse("services.md", []byte(example))
	if err != nil {
		t.Fatalf("%v\n%s", err, example)
	}
	if err := validate(t, compile(t, "config"), example); err != nil {
		t.Errorf("the schema refuses the example: %v", err)
	}
	var names []string
	for name := range c.Services {
		names = append(names, name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"db", "shop/web"}) {
		t.Errorf("the example has the services %v", names)
	}

	var keys []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[config.Service]()) {
		if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); !f.Anonymous {
			keys = append(keys, key)
		}
	}
	var documented []string
	for _, cells := range rows(text, "## Keys\n") {
		documented = append(documented, span.FindStringSubmatch(cells[0])[1])
	}
	slices.Sort(keys)
	slices.Sort(documented)
	if !slices.Equal(keys, documented) {
		t.Errorf("the table has the keys %v, want %v", documented, keys)
	}

	templates := rows(text, "## Templates\n")
	for _, cells := range templates {
		for _, m := range span.FindAllStringSubmatch(cells[0], -1) {
			d := service.New("shop/web")
			d.Command = []string{m[1]}
			d.FillNames()
			i, err := d.Instance(3)
			want := m[1] // unchanged
			if s := span.FindStringSubmatch(cells[1]); s != nil {
				want = s[1]
			}
			if refused := strings.TrimSpace(cells[1]) == "refused"; (err != nil) != refused || !refused && i.Command[0] != want {
				t.Errorf("%s for instance 3 is %q, %v; the table says %s", m[1], i.Command[0], err, cells[1])
			}
		}
	}
	if len(templates) < 10 {
		t.Errorf("only %d templates were tried", len(templates))
	}
}

// TestQueues tries what queues.md says: its example has no fault, its table of keys is
// complete, and an exit status means what its table says.
func TestQueues(t *testing.T) {
	data, err := os.ReadFile("queues.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	_, example, _ := strings.Cut(text, "## An example of a queue\n\n")
	example, _, _ = strings.Cut(example, "\n\nThen:")
	example = strings.ReplaceAll(example, "\n    ", "\n")[4:] + "\n"
	c, err := config.Parse("queues.md", []byte(example))
	if err != nil || len(c.Listeners) != 2 {
		t.Fatalf("%v\n%s", err, example)
	}
	if err := validate(t, compile(t, "config"), example); err != nil {
		t.Errorf("the schema refuses the example: %v", err)
	}

	var keys, documented []string
	for f := range reflect.TypeFor[config.Listener]().Fields() {
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		keys = append(keys, key)
	}
	for _, cells := range rows(text, "## Keys of a listener\n") {
		for _, m := range span.FindAllStringSubmatch(cells[0], -1) {
			documented = append(documented, m[1])
		}
	}
	slices.Sort(keys)
	slices.Sort(documented)
	if !slices.Equal(keys, documented) {
		t.Errorf("the table has the keys %v, want %v", documented, keys)
	}

	policy := queue.Policy{Attempts: 3, Exits: map[int]queue.Verdict{}}
	for status, verdict := range c.Listeners[0].Exits.Verdicts() {
		policy.Exits[status] = queue.Verdict(verdict)
	}
	says := map[string]queue.Verdict{"is done": queue.VerdictDone, "dead letter at once": queue.VerdictDead, "tried again": queue.VerdictAgain, "The queue is paused": queue.VerdictFault}
	told := map[int]queue.Verdict{}
	for _, cells := range rows(text, "decides what becomes of the message:\n") {
		for _, word := range regexp.MustCompile(`\d+`).FindAllString(cells[0], -1) {
			status, _ := strconv.Atoi(word)
			for text, verdict := range says {
				if strings.Contains(cells[1], text) {
					told[status] = verdict
				}
			}
		}
	}
	for status := range 256 {
		want := queue.VerdictAgain
		if v, ok := told[status]; ok {
			want = v
		}
		for _, p := range []queue.Policy{policy, {Attempts: 3}} {
			if got := p.Decide(1, queue.Ending{How: queue.HowExited, Exit: status}, func(int64) int64 { return 0 }); got.Verdict != want {
				t.Errorf("status %d means %s, the table says %s", status, got.Verdict, want)
			}
		}
	}
	if len(told) != 5 {
		t.Errorf("the table has the statuses %v", told)
	}
}

// rows returns the cells of the first table below a headline.
func rows(text, headline string) (rows [][]string) {
	_, text, _ = strings.Cut(text, headline)
	_, text, _ = strings.Cut(text, "\n|---|")
	_, text, _ = strings.Cut(text, "\n")
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		rows = append(rows, strings.Split(strings.Trim(line, "|\n"), "|"))
	}
	return rows
}
