package lab

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"activationd/internal/fault"
	"activationd/topology"
)

// ownSwitch is the platform that docs/lab.md shows.
func ownSwitch(t *testing.T) string {
	t.Helper()
	guide, err := os.ReadFile("../docs/lab.md")
	if err != nil {
		t.Fatal(err)
	}
	begin := strings.Index(string(guide), "    dialog: cisco_ios\n")
	end := strings.Index(string(guide), "| placeholder | replaced by |")
	if begin < 0 || end < begin {
		t.Fatal("docs/lab.md shows no platform")
	}
	text := regexp.MustCompile(`(?m)^    `).ReplaceAllString(string(guide[begin:end]), "")
	return strings.Replace(text, "vlan: {apply: [...], undo: [...], checks: [...]}", "vlan: {}", 1)
}

// TestOwnPlatform: a plan by a user's platform contains the platform, so that undoing does not
// depend on later changes of its file.
func TestOwnPlatform(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	own := ownSwitch(t)
	write("own/mine.yaml", strings.Replace(own, "untagged {vlan}", "untagged {vlan} by {owner}", 1))
	write("own/odd.yaml", "dialog: cisco_ios\n")
	write("own/odd.dialog.yaml", "host: '\\w+'\nprompts: {privileged: '{host}!'}\n")
	write("inventory.yaml", `
pools: {d: {ranges: [100-199]}}
templates: own
devices:
  sw: {platform: mine, domain: d, connect: 'tcp://192.0.2.1:1', settings: {owner: lab}}
  a: {platform: linux}
  b: {platform: odd}
wiring: ['a:eth1 -- sw:p.1', 'b:eth1 -- sw:p2']
`)
	inv, err := ReadInventory(filepath.Join(dir, "inventory.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := inv.Platforms()
	if err != nil {
		t.Fatal(err)
	}
	if got := platforms["odd"].Dialog.Prompts.Privileged; got != "{host}!" {
		t.Errorf("the dialog's prompt is %q", got)
	}
	if got := platforms["mine"].Dialog.Prompts.Configure; got == "" {
		t.Error("the dialog is not that of cisco_ios")
	}
	topo, err := topology.Parse("t", []byte("topology: {nodes: {a: , b: }, links: [{endpoints: ['a:eth1', 'b:eth1']}]}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Map(inv, platforms, topo, nil)
	if err != nil {
		t.Fatal(err)
	}
	links, err := Route(inv, topo, m)
	if err != nil {
		t.Fatal(err)
	}
	links[0].VLAN = 117
	p, err := Generate(Input{Inventory: inv, Platforms: platforms, Topology: topo, Mapping: m, Links: links})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(p.Devices[0].Apply, "/"), "interface p.1/ untagged 117 by lab/interface p2/ untagged 117 by lab"; got != want {
		t.Errorf("it applies %q, want %q", got, want)
	}
	out := t.TempDir()
	if err := WritePlan(out, p, platforms); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "own")); err != nil {
		t.Fatal(err)
	}
	if _, again, err := ReadPlan(out); err != nil || len(again["mine"].parts[partAccess].apply) != 2 {
		t.Errorf("without the directory the plan's platforms are %+v, %v", again, err)
	}
	delete(inv.Devices["sw"].Settings, "owner")
	if _, err := Generate(Input{Inventory: inv, Platforms: platforms, Topology: topo, Mapping: m, Links: links}); err == nil || !strings.Contains(err.Error(), "{owner}: is unknown") {
		t.Errorf("without the setting the error is %v", err)
	}
}

func TestPlatformFaults(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"colour: red", "mine.yaml:1: colour: unknown key"},
		{"style: free", "mine.yaml:1: style: must be indented, set, menus or commands"},
		{"style: indented", "mine.yaml:1: has no running"},
		{"access: {apply: [a]}", "mine.yaml:1: access: must have undo and checks, too"},
		{"access:\n  apply: [a]\n  undo: [b]\n  checks: [{show: x, applied: ['(']}]", "mine.yaml:4: access: checks: applied:"},
		{"access:\n  apply: [a]\n  undo: [b]\n  checks: [{show: x, applied: [a], clean_not: [a]}]", "mine.yaml:4: access: checks: clean_not: proves nothing alone, because an empty answer has no such line either; add clean with a line"},
		{"access:\n  apply: [a]\n  undo: [b]\n  checks: [{show: x, applied_not: [b], clean: [b]}]", "mine.yaml:4: access: checks: applied_not: proves nothing alone"},
		{"access:\n  apply: [a]\n  undo: [b]\n  checks: [{show: x, clean: [b]}]", "mine.yaml:2: access: checks: none has applied, a line"},
		{"access:\n  apply: [a]\n  undo: [b]\n  checks: [{show: x, applied: [a]}]", "mine.yaml:2: access: checks: none has clean, a line"},
		{"commands:\n  - {line: a, apply: [a], undo: [b], show: x, applied: [a], clean_not: [a]}", "mine.yaml:2: commands: clean_not: proves nothing alone"},
		{"trunk:\n  checks: [{show: x, ids: 'a'}]", "mine.yaml:2: trunk: checks: ids: must have one group"},
		{"trunk:\n  checks: [{ids: '(a)'}]", "mine.yaml:2: trunk: checks: has no show"},
		{"inverse: [{keep: true}]", "mine.yaml:1: inverse: has no line"},
		{"commands: [{line: '('}]", "mine.yaml:1: commands: line:"},
		{"volatile: ['[']", "mine.yaml:1: volatile:"},
		{"vlan: {apply: [\"a\\nb\"]}", "mine.yaml:1: vlan: apply: must be a line of text"},
		{"dialog: none_such", "none_such"},
		{"trunk:\n  checks: [{show: x, applied: [a]}]", "mine.yaml:2: trunk: checks: none has clean"},
		{"trunk:\n  checks: [{show: x, applied: [a], both_not: [b]}]", "mine.yaml:2: trunk: checks: clean_not: proves nothing alone"},
		{"trunk:\n  checks: [{show: x, both: [a], both_not: [b]}]", "mine.yaml:2: trunk: checks: applied and clean are the same"},
		{"trunk:\n  undo: [a]", "mine.yaml:2: trunk: has undo and no apply"},
		{"trunk:\n  checks: [{show: x, ports: 'a'}]", "mine.yaml:2: trunk: checks: ports: must have one group"},
		{"vlan:\n  checks: [{show: x, ports: '(a)'}]", "mine.yaml:2: vlan: checks: ports: the definition of a VLAN has no ports"},
		{"ports: {trunk: 'tagged'}", "mine.yaml:1: ports: \"tagged\": must have {port} once"},
		{"ports: {access: '{port}:{vlan}'}", "mine.yaml:1: ports: \"{port}:{vlan}\": must have {port} once"},
		{"ports: {between: ','}", "mine.yaml:1: ports: between: unknown key"},
		{"kinds: linux", "mine.yaml:1: kinds: is not a list"},
		{"kinds: ['a b']", "mine.yaml:1: kinds:"},
		{"settings: {vlan: 5}", "mine.yaml:1: settings: {vlan} comes from the plan; choose another name"},
		{"tried: often", "mine.yaml:1: tried: must be device, emulated or model"},
		{"manual: [x]", "mine.yaml:1: manual: is not a plain text"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "mine.yaml"), []byte(tt.text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadPlatform(dir, "mine"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
	for _, name := range BuiltInPlatforms() {
		if _, err := LoadPlatform("", name); err != nil {
			t.Error(err)
		}
	}
}

// TestKeptPlatform: a plan that was applied with checks that verify little, as earlier
// versions allowed, can be erased. Only new plans need better checks.
func TestKeptPlatform(t *testing.T) {
	const old = "vlan:\n  apply: ['vlan {vlan}']\n  undo: ['no vlan {vlan}']\n  checks: [{show: show vlan, applied: ['{vlan}'], clean_not: ['{vlan}']}]\ndialog: cisco_ios\n"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine.yaml"), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadPlatform(dir, "mine"); !errors.Is(err, fault.Invalid) {
		t.Errorf("for new plans it is read: %v", err)
	}
	p := &Plan{Activation: "1@old", Devices: []DevicePlan{{Name: "sw", Platform: "mine", Clean: []Check{{Show: "show vlan", None: []string{"100"}}}}}}
	if err := WritePlan(dir, p, map[string]*Platform{"mine": {Files: map[string][]byte{"mine.yaml": []byte(old)}}}); err != nil {
		t.Fatal(err)
	}
	if _, all, err := ReadPlan(dir); err != nil || len(all["mine"].parts["vlan"].checks) != 1 {
		t.Errorf("the kept plan has %v, %v", all["mine"], err)
	}
}

// TestPortForms: a port is found by each form of its name, and no other port is.
func TestPortForms(t *testing.T) {
	for _, tt := range []struct {
		name      string
		is, isNot []string
	}{
		{"Gi0/1", []string{"Gi0/1", "GigabitEthernet0/1", "gi0/1", "GigabitEthernet 0/1"}, []string{"Gi0/11", "Gi0/1/1", "Fa0/1", "G0/1", "Te0/1", "Gi00/1"}},
		{"GigabitEthernet0/1", []string{"Gi0/1", "Gig0/1", "GigabitEthernet0/1"}, []string{"Gi0/10", "GigaNet0/1", "Ge0/1"}},
		{"Port-channel5", []string{"Po5", "port-channel5"}, []string{"Po55", "Pr5"}},
		{"ethernet1/2", []string{"Et1/2", "Ethernet1/2"}, []string{"Et1/21", "Et1"}},
		{"p1", []string{"p1"}, []string{"p11", "q1"}},
		{"uplink", []string{"uplink"}, []string{"up", "uplinks"}},
		{"1/0/7", []string{"1/0/7"}, []string{"1/0/77"}},
		{"p.1", []string{"p.1"}, []string{"px1"}},
	} {
		re, err := wholeLine(anyFormOf(tt.name))
		if err != nil {
			t.Fatal(err)
		}
		if got := plainPattern("Name: " + anyFormOf(tt.name) + ` \(x\)`); got != "Name: "+tt.name+" (x)" {
			t.Errorf("%s is shown as %q", tt.name, got)
		}
		for _, is := range tt.is {
			if !re.MatchString(is) {
				t.Errorf("%s is not %s: %v", tt.name, is, re)
			}
		}
		for _, is := range tt.isNot {
			if re.MatchString(is) {
				t.Errorf("%s is %s: %v", tt.name, is, re)
			}
		}
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	env := func(name string) string { return map[string]string{"PW": "geheim"}[name] }
	for _, tt := range []struct {
		name string
		ref  Reference
		want string
		kind error
	}{
		{"none", Reference{}, "", nil},
		{"a file", Reference{File: file("good", "geheim\n", 0o600)}, "geheim", nil},
		{"a file for reading only", Reference{File: file("ro", "geheim", 0o400)}, "geheim", nil},
		{"a file that others can read", Reference{File: file("open", "geheim", 0o640)}, "", fault.Denied},
		{"an empty file", Reference{File: file("empty", "\n", 0o600)}, "", fault.Invalid},
		{"a directory", Reference{File: dir}, "", fault.Invalid},
		{"no file", Reference{File: dir + "/none"}, "", fault.Invalid},
		{"a variable", Reference{Env: "PW"}, "geheim", nil},
		{"no variable", Reference{Env: "NONE"}, "", fault.Invalid},
	} {
		got, err := tt.ref.read(env, true)
		if got != tt.want || !errors.Is(err, tt.kind) || err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %q, %v, want %q, %v", tt.name, got, err, tt.want, tt.kind)
		}
	}
}

// TestShellCommands: only known commands are given to a host's shell.
func TestShellCommands(t *testing.T) {
	p, err := LoadPlatform("", "linux")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"reboot", "ip address add 10.0.0.1/24 dev eth1; reboot", "ip address add $(reboot)/24 dev eth1", "ip address add 10.0.0.1/24 dev eth1 &",
		"ip link set eth1 up || reboot", "ip route add default via `reboot`", "ip address add 10.0.0.1/24 dev -x",
	} {
		if made, err := p.dialect.plan(&topology.Node{Name: "h1", Config: "# one\n" + line + "\n", ConfigLine: 7}); err == nil || !strings.Contains(err.Error(), "h1: startup-config, line 8") {
			t.Errorf("%q becomes %q, %v", line, made.apply, err)
		}
	}
}

// TestPlatformSaysWhatItIs: each platform with templates says which kinds it serves, on what
// it was tried and by which manual it was written.
func TestPlatformSaysWhatItIs(t *testing.T) {
	for _, name := range BuiltInPlatforms() {
		p, err := LoadPlatform("", name)
		if err != nil {
			t.Fatal(err)
		}
		if name != "embedded" && (p.Tried == "" || p.Manual == "") {
			t.Errorf("%s: tried is %q, and its manual is %q", name, p.Tried, p.Manual)
		}
		if once := slices.Compact(slices.Sorted(slices.Values(p.Kinds))); len(once) != len(p.Kinds) {
			t.Errorf("%s serves a kind twice: %q", name, p.Kinds)
		}
		if p.dialect.running != "" && len(p.Kinds) == 0 && name != "aruba_aoss" { // containerlab has none for it
			t.Errorf("%s serves no kind", name)
		}
	}
}

// TestFill: holes get values, and other braces stay.
func TestFill(t *testing.T) {
	for _, tt := range []struct{ text, line, pattern string }{
		{"vlan {vlan}", "vlan 117", "vlan 117"},
		{"{port}/{port}", "p.1/p.1", `p\.1/p\.1`},
		{"{{vlan}}", "{vlan}", `\{vlan\}`},
		{"{{{vlan}}}", "{{vlan}}", `{\{vlan\}}`},
		{"set {{ {vlan}: x }}", "set {{ 117: x }}", "set {{ 117: x }}"},
		{"a{2} {} { x } {{no", "a{2} {} { x } {{no", "a{2} {} { x } {{no"},
		{"{{vlan} {vlan}}", "{117 117}", "{117 117}"},
		{"{{unknown}}", "{unknown}", `\{unknown\}`},
		{"{odd}", "{vlan}", `\{vlan\}`}, // values have no holes
	} {
		f := filler{values: map[string]string{"vlan": "117", "port": "p.1", "odd": "{vlan}"}}
		if line, pattern := f.fill([]string{tt.text}, false)[0], f.fill([]string{tt.text}, true)[0]; line != tt.line || pattern != tt.pattern || f.err != nil {
			t.Errorf("%q: %q, as a pattern %q, %v; want %q, %q", tt.text, line, pattern, f.err, tt.line, tt.pattern)
		}
	}
	f := filler{}
	if f.fill([]string{"{unknown}"}, false); !errors.Is(f.err, fault.Invalid) || !strings.Contains(f.err.Error(), "{{unknown}} stands for the text itself") {
		t.Errorf("an unknown hole: %v", f.err)
	}
}

// TestBoth: a line that is there both when a part is applied and when it is undone may be
// written once.
func TestBoth(t *testing.T) {
	dir := t.TempDir()
	const text = "dialog: linux\ntrunk: {checks: [{show: x, both: [a], both_not: [b], applied: [c], clean: [d], clean_not: [e]}]}\n"
	if err := os.WriteFile(filepath.Join(dir, "mine.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := LoadPlatform(dir, "mine")
	if err != nil {
		t.Fatal(err)
	}
	want := check{show: "x", applied: []string{"a", "c"}, clean: []string{"a", "d"}, appliedNot: []string{"b"}, cleanNot: []string{"b", "e"}}
	if got := p.parts[partTrunk].checks[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("the check is %+v, want %+v", got, want)
	}
}

// TestDialogOfAnother: several platforms may share a user's dialog, also when the plan is read
// without the user's directory. A missing dialog is reported with the file that names it.
func TestDialogOfAnother(t *testing.T) {
	dir, kept := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"one.dialog.yaml": "host: '\\w+'\nprompts: {privileged: '{host}!'}\n", "two.yaml": "dialog: one\n", "three.yaml": "dialog: four\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	two, err := LoadPlatform(dir, "two")
	if err != nil || two.Dialog.Prompts.Privileged != "{host}!" || two.Dialog.Name != "two" {
		t.Fatalf("%+v, %v", two, err)
	}
	for name, text := range two.Files {
		if err := os.WriteFile(filepath.Join(kept, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if again, err := LoadPlatform(kept, "two"); err != nil || again.Dialog.Prompts.Privileged != "{host}!" {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := LoadPlatform(dir, "three"); err == nil || !strings.Contains(err.Error(), "three.yaml: dialog: there is no four.dialog.yaml beside it") {
		t.Error(err)
	}
}
