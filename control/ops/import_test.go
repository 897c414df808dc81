package ops

import (
	"context"
	"errors"
	"testing"

	"activationd/activation"
	"activationd/control"
)

// TestImportIsByAProcess checks that a user's own job gets the restrictions of the process
// that imports it, and that a job of another user does not.
func TestImportIsByAProcess(t *testing.T) {
	errSeen := errors.New("seen")
	for _, tt := range []struct {
		user string
		want int
	}{{"7:7", 42}, {"8:8", 0}} {
		pid := -1
		d := Daemon{
			User:     func(string) (string, bool) { return "ada", true },
			Identity: func(c control.Caller) (*activation.Identity, error) { pid = c.PID; return nil, errSeen },
		}
		caller := control.Caller{Role: control.Admin, UID: 7, GID: 7, PID: 42}
		_, err := d.importAt(context.Background(), caller, control.ImportAtIn{User: tt.user, Spool: "a"})
		if !errors.Is(err, errSeen) || pid != tt.want {
			t.Errorf("imported for %s by process %d: %v, want %d", tt.user, pid, err, tt.want)
		}
	}
}
