package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
)

// identities are the users that jobs run as.
type identities struct {
	uid      int  // the daemon's own
	switches bool // jobs can run as others
	limits   limits

	mu    sync.Mutex
	known map[int]knownIdentity

	files   userFiles // as they were when they were looked at
	checked time.Time // when that was
}

type knownIdentity struct {
	id    *activation.Identity
	until time.Time
	files userFiles // as they were when it was looked up
}

// userFiles are the versions of the files that list users and groups.
type userFiles [2]struct {
	inode             uint64
	size              int64
	modified, changed syscall.Timespec
}

// userFilesNow returns the versions as they are now.
func userFilesNow() (v userFiles) {
	for i, name := range []string{"/etc/passwd", "/etc/group"} {
		var st syscall.Stat_t
		if syscall.Stat(name, &st) == nil {
			v[i].inode, v[i].size, v[i].modified, v[i].changed = st.Ino, st.Size, st.Mtim, st.Ctim
		}
	}
	return v
}

// of returns the user as whom a caller's jobs run. If the daemon is root or has a spawner, that is the
// caller. Otherwise it is the daemon's own user, and the caller must be that user or
// root. The error is of kind fault.Denied.
func (i *identities) of(c control.Caller) (*activation.Identity, error) {
	switch {
	case c.UID < 0:
		return nil, fmt.Errorf("these jobs would have no owner, as the client is known as %s only: submit over the Unix socket, "+
			"or use a token that has a user, or set user for this address under listen: %w", c.Via, fault.Denied)
	case !i.switches && c.UID != i.uid && c.UID != 0:
		return nil, fmt.Errorf("this daemon does not run as root, and accepts jobs of its own user %s only; "+
			"ask for a daemon that runs as root, or start your own: %w", i.own().Name, fault.Denied)
	case i.uid != c.UID && !i.switches: // root, who may do anything
		return i.own(), nil
	}
	var id activation.Identity
	if !i.switches {
		id = *i.own()
	} else {
		known, err := i.lookup(c.UID)
		if err != nil {
			return nil, err
		}
		id = *known
		if slices.Contains(id.Groups, c.GID) { // as after newgrp(1); a set-gid program gives no group
			id.GID = c.GID
		}
	}
	had, err := i.limits.of(peer{c.PID, c.Conn}, c.UID)
	if err != nil {
		return nil, err
	}
	id.Limits, id.NoNewPrivs = had.limits, had.noNewPrivs
	return &id, nil
}

// now returns the identity for a run that was submitted with the identity then. It has
// the groups that the user has now. The error is of kind fault.Denied if the user no
// longer exists, if the uid belongs to another user now, or if the user has left the
// group of that time.
func (i *identities) now(then activation.Identity) (*activation.Identity, error) {
	known, err := i.lookup(then.UID)
	switch {
	case errors.Is(err, fault.Unavailable):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("the user %s (uid %d), the owner of this run, no longer exists: %w", then.Name, then.UID, err)
	case known.Name != then.Name:
		return nil, fmt.Errorf("uid %d belonged to %s when this was submitted, and belongs to %s now: submit it again: %w",
			then.UID, then.Name, known.Name, fault.Denied)
	case !then.AnyGroup && then.GID != known.GID && !slices.Contains(known.Groups, then.GID):
		return nil, fmt.Errorf("the user %s submitted this as a member of group %d, and has left it: submit it again: %w",
			then.Name, then.GID, fault.Denied)
	}
	id := *known
	id.GID, id.Limits, id.NoNewPrivs = then.GID, then.Limits, then.NoNewPrivs
	return &id, nil
}

// own is the daemon's own user.
func (i *identities) own() *activation.Identity {
	id, err := i.lookup(i.uid)
	if err != nil {
		return &activation.Identity{UID: i.uid, GID: os.Getgid(), Name: "#" + strconv.Itoa(i.uid), Home: "/", Shell: "/bin/sh"}
	}
	return id
}

func (i *identities) lookup(uid int) (*activation.Identity, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	if now.Sub(i.checked) >= checkUsers {
		i.files, i.checked = userFilesNow(), now
	}
	files := i.files
	if k, ok := i.known[uid]; ok && now.Before(k.until) && k.files == files {
		return k.id, nil
	}
	id, err := lookupIdentity(strconv.Itoa(uid))
	if err == nil && id.UID != uid { // of a user whose name is that number
		err = fmt.Errorf("there is no user %d", uid)
	}
	if errors.Is(err, fault.Unavailable) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.Denied)
	}
	if i.known == nil || len(i.known) > 1000 {
		i.known = make(map[int]knownIdentity)
	}
	i.known[uid] = knownIdentity{id, now.Add(userMemory), files}
	return id, nil
}
