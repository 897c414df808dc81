package control

import (
	"fmt"

	"activationd/internal/fault"
)

// A Role says what a caller may do. Each role includes the lower ones.
type Role uint8

// The roles, lowest first. The zero Role may do nothing except identify itself.
const (
	NoRole    Role = iota // not identified yet, or without rights
	Viewer                // may look
	Submitter             // and submit jobs, and change their own jobs
	Operator              // and change other users' jobs and reservations, and reload
	Admin                 // and stop the daemon, copy its state, and forgive
)

var roleNames = [...]string{"none", "viewer", "submitter", "operator", "admin"}

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// ParseRole is the inverse of [Role.String]. Its error is of kind fault.Invalid.
func ParseRole(s string) (Role, error) {
	for i, name := range roleNames {
		if s == name {
			return Role(i), nil
		}
	}
	return NoRole, fmt.Errorf("role %q: must be none, viewer, submitter, operator or admin: %w", s, fault.Invalid)
}

// A CallerKind says how a caller is identified.
type CallerKind string

// The kinds of callers.
const (
	ByUID         CallerKind = "uid"         // by the uid of a process that connected over a Unix socket
	ByToken       CallerKind = "token"       // by the secret of a token
	ByCertificate CallerKind = "certificate" // by a TLS certificate
	ByAddress     CallerKind = "address"     // by the IP address only
	ByFront       CallerKind = "front"       // by the front server that identified a user
)

// A Caller is the user, the token or the certificate behind a request.
type Caller struct {
	Kind CallerKind
	Role Role
	Name string // for owners and the log: a user's, a token's, a certificate's
	UID  int    // -1 when not known, as over TCP without a user for the token
	GID  int    // -1 when not known
	PID  int    // of the process that connected over a Unix socket; 0 when not known
	Conn uint64 // the number of the connection over a Unix socket; 0 when not known
	Via  string // how the caller connected: "unix pid 7", "tcp 127.0.0.1:4711", "tls ...", "token ops"
}

// May returns nil if c's role is at least r, and otherwise an error of kind fault.Denied
// that names the operation and the role that it needs.
func (c Caller) May(what string, r Role) error {
	if c.Role >= r {
		return nil
	}
	name := c.Name
	if name == "" {
		name = "the caller"
	}
	if c.Role == NoRole {
		return fmt.Errorf("%s needs the role %s, and %s (%s) has none; give a token or ask an admin for a role: %w",
			what, r, name, c.Via, fault.Denied)
	}
	return fmt.Errorf("%s needs the role %s, and %s (%s) is %s: %w", what, r, name, c.Via, c.Role, fault.Denied)
}
