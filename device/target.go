package device

import (
	"fmt"
	"strings"
	"time"

	"activationd/internal/fault"
)

// A Target is a device as the inventory describes it: where it is, how to speak
// with it, and how gently.
type Target struct {
	// Name is what messages call it.
	Name string
	// URL says how it is reached: ssh://HOST[:22], telnet://HOST[:23], tcp://HOST:PORT,
	// rfc2217://HOST:PORT or serial:///dev/ttyS0. See [CheckURL] for what may follow.
	URL string
	// Platform is its dialog.
	Platform Platform
	// Questions are patterns of what this device asks at its login, beside the platform's.
	Questions LoginDialog
	Login     Login
	// Guard keeps refused secrets from being tried again by later sessions; nil: nobody does.
	Guard    Guard
	HostKeys HostKeys
	// OldAlgorithms lets SSH use what is broken (SHA-1, CBC, DSA …), for devices that
	// know nothing better.
	OldAlgorithms bool
	Pace          Pace
	Limits        Limits
	// Notice is told what the device says to lines that it takes. It may be nil.
	Notice func(Notice) `json:"-"`
}

// A Notice is what a device said to a line of a configuration, or to the commit, without
// refusing it. Whether the line does what was meant, reading back tells.
type Notice struct {
	Said string // secrets masked
	Line string // with the lines that it stands under before it, secrets masked
}

func (n Notice) String() string {
	return fmt.Sprintf("the device says: %s, to: %s", strings.ReplaceAll(n.Said, "\n", " / "), n.Line)
}

// Login is what a device may ask for. What is empty is not had: a device that asks
// for it is not logged in to.
type Login struct {
	User     string
	Password Secret
	// Enable is the password of the privileged mode; without it Password is tried.
	Enable Secret
	// Key is a private key in PEM, or OpenSSH's format, without a passphrase.
	Key Secret
}

// userName is the user as he is named at the login.
func (t Target) userName() string {
	if t.Login.User == "" || strings.Contains(t.Login.User, "+") {
		return t.Login.User // it may have a suffix of its own
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

// HostKeys are the keys by which an SSH server may prove that it is the right one.
// With none, no server is.
type HostKeys struct {
	// Lines are keys as "ssh-ed25519 AAAA…", one a line.
	Lines string
	// File is a known_hosts file, as ssh has it.
	File string
}

// Pace is how fast a device can be written to. Zeros are as fast as it goes.
type Pace struct {
	// Character is the pause after each byte.
	Character time.Duration
	// Chunk is how many bytes may be on the way to the device unconfirmed by their
	// echo. 0 is a line.
	Chunk int
	// ChunkDelay is the pause after each chunk.
	ChunkDelay time.Duration
	// Line is the pause after each line.
	Line time.Duration
}

// Limits bound what a device may take. A zero is the default.
type Limits struct {
	// Connect is for reaching it and logging in; 60 s.
	Connect time.Duration
	// Command is for the answer to one command, until the prompt; 60 s.
	Command time.Duration
	// Output is how many bytes one answer may have; 16 MiB.
	Output int
	// Logins is not used any more: a secret is given once. Plans that were kept by earlier
	// versions name it.
	Logins int
	// Repairs is how often a line whose echo is wrong is erased and typed again; 5.
	Repairs int
}

func (l Limits) connect() time.Duration { return orElse(l.Connect, time.Minute) }
func (l Limits) command() time.Duration { return orElse(l.Command, time.Minute) }
func (l Limits) output() int            { return orElse(l.Output, 16<<20) }
func (l Limits) repairs() int           { return orElse(l.Repairs, 5) }

func orElse[T time.Duration | int](value, otherwise T) T {
	if value <= 0 {
		return otherwise
	}
	return value
}

// slowest is a pause that nobody means.
const slowest = time.Minute

func (p Pace) check() error {
	for _, d := range []time.Duration{p.Character, p.ChunkDelay, p.Line} {
		if d < 0 || d > slowest {
			return fmt.Errorf("pace: a pause of %v; it may be from 0 to %v: %w", d, slowest, fault.Invalid)
		}
	}
	if p.Chunk < 0 {
		return fmt.Errorf("pace: a chunk of %d bytes: %w", p.Chunk, fault.Invalid)
	}
	return nil
}
