package connection

import (
	"testing"

	"activationd/internal/direct"
)

func TestTriedSockets(t *testing.T) {
	for _, tt := range []struct {
		uid                int
		xdg, address, want string
	}{
		{0, "", direct.SystemSocket, ""},
		{1000, "/run/user/1000", "/run/user/1000/activationd/control.sock", ""},
		{1000, "", direct.SystemSocket, ", and none of your own at /tmp/activationd-1000/control.sock (XDG_RUNTIME_DIR is not set here; " +
			"a daemon that was started with it has its socket there)"},
		{1000, "/run/user/1000", direct.SystemSocket, ", and none of your own at /run/user/1000/activationd/control.sock (in XDG_RUNTIME_DIR; " +
			"a daemon that was started without it, or with another one, has its socket elsewhere)"},
	} {
		if got := triedSockets(tt.uid, tt.xdg, tt.address); got != tt.want {
			t.Errorf("triedSockets(%d, %q, %q) = %q, want %q", tt.uid, tt.xdg, tt.address, got, tt.want)
		}
	}
}
