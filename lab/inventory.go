package lab

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"activationd/device"
	"activationd/internal/document"
	"activationd/internal/fault"
)

// An Inventory describes a laboratory.
type Inventory struct {
	// File is where it was read from. Paths in it are relative to its directory.
	File string
	// Pools are the VLAN ids that may be leased, by domain. A domain is the set of switches
	// within which an id means the same VLAN.
	Pools map[string]Pool
	// Templates is a directory with the user's own platforms, or "".
	Templates   string
	Credentials map[string]Credential
	Devices     map[string]*Device
	// Wiring joins an interface of a device (A) to a port of a switch (B). Trunks join two
	// switches.
	Wiring, Trunks []Wire

	wired map[Port]Wire // by the identity of the interface
}

// A Range is the VLAN ids from First to Last, both included.
type Range struct{ First, Last int }

// A Pool has the ids of its ranges, except the excluded ones.
type Pool struct{ Ranges, Exclude []Range }

// A Credential says how to log in. It refers to secrets and contains none.
type Credential struct {
	User                  string
	Password, Enable, Key Reference
}

// A Reference says where a secret is: in a file that nobody else can read, or in an
// environment variable. The zero Reference refers to no secret.
type Reference struct {
	File string `json:"file,omitempty"`
	Env  string `json:"env,omitempty"`
}

// A Device is a switch, or a device that users of the laboratory lease.
type Device struct {
	Name     string
	Platform string
	// Domain is set for switches only: their VLANs are of that domain's pool.
	Domain string
	// Connect is the URL of the device, as [device.CheckURL] describes it. A device without
	// one is wired, but never logged in to.
	Connect       string
	Credentials   string
	HostKeys      device.HostKeys
	OldAlgorithms bool
	// Login has patterns of the questions that the device asks at its login, in addition to
	// those of its platform.
	Login device.LoginDialog
	// AllowAccessPath says that a startup-config may change the interface, the user or the
	// service by which the device is reached.
	AllowAccessPath bool
	Pace            device.Pace
	Limits          device.Limits
	// Settings are values for the template of the platform.
	Settings map[string]string
	Line     int // in the inventory

	names *interfaceNames
}

// IsSwitch reports whether the device carries the links of other devices.
func (d *Device) IsSwitch() bool { return d.Domain != "" }

// A Port is an interface of a device or a port of a switch.
type Port struct{ Device, Name string }

func (p Port) String() string { return p.Device + ":" + p.Name }

// A Wire joins two ports.
type Wire struct {
	A, B Port
	Line int // in the inventory
}

func (w Wire) String() string { return w.A.String() + " -- " + w.B.String() }

// ReadInventory reads an inventory file. If the file is invalid, the error has every fault
// with its line, and its kind is [fault.Invalid]. If the file cannot be read, the kind is
// that of [fault.OfFile]. ReadInventory reads no secrets and connects to no device.
func ReadInventory(file string) (*Inventory, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}
	return ParseInventory(file, data)
}

// readFile reads a regular file of bounded size.
func readFile(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > document.MaxFile) {
		return nil, fmt.Errorf("%s: is not a file of at most %d bytes: %w", file, document.MaxFile, fault.Invalid)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.OfFile(err))
	}
	return data, nil
}

// Has reports whether the pool has an id.
func (p Pool) Has(id int) bool {
	in := func(r Range) bool { return r.First <= id && id <= r.Last }
	return slices.ContainsFunc(p.Ranges, in) && !slices.ContainsFunc(p.Exclude, in)
}

// parseRange reads "100" or "100-199".
func parseRange(s string) (Range, error) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		last = first
	}
	a, errA := strconv.Atoi(strings.TrimSpace(first))
	b, errB := strconv.Atoi(strings.TrimSpace(last))
	switch {
	case errA != nil || errB != nil:
		return Range{}, fmt.Errorf("%.80q: must be a VLAN id, or a range as in 100-199", s)
	case a < 1 || b > 4094:
		return Range{}, fmt.Errorf("%s: VLAN ids are from 1 to 4094", s)
	case a > b:
		return Range{}, fmt.Errorf("%s: the range ends before it begins", s)
	}
	return Range{a, b}, nil
}

// parseWire reads "sw1:t0 -- sw2:t0".
func parseWire(s string) (Wire, error) {
	ports, err := parsePorts(s)
	if err == nil && len(ports) != 2 {
		err = fmt.Errorf("%.80q: must be as in r1:eth1 -- sw1:p1", s)
	}
	if err != nil {
		return Wire{}, err
	}
	return Wire{A: ports[0], B: ports[1]}, nil
}

// portList writes ports as parsePorts reads them.
func portList(ports []Port) string {
	var all []string
	for _, p := range ports {
		all = append(all, p.String())
	}
	return strings.Join(all, portsJoint)
}

const portsJoint = " -- "

// parsePorts reads two ports or more, as in "r1:eth1 -- r2:eth1 -- r3:eth1".
func parsePorts(s string) (ports []Port, err error) {
	parts := strings.Split(s, portsJoint)
	if len(parts) < 2 {
		return nil, fmt.Errorf("%.80q: must be as in r1:eth1 -- sw1:p1", s)
	}
	for _, part := range parts {
		p, err := parsePort(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		ports = append(ports, p)
	}
	return ports, nil
}

// parsePort reads "r1:eth1".
func parsePort(s string) (Port, error) {
	dev, name, ok := strings.Cut(s, ":")
	if !ok {
		return Port{}, fmt.Errorf("%.80q: must be a device and its interface, as in r1:eth1", s)
	}
	if err := checkName(dev); err != nil {
		return Port{}, err
	}
	if err := checkPort(name); err != nil {
		return Port{}, err
	}
	return Port{dev, name}, nil
}
