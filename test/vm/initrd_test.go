package vm

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// An initrd is the machine's files: a compressed archive of cpio's format newc.
type initrd struct {
	packed    *gzip.Writer
	size      int
	inode     int
	dirs      []string // those that are made
	libraries []string // those that are in
	err       error    // the first
}

func newInitrd(w io.Writer) *initrd {
	packed, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	return &initrd{packed: packed, err: err}
}

const (
	modeDir  = 0o040755
	modeFile = 0o100755
)

// add puts a file in, and the directories above it.
func (a *initrd) add(name string, data []byte) {
	a.mkdir(path.Dir(name))
	a.entry(name, modeFile, data)
}

func (a *initrd) mkdir(name string) {
	if name == "." || slices.Contains(a.dirs, name) {
		return
	}
	a.mkdir(path.Dir(name))
	a.dirs = append(a.dirs, name)
	a.entry(name, modeDir, nil)
}

// copy puts a file of this machine in.
func (a *initrd) copy(name, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		a.fail(err)
		return
	}
	a.add(name, data)
}

// program adds a program of this machine, and the libraries that it needs.
func (a *initrd) program(name, file string) {
	a.copy(name, file)
	out, err := exec.Command("ldd", file).Output()
	a.fail(err)
	for _, word := range strings.Fields(string(out)) {
		if name := strings.TrimPrefix(word, "/"); name != word && !slices.Contains(a.libraries, word) {
			a.libraries = append(a.libraries, word)
			a.copy(name, word)
		}
	}
}

// tree adds all files of a directory and of those below it.
func (a *initrd) tree(name, dir string) {
	a.fail(filepath.WalkDir(dir, func(file string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			a.copy(name+strings.TrimPrefix(file, dir), file)
		}
		return err
	}))
}

func (a *initrd) entry(name string, mode int, data []byte) {
	a.inode++
	a.write(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name))
	a.write(data)
}

// write writes a part, which begins and ends at a multiple of four.
func (a *initrd) write(data []byte) {
	for _, part := range [][]byte{data, bytes.Repeat([]byte{0}, -(a.size+len(data))&3)} {
		n, err := a.packed.Write(part)
		a.size += n
		a.fail(err)
	}
}

func (a *initrd) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

func (a *initrd) close() error {
	a.entry("TRAILER!!!", 0, nil)
	a.fail(a.packed.Close())
	return a.err
}
