package supervisor

import (
	"golang.org/x/sys/unix"
)

// A Direct does what [Privileged] names with this process's own rights. A process of root's that
// does it for a daemon uses it, and checks what it is asked for before.
type Direct struct{ *direct }

// NewDirect returns a Direct for a configuration, of which it uses the program and the directories.
func NewDirect(c Config) (*Direct, error) {
	d, err := newDirect(c)
	return &Direct{d}, err
}

// ClearLeftoversIn is ClearLeftovers for a run whose directory is known by another path than its
// name: one that leads through a descriptor, so that nobody can put another directory there.
func (d *Direct) ClearLeftoversIn(dir string, l Leftovers) (Cleared, error) {
	return d.clearLeftovers(dir, l)
}

// FilesAt lists the files in a directory as [Privileged] has it for configuration directories. It
// closes the descriptor.
func FilesAt(fd int) []File { return listFiles(fd) }

// SizeAt returns how many bytes a directory takes on disk, see [Privileged].
func SizeAt(fd int) int64 {
	c := counter{files: sizeFiles}
	c.dir(fd, ".", sizeDepth)
	return c.bytes
}

// MarkStem is what the marks of a run begin with whose directory is in the one of a descriptor.
func MarkStem(run string, runsDir int) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(runsDir, &st); err != nil {
		return "", err
	}
	return run + "-" + placeText(&st) + "-", nil
}

// CheckName returns an error of kind fault.Invalid unless a name can be that of a directory of a run or an
// activation.
func CheckName(name string) error { return checkName(name) }
