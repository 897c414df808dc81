package device

import (
	"fmt"
	"strings"
	"time"

	"activationd/internal/fault"
)

// A Target describes a device: where it is, how to talk to it, and how fast.
type Target struct {
	// Name is the device's name in messages.
	Name string
	// URL is the address of the device: ssh://HOST[:22], telnet://HOST[:23], tcp://HOST:PORT,
	// rfc2217://HOST:PORT or serial:///dev/ttyS0. See [CheckURL] for the settings that may
	// follow.
	URL string
	// Platform is the dialog of the device.
	Platform Platform
	// Questions has patterns of the questions that this device asks at its login, in addition
	// to those of its platform.
	Questions LoginDialog
	Login     Login
	// Guard keeps secrets that were refused from being tried again by later sessions. It may
	// be nil.
	Guard    Guard
	HostKeys HostKeys
	// OldAlgorithms lets SSH use broken algorithms (SHA-1, CBC, DSA …), for devices that know
	// no better ones.
	OldAlgorithms bool
	Pace          Pace
	Limits        Limits
	// Notice is called with messages of the device about lines that it accepts. It may be nil.
	Notice func(Notice) `json:"-"`
}

// A Notice is what a device said to a line of a configuration, or to the commit, without
// refusing it. It does not say whether the line is in force; reading back does.
type Notice struct {
	Said string // with secrets masked
	Line string // preceded by the lines of the blocks around it, with secrets masked
}

func (n Notice) String() string {
	return fmt.Sprintf("the device says: %s, to: %s", strings.ReplaceAll(n.Said, "\n", " / "), n.Line)
}

// Login has the answers to the questions of a login. If a device asks for something that is
// empty, the login fails.
type Login struct {
	User     string
	Password Secret
	// Enable is the password of the privileged mode. If it is empty, Password is tried.
	Enable Secret
	// Key is a private key without a passphrase, in PEM or in OpenSSH's format.
	Key Secret
}

// userName returns the user's name as it is given at the login.
func (t Target) userName() string {
	if t.Login.User == "" || strings.Contains(t.Login.User, "+") {
		return t.Login.User // the name already has a suffix
	}
	return t.Login.User + t.Platform.LoginSuffix
}

// A Secret is text that is not printed by accident.
type Secret string

func (Secret) String() string { return "(secret)" }

// GoString is for %#v.
func (Secret) GoString() string { return "(secret)" }

// MarshalText keeps secrets out of JSON and YAML.
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// HostKeys are the keys by which an SSH server is identified. Without any, every server is
// refused.
type HostKeys struct {
	// Lines are keys as in "ssh-ed25519 AAAA…", one on each line.
	Lines string
	// File is a file in the format of ssh's known_hosts.
	File string
}

// Pace is how fast a device can be written to. Zero values are no limits.
type Pace struct {
	// Character is the pause after each byte.
	Character time.Duration
	// Chunk is how many bytes may be typed before their echo has come. 0 means a whole line.
	Chunk int
	// ChunkDelay is the pause after each chunk.
	ChunkDelay time.Duration
	// Line is the pause after each line.
	Line time.Duration
}

// Limits bound what a device may take. Zero values are the defaults.
type Limits struct {
	// Connect is the time for connecting and logging in; the default is 60 s.
	Connect time.Duration
	// Command is the time for the answer to one command, up to the prompt; the default is 60
	// s.
	Command time.Duration
	// Output is how many bytes one answer may have; the default is 16 MiB.
	Output int
	// Logins is not used any more, because a secret is given only once. Plans that earlier
	// versions stored may have it.
	Logins int
	// Repairs is how often a line with a wrong echo is erased and typed again; the default is
	// 5.
	Repairs int
}

func (l Limits) connect() time.Duration { return positiveOr(l.Connect, time.Minute) }
func (l Limits) command() time.Duration { return positiveOr(l.Command, time.Minute) }
func (l Limits) output() int            { return positiveOr(l.Output, 16<<20) }
func (l Limits) repairs() int           { return positiveOr(l.Repairs, 5) }

func positiveOr[T time.Duration | int](value, otherwise T) T {
	if value <= 0 {
		return otherwise
	}
	return value
}

// A pause longer than maxPause is a mistake.
const maxPause = time.Minute

func (p Pace) check() error {
	for _, d := range []time.Duration{p.Character, p.ChunkDelay, p.Line} {
		if d < 0 || d > maxPause {
			return fmt.Errorf("pace: a pause of %v: must be from 0 to %v: %w", d, maxPause, fault.Invalid)
		}
	}
	if p.Chunk < 0 {
		return fmt.Errorf("pace: a chunk of %d bytes: must be 0 or more: %w", p.Chunk, fault.Invalid)
	}
	return nil
}
