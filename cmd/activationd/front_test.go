package main

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
)

// TestFrontUsers asks for users as a long stream does: they are not looked up each time, but their
// roles are those of now.
func TestFrontUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looked, role := 0, control.Viewer
		var down bool
		users := &frontUsers{
			others: control.Viewer,
			roleOf: func(uint32, []uint32) control.Role { return role },
			lookup: func(name string) (*activation.Identity, error) {
				looked++
				switch {
				case down:
					return nil, fmt.Errorf("no file descriptors: %w", fault.Unavailable)
				case name == "root":
					return &activation.Identity{Name: "root"}, nil
				case name == "amy", name == "1000":
					return &activation.Identity{Name: "amy", UID: 1000, GID: 100}, nil
				}
				return nil, fmt.Errorf("there is no user %s", name)
			},
		}
		for _, tt := range []struct {
			name string
			want control.Caller
		}{
			{"amy", control.Caller{Name: "amy", Role: control.Viewer, UID: 1000, GID: 100}},
			{"guest", control.Caller{Name: "guest", Role: control.Viewer, UID: -1, GID: -1}},
			{"1000", control.Caller{Name: "1000", Role: control.Viewer, UID: -1, GID: -1}},
			{"root", control.Caller{Name: "root", UID: -1, GID: -1}},
		} {
			looked = 0
			for range 1000 {
				if got, err := users.caller(tt.name); err != nil || got != tt.want {
					t.Fatalf("%s: %+v, %v, want %+v", tt.name, got, err, tt.want)
				}
			}
			if looked != 1 {
				t.Errorf("%s was looked up %d times", tt.name, looked)
			}
		}
		role = control.NoRole
		if got, err := users.caller("amy"); err != nil || got.Role != control.NoRole {
			t.Errorf("without her role: %+v, %v", got, err)
		}
		time.Sleep(userMemory)
		down = true
		for range 2 {
			if got, err := users.caller("amy"); !errors.Is(err, fault.Unavailable) {
				t.Errorf("while users cannot be looked up: %+v, %v", got, err)
			}
		}
		down, looked = false, 0
		if got, err := users.caller("amy"); err != nil || got.UID != 1000 || looked != 1 {
			t.Errorf("afterwards: %+v, %v, looked up %d times", got, err, looked)
		}
	})
}
