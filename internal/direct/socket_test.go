package direct

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
			if got := OwnSocket(1000, tt.xdg); got != tt.want {
				t.Errorf("OwnSocket(1000, %q) = %q, want %q", tt.xdg, got, tt.want)
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
		{"root", 0, ours, SystemSocket},
		{"a daemon of the user", uid, ours, socket},
		{"no daemon of the user", uid, t.TempDir(), SystemSocket},
		{"another user's daemon in its place", uid + 1, ours, SystemSocket},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := DefaultSocket(tt.uid, tt.xdg); got != tt.want {
				t.Errorf("DefaultSocket(%d, %q) = %q, want %q", tt.uid, tt.xdg, got, tt.want)
			}
		})
	}
}
