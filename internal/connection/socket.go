package connection

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const systemSocket = "/run/activationd/control.sock"

// ownSocket returns the default socket of a daemon that an unprivileged user runs;
// cmd/activationd follows the same rule.
func ownSocket(uid int, xdgRuntimeDir string) string {
	if !filepath.IsAbs(xdgRuntimeDir) { // a relative path is invalid
		return fmt.Sprintf("/tmp/activationd-%d/control.sock", uid)
	}
	return filepath.Join(xdgRuntimeDir, "activationd", "control.sock")
}

// DefaultSocket returns the socket of the user's own daemon if it exists, and the system's
// otherwise.
func DefaultSocket(uid int, xdgRuntimeDir string) string {
	if uid == 0 {
		return systemSocket
	}
	own := ownSocket(uid, xdgRuntimeDir)
	// Other users can create a directory in /tmp, and would learn what the user wants to
	// run. So the socket must belong to the user.
	info, err := os.Lstat(own)
	if err != nil {
		return systemSocket
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != uid {
		return systemSocket
	}
	return own
}

// triedSockets says where a daemon of the user's own was looked for before the socket at
// address. The user may have started it in a session with another XDG_RUNTIME_DIR.
func triedSockets(uid int, xdgRuntimeDir, address string) string {
	own := ownSocket(uid, xdgRuntimeDir)
	switch {
	case uid == 0 || address == own:
		return ""
	case xdgRuntimeDir == "":
		return fmt.Sprintf(", and none of your own at %s (XDG_RUNTIME_DIR is not set here; a daemon that was started with it has its socket there)", own)
	}
	return fmt.Sprintf(", and none of your own at %s (in XDG_RUNTIME_DIR; a daemon that was started without it, or with another one, has its socket elsewhere)", own)
}
