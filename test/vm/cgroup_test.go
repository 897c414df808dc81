package vm

import (
	"strings"
	"testing"
)

// With cgroup v2 alone, as on a modern machine, runs are contained by cgroups, and
// nothing is left of any shape of tree.
func TestCgroupsAlone(t *testing.T) {
	needMachine(t)
	m := boot(t)
	if out := m.do("grep cgroup /proc/mounts"); strings.Count(out, "\n") > 0 || !strings.Contains(out, " cgroup2 ") {
		t.Fatalf("mounted:\n%s", out)
	}
	m.daemon("/tmp/s")
	if out := m.atctl("status"); !strings.Contains(out, "guard") || !strings.Contains(out, "cgroup: ") {
		t.Errorf("status:\n%s", out)
	}
	which := "^(TestTreesOfKilledWrappers|TestCgroup.*|TestKeptCgroups|TestProbesAreSwept|TestFrozen.*)$"
	if *all {
		which = "^(TestTrees.*|TestCgroup.*|TestKeptCgroups|TestProbesAreSwept|TestFrozen.*)$"
	}
	const others = "^Test[^/]*/subreaper|^TestFrozenParent$/^thaw$" // the second has three seconds to start in
	out, status := m.try("cd /tmp && ACTIVATIOND_PROGRAMS=/bin supervisor.test -test.timeout 60m -test.parallel 4 -test.v -test.skip '" + others + "' -test.run '" + which + "' >/tmp/trees 2>&1\n" +
		"s=$?; grep -E '^ *--- |^(FAIL|PASS|panic)|without cgroups|_test.go:' /tmp/trees; [ $s = 0 ] || tail -n 60 /tmp/trees; exit $s")
	if status != "0" || strings.Contains(out, "without cgroups") {
		t.Errorf("the trees on this machine: status %s\n%s", status, out)
	}
	t.Logf("%d tests and shapes passed", strings.Count(out, "--- PASS: Test"))
}
