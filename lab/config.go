package lab

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"activationd/topology"
)

// A dialect says how the configuration of a platform is written, shown and undone.
type dialect struct {
	style       style
	names       *interfaceNames
	running     string           // the command that shows the configuration
	lastLine    *regexp.Regexp   // the last line of its answer, if that is known
	exit        string           // the command that leaves a block; "" if none is needed
	modes       []*regexp.Regexp // lines that begin a block, though nothing is shown in it
	hasDefault  bool             // the device knows "default LINE", which restores a line's initial state
	volatile    []*regexp.Regexp
	unshown     []*regexp.Regexp
	shown       []shown
	lists       []*regexp.Regexp // groups: before the values, the values, behind them
	single      []*regexp.Regexp
	ordered     []ordered
	refused     []refusal
	accessRules []accessRule
	inverse     []inverse
	commands    []command
	sets        setSyntax
	defaults    []defaults
}

// A refusal is a kind of line that can't be undone or read back, and the reason.
type refusal struct {
	line *regexp.Regexp
	why  string
}

// A style is the form of a configuration.
type style string

const (
	indented style = "indented" // blocks; "no LINE" undoes a line
	setStyle style = "set"      // "set X", undone by "delete X"
	menus    style = "menus"    // entries and settings of menus, as RouterOS has them
	commands style = "commands" // commands of a shell; each kind must be known
)

// An inverse says how to undo a line and the lines under it.
type inverse struct {
	line *regexp.Regexp
	in   *regexp.Regexp // the line above it; nil: any line, or none
	keep bool           // the block always exists: the lines in it are undone one by one
	undo []string       // $1 ... are replaced by the groups of line
}

// A nodePlan is the plan for one startup-config.
type nodePlan struct {
	apply, undo    []string
	applied, clean []Check
	notices        []string // what the user should know, each with its line
	unverified     []string // lines that the device does not show, or shows in another form
}

// plan makes a plan for the startup-config of a node. Faults name the line: of the topology's
// file, or of the file with the configuration.
func (d *dialect) plan(n *topology.Node) (p nodePlan, err error) {
	where := func(number int) string {
		return fmt.Sprintf("%s: startup-config, line %d", n.Name, max(n.ConfigLine, 1)+number-1)
	}
	if i := slices.IndexFunc(strings.Split(n.Config, "\n"), hasControl); i >= 0 {
		return p, fmt.Errorf("%s: has a control character, which no command line accepts", where(i+1))
	}
	switch d.style {
	case indented:
		return d.planBlocks(n, where)
	case setStyle:
		return d.planSets(n, where)
	case menus:
		return d.planItems(n, where)
	default:
		return d.planCommands(n, where)
	}
}

func hasControl(line string) bool {
	return strings.ContainsFunc(strings.TrimRight(line, "\r"), func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

// missing returns the lines that a running configuration does not have.
func (d *dialect) missing(lines []string, running string) []string {
	want := strings.Join(lines, "\n")
	switch d.style {
	case indented:
		return d.missingBlocks(d.parse(want), d.parse(running))
	case menus:
		return d.missingItems(lines, running)
	}
	return d.missingSets(lines, running)
}

// between returns the lines that lead from one running configuration to another, and all
// differences of the two in words. It leaves out lines that were tried before; there may be
// none left. Whole says that something is removed and made again, so the lines should take
// effect at once.
func (d *dialect) between(now, before string, tried attempts) (lines, differences []string, whole bool) {
	if d.style == indented {
		return d.difference(d.parse(now), d.parse(before), tried)
	}
	if d.style == menus {
		if why := d.incompleteItems(now); why != "" {
			return nil, []string{why}, false
		}
		lines, differences = d.differenceOfItems(now, before, tried)
		return lines, differences, false
	}
	lines, differences = d.differenceOfSets(now, before, tried)
	return lines, differences, false
}
