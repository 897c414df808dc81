package control

import "time"

// RuleIn says when a recurrence is due. Exactly one of Cron, Calendar and Every is set.
type RuleIn struct {
	Cron     string `arg:"cron"`     // a rule as in crontab(5): "30 4 * * 1-5", "@daily"
	Calendar string `arg:"calendar"` // a rule in systemd's form: "Mon..Fri 08:00"
	Every    string `arg:"every"`    // an interval, a duration: 90s, 5m, 1d
	TZ       string `arg:"tz"`       // the zone of cron, calendar, and times without a zone; none: the daemon's
	Overlap  string `arg:"overlap"`  // what happens if the job before still runs: skip | queue | parallel | replace
	Jitter   string `arg:"jitter"`   // by how long each occurrence is delayed at most, a duration
	CatchUp  string `arg:"catch-up"` // how many missed occurrences run late: none | last | all | a number
	Start    string `arg:"start"`    // no occurrence is before this time
	End      string `arg:"end"`      // no occurrence is after this time
}

// EveryAddIn adds a recurrence. Its jobs are described as for add, without at, in, after,
// deadline and hold.
type EveryAddIn struct {
	Name string `arg:"name,required"` // the name of the recurrence
	User string `arg:"user"`          // as whom its jobs run, and to whom it belongs; none: the caller. For admins
	RuleIn
	AddIn
}

// EveryEditIn changes a recurrence. Fields that are not given keep their values. One of Cron,
// Calendar and Every replaces the one that the recurrence has. Clear also removes tz, jitter, start
// and end.
type EveryEditIn struct {
	Name string `arg:"name,required"` // the name of the recurrence
	RuleIn
	JobEdit
	Version []string `arg:"version"` // refuse it unless this is still its version, or one of these
}

// NameIn names one recurrence.
type NameIn struct {
	Name string `arg:"name,required"` // the name of the recurrence
}

// EveryVerbIn names one recurrence for a verb.
type EveryVerbIn struct {
	Name    string   `arg:"name,required"` // the name of the recurrence
	Version []string `arg:"version"`       // refuse it unless this is still its version, or one of these
}

// EveryListIn selects recurrences.
type EveryListIn struct {
	Owner string   `arg:"owner"` // only recurrences of this owner
	Label string   `arg:"label"` // only those with this label, which may have the wildcards * and ?
	Tag   []string `arg:"tag"`   // only those with all of these tags
	Verb  string   `arg:"verb"`  // hold, release or remove; chooses nothing: Can says on which of them the caller can carry it out
}

// A Recurrence is a line of every list.
type Recurrence struct {
	Name     string         `json:"name"`
	Owner    string         `json:"owner"`
	State    string         `json:"state"` // waiting | running | held | over
	When     string         `json:"when"`  // the rule, in words
	Next     Instant        `json:"next"`  // the next occurrence
	Due      Instant        `json:"due"`   // when it is due: later by the jitter
	Command  string         `json:"command"`
	Script   string         `json:"script,omitempty"` // if that runs a script: its file's name, or its first line
	Label    string         `json:"label"`
	Tags     []string       `json:"tags,omitempty"`
	Reason   string         `json:"reason,omitempty"`   // why it is held
	Declared bool           `json:"declared,omitempty"` // in the configuration
	Running  []string       `json:"running"`            // its activations that are not finished
	Begun    uint64         `json:"begun"`              // occurrences that became activations
	Skipped  uint64         `json:"skipped"`            // occurrences that did not
	Outcomes map[string]int `json:"outcomes"`           // the number of activations with each outcome
	Last     *Ended         `json:"last"`               // the activation that finished last
	Version  string         `json:"version,omitempty"`  // changes whenever its rule does, or it is held or released; not in lists
	Can      bool           `json:"can,omitempty"`      // the caller can carry out EveryListIn.Verb
}

// An EveryAddOut is a recurrence that was added.
type EveryAddOut struct {
	Recurrence
	Notices []string `json:"notices,omitempty"` // why its job could not run now: "there is no command ehco in PATH, ..."
}

// An Ended is an activation that has finished.
type Ended struct {
	ID      string    `json:"id"`
	Outcome string    `json:"outcome"`
	End     time.Time `json:"end"`
	Reason  string    `json:"reason,omitempty"` // only in every show, while the activation is kept
}

// A RecurrenceDetail is a recurrence with all its details.
type RecurrenceDetail struct {
	Recurrence
	Cron     string   `json:"cron,omitempty"`
	Calendar string   `json:"calendar,omitempty"`
	Every    string   `json:"every,omitempty"`
	TZ       string   `json:"tz,omitempty"`
	Overlap  string   `json:"overlap"`
	Jitter   string   `json:"jitter,omitempty"`
	CatchUp  int      `json:"catch_up"` // how many of the newest missed occurrences run late
	Start    Instant  `json:"start"`
	End      Instant  `json:"end"`
	Argv     []string `json:"argv"`
	Dir      string   `json:"dir,omitempty"`
	Bytes    *Bytes   `json:"bytes,omitempty"` // the exact bytes of Argv (as activate) and Dir
	Locks    []string `json:"locks,omitempty"`
	Priority int      `json:"priority,omitempty"`
	Timeout  string   `json:"timeout,omitempty"`
	Retries  int      `json:"retries,omitempty"`

	Stdin  *Stdin            `json:"stdin,omitempty"`
	Env    map[string]string `json:"env,omitempty"`
	Masked []string          `json:"masked,omitempty"` // as of show

	// Skips are the occurrences that were skipped, the newest last.
	Skips   []Skip    `json:"skips"`
	Created time.Time `json:"created"`
}

// A Skip is a series of occurrences that were skipped for the same reason.
type Skip struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Count  uint64    `json:"count"`
	More   bool      `json:"more,omitempty"` // there were more, too many to count
	Reason string    `json:"reason"`
}

// NextIn asks for the next occurrences of a recurrence, or of a rule.
type NextIn struct {
	Name string `arg:"name,either"` // the name of the recurrence
	N    int    `arg:"n"`           // how many occurrences; none: 10
	From string `arg:"from"`        // only occurrences after this time; none: now

	Cron     string `arg:"cron,either"`     // instead of a name: a rule as in crontab(5)
	Calendar string `arg:"calendar,either"` // instead of a name: a rule in systemd's form
	Every    string `arg:"every,either"`    // instead of a name: an interval, a duration
	TZ       string `arg:"tz"`              // the zone of cron, calendar, and times without a zone; none: the daemon's
	Start    string `arg:"start"`           // no occurrence is before this time
	End      string `arg:"end"`             // no occurrence is after this time
}

// A Coming is a future occurrence.
type Coming struct {
	Occurrence time.Time `json:"occurrence"`
	Due        time.Time `json:"due"`   // later by the jitter
	Local      string    `json:"local"` // the occurrence in the rule's zone: "2099-11-30T02:30:00+01:00"
}
