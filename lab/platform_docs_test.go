package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"activationd/device"
)

// TestDocumented compares docs/lab.md and docs/lab.example.yaml with the code: every key and
// every platform is documented, and the example is valid.
func TestDocumented(t *testing.T) {
	inv, err := ReadInventory("../docs/lab.example.yaml")
	if err != nil {
		// The example has telnet and a console without a host key, but must be valid.
		t.Fatal(err)
	}
	if len(inv.Devices) < 5 || inv.Pools["ostrava"].Has(150) || !inv.Pools["ostrava"].Has(300) {
		t.Errorf("the example is %+v", inv)
	}
	example, err := os.ReadFile("../docs/lab.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile("../docs/lab.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := regexp.MustCompile(`case "([a-z_-]+)":`)
	for file, in := range map[string][][]byte{"inventory_read.go": {example}, "platform_read.go": {guide}, "../topology/reader.go": {guide}} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range keys.FindAllStringSubmatch(string(source), -1) {
			known := slices.ContainsFunc(in, func(text []byte) bool {
				return regexp.MustCompile(`\b` + regexp.QuoteMeta(m[1]) + `\b`).Match(text)
			})
			if !known {
				t.Errorf("%s reads %s, of which the documentation says nothing", file, m[1])
			}
		}
	}
	yes := func(b bool) string { return ifElse(b, "yes", "no") }
	for _, name := range BuiltInPlatforms() {
		p, err := LoadPlatform("", name)
		if err != nil {
			t.Fatal(err)
		}
		a := p.About("")
		row := fmt.Sprintf("| %#q | %s | %s | ", name, yes(a.Switch), yes(a.Node))
		if len(a.Kinds) > 0 {
			row += "`" + strings.Join(a.Kinds, "`, `") + "`"
		}
		if !regexp.MustCompile(regexp.QuoteMeta(row) + `[a-zA-Z ]*\| ` + a.Tried + ` ?\|\n`).Match(guide) {
			t.Errorf("docs/lab.md has no row\n%s | %s |", row, a.Tried)
		}
	}
	for _, name := range []string{manifestName, keptPlan, keptBefore, ".conf", ".undo", ".checks.json", ".transcript", ".lock"} {
		if !strings.Contains(string(guide), name) {
			t.Errorf("docs/lab.md says nothing of %s", name)
		}
	}
	if names, _ := filepath.Glob("platforms/*.yaml"); len(names) != len(BuiltInPlatforms()) {
		t.Errorf("there are %v", names)
	}
}

// TestQuestionsOfADevice: the questions of a device's login are copied from the inventory to
// the plan.
func TestQuestionsOfADevice(t *testing.T) {
	inv, err := ReadInventory("../docs/lab.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := device.LoginDialog{User: "CPPM_UserName: *", Password: "Passcode: *", Failed: "Sorry.*"}
	if got := inv.access(inv.Devices["sw2"]).target("sw2").Questions; got != want {
		t.Errorf("the example's sw2 asks %+v, want %+v", got, want)
	}
}
