package supervisor

import (
	"os"

	"golang.org/x/sys/unix"
)

// Bounds of what [Supervisor.Size] looks at: a script may have left anything.
const (
	sizeFiles = 10_000
	sizeDepth = 32
)

// Size returns how many bytes the directory of a run takes on disk. It is less
// than that for a directory with very many files. What a script left in it may
// be changed by a process that it left; no link leads out of it.
func (s *Supervisor) Size(k Key) int64 {
	if k.check() != nil {
		return 0
	}
	c := counter{files: sizeFiles}
	c.dir(unix.AT_FDCWD, s.RunDir(k), sizeDepth)
	return c.bytes
}

// A counter counts the bytes of a tree, as far as it can be seen.
type counter struct {
	bytes int64
	files int // how many it will still look at
}

func (c *counter) dir(parent int, name string, depth int) {
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil {
		c.bytes += st.Blocks * 512 // stat(2): whatever the file system's block is
	}
	for c.files > 0 {
		names, err := f.Readdirnames(256)
		for _, name := range names {
			if c.files--; c.files < 0 {
				return
			}
			if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue
			}
			if st.Mode&unix.S_IFMT != unix.S_IFDIR {
				c.bytes += st.Blocks * 512
			} else if depth > 0 {
				c.dir(fd, name, depth-1)
			}
		}
		if err != nil { // also at its end
			return
		}
	}
}
