// Package trust checks whether another user could change a file that tells root what to do,
// by writing to it or by replacing it.
//
// It counts all who could: the owner of the file and of each directory and link on the way,
// who can always change the mode; the group, if it may write, with all members by /etc/group
// or /etc/passwd; users whom an access list names; and everybody, if everybody may write. In
// a directory with the sticky bit only the directory's owner could replace another user's
// file.
package trust

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Check returns an error if any user except root and those of uids could change the file at
// path: a sentence that names the user, the file or directory, and what to do. A file that
// does not exist is no error.
func Check(path string, uids ...int) error {
	if !filepath.IsAbs(path) { // not filepath.Abs, which cleans away a .. that follows a link
		dir, err := os.Getwd()
		if err != nil {
			return err
		}
		path = dir + "/" + path
	}
	w := walker{uids: append([]int{0}, uids...)}
	err := w.walk(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// CheckFolder is Check for a path that may be a folder in which every file is read: there
// the sticky bit does not help, as it does not prevent that a user adds one.
func CheckFolder(path string, uids ...int) error {
	if err := Check(path, uids...); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return nil //nolint:nilerr // the reader of the file reports what it cannot read
	}
	w := walker{uids: append([]int{0}, uids...)}
	return w.writers(path, info)
}

type walker struct{ uids []int }

// walk goes along path as the kernel does.
func (w *walker) walk(path string) error {
	const maxLinks = 40 // the kernel's
	cur, links := "/", 0
	if err := w.look(cur); err != nil {
		return err
	}
	rest := strings.Split(path, "/")
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			cur = filepath.Dir(cur)
			continue
		}
		next := filepath.Join(cur, name)
		info, err := os.Lstat(next)
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if err := w.check(next, info); err != nil {
				return err
			}
			cur = next
			continue
		}
		if strings.HasPrefix(next, "/proc/") {
			return nil // as for /dev/stdin, which has no path of its own
		}
		if err := w.owner(next, info); err != nil {
			return err
		}
		target, err := os.Readlink(next)
		if err != nil {
			return err
		}
		if links++; links > maxLinks {
			return fmt.Errorf("%s: %w", path, syscall.ELOOP)
		}
		if filepath.IsAbs(target) {
			cur = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return nil
}

func (w *walker) look(name string) error {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	return w.check(name, info)
}

// check returns an error if another user could change the file at name.
func (w *walker) check(name string, info fs.FileInfo) error {
	if err := w.owner(name, info); err != nil {
		return err
	}
	if info.IsDir() && info.Mode()&fs.ModeSticky != 0 {
		return nil
	}
	return w.writers(name, info)
}

// writers returns an error if another user may write to the file at name.
func (w *walker) writers(name string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("%s can be changed by everybody: chmod o-w %s", name, name)
	}
	if info.Mode().Perm()&0o020 == 0 {
		return nil // these bits are the mask of an access list, too
	}
	if list := accessList(name); list != nil {
		return w.listed(name, list)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return w.group(name, int(st.Gid), "chmod g-w "+name)
}

func (w *walker) owner(name string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || slices.Contains(w.uids, int(st.Uid)) {
		return nil
	}
	return fmt.Errorf("%s belongs to %s, who can change it: chown root %s", name, userName(int(st.Uid)), name)
}

// group returns an error if another user is a member of a group that may write.
func (w *walker) group(name string, gid int, remedy string) error {
	for _, uid := range members(gid) {
		if !slices.Contains(w.uids, uid) {
			return fmt.Errorf("%s can be changed by the group %s, of which %s is a member: %s", name, groupName(gid), userName(uid), remedy)
		}
	}
	return nil
}

// An accessEntry is an entry of an access list, see acl(5), as the kernel stores it.
type accessEntry struct {
	tag, perm uint16
	id        int
}

// Tags of access lists' entries.
const (
	tagUser       = 2
	tagOwnerGroup = 4
	tagGroup      = 8
	tagMask       = 16
)

const aclWrite = 2

// accessList returns a file's access list; nil if the file has only its mode.
func accessList(name string) (list []accessEntry) {
	buf := make([]byte, 64<<10)
	n, err := syscall.Getxattr(name, "system.posix_acl_access", buf)
	if err != nil || n < 4 || binary.LittleEndian.Uint32(buf) != 2 {
		return nil
	}
	for b := buf[4:n]; len(b) >= 8; b = b[8:] {
		list = append(list, accessEntry{
			tag: binary.LittleEndian.Uint16(b), perm: binary.LittleEndian.Uint16(b[2:]), id: int(binary.LittleEndian.Uint32(b[4:])),
		})
	}
	return list
}

// listed returns an error if another user may write by an access list.
func (w *walker) listed(name string, list []accessEntry) error {
	mask := uint16(aclWrite)
	for _, e := range list {
		if e.tag == tagMask {
			mask = e.perm
		}
	}
	for _, e := range list {
		if e.perm&mask&aclWrite == 0 {
			continue
		}
		switch e.tag {
		case tagUser:
			if !slices.Contains(w.uids, e.id) {
				return fmt.Errorf("%s can be changed by %s, as its access list says: setfacl -x u:%d %s", name, userName(e.id), e.id, name)
			}
		case tagOwnerGroup:
			info, err := os.Lstat(name)
			if err != nil {
				return err
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				if err := w.group(name, int(st.Gid), "setfacl -m g::r-X "+name); err != nil {
					return err
				}
			}
		case tagGroup:
			if err := w.group(name, e.id, fmt.Sprintf("setfacl -x g:%d %s", e.id, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// lines returns the fields of each line of /etc/passwd or /etc/group.
func lines(file string) (all [][]string) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for l := range strings.Lines(string(data)) {
		if f := strings.Split(strings.TrimSuffix(l, "\n"), ":"); len(f) >= 4 {
			all = append(all, f)
		}
	}
	return all
}

// members lists the users in a group.
func members(gid int) (uids []int) {
	var names []string
	for _, f := range lines("/etc/group") {
		if f[2] == strconv.Itoa(gid) && f[3] != "" {
			names = append(names, strings.Split(f[3], ",")...)
		}
	}
	for _, f := range lines("/etc/passwd") {
		if uid, err := strconv.Atoi(f[2]); err == nil && (f[3] == strconv.Itoa(gid) || slices.Contains(names, f[0])) {
			uids = append(uids, uid)
		}
	}
	return uids
}

func userName(uid int) string {
	for _, f := range lines("/etc/passwd") {
		if f[2] == strconv.Itoa(uid) {
			return f[0]
		}
	}
	return "user " + strconv.Itoa(uid)
}

func groupName(gid int) string {
	for _, f := range lines("/etc/group") {
		if f[2] == strconv.Itoa(gid) {
			return f[0]
		}
	}
	return strconv.Itoa(gid)
}
