package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"activationd/activation"
	"activationd/internal/fault"
)

// lookupUser finds a user by name or number.
func lookupUser(name string) (*user.User, error) {
	if _, err := strconv.ParseUint(name, 10, 32); err == nil {
		u, err := user.LookupId(name)
		if err == nil {
			return u, nil
		}
		if _, unknown := errors.AsType[user.UnknownUserIdError](err); !unknown {
			return nil, fmt.Errorf("user %s: %w: %w", name, err, fault.Unavailable)
		}
	}
	u, err := user.Lookup(name)
	if _, unknown := errors.AsType[user.UnknownUserError](err); unknown {
		return nil, fmt.Errorf("there is no user %s", name)
	}
	if err != nil { // there may be no file descriptors left, for example
		return nil, fmt.Errorf("user %s: %w: %w", name, err, fault.Unavailable)
	}
	return u, nil
}

// lookupIdentity finds a user by name or number, with everything that a login would give
// that user.
func lookupIdentity(name string) (*activation.Identity, error) {
	u, err := lookupUser(name)
	if err != nil {
		return nil, err
	}
	id := &activation.Identity{Name: u.Username, Home: u.HomeDir, Shell: loginShell(u.Username)}
	if id.UID, err = strconv.Atoi(u.Uid); err != nil {
		return nil, fmt.Errorf("user %s: uid: %w", name, err)
	}
	if id.GID, err = strconv.Atoi(u.Gid); err != nil {
		return nil, fmt.Errorf("user %s: gid: %w", name, err)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of user %s: %w: %w", name, err, fault.Unavailable)
	}
	for _, g := range groups {
		n, err := strconv.Atoi(g)
		if err != nil {
			return nil, fmt.Errorf("groups of user %s: %w", name, err)
		}
		id.Groups = append(id.Groups, n)
	}
	return id, nil
}

// userID returns the uid of a user, and reports whether the user exists.
func userID(name string) (int, bool) {
	u, err := lookupUser(name)
	if err != nil || u.Username != name {
		return 0, false
	}
	n, err := strconv.Atoi(u.Uid)
	return n, err == nil
}

// loginShell reads a user's shell from /etc/passwd: os/user does not have it.
func loginShell(name string) string {
	const standard = "/bin/sh"
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return standard
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Split(lines.Text(), ":"); len(fields) == 7 && fields[0] == name && fields[6] != "" {
			return fields[6]
		}
	}
	return standard
}

// userName returns the name of a user, given by name or number.
func userName(user string) (string, bool) {
	u, err := lookupUser(user)
	if err != nil {
		return "", false
	}
	return u.Username, true
}
