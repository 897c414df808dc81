package main

import (
	"fmt"
	"strconv"

	"activationd/control"
)

// roles finds the numbers of the users that the configuration gives a role.
func (v *validator) roles() {
	a, roles := &v.config.Access, map[uint32]control.Role{}
	v.config.roles = roles
	for _, list := range []struct {
		role  control.Role
		names []string
	}{{control.Viewer, a.Viewers}, {control.Operator, a.Operators}, {control.Admin, a.Admins}} {
		for i, name := range list.names {
			if name == "" {
				continue // the parse has reported it
			}
			uid, err := uidOf(name)
			if err != nil {
				v.wrong(&list.names[i], err)
				continue
			}
			roles[uid] = list.role
		}
	}
	v.config.fronts = map[int]bool{}
	for i, name := range v.config.Front.Users {
		uid, err := uidOf(name)
		if err != nil {
			v.wrong(&v.config.Front.Users[i], err)
			continue
		}
		v.config.fronts[int(uid)] = true
	}
	if a.Others == "" {
		a.Others = "none"
		if v.uid == 0 {
			a.Others = "submitter"
		}
	}
	roles[0], roles[uint32(v.uid)] = control.Admin, control.Admin
}

// uidOf returns the uid of a user, who is given by name or number. A number need not have a name.
func uidOf(name string) (uint32, error) {
	id := name
	if _, err := strconv.ParseUint(name, 10, 32); err != nil {
		u, err := lookupUser(name)
		if err != nil {
			return 0, err
		}
		id = u.Uid
	}
	uid, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("the uid of user %s is %q", name, id)
	}
	return uint32(uid), nil
}

// roleOf returns the role of a client of the Unix socket.
func (c *configuration) roleOf(uid uint32) control.Role {
	if role, ok := c.roles[uid]; ok {
		return role
	}
	role, _ := control.ParseRole(c.Access.Others) // the parse has checked it
	return role
}
