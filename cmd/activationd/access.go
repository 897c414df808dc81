package main

import (
	"fmt"
	"strconv"

	"activationd/control"
)

// resolve finds the users' numbers.
func (a *Access) resolve(l *looker) {
	a.roles = map[uint32]control.Role{}
	for _, list := range []struct {
		role  control.Role
		names []string
	}{{control.Viewer, a.Viewers}, {control.Operator, a.Operators}, {control.Admin, a.Admins}} {
		for i, name := range list.names {
			if name == "" {
				continue // told by the parse
			}
			id := name // a number need not have a name
			if _, err := strconv.ParseUint(name, 10, 32); err != nil {
				u, err := lookupUser(name)
				if err != nil {
					l.wrong(&list.names[i], err)
					continue
				}
				id = u.Uid
			}
			uid, err := strconv.ParseUint(id, 10, 32)
			if err != nil {
				l.wrong(&list.names[i], fmt.Errorf("the number of user %s is %q", name, id))
				continue
			}
			a.roles[uint32(uid)] = list.role
		}
	}
	if a.Others == "" {
		a.Others = "none"
		if l.uid == 0 {
			a.Others = "submitter"
		}
	}
	a.roles[0], a.roles[uint32(l.uid)] = control.Admin, control.Admin
}

// RoleOf returns the role of a peer on the Unix socket.
func (a *Access) RoleOf(uid uint32) control.Role {
	if role, ok := a.roles[uid]; ok {
		return role
	}
	role, _ := control.ParseRole(a.Others) // checked by the parse
	return role
}
