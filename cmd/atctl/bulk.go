package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"activationd/control"
	"activationd/internal/display"
	"activationd/internal/fault"
	"activationd/internal/help"
	"activationd/internal/terminal"
)

const whichOnes = "Which ones:"

// choiceFlags are the flags that choose jobs and reservations, in the order of the help.
var choiceFlags = []string{"state", "outcome", "failed", "since", "until", "owner", "kind", "label", "tag", "device", "every", "match"}

// A choice says which jobs and reservations a command is about.
type choice struct{ control.ListIn }

// flags defines choiceFlags. If a command has a flag of that name already, named has another
// name for it; an empty one leaves the flag out.
func (c *choice) flags(f *pflag.FlagSet, named map[string]string) {
	add := func(name, usage string, def func(name, usage string)) {
		if other, ok := named[name]; ok {
			name = other
		}
		if name != "" {
			def(name, usage)
		}
	}
	text := func(p *string) func(string, string) {
		return func(name, usage string) { f.StringVar(p, name, "", usage) }
	}
	add("state", "only those in `STATE`: scheduled, held, waiting, running, activating, active, "+
		"deactivating, stuck, finished, or an outcome; conflicting: marked as such; rejected or over: reservations of sources that are not in force; separate several with commas",
		func(name, usage string) { f.StringSliceVar(&c.State, name, nil, usage) })
	add("outcome", "only those that finished with `OUTCOME`: succeeded, failed, timed_out, cancelled, missed, lost; separate several with commas",
		func(name, usage string) { f.StringSliceVar(&c.Outcome, name, nil, usage) })
	add("failed", "only those that finished without success and were not cancelled, and those that are stuck",
		func(name, usage string) { f.BoolVar(&c.Failed, name, false, usage) })
	add("since", "only those that ended at `WHEN` or later, or have not ended; 22:00 is the last time "+
		"that it was ten o'clock, 2h is two hours ago", text(&c.Since))
	add("until", "only those that began, or were to begin, at `WHEN` or earlier; 06:00 is the first six "+
		"o'clock after --since", text(&c.Until))
	add("owner", "only those of `OWNER`", text(&c.Owner))
	add("kind", "only those of `KIND`: job, reservation or service (an instance); without it no services", text(&c.Kind))
	add("label", "only those with the label `TEXT`, in which * stands for any text and ? for any character", text(&c.Label))
	add("tag", "only those with the `TAG`; with commas: with all these tags",
		func(name, usage string) { f.StringArrayVar(&c.Tag, name, nil, usage) })
	add("device", "only reservations of the device `NAME`, and jobs that request it as a lock; separate several with commas: those of any of them",
		func(name, usage string) { f.StringSliceVar(&c.Device, name, nil, usage) })
	add("every", "only jobs of the recurrence `NAME`", text(&c.Every))
	add("match", "only those with `TEXT` in their id, owner, label, reason, command or script, in upper or lower case", text(&c.Match))
}

// settle adds the user's zone to times.
func (c *choice) settle() {
	now := time.Now()
	since := zonedPast(&c.Since, now, time.Time{})
	zonedPast(&c.Until, now, since)
}

// A bulk carries out a verb on all jobs and reservations that are chosen.
type bulk struct {
	choice
	verb        string
	names       []string // of the flags that choose
	all         bool
	yes, dryRun bool
	keepGoing   bool
}

// doneWords say what a verb has done.
var doneWords = map[string]string{
	"cancel": "cancelled", "remove": "removed", "hold": "held", "release": "released", "run": "started", "retry": "retried", "forgive": "forgiven", "edit": "changed",
}

// flags defines the flags of a verb for many.
func (b *bulk) flags(cmd *cobra.Command, verb string, named map[string]string) {
	b.verb = verb
	f := cmd.Flags()
	b.choice.flags(f, named)
	usage := "all for which the command is possible"
	if verb == "retry" {
		usage = "also those that succeeded or were cancelled"
	}
	f.BoolVar(&b.all, "all", false, usage)
	f.BoolVar(&b.yes, "yes", false, "do not ask")
	f.BoolVar(&b.dryRun, "dry-run", false, "only list them, and say how many there are")
	for _, name := range append([]string{"all"}, choiceFlags...) {
		if other, ok := named[name]; ok {
			name = other
		}
		if name != "" {
			b.names = append(b.names, name)
		}
	}
	help.Section(cmd, whichOnes, b.names...)
	help.Section(cmd, "With these:", "yes", "dry-run")
}

// chooses reports whether one of the flags with these names is given, and refuses them if they
// are empty or if there are ids, too.
func chooses(cmd *cobra.Command, names []string, ids int) (bool, error) {
	if err := refuseEmpty(cmd, ""); err != nil { // --tag "$TAG" where TAG is not set, for instance, would choose all
		return false, err
	}
	for _, name := range names {
		if !cmd.Flags().Changed(name) {
			continue
		}
		if ids > 0 {
			return false, usage(cmd, fmt.Sprintf("an ID and --%s exclude each other; use one of them", name))
		}
		return true, nil
	}
	return false, nil
}

// given is chooses for the flags of b.
func (b *bulk) given(cmd *cobra.Command, ids int) (bool, error) {
	given, err := chooses(cmd, b.names, ids)
	if err == nil && !given && b.dryRun {
		err = usage(cmd, "--dry-run lists what filters such as "+b.example()+" choose, and there is none")
	}
	return given, err
}

// needs is the check of the arguments for a verb that takes IDs or flags that choose.
func (b *bulk) needs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		if given, err := b.given(cmd, 0); given || err != nil {
			return err
		}
	}
	return takes(1, 0, "an ID, see atctl list, or a filter such as "+b.example())(cmd, args)
}

// example is a flag that chooses. The --tag of edit does not.
func (b *bulk) example() string {
	if slices.Contains(b.names, "with-tag") {
		return "--with-tag"
	}
	return "--tag"
}

// run carries out the verb; in returns the input of the operation for one of those that are
// chosen. It looks at all of them, asks, and then tries every one.
func (b *bulk) run(ctx context.Context, a *app, in func(act *control.Activation) any) error {
	b.settle()
	b.Verb = b.verb
	if b.verb == "retry" && len(b.State) == 0 && len(b.Outcome) == 0 {
		if b.all {
			b.State = []string{"all"}
		} else {
			b.Failed = true
		}
	}
	var chosen []control.Activation
	left := make(map[string]int)
	err := stream(ctx, a, "list", b.ListIn, func(act control.Activation) error {
		switch {
		case act.Can:
			chosen = append(chosen, act)
		case act.Hidden && act.Kind == "reservation":
			left["that only operators may "+b.verb]++
		case act.Hidden:
			left["of other users"]++
		default:
			left[display.State(&act)]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	show := func(out *os.File, some []control.Activation) error {
		t, err := newList(ctx, a, out)
		for i := 0; err == nil && i < len(some); i++ {
			err = t.activation(some[i])
		}
		if err != nil {
			return err
		}
		return t.end(nil)
	}
	if ok, err := agreed(b, a, chosen, count(chosen), left, show); err != nil || !ok {
		return err
	}
	done, ended, err := b.each(ctx, a, inOrder(b.verb, chosen), in)
	if !a.json {
		text := fmt.Sprintf("%d %s", done, doneWords[b.verb])
		switch {
		case ended == 1:
			text += "; 1 had ended by itself"
		case ended > 1:
			text += fmt.Sprintf("; %d had ended by themselves", ended)
		}
		if _, werr := fmt.Println(text); err == nil {
			err = werr
		}
	}
	return err
}

// showsFirst is how many of those that are chosen are shown before the question.
const showsFirst = 20

// agreed reports whether the verb is to be done to those that are chosen, of which what says how
// many there are. It asks a person, and refuses if there is none. In a dry run it only prints what
// would be done. Show prints the table of some of them.
func agreed[T any](b *bulk, a *app, chosen []T, what string, left map[string]int, show func(out *os.File, some []T) error) (bool, error) {
	others := leftOut(left, b.verb)
	switch {
	case b.dryRun:
		fmt.Fprintf(os.Stderr, "%s would be %s%s\n", what, doneWords[b.verb], others)
		if len(chosen) == 0 {
			return false, nil
		}
		if !a.json {
			return false, show(os.Stdout, chosen)
		}
		for i := range chosen {
			line, err := json.Marshal(&chosen[i])
			if err != nil {
				return false, err
			}
			if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
				return false, err
			}
		}
		return false, nil
	case len(chosen) == 0:
		fmt.Fprintf(os.Stderr, "there is nothing to %s%s\n", b.verb, others)
		return false, nil
	case b.yes:
		return true, nil
	case !isTerminal(os.Stdin) || !isTerminal(os.Stderr):
		return false, fmt.Errorf("%s would be %s; give --yes to do it without a question, or --dry-run to list them: %w",
			what, doneWords[b.verb], fault.Invalid)
	}
	if err := show(os.Stderr, chosen[:min(len(chosen), showsFirst)]); err != nil {
		return false, err
	}
	if more := len(chosen) - showsFirst; more > 0 {
		fmt.Fprintf(os.Stderr, "and %d more, which --dry-run lists\n", more)
	}
	fmt.Fprintf(os.Stderr, "%s %s%s? [y/N] ", b.verb, what, others)
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		fmt.Fprintln(os.Stderr)
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	if answer != "y" && answer != "yes" {
		fmt.Fprintln(os.Stderr, "nothing was done")
		return false, nil
	}
	return true, nil
}

// lanes is how many requests of a verb for many are under way at once. The daemon writes what
// comes at the same time to the disk together, so that thousands do not take minutes.
const lanes = 16

// each sends the operation for each of them. All of a group are done before the next group. It
// tries all, unless the daemon cannot be reached. It returns to how many the verb was done, and
// how many ended by themselves before they could be cancelled.
func (b *bulk) each(ctx context.Context, a *app, groups [][]control.Activation, in func(*control.Activation) any) (done, ended int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	total := 0
	for _, g := range groups {
		total += len(g)
	}
	shown := terminal.NewLine(os.Stderr)
	defer shown.Clear()
	var (
		mu   sync.Mutex // guards what follows
		errs []error
	)
	one := func(lane *app, act *control.Activation) {
		line, err := call[json.RawMessage](ctx, lane, b.verb, in(act))
		outcome := ""
		if b.verb == "cancel" {
			outcome, err = cancelled(ctx, lane, act.ID, line, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			if outcome == "" || outcome == "cancelled" {
				done++
			} else {
				ended++
			}
			if a.json && len(line) > 0 {
				_, err = os.Stdout.Write(append(line, '\n'))
			}
			shown.Show(fmt.Sprintf("%d of %d %s", done, total, doneWords[b.verb]))
		}
		if err != nil && ctx.Err() == nil {
			errs = append(errs, err)
			if errors.Is(err, fault.Unavailable) {
				cancel() // the others would fail, too
			}
		}
	}
	for _, group := range groups {
		next := make(chan *control.Activation)
		var wg sync.WaitGroup
		for range min(lanes, len(group)) {
			lane := a.again()
			wg.Go(func() {
				for act := range next {
					one(lane, act)
				}
			})
		}
		for i := range group {
			if ctx.Err() != nil {
				break
			}
			next <- &group[i]
		}
		close(next)
		wg.Wait()
	}
	return done, ended, errors.Join(errs...)
}

// cancelled returns the outcome of a job or reservation after the reply or the error of a cancel;
// empty: it is not finished. If it is finished, a refusal is no error: it has ended meanwhile, or
// came after another one that was cancelled.
func cancelled(ctx context.Context, a *app, id string, reply json.RawMessage, refused error) (outcome string, err error) {
	var act control.Activation
	switch {
	case errors.Is(refused, fault.Conflict):
		d, err := call[control.Detail](ctx, a, "show", control.IDIn{ID: id})
		if err != nil || d.State != "finished" {
			return "", refused
		}
		act = d.Activation
	case refused != nil:
		return "", refused
	default:
		if err := json.Unmarshal(reply, &act); err != nil {
			return "", fmt.Errorf("the daemon's reply %.80q: %w", reply, err)
		}
	}
	return act.Outcome, nil // of an unfinished one it is empty
}

// was returns the states of which those that are chosen must still have one. The daemon refuses a
// verb for the others: they have changed since they were listed.
func (b *bulk) was(act *control.Activation) []string {
	var lists [][]string
	if b.Failed {
		lists = append(lists, []string{"failed", "timed_out", "missed", "lost", "stuck"})
	}
	for _, words := range [][]string{b.State, b.Outcome} {
		words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "rejected" || w == "over" })
		if len(words) > 0 && !slices.Contains(words, "all") {
			lists = append(lists, words)
		}
	}
	switch {
	case len(lists) == 0:
		return nil
	case len(lists) == 1:
		return lists[0]
	case act.Outcome != "":
		return []string{act.Outcome}
	}
	return []string{act.State}
}

// inOrder divides those to which a verb is applied into groups, one after the other. If those
// that run were cancelled first, those that wait for their locks would start.
func inOrder(verb string, chosen []control.Activation) [][]control.Activation {
	if verb != "cancel" {
		return [][]control.Activation{chosen}
	}
	var idle, busy []control.Activation
	for _, act := range chosen {
		if act.State == "scheduled" || act.State == "held" || act.State == "waiting" {
			idle = append(idle, act)
		} else {
			busy = append(busy, act)
		}
	}
	slices.SortStableFunc(idle, func(x, y control.Activation) int { // a job before those after which it comes
		return cmp.Or(cmp.Compare(len(y.ID), len(x.ID)), cmp.Compare(y.ID, x.ID))
	})
	return [][]control.Activation{idle, busy}
}

// count says how many there are: "1 job", "17 jobs and reservations".
func count(chosen []control.Activation) string {
	kinds := make(map[string]int)
	for _, act := range chosen {
		kinds[act.Kind]++
	}
	names := slices.Sorted(maps.Keys(kinds))
	for i, name := range names {
		if name == "service" {
			names[i] = "instance"
		}
		if len(chosen) != 1 {
			names[i] += "s"
		}
	}
	if len(names) == 0 {
		names = []string{"jobs and reservations"}
	}
	return fmt.Sprintf("%d %s", len(chosen), strings.Join(names, " and "))
}

// leftOut says how many were chosen by the filters although the verb is not possible.
func leftOut(left map[string]int, verb string) string {
	var words []string
	for _, what := range slices.Sorted(maps.Keys(left)) {
		words = append(words, fmt.Sprintf("%d %s", left[what], what))
	}
	if len(words) == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s is not possible for others that match: %s)", verb, strings.Join(words, ", "))
}
