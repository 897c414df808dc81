package ops

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"activationd/activation"
	"activationd/control"
)

// unused explains the reservations with an id that sources have and that are not in force.
func (d Daemon) unused(ctx context.Context, id string) (lines []control.WhyLine, err error) {
	all, err := d.Unused(ctx, id)
	for _, u := range all {
		if u.Source == activation.Declared {
			continue // it is a recurrence
		}
		text := fmt.Sprintf("source %s rejects reservation %s: %s: %s; correct it in the source", u.Source, u.ID, u.Where, u.Text)
		if u.Over {
			text = fmt.Sprintf("source %s has reservation %s, but it was passed over: %s: %s; if the time is wrong, correct it in the source",
				u.Source, u.ID, u.Where, u.Text)
		}
		if v, err := d.Engine.Get(ctx, id); err == nil && v.SourceName() == u.Source {
			text += "; until then its earlier version stays in force"
		}
		lines = append(lines, control.WhyLine{Time: u.Read, Text: control.OneLine(text)})
	}
	return lines, err
}

// unusedWords are the words for the states of reservations that are not in force.
func unusedWords() []string { return []string{"rejected", "over"} }

// listUnused takes these words out of a request for a list and returns the reservations that
// they choose. Others reports whether the list may have other rows. Nothing is known of an
// unused reservation except its id, its line and the reason, so no other filter than a text
// can choose it.
func (d Daemon) listUnused(ctx context.Context, in *control.ListIn) (rows []control.Activation, others bool, err error) {
	words := commas(in.State)
	for i := range words {
		words[i] = strings.ToLower(words[i])
	}
	in.State = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return slices.Contains(unusedWords(), w) })
	others = len(in.State) == len(words) || slices.ContainsFunc(in.State, func(w string) bool { return w != "all" })
	if len(in.State) == len(words) || in.Kind == string(activation.Job) || in.Failed || len(in.Outcome)+len(in.Tag)+len(in.Device) > 0 ||
		in.Owner+in.Label+in.ID+in.Every+in.Since+in.Until != "" {
		return nil, others, nil
	}
	all, err := d.Unused(ctx, "")
	for _, u := range all {
		state := "rejected"
		if u.Over {
			state = "over"
		}
		text := control.OneLine(u.Where + ": " + u.Text)
		if u.Source == activation.Declared || !slices.Contains(words, state) ||
			!strings.Contains(strings.ToLower(u.ID+"\n"+text), strings.ToLower(in.Match)) {
			continue
		}
		rows = append(rows, control.Activation{
			ID: u.ID, Kind: string(activation.Reservation), State: state, Status: state, Reason: text,
		})
	}
	return rows, others, err
}
