package lab

import (
	"errors"
	"fmt"
	"time"

	"activationd/device"
)

// An Access says how a device is reached. It contains no secrets, so it can be stored.
type Access struct {
	Connect       string    `json:"connect"`
	User          string    `json:"user,omitempty"`
	Password      Reference `json:"password,omitzero"`
	Enable        Reference `json:"enable,omitzero"`
	Key           Reference `json:"key,omitzero"`
	HostKey       string    `json:"host_key,omitempty"`
	KnownHosts    string    `json:"known_hosts,omitempty"`
	OldAlgorithms bool      `json:"old_algorithms,omitempty"`
	// AllowAccessPath is copied from the inventory.
	AllowAccessPath bool `json:"allow_access_path,omitempty"`
	// Login has patterns of the questions that the device asks at its login, in addition to
	// those of its platform.
	Login  device.LoginDialog `json:"login,omitzero"`
	Pace   device.Pace        `json:"pace,omitzero"`
	Limits device.Limits      `json:"limits,omitzero"`
}

func (inv *Inventory) access(d *Device) Access {
	c := inv.Credentials[d.Credentials]
	return Access{
		Connect: d.Connect, User: c.User, Password: c.Password, Enable: c.Enable, Key: c.Key,
		HostKey: d.HostKeys.Lines, KnownHosts: d.HostKeys.File, OldAlgorithms: d.OldAlgorithms, AllowAccessPath: d.AllowAccessPath, Login: d.Login, Pace: d.Pace, Limits: d.Limits,
	}
}

// target is the access without its secrets and without a platform.
func (via Access) target(name string) device.Target {
	return device.Target{
		Name: name, URL: via.Connect, Login: device.Login{User: via.User},
		HostKeys:      device.HostKeys{Lines: via.HostKey, File: via.KnownHosts},
		OldAlgorithms: via.OldAlgorithms, Questions: via.Login, Pace: via.Pace, Limits: via.Limits,
	}
}

// Target reads the secrets of an access; getenv returns those that are in the environment. The
// kind of its error is [fault.Invalid] or [fault.Denied].
func (via Access) Target(name string, p *Platform, getenv func(string) string) (device.Target, error) {
	t := via.target(name)
	t.Platform = p.Dialog
	var errs []error
	for _, s := range []struct {
		what string
		ref  Reference
		into *device.Secret
	}{{"password", via.Password, &t.Login.Password}, {"enable", via.Enable, &t.Login.Enable}, {"key", via.Key, &t.Login.Key}} {
		secret, err := s.ref.read(getenv, s.what != "key")
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", name, s.what, err))
		}
		*s.into = device.Secret(secret)
	}
	return t, errors.Join(errs...)
}

// timeLimit is how long the work on a device may take, in addition to what its pace costs.
func timeLimit(lines int, d time.Duration) time.Duration {
	return 5*time.Minute + 4*d + time.Duration(lines)*10*time.Second
}
