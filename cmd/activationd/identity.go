package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
)

// identities are the users as whom jobs run.
type identities struct {
	uid    int // the daemon's own
	limits limits

	mu    sync.Mutex
	known map[int]knownIdentity
}

type knownIdentity struct {
	id    *activation.Identity
	until time.Time
	files userFiles // as they were when it was looked up
}

// userFiles are the versions of the files that say who is who.
type userFiles [2]struct {
	inode             uint64
	size              int64
	modified, changed syscall.Timespec
}

// userFilesNow returns them as they are.
func userFilesNow() (v userFiles) {
	for i, name := range []string{"/etc/passwd", "/etc/group"} {
		var st syscall.Stat_t
		if syscall.Stat(name, &st) == nil {
			v[i].inode, v[i].size, v[i].modified, v[i].changed = st.Ino, st.Size, st.Mtim, st.Ctim
		}
	}
	return v
}

// of returns as whom a caller's jobs run: as himself if the daemon is root, and
// else as the daemon's user, if he is that or root.
func (i *identities) of(c control.Caller) (*activation.Identity, error) {
	switch {
	case c.UID < 0:
		return nil, fmt.Errorf("whose jobs these would be is not known (%s): submit over the Unix socket, "+
			"or give a token that has a user, or set user for this address under listen: %w", c.Via, fault.Denied)
	case i.uid != 0 && c.UID != i.uid && c.UID != 0:
		return nil, fmt.Errorf("this daemon runs without root and takes jobs of its own user %s only; "+
			"ask for a daemon that runs as root, or start one of your own: %w", i.own().Name, fault.Denied)
	case i.uid != c.UID && i.uid != 0: // root, who may do as he likes
		return i.own(), nil
	}
	id := *i.own()
	if i.uid == 0 {
		known, err := i.lookup(c.UID)
		if err != nil {
			return nil, err
		}
		id = *known
		if slices.Contains(id.Groups, c.GID) { // as after newgrp(1), but none that a set-gid program lends
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

// now returns as whom a run of a user is to run, who asked for it when he was
// then: with the groups that he has by now. It is fault.Denied when he is gone,
// when his number is another's, or when he has left the group that he asked as.
func (i *identities) now(then activation.Identity) (*activation.Identity, error) {
	known, err := i.lookup(then.UID)
	switch {
	case errors.Is(err, fault.Unavailable):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("the user %s, number %d, whose run this was to be, is no more: %w", then.Name, then.UID, err)
	case known.Name != then.Name:
		return nil, fmt.Errorf("the user of number %d was %s when this was asked for, and is %s now: submit it again: %w",
			then.UID, then.Name, known.Name, fault.Denied)
	case then.GID != known.GID && !slices.Contains(known.Groups, then.GID):
		return nil, fmt.Errorf("the user %s asked for this as a member of group %d, and is none any more: submit it again: %w",
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
	files := userFilesNow()
	if k, ok := i.known[uid]; ok && time.Now().Before(k.until) && k.files == files {
		return k.id, nil
	}
	id, err := lookupIdentity(strconv.Itoa(uid))
	if err == nil && id.UID != uid { // of somebody whose name is that number
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
	i.known[uid] = knownIdentity{id, time.Now().Add(userMemory), files}
	return id, nil
}

// lookupIdentity finds a user by name or number, with all that a login would
// give him.
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

// loginShell reads what os/user leaves out of /etc/passwd.
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
