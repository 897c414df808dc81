package announce

import (
	"fmt"
	"strings"
	"time"

	"activationd/activation"
	"activationd/event"
	"activationd/reservation"
)

// noteReport remembers which sources could not be loaded, and the unused reservations. It counts the
// sources that were read.
func (l *Loader) noteReport(rep activation.Report, told map[activation.ReportLine]bool, read []*sourceDiff) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = told
	before := l.failed
	l.failed, l.declared = make(map[string]failure), nil
	for _, line := range rep.Lines {
		switch {
		case line.What == "failed":
			f := failure{text: line.Text, since: now}
			if was, ok := before[line.Source]; ok {
				f.since = was.since
			}
			l.failed[line.Source] = f
		case line.What == "rejected" && line.Source == activation.Declared:
			l.declared = append(l.declared, Unused{Source: line.Source, Reject: reservation.Reject{ID: line.ID, Text: line.Text}, Read: now})
		}
	}
	for _, d := range read {
		n := l.reads[d.name()]
		if _, failed := l.failed[d.name()]; failed {
			n.failed++
		} else {
			n.ok++
		}
		l.reads[d.name()] = n
	}
}

// maxUnusedEvents bounds the events of one load about unused reservations and notices.
const maxUnusedEvents = 20

// emitUnused emits events for the rejected reservations, for those that were passed over, and
// for the sources' notices to operators. Most loads are not requested by a client, so
// nobody reads their reports. It returns the report's lines of these kinds; lines in before
// cause no event.
func emitUnused(t *activation.Txn, rep activation.Report, before map[activation.ReportLine]bool) (all map[activation.ReportLine]bool) {
	all = make(map[activation.ReportLine]bool)
	emitted, more := 0, 0
	for _, l := range rep.Lines {
		ev := event.Event{Topic: event.Topic("load", l.What), What: l.What, ID: l.ID, Reason: l.Source + ": " + strings.ReplaceAll(l.Text, "\n", "; "), Failed: true}
		switch {
		case l.What == "rejected":
		case l.What == "notice" && l.Source != activation.Declared: // the configuration's reader logs its notices
		case l.What == "over":
			ev.Failed = false
			l.Text = "" // it names the line, which moves when the file is edited
		default:
			continue
		}
		all[l] = true
		switch {
		case before[l]:
		case emitted == maxUnusedEvents:
			more++
		default:
			emitted++
			t.Emit(ev)
		}
	}
	if more > 0 {
		t.Emit(event.Event{Topic: event.Topic("load", "rejected"), What: "rejected", Failed: true,
			Reason: fmt.Sprintf("and %d more; atctl reload --dry-run lists them", more)})
	}
	return all
}
