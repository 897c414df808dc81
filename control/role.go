package control

import (
	"fmt"

	"activationd/internal/fault"
)

// A Role is what a caller may do. Each includes those below it.
type Role uint8

// The roles, least first. The zero Role may do nothing but say who it is.
const (
	NoRole    Role = iota // known to be nobody, or not known yet
	Viewer                // look
	Submitter             // and have jobs of his own
	Operator              // and others' jobs and reservations; reload
	Admin                 // and stop the daemon, take its backup, forgive
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
	return NoRole, fmt.Errorf("role %q: is none of none, viewer, submitter, operator, admin: %w", s, fault.Invalid)
}

// A Caller is who asks.
type Caller struct {
	Role Role
	Name string // for owners and the log: a user's, a token's, a certificate's
	UID  int    // -1 when not known, as over TCP without a user for the token
	GID  int    // -1 when not known
	PID  int    // of the process that connected over a Unix socket; 0 when not known
	Conn uint64 // tells a connection over a Unix socket from the others; 0 when not known
	Via  string // how he came: "unix", "tcp 127.0.0.1:4711", "tls ...", "token ops"

	// Anonymous is who is known by where he comes from only: neither by a uid, nor
	// by a certificate or a token.
	Anonymous bool
}

// May returns nil if c's role is at least r, and otherwise an error of kind
// fault.Denied that says what he wanted and what it takes.
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
