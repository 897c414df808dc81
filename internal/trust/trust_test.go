package trust

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestCheck makes files, folders and links that other users can change, and some that they
// cannot. A user who can replace a file that root reads or executes has become root. A user
// who can only read it, or has a folder with the sticky bit above it, has not.
func TestCheck(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to give files away")
	}
	const bob, alice = 61_301, 61_302
	chmod := func(name string, mode os.FileMode) func(dir string) error {
		return func(dir string) error { return os.Chmod(filepath.Join(dir, name), mode) }
	}
	chown := func(name string, uid, gid int) func(dir string) error {
		return func(dir string) error { return os.Lchown(filepath.Join(dir, name), uid, gid) }
	}
	link := func(target, name string) func(dir string) error {
		return func(dir string) error {
			return os.Symlink(strings.ReplaceAll(target, "DIR", dir), filepath.Join(dir, name))
		}
	}
	all := func(fns ...func(string) error) func(string) error {
		return func(dir string) error {
			for _, fn := range fns {
				if err := fn(dir); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for _, tt := range []struct {
		name string
		do   func(dir string) error // DIR/a/b/file, all of it root's, is changed so
		path string
		uids []int
		want string // in what is said; empty: nothing is
	}{
		{"root's", chmod("a/b/file", 0o644), "a/b/file", nil, ""},
		{"there is no such file", chmod("a/b/file", 0o644), "a/b/none", nil, ""},
		{"everybody may write it", chmod("a/b/file", 0o666), "a/b/file", nil, "a/b/file can be changed by everybody: chmod o-w DIR/a/b/file"},
		{"everybody may write its folder", chmod("a/b", 0o777), "a/b/file", nil, "DIR/a/b can be changed by everybody: chmod o-w DIR/a/b"},
		{"everybody may write a folder further up", chmod("a", 0o777), "a/b/file", nil, "DIR/a can be changed by everybody"},
		{"everybody may write its folder, and it is missing", chmod("a/b", 0o777), "a/b/none", nil, "DIR/a/b can be changed by everybody"},
		{"its folder is sticky", chmod("a/b", 0o777|os.ModeSticky), "a/b/file", nil, ""},
		{"its folder is sticky, and it is another's", all(chmod("a/b", 0o777|os.ModeSticky), chown("a/b/file", bob, bob)), "a/b/file", nil, "belongs to user 61301"},
		{"its sticky folder is another's", all(chmod("a/b", 0o777|os.ModeSticky), chown("a/b", bob, bob)), "a/b/file", nil, "DIR/a/b belongs to user 61301, who can change it: chown root DIR/a/b"},
		{"another's", chown("a/b/file", bob, 0), "a/b/file", nil, "a/b/file belongs to user 61301"},
		{"another's, as whom it runs", chown("a/b/file", bob, 0), "a/b/file", []int{bob}, ""},
		{"another's, and a third runs it", chown("a/b/file", bob, 0), "a/b/file", []int{alice}, "belongs to user 61301"},
		{"a folder is another's", chown("a", bob, 0), "a/b/file", nil, "DIR/a belongs to"},
		{"root's group may write", all(chmod("a/b/file", 0o664), chown("a/b/file", 0, 0)), "a/b/file", nil, ""},
		{"a group without members may write", all(chmod("a/b/file", 0o664), chown("a/b/file", 0, bob)), "a/b/file", nil, ""},
		{"a group with members may write", all(chmod("a/b/file", 0o664), chown("a/b/file", 0, 65_534)), "a/b/file", nil, "can be changed by the group nogroup, of which"},
		{"it may only read", all(chmod("a/b/file", 0o640), chown("a/b/file", 0, 65_534)), "a/b/file", nil, ""},
		{"a link to a file that others may write", all(chmod("a/b/file", 0o666), link("DIR/a/b/file", "link")), "link", nil, "DIR/a/b/file can be changed by everybody"},
		{"a link to a file of a folder that others may write", all(chmod("a/b", 0o777), link("a/b/file", "link")), "link", nil, "DIR/a/b can be changed"},
		{"a link in a folder that others may write", all(link("../file", "a/b/link"), chmod("a/b", 0o777)), "a/b/link", nil, "DIR/a/b can be changed"},
		{"a link of another's", all(link("a/b/file", "link"), chown("link", bob, bob)), "link", nil, "DIR/link belongs to user 61301"},
		{"a folder is a link", all(link("a/b", "c"), chmod("a/b", 0o777)), "c/file", nil, "DIR/a/b can be changed"},
		{"back by a link's folder", all(link("a/b", "c"), chmod("a", 0o777)), "c/../b/file", nil, "DIR/a can be changed"},
		{"links in a circle", link("c", "c"), "c/file", nil, "too many levels"},
		{"an access list lets another write", acl("a/b/file", accessEntry{tagUser, 6, bob}), "a/b/file", nil, "can be changed by user 61301, as its access list says: setfacl -x u:61301 DIR/a/b/file"},
		{"an access list lets the user write whom it runs as", acl("a/b/file", accessEntry{tagUser, 6, bob}), "a/b/file", []int{bob}, ""},
		{"an access list lets another read", acl("a/b/file", accessEntry{tagUser, 4, bob}), "a/b/file", nil, ""},
		{"an access list lets a group write", acl("a/b/file", accessEntry{tagGroup, 6, 65_534}), "a/b/file", nil, "can be changed by the group nogroup"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o755); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"a/b/file", "a/file"} {
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := tt.do(dir); err != nil {
				if strings.HasPrefix(tt.name, "an access list") {
					t.Skipf("this file system has no access lists: %v", err)
				}
				t.Fatal(err)
			}
			err = Check(dir+"/"+tt.path, tt.uids...)
			switch want := strings.ReplaceAll(tt.want, "DIR", dir); {
			case want == "" && err != nil:
				t.Errorf("Check = %v, want nothing", err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("Check = %v, want %q in it", err, want)
			}
		})
	}
}

// acl gives a file an access list with one entry more than its mode has.
func acl(name string, more accessEntry) func(dir string) error {
	return func(dir string) error {
		none := ^uint32(0)
		list := binary.LittleEndian.AppendUint32(nil, 2)
		add := func(tag, perm uint16, id uint32) {
			list = binary.LittleEndian.AppendUint16(list, tag)
			list = binary.LittleEndian.AppendUint16(list, perm)
			list = binary.LittleEndian.AppendUint32(list, id)
		}
		add(1, 6, none)
		if more.tag == tagUser {
			add(more.tag, more.perm, uint32(more.id))
		}
		add(tagOwnerGroup, 4, none)
		if more.tag == tagGroup {
			add(more.tag, more.perm, uint32(more.id))
		}
		add(tagMask, 6, none)
		add(32, 4, none)
		return syscall.Setxattr(filepath.Join(dir, name), "system.posix_acl_access", list, 0)
	}
}
