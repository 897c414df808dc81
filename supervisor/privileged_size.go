package supervisor

import (
	"os"

	"golang.org/x/sys/unix"
)

// Bounds of what Size looks at: a script may have left a tree of any size.
const (
	sizeFiles = 10_000
	sizeDepth = 32
)

// Size implements [Privileged]. A process that a script left may change the directory
// meanwhile; no link leads out of it.
func (p *direct) Size(run string) int64 {
	dir, err := p.path(RunDirs, run)
	if err != nil {
		return 0
	}
	c := counter{files: sizeFiles}
	c.dir(unix.AT_FDCWD, dir, sizeDepth)
	return c.bytes
}

// A counter counts the bytes of the files in a tree that it can read.
type counter struct {
	bytes int64
	files int // how many it may still look at
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
