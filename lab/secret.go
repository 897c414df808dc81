package lab

import (
	"activationd/internal/fault"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// ownerOf returns the id of the user that a file belongs to.
func ownerOf(info fs.FileInfo) (int, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}

// maxSecret is how many bytes a secret may have.
const maxSecret = 64 << 10

// read returns the secret. Line says that the secret is one line, whose line end is cut off.
func (r Reference) read(getenv func(string) string, line bool) (string, error) {
	if r.Env != "" {
		if s := getenv(r.Env); s != "" {
			return s, nil
		}
		return "", fmt.Errorf("the environment variable %s is not set: %w", r.Env, fault.Invalid)
	}
	if r.File == "" {
		return "", nil
	}
	f, err := os.Open(r.File)
	if err != nil {
		return "", fmt.Errorf("%w: %w", err, fault.Invalid)
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("%w: %w", err, fault.Invalid)
	}
	owner, ok := ownerOf(info)
	switch {
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file: %w", r.File, fault.Invalid)
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("%s can be read by others (mode %#o); chmod 600 it: %w", r.File, info.Mode().Perm(), fault.Denied)
	case !ok || owner != 0 && owner != os.Geteuid():
		return "", fmt.Errorf("%s belongs to somebody else (user %d): %w", r.File, owner, fault.Denied)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecret))
	if err != nil {
		return "", fmt.Errorf("%w: %w", err, fault.Invalid)
	}
	secret := string(data)
	if line {
		secret = strings.TrimRight(secret, "\r\n")
	}
	if secret == "" {
		return "", fmt.Errorf("%s is empty: %w", r.File, fault.Invalid)
	}
	return secret, nil
}
