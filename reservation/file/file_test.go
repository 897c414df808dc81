package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/reservation"
)

var _ reservation.Source = (*Source)(nil)

// put writes files into dir; a name that ends in a slash is a directory, and a content that begins with "-> " is a link.
func put(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		target, link := strings.CutPrefix(content, "-> ")
		var err error
		if link {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// entry is a valid reservation in YAML.
func one(id string) string {
	return "  - {id: " + id + ", start: 2026-11-21T10:00:00Z, end: 2026-11-21T12:00:00Z}\n"
}

func load(t testing.TB, path string) reservation.Set {
	t.Helper()
	set, err := New(path).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func ids(set reservation.Set) string {
	var l []string
	for _, r := range set.Reservations {
		l = append(l, r.ID)
	}
	return strings.Join(l, " ")
}

const triangle = `name: ospf
topology:
  nodes:
    r2: {kind: linux}
    r1:
    r3: {}
  links:
    - endpoints: ["r1:eth1", "r2:eth1"]
`

const fullYAML = `# the lab
reservations:
  - id: 1042@ostrava
    owner: group7
    start: 2026-11-21T10:00:00+01:00
    end: 2026-11-21T12:00:00+01:00
    devices: [r2, r1, r2]
    topology: triangle.clab.yml
    activate: [/bin/up, -n, 5, yes]
    deactivate: [/bin/down]
    label: "21"
    lead: 5m
    tail: 90s
    timeout: 10m
    grace: 0s
    retries: 3
    missed: skip
    env: {LEVEL: 1.10, DEBUG: true, EMPTY: ''}
    vlans: {ostrava: 3, core.1: 1}
`

const fullJSON = `{"reservations": [{
  "id": "1042@ostrava", "owner": "group7",
  "start": "2026-11-21T10:00:00+01:00", "end": "2026-11-21T12:00:00+01:00",
  "devices": ["r2", "r1", "r2"], "topology": "triangle.clab.yml",
  "activate": ["/bin/up", "-n", "5", "yes"], "deactivate": ["/bin/down"],
  "label": "2\u0031", "lead": "5m", "tail": "90s", "timeout": "10m", "grace": "0s", "retries": 3,
  "missed": "skip", "env": {"LEVEL": 1.10, "DEBUG": true, "EMPTY": ""},
  "vlans": {"ostrava": 3, "core.1": "1"}
}]}`

func TestEveryKey(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{"a.yml": fullYAML, "b.json": fullJSON, "triangle.clab.yml": triangle})
	minutes := func(n time.Duration) *time.Duration { n *= time.Minute; return &n }
	tail, retries := 90*time.Second, 3
	want := reservation.Reservation{
		ID: "1042@ostrava", Owner: "group7", Label: "21", Missed: "skip",
		Start:   time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC),
		End:     time.Date(2026, 11, 21, 11, 0, 0, 0, time.UTC),
		Devices: []string{"r1", "r2"}, Topology: triangle, TopologyName: "triangle.clab.yml",
		Activate: []string{"/bin/up", "-n", "5", "yes"}, Deactivate: []string{"/bin/down"},
		Lead: minutes(5), Tail: &tail, Timeout: minutes(10), Grace: minutes(0), Retries: &retries,
		Env:   map[string]string{"LEVEL": "1.10", "DEBUG": "true", "EMPTY": ""},
		VLANs: map[string]int{"ostrava": 3, "core.1": 1},
	}
	for name, where := range map[string]string{"a.yml": "a.yml:3", "b.json": "b.json:1"} {
		set := load(t, filepath.Join(dir, name))
		if len(set.Reservations) != 1 || len(set.Rejects) != 0 {
			t.Errorf("%s: %+v", name, set)
			continue
		}
		got := set.Reservations[0]
		if got.Where != where {
			t.Errorf("%s: Where = %s, want %s", name, got.Where, where)
		}
		if got.Hash() != want.Hash() {
			t.Errorf("%s: %+v\nwant %+v", name, got, want)
		}
	}
}

// TestFormsAgree reads the same reservations in all four ways of the parser.
func TestFormsAgree(t *testing.T) {
	item := `"id": "a@b", "start": "2026-11-21T10:00:00Z", "end": "2026-11-21T12:00:00Z", "devices": ["x"]`
	forms := map[string]string{
		"quick.json": `{"reservations": [{` + item + `}]}`,
		"slow.json":  `{"reservations": [{` + strings.Replace(item, `"x"`, `"\u0078"`, 1) + `}]}`,
		"flow.yml":   `{"reservations": [{` + item + `}]}`,
		"block.yml":  "reservations:\n  - id: a@b\n    start: 2026-11-21T10:00:00Z\n    end: 2026-11-21T12:00:00Z\n    devices: [x]\n",
		"flush.yml":  "reservations: # here\n\n- id: a@b\n  start: 2026-11-21T10:00:00Z\n  end: 2026-11-21T12:00:00Z\n  devices:\n  - x\n",
		"alias.yml":  "reservations:\n  - id: a@b\n    start: 2026-11-21T10:00:00Z\n    end: 2026-11-21T12:00:00Z\n    owner: &x ''\n    devices: [x]\n    label: *x\n",
		"crlf.yml":   "reservations:\r\n  - id: a@b\r\n    start: 2026-11-21T10:00:00Z\r\n    end: 2026-11-21T12:00:00Z\r\n    devices: [x]\r\n",
	}
	dir := t.TempDir()
	put(t, dir, forms)
	want := load(t, filepath.Join(dir, "quick.json")).Reservations[0].Hash()
	for name := range forms {
		set := load(t, filepath.Join(dir, name))
		if len(set.Rejects) != 0 || len(set.Reservations) != 1 || set.Reservations[0].Hash() != want {
			t.Errorf("%s: %+v", name, set)
		}
	}
}

// TestPartsAgree cuts a file at every possible place.
func TestPartsAgree(t *testing.T) {
	var b strings.Builder
	b.WriteString("# comment\n\nreservations:   # all of them\n")
	for i := range 50 {
		fmt.Fprintf(&b, "  # number %d\n  - id: r%d\n    start: 2026-11-21T10:00:00Z\n    end: 2026-11-21T1%d:00:00Z\n", i, i%47, i%3)
		if i%5 == 0 {
			b.WriteString("    topology:\n      topology:\n        nodes:\n          - not a mapping\n\n")
		}
		if i%7 == 0 {
			b.WriteString("    label: |\n      text\n      - id: no entry\n    env:\n      A: \"open\n        - still open\"\n")
		}
	}
	p := page{path: "x.yml", name: "x.yml", data: []byte(b.String())}
	whole, err := p.parseYAML(nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(p.parts(1)); n != 50 {
		t.Errorf("parts(1) cuts into %d, want 50", n)
	}
	for _, size := range []int{1, 100, 1000, 1 << 20} {
		items, ok := p.parseParts(nil, size)
		if !ok || !slices.EqualFunc(items, whole, sameItem) {
			t.Errorf("parts of %d differ from the whole (ok %v)", size, ok)
		}
	}
}

func sameItem(a, b item) bool {
	return a.r.Where == b.r.Where && a.r.Hash() == b.r.Hash() && a.fault == b.fault
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"b.yml":              "reservations:\n" + one("b1") + one("twice"),
		"a.yaml":             "reservations:\n" + one("a1") + one("twice"),
		"c.json":             `{"reservations": []}`,
		".hidden.yml":        "nonsense: [",
		"b.yml~":             "nonsense: [",
		".b.yml.swp":         "nonsense: [",
		"b.yml.swp":          "nonsense: [",
		"#b.yml#":            "nonsense: [",
		".#b.yml":            "-> nobody@nowhere.123",
		"x.clab.yml":         "nonsense: [",
		"topology.yml":       triangle,
		"topology.json":      `{"topology": {"nodes": {"r1": {}}}}`,
		"README.md":          "# not ours",
		"more.yml/inner.yml": "nonsense: [",
		"link.yml":           "-> linked/link.txt",
		"linked/link.txt":    "reservations:\n" + one("l1"),
		"dirlink.yml":        "-> linked",
	})
	set := load(t, dir)
	if got, want := ids(set), "a1 twice b1 l1"; got != want {
		t.Errorf("ids %q, want %q", got, want)
	}
	want := []reservation.Reject{{Where: "b.yml:3", ID: "twice", Text: "id: twice is already used at a.yaml:3"}}
	if !slices.Equal(set.Rejects, want) {
		t.Errorf("rejects %+v, want %+v", set.Rejects, want)
	}
}

// TestFirstCountsThoughBad checks that an invalid reservation also counts as the first one
// with its id. The second may be the entry from which it was copied, so the known version
// stays in force.
func TestFirstCountsThoughBad(t *testing.T) {
	dir := t.TempDir()
	bad := strings.Replace(one("x"), "end: 2026", "end: 2025", 1)
	put(t, dir, map[string]string{"a.yml": "reservations:\n" + bad + one("x"), "b.yml": "reservations:\n" + one("y") + strings.Replace(one("y"), "end: 2026", "end: 2025", 1)})
	set := load(t, dir)
	if got, want := ids(set), "y"; got != want {
		t.Errorf("ids %q, want %q", got, want)
	}
	d := reservation.Compare(map[string][16]byte{"x": {1}}, set, reservation.Hashes(set.Reservations))
	if !slices.Equal(d.StillInForce, []string{"x"}) || len(d.Removed) != 0 {
		t.Errorf("Kept %v, Removed %v, want x kept", d.StillInForce, d.Removed)
	}
}

// TestUnreadable tries files that do not mean that there are no reservations.
func TestUnreadable(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		path  string
		want  string // after the name of the directory
		kind  fault.Kind
	}{
		{"missing", nil, "lab.yml", "lab.yml: there is no such file or directory: unavailable", fault.Unavailable},
		{"empty directory", nil, ".", `: has no file with reservations; if there are none, add a file with "reservations: []": invalid`, fault.Invalid},
		{"zero bytes", map[string]string{"lab.yml": ""}, "lab.yml", `lab.yml:1: is empty; write "reservations: []" if there are none`, fault.Invalid},
		{"zero bytes of JSON", map[string]string{"lab.json": "\n"}, "lab.json", `lab.json:1: is empty; write "reservations: []" if there are none`, fault.Invalid},
		{"comments", map[string]string{"lab.yml": "# a\n# b\n"}, "lab.yml", `lab.yml:1: has nothing but comments; write "reservations: []" if there are none`, fault.Invalid},
		{"no value", map[string]string{"lab.yml": "reservations:\n"}, "lab.yml", `lab.yml:1: reservations: is not a list; write "reservations: []" if there are none`, fault.Invalid},
		{"misspelled", map[string]string{"lab.yml": "reservation:\n" + one("a")}, "lab.yml", `lab.yml:1: has no reservations key; write "reservations: []" if there are none`, fault.Invalid},
		{"misspelled in a directory", map[string]string{"lab.yml": "reservation:\n" + one("a"), "b.yml": "reservations: []"}, ".", `lab.yml:1: has no reservations key; write "reservations: []" if there are none`, fault.Invalid},
		{"a topology", map[string]string{"lab.yml": triangle}, "lab.yml", `lab.yml:1: has no reservations key; write "reservations: []" if there are none`, fault.Invalid},
		{"only topologies", map[string]string{"lab.yml": triangle}, ".", `: has no file with reservations`, fault.Invalid},
		{"half a list", map[string]string{"lab.yml": "reservations:\n" + one("a") + "  - {id: b, sta"}, "lab.yml", "lab.yml:", fault.Invalid},
		{"half a reservation", map[string]string{"lab.yml": "reservations:\n" + one("a") + "  - id: b\n    start: 2026-11-21T10:00:00Z\n    end: 2026-11-2"}, "lab.yml", "lab.yml:5: ends within a reservation", fault.Invalid},
		{"the beginning of one", map[string]string{"lab.yml": "reservations:\n" + one("a") + "  - id"}, "lab.yml", "lab.yml:3: ends within a reservation", fault.Invalid},
		{"half of JSON", map[string]string{"lab.json": "{\"reservations\": [\n{\"id\": \"a\",\n\"sta"}, "lab.json", "lab.json:3: ends too early", fault.Invalid},
		{"JSON without its last brace", map[string]string{"lab.json": "{\"reservations\": []\n"}, "lab.json", "lab.json:1: ends too early", fault.Invalid},
		{"JSON that is none", map[string]string{"lab.json": "{\"reservations\": [\n{\"id\": a}]}"}, "lab.json", "lab.json:2: 'a' is not expected here: a value begins with", fault.Invalid},
		{"JSON and more", map[string]string{"lab.json": "{\"reservations\": []}\n{}"}, "lab.json", "lab.json:2: there is text after the end; a file must be one document", fault.Invalid},
		{"JSON list", map[string]string{"lab.json": "[]"}, "lab.json", "lab.json:1: has no reservations key", fault.Invalid},
		{"two documents", map[string]string{"lab.yml": "reservations: []\n---\nreservations: []\n"}, "lab.yml", "lab.yml:2: a second document begins; one file is one document", fault.Invalid},
		{"unknown key", map[string]string{"lab.yml": "reservations: []\ndefaults: {}\n"}, "lab.yml", "lab.yml:2: defaults: unknown key; the only key is reservations", fault.Invalid},
		{"unknown key in JSON", map[string]string{"lab.json": "{\"reservations\": [],\n\"defaults\": {}}"}, "lab.json", "lab.json:2: defaults: unknown key; the only key is reservations", fault.Invalid},
		{"key twice", map[string]string{"lab.yml": "reservations: []\nreservations: []\n"}, "lab.yml", "lab.yml:2: reservations: occurs twice", fault.Invalid},
		{"key twice in JSON", map[string]string{"lab.json": "{\"reservations\": [],\n\"reservations\": []}"}, "lab.json", "lab.json:2: reservations: occurs twice", fault.Invalid},
		{"not UTF-8", map[string]string{"lab.yml": "reservations:\n" + one("a\xff")}, "lab.yml", "lab.yml:2: is not UTF-8, or has a control character", fault.Invalid},
		{"a control character", map[string]string{"lab.yml": "# \x10\nreservations: []\n"}, "lab.yml", "lab.yml:1: is not UTF-8, or has a control character", fault.Invalid},
		{"a link to nothing", map[string]string{"lab.yml": "-> gone.yml", "b.yml": "reservations: []"}, ".", "lab.yml: there is no such file or directory: unavailable", fault.Unavailable},
		{"too deep", map[string]string{"lab.yml": "reservations: " + strings.Repeat("[", 100_000)}, "lab.yml", "lab.yml:1: ", fault.Invalid},
		{"too deep in JSON", map[string]string{"lab.json": "{\"reservations\": " + strings.Repeat("[", 100_000)}, "lab.json", "lab.json:1: ", fault.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, tt.files)
			set, err := New(filepath.Join(dir, tt.path)).Load(t.Context())
			if err == nil {
				t.Fatalf("Load() = %+v, want an error", set)
			}
			got := strings.TrimPrefix(strings.TrimPrefix(err.Error(), dir), "/")
			if !strings.HasPrefix(got, tt.want) || !errors.Is(err, tt.kind) {
				t.Errorf("Load() = %q (%s), want %q (%s)", got, fault.Of(err), tt.want, tt.kind)
			}
		})
	}
}

func TestAllBrokenFilesAreTold(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{"a.yml": "", "b.yml": "reservations:\n" + one("b"), "c.json": "{"})
	_, err := New(dir).Load(t.Context())
	if err == nil || !strings.Contains(err.Error(), "a.yml:1: is empty") || !strings.Contains(err.Error(), "c.json:1: ends too early") {
		t.Errorf("Load() = %v, want both broken files", err)
	}
}

func TestFIFODoesNotKeepUs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.yml")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skipf("no FIFO can be made here: %v", err)
	}
	if _, err := New(path).Load(t.Context()); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("Load() = %v, want that it is not a regular file", err)
	}
}

func TestTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.yml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxFile+1); err != nil { // sparse
		t.Fatal(err)
	}
	if _, err := New(path).Load(t.Context()); err == nil || !strings.Contains(err.Error(), "has 67108865 bytes, more than 67108864") {
		t.Errorf("Load() = %v, want that it is too large", err)
	}
}

func TestWorldWritableIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.yml")
	put(t, filepath.Dir(path), map[string]string{"lab.yml": "reservations: []"})
	if set := load(t, path); len(set.Notices) != 0 {
		t.Errorf("Notices = %v, want none", set.Notices)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if set := load(t, path); len(set.Notices) != 1 || !strings.Contains(set.Notices[0], "any user may write") {
		t.Errorf("Notices = %v, want one", set.Notices)
	}
}

func TestLoadIfChanged(t *testing.T) {
	dir := t.TempDir()
	with := func(topology string) string {
		return strings.Replace(one("a"), "{id", "{topology: "+topology+", id", 1)
	}
	put(t, dir, map[string]string{"lab.yml": "reservations:\n" + with("x.clab.yml") + with("later.clab.yml"), "x.clab.yml": triangle})
	s := New(dir)
	set, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name string
		do   map[string]string
		same bool
	}{
		{"nothing", nil, true},
		{"a file that is none of ours", map[string]string{"README": "x"}, true},
		{"the same bytes again", map[string]string{"x.clab.yml": triangle}, true},
		{"another topology", map[string]string{"x.clab.yml": strings.Replace(triangle, "r3", "r4", 1)}, false},
		{"the missing topology came", map[string]string{"later.clab.yml": triangle}, false},
		{"another file", map[string]string{"b.yml": "reservations: []"}, false},
		{"nothing again", nil, true},
		{"the reservations", map[string]string{"lab.yml": "reservations: []"}, false},
	}
	for _, step := range steps {
		put(t, dir, step.do)
		got, same, err := s.LoadIfChanged(t.Context(), set.Fingerprint)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if same != step.same || got.Fingerprint == "" || same != (got.Fingerprint == set.Fingerprint) {
			t.Errorf("%s: unchanged %v, want %v; fingerprint %s after %s", step.name, same, step.same, got.Fingerprint, set.Fingerprint)
		}
		set.Fingerprint = got.Fingerprint
	}
	if _, same, err := New(dir).LoadIfChanged(t.Context(), set.Fingerprint); same || err != nil {
		t.Errorf("a new source: unchanged %v, %v, want the whole set", same, err)
	}
}
