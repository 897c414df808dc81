package reservation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"activationd/internal/fault"
)

// Limits of a reservation. They are far above what a laboratory needs, and keep a bad entry
// from harming the others.
const (
	MaxSlot     = 10 * 366 * 24 * time.Hour
	MaxDevices  = 1024
	MaxArgs     = 1024      // arguments of one command
	MaxEnv      = 256       // variables
	MaxText     = 256       // bytes of an owner or a label
	MaxArgBytes = 100 << 10 // bytes of one argument or of one variable; the kernel takes 128 KiB
	MaxTopology = 1 << 20   // bytes of a topology's text
	MaxRetries  = 1000
	MaxVLANs    = 4094 // of one domain
	MaxDomains  = 64   // in which it needs VLANs
)

// A Fault is one error in a reservation. It is of kind fault.Invalid.
type Fault struct {
	Key  string // the name of the field: "end"
	Text string // "is before start"
}

func (f Fault) Error() string { return f.Key + ": " + f.Text }

// Unwrap returns fault.Invalid.
func (f Fault) Unwrap() error { return fault.Invalid }

// Validate sorts r's devices, drops duplicates, and returns all errors in the reservation,
// or nil. A valid reservation has
//
//   - an id of at most 64 letters, digits and ._@:+- that begins with a letter or a digit,
//     has no "..", and does not consist of digits only, as the ids of jobs do;
//   - a start and an end between 1970 and 2200, the end after the start, the slot no
//     longer than [MaxSlot], a tail shorter than the slot;
//   - devices with names like ids (they may begin with an underscore, and may consist of
//     digits only);
//   - for each domain of VLANs a number from 1 to [MaxVLANs];
//   - commands that are not empty, variables with names that a shell accepts and that do not
//     begin with ACTIVATION, no NUL bytes, and no control characters where they would do harm.
//
// It does not check the topology: the source has done that.
func Validate(r *Reservation) error {
	faults := Faults(r)
	errs := make([]error, len(faults))
	for i, f := range faults {
		errs[i] = f
	}
	return errors.Join(errs...)
}

// Faults is [Validate] for sources that know the line of each key.
func Faults(r *Reservation) []Fault {
	var l faultList
	l.id(r.ID)
	l.line("owner", r.Owner)
	l.line("label", r.Label)
	l.slot(r)
	l.devices(r)
	l.vlans(r.VLANs)
	l.command("activate", r.Activate)
	l.command("deactivate", r.Deactivate)
	l.limits(r)
	l.env(r.Env)
	if len(r.Topology) > MaxTopology {
		l.add("topology", "has %d bytes, more than %d", len(r.Topology), MaxTopology)
	}
	return l
}

type faultList []Fault

func (l *faultList) add(key, format string, args ...any) {
	*l = append(*l, Fault{key, fmt.Sprintf(format, args...)})
}

func (l *faultList) id(id string) {
	switch {
	case id == "":
		l.add("id", "is missing")
	case strings.Trim(id, "0123456789") == "":
		l.add("id", "%.80s consists of digits only, like the ids of jobs; write %.80s@site, for instance", id, id)
	case !name(id, false):
		l.add("id", "%.80q is not 1 to 64 letters, digits and ._@:+- beginning with a letter or digit, without \"..\"", id)
	}
}

// name reports whether s can be an id or a device's name.
func name(s string, underscore bool) bool {
	if s == "" || len(s) > 64 || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i == 0 && !(underscore && c == '_'):
			return false
		case strings.IndexByte("._@:+-", c) < 0:
			return false
		}
	}
	return true
}

// line checks a text that lists show.
func (l *faultList) line(key, s string) {
	if len(s) > MaxText {
		l.add(key, "has %d bytes, more than %d", len(s), MaxText)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		l.add(key, "%.80q has control characters or is not UTF-8", s)
	}
}

func (l *faultList) slot(r *Reservation) {
	valid := true
	for _, t := range []struct {
		key string
		at  time.Time
	}{{"start", r.Start}, {"end", r.End}} {
		if t.at.IsZero() {
			l.add(t.key, "is missing")
			valid = false
		} else if y := t.at.UTC().Year(); y < 1970 || y >= 2200 {
			l.add(t.key, "is in the year %d, which is not from 1970 to 2199", y)
			valid = false
		}
	}
	if !valid {
		return
	}
	switch slot := r.End.Sub(r.Start); {
	case slot == 0:
		l.add("end", "is the same as start")
	case slot < 0:
		l.add("end", "is before start")
	case slot > MaxSlot:
		l.add("end", "is more than 10 years after start")
	case r.Tail != nil && *r.Tail >= slot:
		l.add("tail", "%v is not shorter than the slot of %v", *r.Tail, slot)
	}
}

func (l *faultList) devices(r *Reservation) {
	if !slices.IsSorted(r.Devices) {
		r.Devices = slices.Sorted(slices.Values(r.Devices)) // not in place: others may share the slice
	}
	for i := 1; i < len(r.Devices); i++ {
		if r.Devices[i] == r.Devices[i-1] {
			r.Devices = slices.Compact(slices.Clone(r.Devices))
			break
		}
	}
	if len(r.Devices) > MaxDevices {
		l.add("devices", "are %d, more than %d", len(r.Devices), MaxDevices)
		return
	}
	for _, d := range r.Devices {
		if !name(d, true) {
			l.add("devices", "%.80q is not 1 to 64 letters, digits and ._@:+- beginning with a letter, digit or _, without \"..\"", d)
		}
	}
}

func (l *faultList) vlans(vlans map[string]int) {
	if len(vlans) > MaxDomains {
		l.add("vlans", "has %d domains, more than %d", len(vlans), MaxDomains)
		return
	}
	for _, domain := range slices.Sorted(maps.Keys(vlans)) {
		if n := vlans[domain]; n < 1 || n > MaxVLANs {
			l.add("vlans", "%.80s: %d is not from 1 to %d; leave the domain out if it needs none", domain, n, MaxVLANs)
		}
		if !name(domain, false) || strings.ContainsAny(domain, "@:+") {
			l.add("vlans", "%.80q is not a domain's name: 1 to 64 letters, digits and ._- beginning with a letter or digit", domain)
		}
	}
}

func (l *faultList) command(key string, args []string) {
	switch {
	case args == nil:
	case len(args) == 0 || args[0] == "":
		l.add(key, "has no command; leave it out for the configuration's default")
	case len(args) > MaxArgs:
		l.add(key, "has %d arguments, more than %d", len(args), MaxArgs)
	default:
		for _, a := range args {
			l.passable(key, a)
		}
	}
}

// passable checks a text that is passed to a process.
func (l *faultList) passable(key, s string) {
	if len(s) > MaxArgBytes {
		l.add(key, "%.20q... has %d bytes, more than %d", s, len(s), MaxArgBytes)
	}
	if strings.IndexByte(s, 0) >= 0 {
		l.add(key, "%.80q has a NUL byte, which cannot be passed to a process", s)
	}
}

func (l *faultList) limits(r *Reservation) {
	for _, d := range []struct {
		key  string
		v    *time.Duration
		zero bool
	}{{"lead", r.Lead, true}, {"tail", r.Tail, true}, {"timeout", r.Timeout, false}, {"grace", r.Grace, true}} {
		switch {
		case d.v == nil:
		case *d.v < 0:
			l.add(d.key, "%v is negative", *d.v)
		case *d.v == 0 && !d.zero:
			l.add(d.key, "must be more than 0")
		case *d.v > MaxSlot:
			l.add(d.key, "%v is more than 10 years", *d.v)
		}
	}
	if r.Retries != nil && (*r.Retries < 0 || *r.Retries > MaxRetries) {
		l.add("retries", "%d is not from 0 to %d", *r.Retries, MaxRetries)
	}
	if r.Missed != "" && r.Missed != "run" && r.Missed != "skip" {
		l.add("missed", "%.80q is neither run nor skip", r.Missed)
	}
}

func (l *faultList) env(env map[string]string) {
	if len(env) > MaxEnv {
		l.add("env", "has %d variables, more than %d", len(env), MaxEnv)
		return
	}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		switch {
		case !variable(k):
			l.add("env", "%.80q is not a variable's name: letters, digits and _, not beginning with a digit", k)
		case strings.HasPrefix(k, "ACTIVATION"): // ACTIVATIOND_SOCKET as well
			l.add("env", "%.80s: names that begin with ACTIVATION are reserved for the daemon", k)
		}
		l.passable("env", env[k])
	}
}

func variable(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
		case '0' <= c && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}
