package main

import (
	"errors"
	"sync"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/control/access"
	"activationd/internal/fault"
)

// front returns what is known of the front server; nil: there is none.
func (d *daemon) front(c *configuration) *access.Front {
	if len(c.fronts) == 0 {
		return nil
	}
	others, _ := control.ParseRole(c.Front.Others) // the parse has checked it
	users := &frontUsers{others: others, lookup: lookupIdentity, roleOf: func(uid uint32, groups []uint32) control.Role {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.current.roleOf(uid, groups)
	}}
	return &access.Front{Header: c.Front.Header, Is: func(uid int) bool { return c.fronts[uid] }, User: users.caller}
}

// frontUsers are the users whom a front server names. Each request asks who its user is, and a
// stream asks again before each line, but a machine with a directory of users takes a while to
// find one.
type frontUsers struct {
	others control.Role // of those whom this machine does not know
	lookup func(name string) (*activation.Identity, error)
	roleOf func(uid uint32, groups []uint32) control.Role

	mu    sync.Mutex
	known map[string]knownIdentity // without an id: the machine does not know the user
}

// caller returns the caller of that name. Its role is that of now.
func (f *frontUsers) caller(name string) (control.Caller, error) {
	id, err := f.identity(name)
	switch {
	case err != nil:
		return control.Caller{}, err
	case id == nil || id.Name != name: // a number is no name there
		return control.Caller{Name: name, Role: f.others, UID: -1, GID: -1}, nil
	case id.UID == 0: // no password of a web page makes anybody root
		return control.Caller{Name: name, UID: -1, GID: -1}, nil
	}
	groups := []uint32{uint32(id.GID)}
	for _, gid := range id.Groups {
		groups = append(groups, uint32(gid))
	}
	return control.Caller{Name: name, Role: f.roleOf(uint32(id.UID), groups), UID: id.UID, GID: id.GID}, nil
}

// identity returns who has a name; nil: nobody. What it found is remembered for userMemory.
func (f *frontUsers) identity(name string) (*activation.Identity, error) {
	files := userFilesNow()
	f.mu.Lock()
	k, ok := f.known[name]
	f.mu.Unlock()
	if ok && time.Now().Before(k.until) && k.files == files {
		return k.id, nil
	}
	id, err := f.lookup(name) // without the lock: it may wait for a server
	if errors.Is(err, fault.Unavailable) {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil || len(f.known) > 1000 {
		f.known = make(map[string]knownIdentity)
	}
	f.known[name] = knownIdentity{id, time.Now().Add(userMemory), files}
	return id, nil
}
