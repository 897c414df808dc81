package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"activationd/device"
	"activationd/internal/fault"
)

// A Way is how a device is reached. It has no secret in it, so it can be kept.
type Way struct {
	Connect       string    `json:"connect"`
	User          string    `json:"user,omitempty"`
	Password      Reference `json:"password,omitzero"`
	Enable        Reference `json:"enable,omitzero"`
	Key           Reference `json:"key,omitzero"`
	HostKey       string    `json:"host_key,omitempty"`
	KnownHosts    string    `json:"known_hosts,omitempty"`
	OldAlgorithms bool      `json:"old_algorithms,omitempty"`
	// AllowAccessPath is what the inventory says of the device.
	AllowAccessPath bool `json:"allow_access_path,omitempty"`
	// Login are patterns of what it asks, beside the platform's.
	Login  device.LoginDialog `json:"login,omitzero"`
	Pace   device.Pace        `json:"pace,omitzero"`
	Limits device.Limits      `json:"limits,omitzero"`
}

func (inv *Inventory) way(d *Device) Way {
	c := inv.Credentials[d.Credentials]
	return Way{
		Connect: d.Connect, User: c.User, Password: c.Password, Enable: c.Enable, Key: c.Key,
		HostKey: d.HostKeys.Lines, KnownHosts: d.HostKeys.File, OldAlgorithms: d.OldAlgorithms, AllowAccessPath: d.AllowAccessPath, Login: d.Login, Pace: d.Pace, Limits: d.Limits,
	}
}

// target is a way without its secrets, and without a platform.
func (w Way) target(name string) device.Target {
	return device.Target{
		Name: name, URL: w.Connect, Login: device.Login{User: w.User},
		HostKeys:      device.HostKeys{Lines: w.HostKey, File: w.KnownHosts},
		OldAlgorithms: w.OldAlgorithms, Questions: w.Login, Pace: w.Pace, Limits: w.Limits,
	}
}

// Target reads the secrets of a way; getenv is for those in the environment. The kind
// of its error is [fault.Invalid] or [fault.Denied].
func (w Way) Target(name string, p *Platform, getenv func(string) string) (device.Target, error) {
	t := w.target(name)
	t.Platform = p.Dialog
	var errs []error
	for _, s := range []struct {
		what string
		ref  Reference
		into *device.Secret
	}{{"password", w.Password, &t.Login.Password}, {"enable", w.Enable, &t.Login.Enable}, {"key", w.Key, &t.Login.Key}} {
		secret, err := s.ref.read(getenv, s.what != "key")
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", name, s.what, err))
		}
		*s.into = device.Secret(secret)
	}
	return t, errors.Join(errs...)
}

// maxSecret is how many bytes a secret may have.
const maxSecret = 64 << 10

// read returns the secret; line says that it is one, of which the end is cut off.
func (r Reference) read(getenv func(string) string, line bool) (string, error) {
	if r.Env != "" {
		if s := getenv(r.Env); s != "" {
			return s, nil
		}
		return "", fmt.Errorf("the environment has no %s: %w", r.Env, fault.Invalid)
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

// most is how long a device may take for what is planned, beside what the pace costs.
func most(lines int, d time.Duration) time.Duration {
	return 5*time.Minute + 4*d + time.Duration(lines)*10*time.Second
}
