package wrapper

import (
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Command is what must be found so that a script can be started.
type Command struct {
	Name     string // the first word of the command
	Path     string // where names without a slash are searched; empty: the standard places
	Dir      string // the working directory; empty: /
	Home     string // of the user; empty: unknown
	UID, GID int    // of the user; -1: this process's own
	Groups   []int
}

// Command returns what the script of s needs.
func (s *Spec) Command() Command {
	c := Command{Name: s.Argv[0], Dir: s.Dir, UID: s.UID, GID: s.GID, Groups: s.Groups}
	for _, e := range s.Env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			c.Path = v
		}
		if v, ok := strings.CutPrefix(e, "HOME="); ok {
			c.Home = v
		}
	}
	return c
}

// Missing says what keeps a command from being started, for people. It is empty if nothing
// is known to. It looks with the rights of the command's user, so it tells that user nothing
// about files that the user cannot see.
func (c Command) Missing() (text string) {
	asUser(c.UID, c.GID, c.Groups, func() {
		if text = c.missingDir(); text == "" {
			text = c.missingProgram()
		}
	})
	return text
}

func (c *Command) missingDir() string {
	dir := c.dir()
	var st syscall.Stat_t
	switch err := syscall.Stat(dir, &st); {
	case err == syscall.ENOENT || err == syscall.ENOTDIR:
		return "there is no working directory " + dir + c.tilde(dir)
	case err != nil:
		return errnoText("working directory "+dir, err)
	case st.Mode&syscall.S_IFMT != syscall.S_IFDIR:
		return "the working directory " + dir + " is not a directory"
	case !mayExecute(dir):
		return "its user may not enter the working directory " + dir
	}
	return ""
}

func (c *Command) dir() string {
	if c.Dir == "" {
		return "/"
	}
	return c.Dir
}

func (c *Command) missingProgram() string {
	file, why := c.program()
	if why != "" {
		return why
	}
	return c.wrongContent(file)
}

// program returns the file that is executed, or why there is none.
func (c *Command) program() (file, why string) {
	for _, name := range candidates(c.Name, []string{"PATH=" + c.path()}) {
		file := c.full(name)
		var st syscall.Stat_t
		switch err := syscall.Stat(file, &st); {
		case err == syscall.EACCES && strings.Contains(c.Name, "/"):
			return "", "its user may not enter the directory of " + file
		case err != nil:
		case st.Mode&syscall.S_IFMT == syscall.S_IFREG && mayExecute(file):
			return file, ""
		case why == "":
			why = noProgram(file, st.Mode) // unless there is another one further on in PATH
		}
	}
	switch {
	case why != "":
		return "", why
	case strings.Contains(c.Name, "/"):
		return "", "there is no file " + c.full(c.Name) + c.tilde(c.Name)
	}
	return "", "there is no command " + c.Name + " in PATH, which is " + c.path()
}

// hint says why a script may have ended with a status of those that mean "command not
// found". The kernel takes #!/usr/bin/env sh with CR LF for a call of env, which then looks
// for a command whose name ends with CR.
func (c Command) hint() (text string) {
	asUser(c.UID, c.GID, c.Groups, func() {
		if file, why := c.program(); why == "" {
			text = c.wrongContent(file)
		}
	})
	return text
}

func (c *Command) path() string {
	if c.Path == "" {
		return standardPath
	}
	return c.Path
}

// full returns the path of a file whose name may be relative to the working directory.
func (c *Command) full(name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return strings.TrimSuffix(c.dir(), "/") + "/" + strings.TrimPrefix(name, "./")
}

// tilde is a hint for those who expect that ~ is expanded.
func (c *Command) tilde(path string) string {
	_, after, ok := strings.Cut("/"+path, "/~")
	if !ok {
		return ""
	}
	hint := "; ~ is the home directory only in a shell"
	if rest, own := strings.CutPrefix(after, "/"); own && c.Home != "" {
		hint += ": write " + strings.TrimSuffix(c.Home, "/") + "/" + rest
	}
	return hint
}

// noProgram says why a file that is there cannot be executed.
func noProgram(file string, mode uint32) string {
	var fs syscall.Statfs_t
	switch {
	case mode&syscall.S_IFMT == syscall.S_IFDIR:
		return file + " is a directory"
	case mode&syscall.S_IFMT != syscall.S_IFREG:
		return file + " is not a program"
	case mode&0o111 == 0:
		return file + " is not executable; make it so with: chmod +x " + file
	case syscall.Statfs(file, &fs) == nil && fs.Flags&unix.ST_NOEXEC != 0:
		return file + " is on a file system that is mounted with noexec"
	}
	return "its user may not execute " + file
}

// wrongContent says why an executable file cannot be started, from its first bytes.
func (c *Command) wrongContent(file string) string {
	fd, err := openat(unix.AT_FDCWD, file, syscall.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "" // it can be executed all the same, unless it is a script
	}
	defer closeFD(fd)
	buf := make([]byte, 256) // of a longer first line the kernel does not read more
	n, err := read(fd, buf)
	if err != nil {
		return ""
	}
	head := string(buf[:n])
	line, _, _ := strings.Cut(head, "\n")
	rest, script := strings.CutPrefix(line, "#!")
	interpreter, _, _ := strings.Cut(strings.TrimLeft(rest, " \t"), " ")
	switch {
	case head == "":
		return file + " is empty"
	case !script && strings.IndexByte(head, 0) >= 0:
		return "" // some binary program
	case !script:
		return file + " has no #! line; begin it with #!/bin/sh, for instance"
	case strings.HasSuffix(line, "\r"):
		return "the #! line of " + file + " ends with CR LF, as Windows writes it, and the CR is taken for a part of the name; remove it with: sed -i 's/\\r$//' " + file
	case interpreter == "":
		return "the #! line of " + file + " names no interpreter"
	}
	interpreter, _, _ = strings.Cut(interpreter, "\t")
	var st syscall.Stat_t
	if syscall.Stat(c.full(interpreter), &st) != nil {
		return "there is no " + interpreter + ", the interpreter that the #! line of " + file + " names"
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG || !mayExecute(c.full(interpreter)) {
		return "its user may not execute " + interpreter + ", the interpreter that the #! line of " + file + " names"
	}
	return ""
}

// mayExecute reports whether this thread may execute a file or enter a directory.
func mayExecute(path string) bool {
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS) == nil
}

// asUser calls fn with the rights that a user has to files, which the kernel keeps for each
// thread. If it cannot get them, it does not call fn.
func asUser(uid, gid int, groups []int, fn func()) {
	own := syscall.Geteuid()
	if uid < 0 || own != 0 || uid == own {
		fn()
		return
	}
	done := make(chan struct{})
	go func() { // the thread ends with it if it cannot get its own rights again
		defer close(done)
		runtime.LockOSThread()
		had, err := unix.Getgroups()
		if err != nil {
			return
		}
		if setThreadUser(uid, gid, groups) {
			fn()
		}
		if setThreadUser(own, syscall.Getegid(), had) {
			runtime.UnlockOSThread()
		}
	}()
	<-done
}

// setThreadUser sets whose rights to files this thread has. It reports whether it has them.
func setThreadUser(uid, gid int, groups []int) bool {
	if unix.Setgroups(groups) != nil { // of this thread only, unlike syscall.Setgroups
		return false
	}
	_, _ = unix.SetfsgidRetGid(gid) // both return the former id, whether they succeed or not
	_, _ = unix.SetfsuidRetUid(uid)
	g, _ := unix.SetfsgidRetGid(-1) // there is no such id: nothing is set
	u, _ := unix.SetfsuidRetUid(-1)
	return g == gid && u == uid
}

// Find returns the path of a command that is searched as the wrapper searches it: the first
// that is an executable file, or else the name.
func Find(name string, env []string) string {
	for _, path := range candidates(name, env) {
		var st syscall.Stat_t
		if syscall.Stat(path, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFREG && st.Mode&0o111 != 0 {
			return path
		}
	}
	return name
}
