package control

import "time"

// RuleIn says when something recurs. Of Cron, Calendar and Every one is wanted.
type RuleIn struct {
	Cron     string `arg:"cron"`     // "30 4 * * 1-5", "@daily"
	Calendar string `arg:"calendar"` // as systemd has it: "Mon..Fri 08:00"
	Every    string `arg:"every"`    // an interval: 90s, 5m, 1d
	TZ       string `arg:"tz"`       // of cron and calendar, and of times without a zone; none: the daemon's
	Overlap  string `arg:"overlap"`  // skip | queue | parallel | replace
	Jitter   string `arg:"jitter"`   // a duration
	CatchUp  string `arg:"catch-up"` // none | last | all | a number
	Start    string `arg:"start"`
	End      string `arg:"end"`
}

// EveryAddIn asks for a recurrence. What runs is given as to add; at, in,
// after, deadline and hold are not for it.
type EveryAddIn struct {
	Name string `arg:"name,required"`
	RuleIn
	AddIn
}

// NameIn names one recurrence.
type NameIn struct {
	Name string `arg:"name,required"`
}

// EveryListIn narrows a list of recurrences.
type EveryListIn struct {
	Owner string `arg:"owner"`
}

// A Recurrence is what occurs again and again, as every list tells it.
type Recurrence struct {
	Name     string         `json:"name"`
	Owner    string         `json:"owner"`
	State    string         `json:"state"` // waiting | running | held | over
	When     string         `json:"when"`  // its rule, in words
	Next     Instant        `json:"next"`  // the next occurrence
	Due      Instant        `json:"due"`   // when that is due: later by the jitter
	Command  string         `json:"command"`
	Label    string         `json:"label"`
	Reason   string         `json:"reason,omitempty"`   // why it is held
	Declared bool           `json:"declared,omitempty"` // in the configuration
	Running  []string       `json:"running"`            // its activations that are not finished
	Begun    uint64         `json:"begun"`              // occurrences that became activations
	Skipped  uint64         `json:"skipped"`            // occurrences that did not
	Outcomes map[string]int `json:"outcomes"`           // how many activations ended so
	Last     *Ended         `json:"last"`               // the activation that finished last
}

// An Ended is an activation that has finished.
type Ended struct {
	ID      string    `json:"id"`
	Outcome string    `json:"outcome"`
	End     time.Time `json:"end"`
}

// A RecurrenceDetail is a recurrence with all that is known of it.
type RecurrenceDetail struct {
	Recurrence
	Cron     string   `json:"cron,omitempty"`
	Calendar string   `json:"calendar,omitempty"`
	Every    string   `json:"every,omitempty"`
	TZ       string   `json:"tz,omitempty"`
	Overlap  string   `json:"overlap"`
	Jitter   string   `json:"jitter,omitempty"`
	CatchUp  int      `json:"catch_up"` // so many of the newest that were missed run late
	Start    Instant  `json:"start"`
	End      Instant  `json:"end"`
	Argv     []string `json:"argv"`
	Dir      string   `json:"dir,omitempty"`
	Bytes    *Bytes   `json:"bytes,omitempty"` // of Argv (as activate) and Dir, what they really are
	Locks    []string `json:"locks,omitempty"`
	Priority int      `json:"priority,omitempty"`
	Tags     []string `json:"tags,omitempty"`
	Timeout  string   `json:"timeout,omitempty"`
	Retries  int      `json:"retries,omitempty"`
	// Skips is what was skipped, the newest last.
	Skips   []Skip    `json:"skips"`
	Created time.Time `json:"created"`
}

// A Skip is a row of occurrences of which nothing became, for one reason.
type Skip struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Count  uint64    `json:"count"`
	More   bool      `json:"more,omitempty"` // they were too many to be counted
	Reason string    `json:"reason"`
}

// NextIn asks for the coming instants of a recurrence, or of a rule.
type NextIn struct {
	Name string `arg:"name,either"`
	N    int    `arg:"n"` // none: 10
	From string `arg:"from"`

	Cron     string `arg:"cron,either"`
	Calendar string `arg:"calendar,either"`
	Every    string `arg:"every,either"`
	TZ       string `arg:"tz"`
	Start    string `arg:"start"`
	End      string `arg:"end"`
}

// A Coming is an occurrence to come.
type Coming struct {
	Occurrence time.Time `json:"occurrence"` // in the rule's zone
	Due        time.Time `json:"due"`        // later by the jitter
}
