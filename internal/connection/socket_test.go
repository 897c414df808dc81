package connection

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestOwnSocket(t *testing.T) {
	tests := []struct{ name, xdg, want string }{
		{"in a session", "/run/user/1000", "/run/user/1000/activationd/control.sock"},
		{"outside of any", "", "/tmp/activationd-1000/control.sock"},
		{"a relative one means nothing", "run", "/tmp/activationd-1000/control.sock"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ownSocket(1000, tt.xdg); got != tt.want {
				t.Errorf("ownSocket(1000, %q) = %q, want %q", tt.xdg, got, tt.want)
			}
		})
	}
}

func TestDefaultSocket(t *testing.T) {
	ours := t.TempDir()
	socket := filepath.Join(ours, "activationd", "control.sock")
	if err := os.Mkdir(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	uid := max(os.Getuid(), 1) // root's default does not depend on files
	if err := os.Lchown(socket, uid, -1); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		uid  int
		xdg  string
		want string
	}{
		{"root", 0, ours, systemSocket},
		{"a daemon of the user", uid, ours, socket},
		{"no daemon of the user", uid, t.TempDir(), systemSocket},
		{"another user's daemon in its place", uid + 1, ours, systemSocket},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := DefaultSocket(tt.uid, tt.xdg); got != tt.want {
				t.Errorf("DefaultSocket(%d, %q) = %q, want %q", tt.uid, tt.xdg, got, tt.want)
			}
		})
	}
}

func TestTriedSockets(t *testing.T) {
	for _, tt := range []struct {
		uid                int
		xdg, address, want string
	}{
		{0, "", systemSocket, ""},
		{1000, "/run/user/1000", "/run/user/1000/activationd/control.sock", ""},
		{1000, "", systemSocket, ", and none of your own at /tmp/activationd-1000/control.sock (XDG_RUNTIME_DIR is not set here; " +
			"a daemon that was started with it has its socket there)"},
		{1000, "/run/user/1000", systemSocket, ", and none of your own at /run/user/1000/activationd/control.sock (in XDG_RUNTIME_DIR; " +
			"a daemon that was started without it, or with another one, has its socket elsewhere)"},
	} {
		if got := triedSockets(tt.uid, tt.xdg, tt.address); got != tt.want {
			t.Errorf("triedSockets(%d, %q, %q) = %q, want %q", tt.uid, tt.xdg, tt.address, got, tt.want)
		}
	}
}
