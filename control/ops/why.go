package ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/event"
	"activationd/internal/fault"
)

func (d Daemon) why(ctx context.Context, c control.Caller, in control.IDIn, send func(control.WhyLine) error) error {
	v, err := d.get(ctx, c, in.ID)
	unused, unusedErr := d.unused(ctx, in.ID)
	var lines []control.WhyLine
	switch {
	case unusedErr != nil:
		return unusedErr
	case err == nil:
		v.Reason = cmp.Or(d.lacks(&v.Record), v.Reason)
		lines = append(explain(&v), unused...)
	case errors.Is(err, fault.NotFound) && len(unused) > 0:
		lines = unused
	default:
		return d.notAnID(ctx, "why", in.ID, err)
	}
	if err == nil && v.Kind == activation.Reservation {
		disputes, err := d.disputes(ctx, &v)
		if err != nil {
			return err
		}
		lines = append(lines, disputes...)
	}
	if err == nil && !v.Hidden {
		closed, err := d.Engine.Logins(ctx, v.ID)
		if err != nil {
			return err
		}
		for _, l := range closed {
			lines = append(lines, control.WhyLine{Time: l.Since, Text: l.String()})
		}
	}
	for _, l := range lines {
		if err := send(l); err != nil {
			return err
		}
	}
	return nil
}

// explain tells the life of v in order: what clients and sources changed, and its attempts;
// then its state, what it waits for, and what can be done.
func explain(v *activation.View) []control.WhyLine {
	lines := slices.Concat(acts(v), attempts(v))
	slices.SortStableFunc(lines, func(a, b control.WhyLine) int { return a.Time.Compare(b.Time) })
	lines = append([]control.WhyLine{{Text: title(v)}}, lines...)
	text := "it is " + control.Status(string(v.Kind), string(v.State), "")
	if v.Serving != nil {
		text = "it is " + v.InstanceState()
	}
	if v.Outcome != "" && v.Serving == nil {
		text += ", " + string(v.Outcome)
	}
	if v.Reason != "" {
		text += ": " + v.Reason
	}
	lines = append(lines, control.WhyLine{Time: v.Since, Text: text})
	say := func(format string, args ...any) {
		lines = append(lines, control.WhyLine{Text: fmt.Sprintf(format, args...)})
	}
	for _, w := range v.WaitsFor {
		say("it waits for %s", w)
	}
	switch p := v.Pause; {
	case p == nil:
	case v.State == activation.Waiting:
		say("to end the pause: %s", p.WayOut())
	default:
		say("when it is due, it waits for %s; to end the pause: %s", p, p.WayOut())
	}
	due := v.NextDue()
	switch {
	case v.Serving != nil && v.State == activation.Held:
		say("to start it: atctl service start %s", v.ID)
	case v.Serving != nil && v.State == activation.Stuck:
		say("to start it, when it is fixed: atctl service start %s; its output: atctl log %s", v.ID, v.ID)
	case v.State == activation.Stuck:
		say("to run its deactivation again: atctl retry %s; after cleaning up by hand: atctl forgive %s", v.ID, v.ID)
	case v.State == activation.Held:
		say("to let it start at its time: atctl release %s; to start it at once: atctl run %s", v.ID, v.ID)
		if v.Kind == activation.Reservation {
			say("its slot ends at %s, also if it is still held then", timeText(v.End))
		}
	case v.State != activation.Finished && due.After(time.Now()):
		say("its next step is due at %s", timeText(due))
	}
	return lines
}

// disputes says what v conflicts with, who has what it wants and why, and what can be done;
// and who wants what it has.
func (d Daemon) disputes(ctx context.Context, v *activation.View) (lines []control.WhyLine, err error) {
	say := func(format string, args ...any) {
		lines = append(lines, control.WhyLine{Text: fmt.Sprintf(format, args...)})
	}
	for _, c := range v.Conflicts {
		lines = append(lines, control.WhyLine{Time: v.ConflictSince, Text: "marked as conflicting: " + c.String()})
	}
	all, err := d.Engine.Disputes(ctx, v.ID)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return nil, err
	}
	for _, x := range all[:min(len(all), maxDisputes)] {
		if x.Loser.ID == v.ID {
			say("it does not get %s: %s", x.Device, x.Winner.Why(&x.Loser))
		} else {
			say("%s wants %s, too, from %s to %s, and does not get it: %s", x.Loser.ID, x.Device, timeText(x.Loser.From), timeText(x.Loser.To), x.Winner.Why(&x.Loser))
		}
	}
	losses, err := d.Engine.Losses(ctx, v.ID)
	if err != nil {
		return nil, err
	}
	for _, l := range losses[:min(len(losses), maxDisputes)] {
		say("%s conflicts, and %s comes before it: %s", l.ID, v.ID, l.Conflict)
	}
	if n := max(0, len(all)-maxDisputes) + max(0, len(losses)-maxDisputes); n > 0 {
		say("and %d more; atctl list --state conflicting lists all that do not get what they want", n)
	}
	if len(all) > 0 && all[0].Loser.ID == v.ID {
		var winners []string
		starts := v.Pause == nil // whether "run" would start it at once
		for _, x := range all {
			if !slices.Contains(winners, x.Winner.ID) {
				winners = append(winners, x.Winner.ID)
			}
			starts = starts && !x.Winner.Holds
		}
		text := "to end the conflict: change the slot or the devices of one of them in its source, or: atctl cancel " +
			strings.Join(winners[:min(len(winners), maxDisputes)], " ")
		if starts {
			text += fmt.Sprintf("; to start %s at once all the same: atctl run %s", v.ID, v.ID)
		}
		say("%s", text)
	}
	return lines, nil
}

// maxDisputes bounds how many of the reservations why names that want the same devices.
const maxDisputes = 10

// title says what v is.
func title(v *activation.View) string {
	text := "job " + v.ID
	switch v.Kind {
	case activation.Reservation:
		text = "reservation " + v.ID
	case activation.Service:
		return "instance " + v.ID + " of the service " + cmp.Or(v.Label, v.Serving.Service)
	}
	text += " of " + cmp.Or(v.Owner, "nobody")
	if v.Label != "" {
		text += ": " + v.Label
	}
	return text
}

// attempts returns the beginnings and the ends of v's attempts.
func attempts(v *activation.View) (lines []control.WhyLine) {
	for _, a := range v.Attempts {
		at := a.Result.Started
		if at.IsZero() {
			at = a.Claimed
		}
		lines = append(lines, control.WhyLine{Time: at, Text: v.Name(&a) + "started"})
		if !a.Open || a.Hangs() {
			lines = append(lines, control.WhyLine{Time: a.Result.Ended, Text: v.Describe(&a)})
		}
	}
	return lines
}

// acts returns what clients and sources changed, the first that v was made. For strangers
// that is all.
func acts(v *activation.View) (lines []control.WhyLine) {
	made, start, end, planned := v.Submitted()
	plan := ""
	switch {
	case !planned, v.Kind == activation.Service:
	case v.Kind == activation.Reservation:
		plan = fmt.Sprintf(", for the slot from %s to %s", timeText(start), timeText(end))
	default:
		plan = ", due at " + timeText(start)
	}
	first := whyLine(made)
	switch {
	case v.Kind == activation.Service:
		first.Text = "declared by the configuration"
	case made.Action == "announce":
		first.Text = "announced by " + announcer(made) + plan
	case made.Action == "book add":
		first.Text = "booked by " + first.Actor.String() + plan
		if made.By.Name != v.Owner {
			first.Text = fmt.Sprintf("booked by %s for %s", first.Actor, v.Owner) + plan
		}
	case v.MailOf != "":
		first.Text = "made to mail the output of " + v.MailOf
	case !v.Occurrence.IsZero():
		first.Text = fmt.Sprintf("made for the occurrence of %s at %s", v.From, timeText(v.Occurrence)) + plan
	case made.Action == "every run":
		first.Text = fmt.Sprintf("made by %s, who ran the recurrence %s once", first.Actor, v.From)
	default:
		by := first.Actor.String()
		if u := v.User; u != nil && made.By.Kind == "uid" && made.By.Name == v.Owner {
			by += fmt.Sprintf(" (uid %d)", u.UID)
		}
		first.Text = "submitted by " + by + plan
	}
	lines = append(lines, first)
	rest := v.Acts
	if len(rest) > 0 && rest[0].At.Equal(made.At) && rest[0].Action == made.Action {
		rest = rest[1:]
	}
	if n := v.ActsDropped; n > 0 {
		lines = append(lines, control.WhyLine{Time: made.At, Text: fmt.Sprintf("%d changes are not listed here: see atctl audit %s", n, v.ID)})
	}
	for _, a := range rest {
		l := whyLine(a)
		l.Text = did(a)
		lines = append(lines, l)
	}
	return lines
}

func whyLine(a activation.Act) control.WhyLine {
	return control.WhyLine{
		Time: a.At, Action: a.Action, Actor: wireActor(&a.By), Changes: wireChanges(a.Changes), Source: a.Source, Generation: a.Load,
	}
}

// pastTense has the words for acts whose reason says who did it, as "held by ada" does.
var pastTense = map[string]string{
	"cancel": "cancelled", "hold": "held", "release": "released", "run": "run now", "retry": "retried", "forgive": "forgiven",
}

// did says what an act did, and who requested it.
func did(a activation.Act) string {
	by := wireActor(&a.By).String()
	changes := control.ChangesText(wireChanges(a.Changes), timeText)
	if changes != "" {
		changes = ": " + changes
	}
	switch a.Action {
	case "edit":
		return "edited by " + by + changes
	case "book extend", "book edit":
		return strings.TrimPrefix(a.Action, "book ") + "ed by " + by + changes
	case "book end":
		return "ended by " + by + changes
	case "announce":
		return "announced again by " + announcer(a) + changes
	case "change":
		return "changed by " + announcer(a) + changes
	case "service start", "service stop", "service restart":
		return a.Reason
	case "remove":
		return "withdrawn by " + announcer(a) + ": " + a.Reason
	}
	if past := pastTense[a.Action]; past != "" {
		// Any other reason is that of the state which the activation entered then.
		_, rest, _ := strings.Cut(a.Reason, past+" by "+a.By.Name)
		return past + " by " + by + rest
	}
	return fmt.Sprintf("%s by %s: %s", a.Action, by, a.Reason)
}

// announcer says which source announced something, and in which load.
func announcer(a activation.Act) string {
	text := "a source"
	if a.Source != "" {
		text = "source " + a.Source
	}
	if a.Load > 0 {
		text += fmt.Sprintf(", load %d", a.Load)
	}
	if a.By.Kind != event.BySource && a.By.Kind != "" {
		text += ", which " + wireActor(&a.By).String() + " requested"
	}
	return text
}

// timeText formats a time for people, in the daemon's zone, in which they are shown all
// times.
func timeText(t time.Time) string { return t.Local().Format(time.DateTime) }
