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

// An Inventory is what a laboratory has.
type Inventory struct {
	// File is where it was read from; paths in it are relative to its directory.
	File string
	// Pools are the VLAN ids that may be lent, by domain: the switches within which an
	// id means the same VLAN.
	Pools map[string]Pool
	// Templates is a directory with platforms of the user's own, or "".
	Templates   string
	Credentials map[string]Credential
	Devices     map[string]*Device
	// Wiring joins a device's interface (A) to a switch's port (B), and Trunks two
	// switches.
	Wiring, Trunks []Wire

	wired map[Port]Wire // by the identity of the device's interface
}

// A Range is the VLAN ids from First to Last, both included.
type Range struct{ First, Last int }

// A Pool has the ids of some ranges, but for the excluded ones.
type Pool struct{ Ranges, Exclude []Range }

// A Credential says how to log in, by reference: nothing secret is in it.
type Credential struct {
	User                  string
	Password, Enable, Key Reference
}

// A Reference is where a secret is: in a file which nobody else can read, or in a
// variable of the environment. The zero Reference is none.
type Reference struct {
	File string `json:"file,omitempty"`
	Env  string `json:"env,omitempty"`
}

// A Device is a switch, or what a laboratory's users are lent.
type Device struct {
	Name     string
	Platform string
	// Domain is a switch's, whose VLANs are of that pool. Others have none.
	Domain string
	// Connect is its URL, as [device.CheckURL] has it; "": it is only wired.
	Connect       string
	Credentials   string
	HostKeys      device.HostKeys
	OldAlgorithms bool
	// Login are patterns of what it asks at its login, beside the platform's.
	Login device.LoginDialog
	// AllowAccessPath says that a startup-config may change the interface, the user or the
	// service by which the device is reached.
	AllowAccessPath bool
	Pace            device.Pace
	Limits          device.Limits
	// Settings are what the platform's template may use.
	Settings map[string]string
	Line     int // in the inventory

	names *interfaceNames
}

// IsSwitch reports whether it carries others' links.
func (d *Device) IsSwitch() bool { return d.Domain != "" }

// A Port is a device's interface, or a switch's port.
type Port struct{ Device, Name string }

func (p Port) String() string { return p.Device + ":" + p.Name }

// A Wire joins two ports.
type Wire struct {
	A, B Port
	Line int // in the inventory
}

func (w Wire) String() string { return w.A.String() + " -- " + w.B.String() }

// ReadInventory reads an inventory's file. All that is wrong with it is in the error,
// each fault with its line; its kind is then [fault.Invalid], and [fault.Unavailable]
// when the file can't be read. It looks at no secret and speaks with no device.
func ReadInventory(file string) (*Inventory, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}
	return ParseInventory(file, data)
}

// readFile reads a file of bounded size.
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
		return nil, fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	return data, nil
}

// Has reports whether id is one of the pool's.
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
		return Range{}, fmt.Errorf("%s: begins after its end", s)
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
	return strings.Join(all, joint)
}

const joint = " -- "

// parsePorts reads two ports or more, as in "r1:eth1 -- r2:eth1 -- r3:eth1".
func parsePorts(s string) (ports []Port, err error) {
	parts := strings.Split(s, joint)
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
