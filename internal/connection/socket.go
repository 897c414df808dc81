package connection

import (
	"fmt"

	"activationd/internal/direct"
)

// triedSockets says where a daemon of the user's own was looked for before the socket at
// address. The user may have started it in a session with another XDG_RUNTIME_DIR.
func triedSockets(uid int, xdgRuntimeDir, address string) string {
	own := direct.OwnSocket(uid, xdgRuntimeDir)
	switch {
	case uid == 0 || address == own:
		return ""
	case xdgRuntimeDir == "":
		return fmt.Sprintf(", and none of your own at %s (XDG_RUNTIME_DIR is not set here; a daemon that was started with it has its socket there)", own)
	}
	return fmt.Sprintf(", and none of your own at %s (in XDG_RUNTIME_DIR; a daemon that was started without it, or with another one, has its socket elsewhere)", own)
}
