package main

import (
	"fmt"
	"syscall"

	"activationd/control"
)

// A file system is nearly full when it has less left than a twentieth of its size, and less
// than these limits.
const (
	littleSpace  = 1 << 30 // bytes
	littleInodes = 10_000
)

// diskNeeds returns what needs attention on the file system of a directory.
func diskNeeds(dir string) []control.Attention {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil { // requests will fail and say so
		return nil
	}
	text := nearlyFull(fs.Bavail*uint64(fs.Bsize), fs.Blocks*uint64(fs.Bsize), fs.Ffree, fs.Files)
	if text == "" {
		return nil
	}
	return []control.Attention{{
		Kind: control.NeedsDisk, Text: "the file system of " + dir + " has only " + text + " left; when it is full, new work is refused",
		Try: "df -h " + dir,
	}}
}

// nearlyFull returns how little a file system has left, or "" if it has enough. Some file
// systems do not limit the number of inodes and report 0.
func nearlyFull(space, size, inodes, allInodes uint64) string {
	switch {
	case space < min(size/20, littleSpace):
		return fmt.Sprintf("%.1f MiB", float64(space)/(1<<20))
	case inodes < min(allInodes/20, littleInodes):
		return fmt.Sprintf("%d inodes", inodes)
	}
	return ""
}
