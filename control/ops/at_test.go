package ops

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
)

func atDaemon() Daemon {
	return Daemon{
		User: func(name string) (string, bool) {
			users := map[string]string{"ada": "ada", "1000": "ada", "eve": "eve"}
			return users[name], users[name] != ""
		},
		Identity: func(c control.Caller) (*activation.Identity, error) {
			return &activation.Identity{UID: c.UID, GID: 100, Groups: []int{100, 27}, Name: c.Name}, nil
		},
		MayAt: func(control.Caller) error { return nil },
	}
}

func TestNewAtJob(t *testing.T) {
	ada := control.Caller{Role: control.Submitter, Name: "ada", UID: 1000, GID: 100}
	user, _ := atDaemon().Identity(ada)
	for _, tt := range []struct {
		name string
		in   control.AtIn
		gid  int
		head string
		err  string
	}{
		{"plain", control.AtIn{Script: []string{"true\n"}}, 100, "uid=1000 gid=100\n# mail ada 0\ntrue\n", ""},
		{"-m -u", control.AtIn{Mail: "always", Mailto: "eve", Script: []string{"x"}}, 100, "uid=1000 gid=100\n# mail eve 1\nx", ""},
		{"-M", control.AtIn{Mail: "never", Script: []string{"x", "y"}}, 100, "uid=1000 gid=100\n# mail ada -1\nxy", ""},
		{"another group of the user", control.AtIn{Script: []string{"x"}}, 27, "uid=1000 gid=27\n# mail ada 0\nx", ""},
		{"a group without the user", control.AtIn{Script: []string{"x"}}, 0, "uid=1000 gid=100\n# mail ada 0\nx", ""},
		{"bytes, padded in every piece", control.AtIn{Base64: true, Script: []string{"/w==", "AAE="}}, 100, "uid=1000 gid=100\n# mail ada 0\n\xff\x00\x01", ""},
		{"not base64", control.AtIn{Base64: true, Script: []string{"?"}}, 100, "", "not base64"},
		{"mail to nobody", control.AtIn{Mailto: "zoe"}, 100, "", "there is no user zoe"},
	} {
		who := ada
		who.GID = tt.gid
		j, err := atDaemon().newAtJob(&tt.in, who, user)
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
			}
		case err != nil || string(j.Stdin) != "#!/bin/sh\n# atrun "+tt.head:
			t.Errorf("%s: %q, %v, want %q", tt.name, j.Stdin, err, tt.head)
		case *j.Timeout != 0 || *j.Retries != 0 || j.Owner != "ada" || j.AtJob.Queue != "a" || !slices.Equal(j.Argv, []string{"/bin/sh"}):
			t.Errorf("%s: %+v", tt.name, j)
		}
	}
	if user.GID != 100 {
		t.Error("the identity that others share was changed")
	}
}

// TestImportAtIsForAdmins checks that only admins import jobs of other users.
func TestImportAtIsForAdmins(t *testing.T) {
	for _, tt := range []struct {
		role control.Role
		user string
		kind fault.Kind
	}{
		{control.Submitter, "0:0", fault.Denied},
		{control.Operator, "1001:100", fault.Denied},
		{control.Admin, "4242:100", fault.Conflict}, // there is no such user
		{control.Admin, "-1:0", fault.Invalid},
		{control.Admin, "root", fault.Invalid},
		{control.Admin, "", fault.Invalid},
	} {
		c := control.Caller{Role: tt.role, Name: "ada", UID: 1000, GID: 100}
		_, err := atDaemon().importAt(context.Background(), c, control.ImportAtIn{User: tt.user, Spool: "a0000101c88ea7.1.ab"})
		if !errors.Is(err, tt.kind) {
			t.Errorf("%v imports for %q: %v, want %v", tt.role, tt.user, err, tt.kind)
		}
	}
	if _, err := atDaemon().importAt(context.Background(), control.Caller{Role: control.Admin, UID: 1000},
		control.ImportAtIn{User: "1000:100", Spool: "../x"}); !errors.Is(err, fault.Invalid) {
		t.Errorf("a path as the spool's file: %v", err)
	}
}
