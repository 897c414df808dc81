package control

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The wire forms repeat fields of the core's types on purpose: scripts are
// written against these names, so they change only by addition.

// An Activation is one reservation's or one job's state, as list tells it.
type Activation struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"` // job | reservation
	Owner   string    `json:"owner"`
	State   string    `json:"state"`
	Outcome string    `json:"outcome"` // empty until finished
	Due     time.Time `json:"due"`     // what it waits for, or began by; RFC 3339 with nanoseconds
	Start   time.Time `json:"start"`
	End     Instant   `json:"end"` // a reservation's slot's end; when a job ended: null before
	Label   string    `json:"label"`
	Reason  string    `json:"reason"`            // why it is in this state, in words
	Command string    `json:"command,omitempty"` // the beginning of a job's command

	Priority int       `json:"priority,omitempty"`
	Tags     []string  `json:"tags,omitempty"`
	Progress *Progress `json:"progress,omitempty"` // of the attempt that runs
	Hidden   bool      `json:"hidden,omitempty"`   // what is not for the caller to see has been left out

	Every      string    `json:"every,omitempty"`     // the recurrence that made it
	Occurrence time.Time `json:"occurrence,omitzero"` // which one of its occurrences it is
}

// A Progress is how far a script says that it has come.
type Progress struct {
	Percent *int      `json:"percent,omitempty"` // 0 to 100
	Text    string    `json:"text,omitempty"`
	At      time.Time `json:"at"` // when it said so
}

// Bytes has what runs in base64, as it really is, when there is something in it that is
// no text: names are bytes. Of the fields that it stands for, each such byte is written
// as four characters, \xff, for people to read.
type Bytes struct {
	Activate   [][]byte `json:"activate,omitempty"`
	Deactivate [][]byte `json:"deactivate,omitempty"`
	Dir        []byte   `json:"dir,omitempty"`
}

// ShowBytes makes texts of what runs, and returns what they really are; nil if they
// are that.
func ShowBytes(activate, deactivate *[]string, dir *string) *Bytes {
	all := append(append([]string{*dir}, *activate...), *deactivate...)
	if !slices.ContainsFunc(all, func(s string) bool { return !utf8.ValidString(s) }) {
		return nil
	}
	b := &Bytes{Activate: raw(*activate), Deactivate: raw(*deactivate), Dir: []byte(*dir)}
	*activate, *deactivate, *dir = texts(*activate), texts(*deactivate), Text(*dir)
	return b
}

// Restore gives back what runs as it really is; nil changes nothing.
func (b *Bytes) Restore(activate, deactivate []string, dir string) (realActivate, realDeactivate []string, realDir string) {
	if b == nil {
		return activate, deactivate, dir
	}
	return unraw(b.Activate), unraw(b.Deactivate), string(b.Dir)
}

// Text writes each byte of s that is no text as \xff.
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

// An Instant is a time that may not have come: then it is the zero time, and
// null in JSON.
type Instant struct{ time.Time }

// MarshalJSON implements [json.Marshaler].
func (i Instant) MarshalJSON() ([]byte, error) {
	if i.IsZero() {
		return []byte("null"), nil
	}
	return i.Time.MarshalJSON()
}

// A Detail is an activation with all that is known of it, as show tells it.
type Detail struct {
	Activation
	Phase        string    `json:"phase,omitempty"`
	Generation   uint64    `json:"generation,omitempty"`
	Source       string    `json:"source,omitempty"`
	Devices      []string  `json:"devices,omitempty"`   // once activated those that it was activated with
	Announced    []string  `json:"announced,omitempty"` // the devices that it is to have now, if they are others
	Locks        []string  `json:"locks,omitempty"`
	After        []string  `json:"after,omitempty"`
	Deadline     time.Time `json:"deadline,omitzero"`
	WaitsFor     []string  `json:"waits_for,omitempty"` // "lock sw1, held by 1042@ostrava"
	Activate     []string  `json:"activate,omitempty"`
	Deactivate   []string  `json:"deactivate,omitempty"`
	Dir          string    `json:"dir,omitempty"`
	Bytes        *Bytes    `json:"bytes,omitempty"` // of Activate, Deactivate and Dir, what they really are
	Timeout      string    `json:"timeout,omitempty"`
	Grace        string    `json:"grace,omitempty"`
	Retries      int       `json:"retries"`
	Backoff      string    `json:"backoff,omitempty"` // the first pause before another attempt
	Missed       string    `json:"missed,omitempty"`
	Topology     string    `json:"topology,omitempty"`
	Created      time.Time `json:"created"`
	Attempts     []Attempt `json:"attempts"`
	RunDirectory string    `json:"run_directory,omitempty"` // of the newest attempt, on the daemon's machine
}

// An Attempt is one run of one phase.
type Attempt struct {
	Phase     string    `json:"phase"`
	N         int       `json:"n"`
	PID       int       `json:"pid"` // the script's; 0 if it never started
	Started   time.Time `json:"started,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`
	Exit      *int      `json:"exit"`   // null when it did not exit by itself
	Signal    string    `json:"signal"` // "KILL", when one ended it
	Reason    string    `json:"reason"` // exited, timeout, stopped, failed, lost, not-started, unborn, void, disarmed
	Contained string    `json:"contained"`
	Leftovers int       `json:"leftovers"`      // processes killed after the script's own end
	Hung      []int     `json:"hung,omitempty"` // processes that hang in the kernel and do not die: the end is not verified
	Rusage    Rusage    `json:"rusage"`
}

// A Rusage is what an attempt's processes used.
type Rusage struct {
	User   float64 `json:"user"`   // seconds
	System float64 `json:"system"` // seconds
	MaxRSS int64   `json:"maxrss"` // KiB, of the largest process
}

// AddIn asks for a new job.
type AddIn struct {
	At      string   `arg:"at"`                        // "2026-11-21 10:00", RFC 3339, "now"; daemon's zone unless it names one
	In      string   `arg:"in"`                        // a duration from now; at and in exclude each other, none means now
	Arg     []string `arg:"arg,either" bytes:"yes"`    // the command, one argument each; or
	Script  string   `arg:"script,either" bytes:"yes"` // a shell script, fed to /bin/sh on its standard input
	Stdin   string   `arg:"stdin" bytes:"yes"`         // the command's standard input
	Dir     string   `arg:"dir" bytes:"yes"`
	Env     []string `arg:"env" bytes:"yes"` // K=V
	Timeout string   `arg:"timeout"`
	Grace   string   `arg:"grace"`
	Lock    []string `arg:"lock"`    // NAME, NAME:shared, NAME=UNITS/CAPACITY
	Retries string   `arg:"retries"` // empty: as the configuration says
	Label   string   `arg:"label"`
	Missed  string   `arg:"missed"` // run | skip
	Umask   string   `arg:"umask"`  // octal
	Hold    bool     `arg:"hold"`

	Priority int      `arg:"priority"` // -99 to 99; the highest first among those who wait for the same
	After    []string `arg:"after"`    // ID, ID:success, ID:failure, ID:any
	Deadline string   `arg:"deadline"` // a time as in at, or a duration after the start
	Tag      []string `arg:"tag"`      // several also with commas
	Backoff  string   `arg:"backoff"`  // the pause before the second attempt; it doubles
}

// EditIn changes a job that has not begun. What is not given stays as it is.
type EditIn struct {
	ID       string   `arg:"id,required"`
	At       string   `arg:"at"`
	In       string   `arg:"in"`
	Arg      []string `arg:"arg" bytes:"yes"` // a new command
	Script   string   `arg:"script" bytes:"yes"`
	Dir      string   `arg:"dir" bytes:"yes"`
	Env      []string `arg:"env" bytes:"yes"` // set these, and leave the others
	Timeout  string   `arg:"timeout"`
	Grace    string   `arg:"grace"`
	Lock     []string `arg:"lock"` // all that it shall have
	Retries  string   `arg:"retries"`
	Backoff  string   `arg:"backoff"`
	Label    string   `arg:"label"`
	Missed   string   `arg:"missed"`
	Priority string   `arg:"priority"`
	Deadline string   `arg:"deadline"`
	Tag      []string `arg:"tag"`   // all that it shall have
	Clear    []string `arg:"clear"` // lock, label, tag, deadline, env; timeout, grace, retries, backoff: as the configuration says
}

// ProgressIn tells how far a script has come.
type ProgressIn struct {
	ID      string `arg:"id,required"`
	Percent string `arg:"percent,either"` // 0 to 100
	Text    string `arg:"text,either"`
}

// A Lock is one activation's use of a lock, or its wait for it.
type Lock struct {
	Lock string   `json:"lock"`
	ID   string   `json:"id"`
	Want string   `json:"want"`          // as it was asked for: NAME, NAME:shared, NAME=UNITS/CAPACITY
	What string   `json:"what"`          // holds | waits
	For  []string `json:"for,omitempty"` // who holds it, or else who comes before; none: it waits for something else
}

// AddOut names the new job.
type AddOut struct {
	ID  string    `json:"id"`
	Due time.Time `json:"due"`
}

// IDIn names one activation.
type IDIn struct {
	ID string `arg:"id,required"`
}

// ListIn narrows a list.
type ListIn struct {
	State []string `arg:"state"` // only these; "all" for finished ones too; none means all but finished
	Owner string   `arg:"owner"`
	Kind  string   `arg:"kind"`
	Label string   `arg:"label"`
	Every string   `arg:"every"` // only a recurrence's
	Tag   []string `arg:"tag"`   // all of these
	Limit int      `arg:"limit"` // 0: no limit
}

// LogIn asks for an attempt's output.
type LogIn struct {
	ID      string `arg:"id,required"`
	Phase   string `arg:"phase"`   // none: the newest attempt's
	Attempt int    `arg:"attempt"` // none: the newest
	Follow  bool   `arg:"follow"`  // until the activation is finished
}

// LogOut is a piece of output.
type LogOut struct {
	Text   string `json:"text,omitempty"`   // when it is UTF-8
	Base64 string `json:"base64,omitempty"` // when it is not
}

// WaitOut tells how an activation ended.
type WaitOut struct {
	Activation
	Exit int `json:"exit"` // as atctl wait shall exit: the status, 128+signal, 124, 125, 126, 127
}

// ReloadIn modifies a reload.
type ReloadIn struct {
	Force  bool `arg:"force"`
	DryRun bool `arg:"dry-run"`
}

// A ReloadLine is one thing to know about a load.
type ReloadLine struct {
	What   string `json:"what"` // added | changed | removed (dry run), rejected, failed, notice
	ID     string `json:"id,omitempty"`
	Source string `json:"source,omitempty"`
	Text   string `json:"text,omitempty"` // "lab.yml:12: end: is before start"
}

// StatusOut is the daemon's own state.
type StatusOut struct {
	Version    string         `json:"version"`
	PID        int            `json:"pid"`
	Started    time.Time      `json:"started"`
	Guard      string         `json:"guard"` // cgroup | subreaper | group
	GuardWhy   string         `json:"guard_why,omitempty"`
	StateDir   string         `json:"state_dir"`
	RuntimeDir string         `json:"runtime_dir"`
	User       string         `json:"user"`
	Generation uint64         `json:"generation"`
	Next       time.Time      `json:"next,omitzero"` // when something may next happen to what is not finished
	Running    int            `json:"running"`
	Unverified int            `json:"unverified,omitempty"` // attempts that have ended but for processes that hang in the kernel
	States     map[string]int `json:"states"`
	Sources    []SourceStatus `json:"sources"`
	Draining   bool           `json:"draining,omitempty"`
	Logins     int            `json:"refused_logins,omitempty"` // that are not tried again

	// ClockTrusted is false while what the clock passed over when it was set waits;
	// ClockWhy says what is the matter.
	ClockTrusted bool   `json:"clock_trusted"`
	ClockWhy     string `json:"clock_why,omitempty"`
}

// A SourceStatus is how a source's last load went.
type SourceStatus struct {
	Name  string    `json:"name"`
	Live  int       `json:"live"`
	Read  time.Time `json:"read,omitzero"`
	Error string    `json:"error,omitempty"`
}

// EventsIn narrows the stream of events.
type EventsIn struct {
	Since uint64 `arg:"since"` // only later ones than this number
	ID    string `arg:"id"`
}

// An Event is something that happened.
type Event struct {
	Seq    uint64    `json:"seq"` // rises, also over restarts; gaps mean nothing
	Time   time.Time `json:"time"`
	What   string    `json:"what"` // state, attempt.started, attempt.ended, load, ...
	ID     string    `json:"id,omitempty"`
	State  string    `json:"state,omitempty"`
	Reason string    `json:"reason,omitempty"`

	Outcome string `json:"outcome,omitempty"` // of what has finished
	Phase   string `json:"phase,omitempty"`   // of an attempt
	Attempt int    `json:"attempt,omitempty"` // its number
}

// BackupOut is a piece of a backup.
type BackupOut struct {
	Base64 string `json:"base64"`
}

// LinkconfIn attaches a topology to a reservation. The names are those of the
// laboratory's protocol of 2007.
type LinkconfIn struct {
	Resid    string `arg:"resid,required"`
	Topology string `arg:"topology,required"` // a file's name, or JSON in one line
}

// DellinkconfIn takes a topology away again.
type DellinkconfIn struct {
	Delresid string `arg:"delresid,required"`
}

// KillIn is the old way to say reload (10) and stop (15).
type KillIn struct {
	Kill int `arg:"kill,required"`
}

// CancelIn cancels an activation.
type CancelIn struct {
	ID     string `arg:"id,required"`
	Reason string `arg:"reason"`
}

// StopIn modifies a stop.
type StopIn struct {
	Drain bool `arg:"drain"` // wait for what runs, start nothing new
}

// A WhyLine is one thing that explains an activation's state. The last one is
// about now.
type WhyLine struct {
	Time time.Time `json:"time,omitzero"` // when it happened
	Text string    `json:"text"`
}

// A VLANLease is a VLAN id that is not free.
type VLANLease struct {
	Domain string    `json:"domain"`
	ID     int       `json:"id"`
	State  string    `json:"state"`            // leased | quarantined
	Holder string    `json:"holder,omitempty"` // who has it, or had it last
	Link   string    `json:"link,omitempty"`   // what for
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
}

// A VLANPool is a pool and what has become of its ids.
type VLANPool struct {
	Domain      string `json:"domain"`
	Ranges      string `json:"ranges"`            // "100-199,300"; empty: the inventory has the domain no more
	Exclude     string `json:"exclude,omitempty"` // "150"
	Size        int    `json:"size"`
	Free        int    `json:"free"`
	Leased      int    `json:"leased"`
	Quarantined int    `json:"quarantined"`
	Outside     int    `json:"outside,omitempty"` // not free, and not of the pool any more
}

// VLANListIn narrows a list of leases.
type VLANListIn struct {
	Domain string `arg:"domain"`
	Holder string `arg:"holder"`
	State  string `arg:"state"`
}

// VLANAllocIn asks for ids for a holder's links, all or none. The first domain
// and the first id are the first link's, and so on; one domain may be all links'.
type VLANAllocIn struct {
	Holder string   `arg:"holder,required"`
	Link   []string `arg:"link,required"`
	Domain []string `arg:"domain,required"`
	ID     []string `arg:"id"` // this one; 0: the lowest that is free. None means 0 for all
}

// VLANReleaseIn names one lease, or a holder's: all, or that for one link.
type VLANReleaseIn struct {
	Domain string `arg:"domain"`
	ID     int    `arg:"id"`
	Holder string `arg:"holder"`
	Link   string `arg:"link"`
	Force  bool   `arg:"force"` // also from an activation that may have it on the switches
}

// VLANIn names one id.
type VLANIn struct {
	Domain string `arg:"domain,required"`
	ID     int    `arg:"id,required"`
}

// VLANQuarantineIn names one id, and says why nobody may have it.
type VLANQuarantineIn struct {
	Domain string `arg:"domain,required"`
	ID     int    `arg:"id,required"`
	Reason string `arg:"reason,required"`
}

// SectionIn asks for a section, for as long as the reply is read.
type SectionIn struct {
	Name string `arg:"name"` // "vlan" if there is none
	Wait string `arg:"wait"` // for it to be free: 30s; 0 not at all
	Hold string `arg:"hold"` // at most: 60s
}

// A SectionLine tells how an entry goes: it may have to wait; once it is inside,
// it is that until the caller hangs up, or the time to hold it is over.
type SectionLine struct {
	What string `json:"what"`          // waiting | inside
	For  string `json:"for,omitempty"` // while waiting: who is inside
}

// A SectionVisit is somebody in a section, or in line for it.
type SectionVisit struct {
	Name  string    `json:"name"`
	Who   string    `json:"who"`
	What  string    `json:"what"` // inside | waiting
	Since time.Time `json:"since"`
}

// LoginIn is a step of a login to a device. The secret itself is not told.
type LoginIn struct {
	Step       string `arg:"step,required"` // ask | begin | accepted | refused
	Device     string `arg:"device,required"`
	User       string `arg:"user"`
	What       string `arg:"what,required"`   // password | enable password | key
	Digest     string `arg:"digest,required"` // of the secret: 64 hexadecimal digits
	Activation string `arg:"activation"`      // for which; none: by hand
	Said       string `arg:"said"`            // what the device said when it refused
}

// LoginOut reports whether a login must not be tried.
type LoginOut struct {
	Closed string `json:"closed,omitempty"` // why, and what to do
}

// A Login is one that is not tried again.
type Login struct {
	Device string    `json:"device"`
	User   string    `json:"user,omitempty"`
	What   string    `json:"what"`
	State  string    `json:"state"` // refused | trying: it was given, and nobody knows whether it was right
	Tries  int       `json:"tries"`
	Since  time.Time `json:"since"`
	For    string    `json:"for,omitempty"`  // which activation
	Said   string    `json:"said,omitempty"` // by the device
}

// DeviceIn names a device.
type DeviceIn struct {
	Device string `arg:"device,required"`
}
