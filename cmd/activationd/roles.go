package main

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"

	"activationd/control"
)

// roles finds the numbers of the users and groups that the configuration gives a role.
func (v *validator) roles() {
	a, roles, groups := &v.config.Access, map[uint32]control.Role{}, map[uint32]control.Role{}
	v.config.roles, v.config.groups = roles, groups
	for _, list := range []struct {
		role  control.Role
		names []string
	}{{control.Viewer, a.Viewers}, {control.Operator, a.Operators}, {control.Admin, a.Admins}} {
		for i, name := range list.names {
			if name == "" {
				continue // the parse has reported it
			}
			if group, ok := strings.CutPrefix(name, "%"); ok {
				v.groupRole(&list.names[i], group, list.role)
				continue
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
		if v.switches() {
			a.Others = "submitter"
		}
	}
	roles[0], roles[uint32(v.uid)] = control.Admin, control.Admin
}

// groupRole gives the members of a group a role. A group that does not exist has no
// members. It is no fault, so that the daemon starts where the group is yet to be made.
func (v *validator) groupRole(field any, group string, role control.Role) {
	gid, err := gidOf(group)
	if _, unknown := errors.AsType[user.UnknownGroupError](err); unknown {
		v.notice(field, "there is no group %s, so nobody has a role through it; if you add it, run atctl reload", group)
		return
	}
	if err != nil {
		v.wrong(field, err)
		return
	}
	v.config.groups[gid] = role
}

// gidOf returns the gid of a group, which is given by name or number. A number need not have a name.
func gidOf(name string) (uint32, error) {
	if gid, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(gid), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("group %s: %w", name, err)
	}
	gid, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("the gid of group %s is %q", name, g.Gid)
	}
	return uint32(gid), nil
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

// roleOf returns the role of a user of this machine who is in these groups: the highest
// of those that the user and the groups are given, or, if there is none, that of others.
func (c *configuration) roleOf(uid uint32, groups []uint32) control.Role {
	role, listed := c.roles[uid]
	for _, gid := range groups {
		if r, ok := c.groups[gid]; ok {
			role, listed = max(role, r), true
		}
	}
	if !listed {
		role, _ = control.ParseRole(c.Access.Others) // the parse has checked it
	}
	return role
}
