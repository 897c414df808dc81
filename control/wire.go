package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// The wire forms repeat fields of the core's types on purpose: scripts depend on these
// names, so fields are only added.

// An Activation is a line of list: the state of one reservation or job.
type Activation struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"` // job | reservation
	Owner   string `json:"owner"`
	State   string `json:"state"`
	Status  string `json:"status"`  // the state in a user's words, which lists show
	Outcome string `json:"outcome"` // empty until finished

	Planned time.Time `json:"planned"` // when the slot begins, or the job was to start
	Started Instant   `json:"started"` // when the first script began, or null
	Ended   Instant   `json:"ended"`   // when it was finished, or null
	Took    *float64  `json:"took"`    // the seconds from started to ended, or null
	Exit    *int      `json:"exit"`    // of the last attempt to activate: null if it did not exit by itself
	Signal  string    `json:"signal"`  // "KILL", if a signal ended that attempt
	Due     Instant   `json:"due"`     // when its next step is due; null if no time brings one
	Start   Instant   `json:"start"`   // of the slot of a reservation; of a job started, or planned if it may still start
	End     Instant   `json:"end"`     // of the slot of a reservation; of a job, ended

	Label   string `json:"label"`
	Reason  string `json:"reason"`            // why it is in this state, in words
	Command string `json:"command,omitempty"` // the beginning of a job's command
	Script  string `json:"script,omitempty"`  // if that runs a script: its file's name, or its first line

	Priority int       `json:"priority,omitempty"`
	Tags     []string  `json:"tags,omitempty"`
	Progress *Progress `json:"progress,omitempty"` // of the running attempt
	Hidden   bool      `json:"hidden,omitempty"`   // fields that the caller may not see were left out
	Can      bool      `json:"can,omitempty"`      // the caller can carry out the verb of ListIn
	Version  string    `json:"version,omitempty"`  // changes whenever something of it changes; not in lists

	Conflicts []ConflictLine `json:"conflicts,omitempty"` // what a reservation cannot have in its slot

	Every      string    `json:"every,omitempty"`     // the recurrence that made it
	Occurrence time.Time `json:"occurrence,omitzero"` // the occurrence of the recurrence
}

// A Progress is a script's report of its progress.
type Progress struct {
	Percent *int      `json:"percent,omitempty"` // 0 to 100
	Text    string    `json:"text,omitempty"`
	At      time.Time `json:"at"` // when the script reported it
}

// Bytes has the exact bytes of a command and its directory, in base64, if they are not
// UTF-8: names of files may be any bytes. The fields with the same content have four
// characters, like \xff, for each byte that is not UTF-8, for people to read.
type Bytes struct {
	Activate   [][]byte `json:"activate,omitempty"`
	Deactivate [][]byte `json:"deactivate,omitempty"`
	Dir        []byte   `json:"dir,omitempty"`
}

// ShowBytes makes readable text of a command and its directory. It returns the exact bytes,
// or nil if nothing had to be changed.
func ShowBytes(activate, deactivate *[]string, dir *string) *Bytes {
	all := append(append([]string{*dir}, *activate...), *deactivate...)
	if !slices.ContainsFunc(all, func(s string) bool { return !utf8.ValidString(s) }) {
		return nil
	}
	b := &Bytes{Activate: raw(*activate), Deactivate: raw(*deactivate), Dir: []byte(*dir)}
	*activate, *deactivate, *dir = texts(*activate), texts(*deactivate), Text(*dir)
	return b
}

// Restore returns the exact command and directory, which are the given ones if b is nil.
func (b *Bytes) Restore(activate, deactivate []string, dir string) (realActivate, realDeactivate []string, realDir string) {
	if b == nil {
		return activate, deactivate, dir
	}
	return unraw(b.Activate), unraw(b.Deactivate), string(b.Dir)
}

// Status returns the word for an activation that users read: for them a job runs, and a
// finished job or reservation has succeeded or failed.
func Status(kind, state, outcome string) string {
	switch {
	case outcome != "":
		return outcome
	case kind == "job" && state == "activating":
		return "running"
	}
	return state
}

// Text writes each byte of s that is not UTF-8 as four characters, like \xff.
func Text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, "\\x%02x", s[0])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// ShellWords returns a command as it is typed in a shell.
func ShellWords(args []string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = arg
		if !utf8.ValidString(arg) {
			words[i] = quoteBytes(arg)
			continue
		}
		if arg == "" || strings.ContainsAny(arg, " \t\n'\"\\$`*?[]{}()<>|&;#~!") {
			words[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// quoteBytes quotes an argument that is not UTF-8 for bash and similar shells.
func quoteBytes(arg string) string {
	var b strings.Builder
	for len(arg) > 0 {
		r, n := utf8.DecodeRuneInString(arg)
		switch {
		case r == utf8.RuneError && n == 1, !unicode.IsPrint(r):
			for _, c := range []byte(arg[:n]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		case r == '\'' || r == '\\':
			b.WriteString(`\` + arg[:n])
		default:
			b.WriteString(arg[:n])
		}
		arg = arg[n:]
	}
	return "$'" + b.String() + "'"
}

// ScriptTitle returns what lists show of a script: its first line that is neither blank nor
// names an interpreter.
func ScriptTitle(script string) string {
	const most = 120
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#!") {
			continue
		}
		line = OneLine(Text(line))
		for i := range line {
			if i > most {
				return line[:i] + "..."
			}
		}
		return line
	}
	return ""
}

func texts(all []string) (out []string) {
	for _, s := range all {
		out = append(out, Text(s))
	}
	return out
}

func raw(all []string) (out [][]byte) {
	for _, s := range all {
		out = append(out, []byte(s))
	}
	return out
}

func unraw(all [][]byte) (out []string) {
	for _, b := range all {
		out = append(out, string(b))
	}
	return out
}

// An Instant is a time that may not be known yet: then it is the zero time, and null in
// JSON.
type Instant struct{ time.Time }

// MarshalJSON implements [json.Marshaler].
func (i Instant) MarshalJSON() ([]byte, error) {
	if i.IsZero() {
		return []byte("null"), nil
	}
	return i.Time.MarshalJSON()
}

// A Detail is the line of show: an activation with all its details.
type Detail struct {
	Activation
	Phase        string    `json:"phase,omitempty"`
	Generation   uint64    `json:"generation,omitempty"`
	Source       string    `json:"source,omitempty"`
	Devices      []string  `json:"devices,omitempty"`   // after its activation, the devices it was activated with
	Announced    []string  `json:"announced,omitempty"` // the devices it is to have now, if they differ
	Locks        []string  `json:"locks,omitempty"`
	After        []string  `json:"after,omitempty"`
	Deadline     time.Time `json:"deadline,omitzero"`
	WaitsFor     []string  `json:"waits_for,omitempty"` // "lock sw1, held by 1042@ostrava"
	Activate     []string  `json:"activate,omitempty"`
	Deactivate   []string  `json:"deactivate,omitempty"`
	Dir          string    `json:"dir,omitempty"`
	Bytes        *Bytes    `json:"bytes,omitempty"` // the exact bytes of Activate, Deactivate and Dir
	Timeout      string    `json:"timeout,omitempty"`
	Grace        string    `json:"grace,omitempty"`
	Retries      int       `json:"retries"`
	Backoff      string    `json:"backoff,omitempty"` // the first pause before another attempt
	Missed       string    `json:"missed,omitempty"`
	Topology     string    `json:"topology,omitempty"`
	Created      time.Time `json:"created"`
	Attempts     []Attempt `json:"attempts"`
	RunDirectory string    `json:"run_directory,omitempty"` // of the newest attempt, on the daemon's machine

	// Only the owner and admins get these.
	Stdin  *Stdin            `json:"stdin,omitempty"`  // the script or input of a job
	Env    map[string]string `json:"env,omitempty"`    // the variables that the configuration and the job set
	Masked []string          `json:"masked,omitempty"` // those of Env whose values are not shown, because they look like secrets

	// Of a job of at(1).
	Queue  string `json:"queue,omitempty"`
	Mail   string `json:"mail,omitempty"` // always | never; none: if there is output
	MailTo string `json:"mailto,omitempty"`
}

// A Stdin describes the standard input of a job. Of a script it has the beginning, in Text
// or, if that is not UTF-8, in Base64; the operation input sends all of it.
type Stdin struct {
	Script bool   `json:"script,omitempty"` // it is a script, which the command runs
	Size   int    `json:"size"`             // bytes
	Lines  int    `json:"lines"`
	Before int    `json:"before,omitempty"` // lines before Text, in which at(1) sets the environment
	Shown  int    `json:"shown,omitempty"`  // lines in Text
	Text   string `json:"text,omitempty"`
	Base64 string `json:"base64,omitempty"`
}

// InputIn asks for the standard input of a job or, by its name, of a recurrence's jobs.
type InputIn struct {
	ID     string `arg:"id,either"`   // the id of a job
	Name   string `arg:"name,either"` // the name of a recurrence
	Script bool   `arg:"script"`      // only if it is a script
}

// InputOut is a piece of a standard input.
type InputOut struct {
	Base64 string `json:"base64"`
}

// An Attempt is one run of one phase.
type Attempt struct {
	Phase     string    `json:"phase"`
	N         int       `json:"n"`
	PID       int       `json:"pid"` // the script's; 0 if it never started
	Started   time.Time `json:"started,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`
	Exit      *int      `json:"exit"`           // null if it did not exit by itself
	Signal    string    `json:"signal"`         // "KILL", if a signal ended it
	Reason    string    `json:"reason"`         // exited, timeout, stopped, failed, lost, not-started, unborn, void, disarmed
	Text      string    `json:"text,omitempty"` // what went wrong, in words: "there is no command ehco in PATH, ..."
	Contained string    `json:"contained"`
	Leftovers int       `json:"leftovers"`      // processes killed after the script's own end
	Hung      []int     `json:"hung,omitempty"` // processes that hang in the kernel and cannot be killed: the end is not verified
	Rusage    Rusage    `json:"rusage"`
}

// A Rusage is what an attempt's processes used.
type Rusage struct {
	User   float64 `json:"user"`   // seconds
	System float64 `json:"system"` // seconds
	MaxRSS int64   `json:"maxrss"` // KiB, of the largest process
}

// AddIn adds a job.
type AddIn struct {
	At      string   `arg:"at"`                        // when it starts, a time: "2099-12-21 10:00", RFC 3339, "now", at's times; in the daemon's zone unless it names one
	In      string   `arg:"in"`                        // instead of at: after how long it starts, a duration; neither means now
	Arg     []string `arg:"arg,either" bytes:"yes"`    // the command and its arguments
	Script  string   `arg:"script,either" bytes:"yes"` // instead of arg: a shell script, which /bin/sh reads from its standard input
	Stdin   string   `arg:"stdin" bytes:"yes"`         // the command's standard input
	Dir     string   `arg:"dir" bytes:"yes"`           // the directory in which the job runs
	Env     []string `arg:"env" bytes:"yes"`           // variables of the environment: NAME=VALUE
	Timeout string   `arg:"timeout"`                   // how long it may run, a duration; 0: without limit; none: the configuration's default
	Grace   string   `arg:"grace"`                     // how long it has to end after a request to stop, a duration; none: the configuration's default
	Lock    []string `arg:"lock"`                      // locks that it holds while it runs: NAME, NAME:shared, NAME=UNITS/CAPACITY
	Retries string   `arg:"retries"`                   // how often it is tried again after a failure, a number; none: the configuration's default
	Label   string   `arg:"label"`                     // a text for lists
	Title   string   `arg:"title"`                     // what lists show of a script, such as the name of its file; none: its first line
	Missed  string   `arg:"missed"`                    // what happens if it could not start in time: run | skip
	Umask   string   `arg:"umask"`                     // its umask, an octal number
	Hold    bool     `arg:"hold"`                      // it is held: it does not start before it is released
	Notices bool     `arg:"notices"`                   // the reply says why the job could not run now; the daemon looks for its program then

	Priority int      `arg:"priority"` // -99 to 99; of jobs that wait for the same lock, the highest starts first
	After    []string `arg:"after"`    // jobs that must have finished before: ID, ID:success, ID:failure, ID:any
	Deadline string   `arg:"deadline"` // until when it must have started: a time as in at, or a duration after the start
	Tag      []string `arg:"tag"`      // words to select it by; may have several, separated by commas
	Backoff  string   `arg:"backoff"`  // the pause before the second attempt, a duration; it doubles each time
}

// EditIn changes a job that has not begun. Fields that are not given keep their values.
type EditIn struct {
	ID string `arg:"id,required"` // the id of the job
	At string `arg:"at"`          // the new start, a time as in at of add
	In string `arg:"in"`          // instead of at: after how long it starts, a duration from now
	JobEdit
	Deadline string   `arg:"deadline"` // until when it must have started: a time as in at, or a duration after the start
	Was      []string `arg:"was"`      // refuse the change unless it is still in one of these states or statuses
	Version  []string `arg:"version"`  // refuse it unless this is still its version, or one of these
}

// A JobEdit has the new values of a job, or of the job of a recurrence.
type JobEdit struct {
	Arg      []string `arg:"arg" bytes:"yes"`    // a new command and its arguments
	Script   string   `arg:"script" bytes:"yes"` // instead of arg: a new shell script, which /bin/sh reads from its standard input
	Title    string   `arg:"title"`              // what lists show of a new script
	Dir      string   `arg:"dir" bytes:"yes"`    // the new directory in which it runs
	Env      []string `arg:"env" bytes:"yes"`    // variables to set, which keeps the others: NAME=VALUE
	Timeout  string   `arg:"timeout"`            // how long it may run, a duration; 0: without limit
	Grace    string   `arg:"grace"`              // how long it has to end after a request to stop, a duration
	Lock     []string `arg:"lock"`               // the new locks, which replace all that it has
	Retries  string   `arg:"retries"`            // how often it is tried again after a failure, a number
	Backoff  string   `arg:"backoff"`            // the pause before the second attempt, a duration; it doubles each time
	Label    string   `arg:"label"`              // the new label
	Missed   string   `arg:"missed"`             // what happens if it could not start in time: run | skip
	Priority string   `arg:"priority"`           // the new priority, -99 to 99
	Tag      []string `arg:"tag"`                // the new tags, which replace all that it has
	Clear    []string `arg:"clear"`              // removes lock, label, tag, deadline, env; sets timeout, grace, retries, backoff to the configuration's defaults
}

// ProgressIn reports the progress of a script.
type ProgressIn struct {
	ID      string `arg:"id,required"`    // the id of the job or reservation
	Percent string `arg:"percent,either"` // how much is done, 0 to 100
	Text    string `arg:"text,either"`    // what it is doing
}

// A Lock is a lock that an activation holds or waits for.
type Lock struct {
	Lock string   `json:"lock"`
	ID   string   `json:"id"`
	Want string   `json:"want"`          // the request: NAME, NAME:shared, NAME=UNITS/CAPACITY
	What string   `json:"what"`          // holds | waits
	For  []string `json:"for,omitempty"` // the holders, or else those earlier in the queue; none: it waits for something else
}

// AddOut names the new job.
type AddOut struct {
	ID      string    `json:"id"`
	Due     time.Time `json:"due"`
	Notices []string  `json:"notices,omitempty"` // why it could not run now: "there is no command ehco in PATH, ..."
}

// An EditOut is a job that was changed.
type EditOut struct {
	Activation
	Notices []string `json:"notices,omitempty"` // as of AddOut
}

// IDIn names one activation.
type IDIn struct {
	ID string `arg:"id,required"` // the id of the job or reservation
}

// VerbIn names one activation for a verb.
type VerbIn struct {
	ID      string   `arg:"id,required"` // the id of the job or reservation
	Was     []string `arg:"was"`         // refuse the verb unless it is still in one of these states or statuses
	Version []string `arg:"version"`     // refuse it unless this is still its version, or one of these
}

// RetryIn names one activation to run again.
type RetryIn struct {
	ID      string   `arg:"id,required"` // the id of the job or reservation
	Failed  bool     `arg:"failed"`      // refuse it if it has succeeded
	Was     []string `arg:"was"`         // refuse it unless it is still in one of these states or statuses
	Version []string `arg:"version"`     // refuse it unless this is still its version, or one of these
}

// ListIn selects activations, sorts them and cuts the list. All that is given must match.
type ListIn struct {
	State   []string `arg:"state"`   // only those in one of these states or statuses; "all" includes finished ones; none means all except finished
	Outcome []string `arg:"outcome"` // only those that finished with one of these outcomes
	Failed  bool     `arg:"failed"`  // only those that finished without success and were not cancelled, or are stuck
	Owner   string   `arg:"owner"`   // only those of this owner
	Kind    string   `arg:"kind"`    // only this kind: job | reservation
	Label   string   `arg:"label"`   // only those with this label, which may have the wildcards * and ?
	ID      string   `arg:"id"`      // only those with this id, which may have the wildcards * and ?
	Every   string   `arg:"every"`   // only jobs of this recurrence
	Tag     []string `arg:"tag"`     // only activations with all of these
	Device  []string `arg:"device"`  // only reservations of any of these, and jobs that request or hold any of them as a lock
	Since   string   `arg:"since"`   // only what ended at this time or later, or has not ended: a time, or a duration before now
	Until   string   `arg:"until"`   // only what began or was to begin at this time or earlier: a time, or a duration before now
	Match   string   `arg:"match"`   // only those with this text in the id, owner, label, reason, command or script
	Sort    string   `arg:"sort"`    // the order: id, owner, state, planned, started, ended, due or took
	Reverse bool     `arg:"reverse"` // in the reverse order
	Limit   int      `arg:"limit"`   // how many at most; 0: no limit
	After   string   `arg:"after"`   // only those after this one, of a list that is sorted by id
	Verb    string   `arg:"verb"`    // chooses nothing: Can says on which of them the caller can carry out this verb
}

// LogIn asks for the output of attempts. Without Phase, Attempt and Grep it is that of the
// newest attempt that has written something.
type LogIn struct {
	ID      string `arg:"id,required"` // the id of the job or reservation
	Phase   string `arg:"phase"`       // only this phase: activate | deactivate
	Attempt string `arg:"attempt"`     // only this attempt: a number, or all
	Exit    string `arg:"exit"`        // only an attempt that has ended: -1 is the last one, -2 the one before, and so on
	Lines   string `arg:"lines"`       // only so many lines of each attempt, the last ones; none: all
	Grep    string `arg:"grep"`        // only lines that match this regular expression; of all attempts, unless Attempt is a number
	Follow  bool   `arg:"follow"`      // go on with what is written, also by later attempts, until the activation is finished
	Next    string `arg:"next"`        // go on at a place: the value of Next in an earlier reply
}

// LogOut is a piece of output, or says something about the attempts.
type LogOut struct {
	ID     string `json:"id,omitempty"`
	Phase  string `json:"phase,omitempty"`  // of the attempt that wrote it
	N      int    `json:"n,omitempty"`      // of the attempt
	Text   string `json:"text,omitempty"`   // when it is UTF-8
	Base64 string `json:"base64,omitempty"` // when it is not

	Attempt *Attempt  `json:"attempt,omitempty"` // in the first line about an attempt, and again when a followed attempt has ended
	Others  []Attempt `json:"others,omitempty"`  // with Attempt, if the request does not say which attempts it wants: the others
	Next    string    `json:"next,omitempty"`    // while following: the place after this line
	// Activation is sent alone: while following, what the activation is when no attempt
	// runs, and when it is finished.
	Activation *Activation `json:"activation,omitempty"`
}

// FilesIn says whose files are listed.
type FilesIn struct {
	ID      string `arg:"id,required"` // the id of the job or reservation
	Phase   string `arg:"phase"`       // only this phase: activate | deactivate | serve
	Attempt string `arg:"attempt"`     // only this attempt, by its number
}

// A File is a file that an attempt has, or has left, in its configuration directory.
type File struct {
	Phase string    `json:"phase"` // of the attempt
	N     int       `json:"n"`     // of the attempt
	Name  string    `json:"name"`  // in the directory, such as r1.conf
	Size  int64     `json:"size"`  // in bytes
	Time  time.Time `json:"time"`  // of its last change
	// Closed says that the caller may not read it, as it may have secrets.
	Closed bool `json:"closed,omitzero"`
}

// FileIn names a file.
type FileIn struct {
	ID      string `arg:"id,required"`   // the id of the job or reservation
	Name    string `arg:"name,required"` // the name of the file, as in the list of files
	Phase   string `arg:"phase"`         // of this phase: activate | deactivate | serve
	Attempt string `arg:"attempt"`       // of this attempt, by its number; none: the newest that has the file
}

// FileOut is a piece of a file.
type FileOut struct {
	Base64 string `json:"base64"`
}

// WaitOut is an activation that has ended.
type WaitOut struct {
	Activation
	Exit int `json:"exit"` // the exit status for atctl wait: the job's status, 128+signal, 124, 125, 126, 127
}

// ReloadIn has the options of a reload.
type ReloadIn struct {
	Force  bool `arg:"force"`   // accept what a source has although most of its reservations are missing
	DryRun bool `arg:"dry-run"` // change nothing, and report what would change
}

// SourcePutIn announces all reservations of a source.
type SourcePutIn struct {
	Name         string `arg:"name,required"`                       // the name of the source
	Reservations string `arg:"reservations,required" objects:"yes"` // all its reservations, as a list of JSON objects in the form of a file
	Force        bool   `arg:"force"`                               // also if that removes many of the reservations that were announced before
	DryRun       bool   `arg:"dry-run"`                             // report what would be done, and change nothing
}

// SourceNameIn names a source of reservations.
type SourceNameIn struct {
	Name string `arg:"name,required"` // the name of the source
}

// A SourceContent is what was put into a source last, as it was put.
type SourceContent struct {
	Reservations []json.RawMessage `json:"reservations"` // objects in the form of a file
}

// A ReloadLine is one thing to know about a load.
type ReloadLine struct {
	What   string `json:"what"` // added | changed | removed, source, rejected, over, kept, conflict, failed, notice
	ID     string `json:"id,omitempty"`
	Source string `json:"source,omitempty"`
	Text   string `json:"text,omitempty"` // "lab.yml:12: end: is before start"
}

// A Clock is the daemon's clock. People are shown times in its zone.
type Clock struct {
	Now    time.Time `json:"now"`
	Zone   string    `json:"zone"`   // "Europe/Prague"; empty if the machine's zone has no name
	Offset string    `json:"offset"` // from UTC, now: "+01:00"
}

// StatusOut is the daemon's own state.
type StatusOut struct {
	Clock
	Version    string         `json:"version"`
	PID        int            `json:"pid"`
	Started    time.Time      `json:"started"`
	Guard      string         `json:"guard"` // cgroup | subreaper | group
	GuardWhy   string         `json:"guard_why,omitempty"`
	StateDir   string         `json:"state_dir"`
	RuntimeDir string         `json:"runtime_dir"`
	User       string         `json:"user"`
	Generation uint64         `json:"generation"`
	Next       time.Time      `json:"next,omitzero"` // the next time at which an unfinished activation may change
	Running    int            `json:"running"`
	Unverified int            `json:"unverified,omitempty"` // attempts that have ended except for processes that hang in the kernel
	States     map[string]int `json:"states"`
	Sources    []SourceStatus `json:"sources"`
	Loading    bool           `json:"loading,omitempty"` // no load has ended yet, so what sources have may not be known
	Draining   bool           `json:"draining,omitempty"`
	Logins     int            `json:"refused_logins,omitempty"` // logins that are not tried again

	Paused []Pause `json:"paused,omitempty"` // without queues, which are counted below

	Queues *QueuesStatus `json:"queues,omitempty"` // null for users who are not operators, or if they cannot be read now

	// ClockTrusted is false while activations wait because the clock jumped over their
	// times; ClockWhy explains it.
	ClockTrusted bool   `json:"clock_trusted"`
	ClockWhy     string `json:"clock_why,omitempty"`

	// Attention is what needs a person, as far as the caller may see it: of each kind the
	// first, and then one entry that counts the others.
	Attention []Attention `json:"attention"`
}

// A QueuesStatus says how many queues there are, and how many messages they have. It leaves out
// the daemon's own.
type QueuesStatus struct {
	Queues  int   `json:"queues"`
	Ready   int64 `json:"ready"`
	Delayed int64 `json:"delayed"`
	Work    int64 `json:"work"`
	Dead    int64 `json:"dead"`
}

// The kinds of what needs attention.
const (
	NeedsDisk   = "disk"       // the file system of the daemon's state is nearly full
	NeedsClock  = "clock"      // the clock is not trusted
	NeedsStuck  = "stuck"      // a reservation is stuck
	NeedsStart  = "fatal"      // an instance of a service failed too often
	NeedsEnd    = "unverified" // an attempt has ended except for processes that hang in the kernel
	NeedsSource = "source"     // a source, or the configuration, could not be loaded
	NeedsReject = "rejected"   // a reservation of a source, or a recurrence of the configuration, was rejected
	NeedsClear  = "conflict"   // a reservation cannot have what it wants in its slot
	NeedsLogin  = "login"      // a device has refused a login
	NeedsVLAN   = "quarantined"
	NeedsQueue  = "queue"  // the listener of a queue cannot run, or there are dead letters, or the list of queues cannot be read
	NeedsHook   = "hook"   // events of a hook are not delivered
	NeedsFailed = "failed" // a job or reservation failed in the last 24 hours
)

// An Attention is something that needs a person.
type Attention struct {
	Kind   string    `json:"kind"`
	ID     string    `json:"id,omitempty"`     // the job, reservation or hook; of a VLAN, its last holder
	Label  string    `json:"label,omitempty"`  // of the job or reservation
	Source string    `json:"source,omitempty"` // the source of reservations
	Device string    `json:"device,omitempty"`
	Domain string    `json:"domain,omitempty"` // of the VLAN
	VLAN   int       `json:"vlan,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Text   string    `json:"text,omitempty"` // what is wrong
	Try    string    `json:"try,omitempty"`  // what to do about it
	More   int       `json:"more,omitempty"` // if not 0, the entry stands for so many others of its kind, and Try lists them
}

// A SourceStatus is the result of a source's last load.
type SourceStatus struct {
	Name     string    `json:"name"`
	Live     int       `json:"live"`
	Rejected int       `json:"rejected"`
	Over     int       `json:"over"`          // passed over: their slots had ended when they were read first
	Read     time.Time `json:"read,omitzero"` // left out if it was never read
	Error    string    `json:"error,omitempty"`
	Failing  time.Time `json:"failing,omitzero"` // since when it cannot be read
}

// EventsIn selects events.
type EventsIn struct {
	Since string   `arg:"since"` // only events with greater numbers, or from a time on; 0: all stored events; none: from now on
	ID    string   `arg:"id"`    // only events of this activation, and gaps
	Topic []string `arg:"topic"` // only events that match one of these patterns, and gaps

	Owner   string   `arg:"owner"`   // only events about activations and recurrences of this owner, and gaps
	Kind    string   `arg:"kind"`    // job | reservation: only events about these, and gaps
	By      string   `arg:"by"`      // only events that this client caused, and gaps
	Outcome []string `arg:"outcome"` // only the ends of activations with one of these outcomes, and gaps
	Failed  bool     `arg:"failed"`  // only failures, and gaps

	Limit int    `arg:"limit"` // at most so many stored events, and no new ones; without since and after, from the first one
	After string `arg:"after"` // only events with greater numbers, whatever since says; since may be a time besides

	Action []string `arg:"action"` // only what was requested by one of these actions, cancel or vlan free; all: by any; and gaps
	Match  string   `arg:"match"`  // only what has this text somewhere, in upper or lower case, and gaps
	Newest int      `arg:"newest"` // the newest so many stored events, and no new ones; if the search ends before it has found them, a gap stands for what it has not searched
	Before string   `arg:"before"` // with newest: only events with smaller numbers
}

// PublishIn publishes a text.
type PublishIn struct {
	Topic string `arg:"topic,required"` // the topic: words joined by dots
	Text  string `arg:"text"`           // the text
}

// PublishOut says what was published.
type PublishOut struct {
	Topic string `json:"topic"`
	// Since is a number to follow events from: the event that was published, and all that follow
	// it, have greater ones.
	Since uint64 `json:"since"`
}

// Position is the number of an event, for since of [EventsIn].
func (e Event) Position() string { return strconv.FormatUint(e.Seq, 10) }

// Position is the place after a piece of output, for next of [LogIn].
func (l LogOut) Position() string { return l.Next }

// EventGap is the What of an event that stands for removed events.
const EventGap = "gap"

// An Event is something that happened.
type Event struct {
	// Seq is the number. Numbers rise, even if the daemon is restarted. A number that is left
	// out means nothing; missing events are reported by an event of their own, a gap.
	Seq    uint64    `json:"seq"`
	Time   time.Time `json:"time"`
	What   string    `json:"what"`            // state, attempt.started, attempt.ended, load, ...
	Topic  string    `json:"topic,omitempty"` // words joined by dots: activation.1042@ostrava.active
	ID     string    `json:"id,omitempty"`
	Kind   string    `json:"kind,omitempty"`  // job | reservation, if ID is one
	Owner  string    `json:"owner,omitempty"` // of the activation
	Label  string    `json:"label,omitempty"` // of the activation
	Host   string    `json:"host,omitempty"`  // the machine whose daemon wrote it
	Actor  *Actor    `json:"actor,omitempty"` // the caller whose request caused it, or the source whose content did
	State  string    `json:"state,omitempty"`
	Reason string    `json:"reason,omitempty"` // in words
	Text   string    `json:"text,omitempty"`   // that a client published

	WaitsFor string `json:"waits_for,omitempty"` // lock | job | slot | load | clock | start | pause | conflict
	Outcome  string `json:"outcome,omitempty"`   // of a finished activation
	Phase    string `json:"phase,omitempty"`     // of an attempt
	Attempt  int    `json:"attempt,omitempty"`   // the number of the attempt
	Result   string `json:"result,omitempty"`    // how the attempt ended: exited, timeout, stopped, failed, lost, not-started, unborn, void, disarmed
	Exit     *int   `json:"exit,omitempty"`      // the exit status, if it exited by itself
	Signal   string `json:"signal,omitempty"`    // "KILL", if a signal ended it
	Failed   bool   `json:"failed,omitempty"`    // it reports a failure

	Action     string   `json:"action,omitempty"`     // what the actor requested: add, cancel, vlan free; none: it follows from something else
	Changes    []Change `json:"changes,omitempty"`    // what an edit or another announcement changed
	Source     string   `json:"source,omitempty"`     // that announced the change
	Generation uint64   `json:"generation,omitempty"` // of the load that applied it

	// Of a gap: the events from number From to Seq are missing. Reset reports that the
	// requested number is greater than all existing ones, and that all events follow.
	From  uint64 `json:"from,omitempty"`  // of a gap: the first event that is missing, up to Seq
	Reset bool   `json:"reset,omitempty"` // of a gap: the requested number is greater than all, and all events follow; then it has no From

	shared *sharedJSON // nil: no other client gets it
}

type sharedJSON struct {
	once sync.Once
	data []byte
	err  error
}

// Share has the copies of e share their JSON, because many clients get them. None of them may
// be changed any more, except that the time is set to UTC.
func (e *Event) Share() { e.shared = new(sharedJSON) }

// JSON returns e in JSON. It must not be changed.
func (e *Event) JSON() ([]byte, error) {
	if e.shared == nil {
		return encodeJSON(e)
	}
	e.shared.once.Do(func() { e.shared.data, e.shared.err = encodeJSON(e) })
	return e.shared.data, e.shared.err
}

func encodeJSON(e *Event) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(e)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// PlanIn asks to keep an undo plan in the store. The plan has what the deactivation needs
// to know about what the activation has applied.
type PlanIn struct {
	ID     string `arg:"id,required"`     // the id of the reservation
	Fence  uint64 `arg:"fence,required"`  // the value of ACTIVATION_FENCE of the script's run
	Base64 string `arg:"base64,required"` // the plan, at most 4 MiB
}

// PlanOut is a piece of an undo plan.
type PlanOut struct {
	Base64 string `json:"base64"`
}

// BackupIn chooses what is copied.
type BackupIn struct {
	Queues bool `arg:"queues"` // only the queues, if they have a file of their own
}

// BackupOut is a piece of a backup.
type BackupOut struct {
	Base64 string `json:"base64"`
	Beside string `json:"beside,omitempty"` // in the first piece: the file with the queues, which the backup does not have
}

// LinkconfIn attaches a topology to a reservation. The names come from the laboratory's
// protocol of 2007.
type LinkconfIn struct {
	Resid    string `arg:"resid,required"`    // the id of the reservation
	Topology string `arg:"topology,required"` // the name of a file, or JSON in one line
}

// DellinkconfIn detaches a topology.
type DellinkconfIn struct {
	Delresid string `arg:"delresid,required"` // the id of the reservation
}

// KillIn is the old protocol's form of reload (10) and stop (15).
type KillIn struct {
	Kill int `arg:"kill,required"` // 10: reload; 15: stop the daemon
}

// CancelIn cancels an activation.
type CancelIn struct {
	ID      string   `arg:"id,required"` // the id of the job or reservation
	Reason  string   `arg:"reason"`      // why, for people
	Was     []string `arg:"was"`         // refuse it unless it is still in one of these states or statuses
	Version []string `arg:"version"`     // refuse it unless this is still its version, or one of these
}

// StopIn has the options of a stop.
type StopIn struct {
	Drain bool `arg:"drain"` // start nothing new, and stop when nothing runs any more
}

// A WhyLine is one step in the explanation of an activation's state. The last one is about
// the present.
type WhyLine struct {
	Time time.Time `json:"time,omitzero"` // when it happened
	Text string    `json:"text"`

	// Of a change that somebody requested:
	Action     string   `json:"action,omitempty"`
	Actor      *Actor   `json:"actor,omitempty"`
	Changes    []Change `json:"changes,omitempty"`
	Source     string   `json:"source,omitempty"`
	Generation uint64   `json:"generation,omitempty"`
}

// A VLANLease is a VLAN id that is not free.
type VLANLease struct {
	Domain string    `json:"domain"`
	ID     int       `json:"id"`
	State  string    `json:"state"`            // leased | quarantined
	Holder string    `json:"holder,omitempty"` // the activation that has it, or had it last
	Link   string    `json:"link,omitempty"`   // the link that it is for
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
}

// A VLANPool is a pool with the number of its ids in each state.
type VLANPool struct {
	Domain      string `json:"domain"`
	Ranges      string `json:"ranges"`            // "100-199,300"; empty: the domain is no longer in the inventory
	Exclude     string `json:"exclude,omitempty"` // "150"
	Size        int    `json:"size"`
	Free        int    `json:"free"`
	Leased      int    `json:"leased"`
	Quarantined int    `json:"quarantined"`
	Outside     int    `json:"outside,omitempty"` // ids in use that no longer belong to the pool
}

// VLANListIn selects leases.
type VLANListIn struct {
	Domain string `arg:"domain"` // only VLANs of this domain
	Holder string `arg:"holder"` // only VLANs of this activation
	State  string `arg:"state"`  // only VLANs in this state: leased | quarantined
}

// VLANAllocIn allocates ids for the links of a holder: all of them or none. The first domain
// and the first id are for the first link, and so on; a single domain is for all links.
type VLANAllocIn struct {
	Holder string   `arg:"holder,required"` // the activation that gets them
	Link   []string `arg:"link,required"`   // the links that they are for
	Domain []string `arg:"domain,required"` // the domain of each link, or one domain for all links
	ID     []string `arg:"id"`              // the id for each link; 0: the lowest free one; none: 0 for all links
}

// VLANReleaseIn names one lease, or the leases of a holder: all, or that for one link.
type VLANReleaseIn struct {
	Domain string `arg:"domain"` // the domain of the VLAN
	ID     int    `arg:"id"`     // the id of the VLAN
	Holder string `arg:"holder"` // instead of an id: the activation whose VLANs are released
	Link   string `arg:"link"`   // with holder: only the VLAN for this link
	Force  bool   `arg:"force"`  // release it even if switches may still be configured with it
}

// VLANIn names one id.
type VLANIn struct {
	Domain string `arg:"domain,required"` // the domain of the VLAN
	ID     int    `arg:"id,required"`     // the id of the VLAN
}

// VLANQuarantineIn names one id, and the reason why it must not be used.
type VLANQuarantineIn struct {
	Domain string `arg:"domain,required"` // the domain of the VLAN
	ID     int    `arg:"id,required"`     // the id of the VLAN
	Reason string `arg:"reason,required"` // why it must not be used
}

// SectionIn enters a section for as long as the reply is read.
type SectionIn struct {
	Name string `arg:"name"` // the name of the section; none: vlan
	Wait string `arg:"wait"` // how long to wait for the section, a duration: 30s; 0: not at all
	Hold string `arg:"hold"` // the longest time inside, a duration: 60s
}

// A SectionLine reports a step of entering a section. A caller that is inside stays there
// until it hangs up, or until the time for which it may hold the section has passed.
type SectionLine struct {
	What string `json:"what"`          // waiting | inside
	For  string `json:"for,omitempty"` // while waiting: the caller that is inside
}

// A SectionVisit is a caller that is inside a section, or waits for it.
type SectionVisit struct {
	Name  string    `json:"name"`
	Who   string    `json:"who"`
	What  string    `json:"what"` // inside | waiting
	Since time.Time `json:"since"`
}

// LoginIn is a step of a login to a device. It does not contain the secret.
type LoginIn struct {
	Step       string `arg:"step,required"`   // the step: ask | begin | accepted | refused
	Device     string `arg:"device,required"` // the name of the device
	User       string `arg:"user"`            // the user who logs in
	What       string `arg:"what,required"`   // what the secret is: password | enable password | key
	Digest     string `arg:"digest,required"` // the digest of the secret: 64 hexadecimal digits
	Activation string `arg:"activation"`      // the activation for which the login is; none: by hand
	Said       string `arg:"said"`            // the device's message when it refused the login
}

// LoginOut reports whether a login must not be tried.
type LoginOut struct {
	Closed string `json:"closed,omitempty"` // why not, and what to do
}

// A Login is a login to a device that is not tried again.
type Login struct {
	Device string    `json:"device"`
	User   string    `json:"user,omitempty"`
	What   string    `json:"what"`
	State  string    `json:"state"` // refused | trying: it was sent, and the result is unknown
	Tries  int       `json:"tries"`
	Since  time.Time `json:"since"`
	For    string    `json:"for,omitempty"`  // the activation
	Said   string    `json:"said,omitempty"` // the device's message
}

// DeviceIn names a device.
type DeviceIn struct {
	Device string `arg:"device,required"` // the name of the device
}
