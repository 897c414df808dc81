package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const systemSocket = "/run/activationd/control.sock"

// ownSocket is where the daemon of an unprivileged user listens unless told
// otherwise; cmd/activationd follows the same rule.
func ownSocket(uid int, xdgRuntimeDir string) string {
	if !filepath.IsAbs(xdgRuntimeDir) { // a relative one means nothing
		return fmt.Sprintf("/tmp/activationd-%d/control.sock", uid)
	}
	return filepath.Join(xdgRuntimeDir, "activationd", "control.sock")
}

// defaultSocket is the socket of the user's own daemon if there is one, and
// the system's otherwise.
func defaultSocket(uid int, xdgRuntimeDir string) string {
	if uid == 0 {
		return systemSocket
	}
	own := ownSocket(uid, xdgRuntimeDir)
	// Anybody can make a folder below /tmp, and would be told what the user
	// wants to run; so the socket has to be the user's.
	info, err := os.Lstat(own)
	if err != nil {
		return systemSocket
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != uid {
		return systemSocket
	}
	return own
}
