package lab

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"activationd/topology"
)

func srlDialect(t testing.TB) *dialect {
	t.Helper()
	p, err := LoadPlatform("", "nokia_srlinux")
	if err != nil {
		t.Fatal(err)
	}
	return &p.dialect
}

// configureSRL sends lines and commits those that are accepted, or nothing.
func configureSRL(m *srlTree, lines []string) {
	for _, l := range lines {
		m.do(l)
	}
	if m.do("commit now") != srlDone {
		m.do("discard now")
	}
}

// singles returns the lines of a configuration, each with one value.
func (d *dialect) singles(text string) (all []string) {
	for _, n := range d.parseSets(text).ends {
		all = append(all, n.line)
	}
	return all
}

// undoSRL restores the previous state of a device, as Erase does. It fails if a line is
// removed that was there before and is still there.
func undoSRL(t failer, d *dialect, m *srlTree, before string) (rounds int, differs []string) {
	t.Helper()
	tried := map[string]int{}
	for ; ; rounds++ {
		lines, differs := d.differenceOfSets(m.show(), before, tried)
		if len(lines) == 0 {
			return rounds, differs
		}
		if rounds > 30 {
			t.Fatalf("it sends without an end: %q", lines)
		}
		was := m.show()
		configureSRL(m, lines) // what is refused is left out, and the next round sees it
		had, has := d.singles(was), d.parseSets(m.show())
		for _, n := range d.parseSets(before).ends {
			if slices.Contains(had, n.line) && has.root.at(n) == nil {
				t.Fatalf("%q is gone after\n%s\nof\n%s", n.line, strings.Join(lines, "\n"), was)
			}
		}
	}
}

// TestUndoIsDifferenceOnSRLinux: whatever a device had before, whatever a startup-config said,
// and whatever somebody changed in between, the device comes back as it was, also if setting
// several values replaces the old ones.
func TestUndoIsDifferenceOnSRLinux(t *testing.T) {
	d := srlDialect(t)
	rapid.Check(t, func(t *rapid.T) {
		m := newSRLTree()
		m.replaces = rapid.Bool().Draw(t, "replaces")
		always := "set / system information location here"
		configureSRL(m, append(drawSRLMess(t, m, []string{"set"}, 25), always))
		configureSRL(m, append(drawSRLMess(t, m, []string{"insert", "delete"}, 4), always))
		before := m.show()

		other := newSRLTree()
		configureSRL(other, drawSRLMess(t, other, []string{"set"}, 15))
		made, err := d.plan(&topology.Node{Name: "r1", Config: other.show()})
		if err != nil {
			t.Fatal(err)
		}
		configureSRL(m, made.apply)
		if lacking := d.missing(made.apply, m.show()); len(lacking) > 0 && before == always+"\n" {
			t.Fatalf("missing %q of\n%s\nin\n%s", lacking, other.show(), m.show())
		}
		configureSRL(m, append(drawSRLMess(t, m, []string{"set", "delete", "insert"}, 6), always))
		changed := m.show()
		rounds, differs := undoSRL(t, d, m, before)
		if m.show() != before || len(differs) > 0 {
			t.Fatalf("after %d rounds it is\n%swant\n%sfrom\n%sdiffers: %q", rounds, m.show(), before, changed, differs)
		}
		if rounds > 5 {
			t.Fatalf("it needed %d rounds from\n%s\nto\n%s", rounds, changed, before)
		}
	})
}
