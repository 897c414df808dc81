package lab

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"activationd/device"
	"activationd/internal/fault"
)

//go:embed platforms/*.yaml
var builtIn embed.FS

// BuiltInPlatforms returns the names of the platforms that come with the program,
// sorted.
func BuiltInPlatforms() []string {
	entries, _ := builtIn.ReadDir("platforms") // an embedded directory exists, or this would not compile
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// A Platform describes a kind of device: how it is configured for links, and how its
// configurations are undone.
type Platform struct {
	Name   string
	Dialog device.Platform
	// Kinds are the kinds of containerlab's nodes for which a device of the platform can
	// serve, in addition to the platform's own name.
	Kinds []string
	// Tried says on what the platform was tried: "device", "emulated", "model" or ""
	// (unknown).
	Tried string
	// Manual names the manual by which the platform was written.
	Manual string
	// Files are the user's own files from which the platform was read, by name.
	Files map[string][]byte

	parts   map[string]part // [partVLAN], [partTrunk] and [partAccess]
	ports   portStyle
	dialect dialect
	// settings apply to devices for which the inventory sets none.
	settings map[string]string
}

// The parts of a switch's work.
const (
	partVLAN   = "vlan"   // defines a VLAN
	partTrunk  = "trunk"  // puts a VLAN on a port of a trunk
	partAccess = "access" // puts a VLAN on a port into which a device is plugged
)

// A part says how one part of a switch's work is done, undone and verified. In its texts,
// {vlan}, {port}, {port.any}, {ports}, {access_ports}, {link} and the {NAME} of a setting are
// replaced by their values. A part may consist of checks alone, which verify the work of
// another part.
type part struct {
	apply, undo []string
	checks      []check
}

// A check is a command, and what its answer must be after the part was applied and after it
// was undone. Patterns match whole lines that must, or must not, be there; ids and ports have
// a group that matches a list of VLAN ids or ports. Each check that lists forbidden lines must
// also list required ones, as otherwise an empty answer would satisfy it.
type check struct {
	show                             string
	applied, clean                   []string
	appliedNot, cleanNot, ids, ports []string
}

// LoadPlatform reads a platform: the user's own NAME.yaml in dir if there is one, or else the
// platform that comes with the program. Its dialog is NAME.dialog.yaml in dir, or the dialog
// that its key "dialog" names, in dir or in the program. Errors are as those of
// [ReadInventory].
func LoadPlatform(dir, name string) (*Platform, error) { return loadPlatform(dir, name, false) }

// loadPlatform also accepts, for a stored plan, a platform whose checks verify little: what
// was applied with them must be undone.
func loadPlatform(dir, name string, kept bool) (*Platform, error) {
	p := &Platform{Name: name, Files: map[string][]byte{}, parts: map[string]part{}}
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("platform: %w: %w", err, fault.Invalid)
	}
	own := func(file string) ([]byte, error) {
		if dir == "" {
			return nil, fs.ErrNotExist
		}
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err == nil {
			p.Files[file] = data
		}
		return data, err
	}
	file := filepath.Join(dir, name+".yaml")
	data, err := own(name + ".yaml")
	if errors.Is(err, fs.ErrNotExist) {
		file = "platforms/" + name + ".yaml"
		if data, err = builtIn.ReadFile(file); err != nil {
			return nil, fmt.Errorf("platform %s: is unknown; there are %s: %w", name, strings.Join(BuiltInPlatforms(), ", "), fault.NotFound)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.OfFile(err))
	}
	r := &reader{kept: kept}
	r.Faults.File = file
	dialog := name
	if root := r.Root(data); root != nil {
		dialog = p.parse(r, root)
	}
	if err := r.Faults.Err(); err != nil {
		return nil, err
	}
	for _, of := range []string{name, dialog} {
		switch data, err := own(of + ".dialog.yaml"); {
		case err == nil:
			p.Dialog, err = device.ParsePlatform(filepath.Join(dir, of+".dialog.yaml"), data)
			p.Dialog.Name = name
			return p, err
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("%w: %w", err, fault.OfFile(err))
		}
	}
	if p.Dialog, err = device.BuiltIn(dialog); err != nil {
		err = fmt.Errorf("%s: dialog: there is no %s.dialog.yaml beside it; %w", file, dialog, err)
	}
	return p, err
}

// On what a platform was tried.
const (
	triedDevice   = "device"   // real hardware or software
	triedEmulated = "emulated" // the device's software on an emulated machine
	triedModel    = "model"    // only a model, written by the manual
)

// holes are the {names} in a template, and the {{words}} that stand for {words}.
var holes = regexp.MustCompile(`\{\{[A-Za-z][A-Za-z0-9._-]*\}\}|\{[A-Za-z][A-Za-z0-9._-]*\}`)

// platforms loads each platform once.
func platforms(dir string, names []string, kept bool) (map[string]*Platform, error) {
	all := map[string]*Platform{}
	var errs []error
	for _, name := range names {
		if all[name] != nil {
			continue
		}
		p, err := loadPlatform(dir, name, kept)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all[name] = p
	}
	return all, errors.Join(errs...)
}

// Platforms loads the platforms of the inventory's devices.
func (inv *Inventory) Platforms() (map[string]*Platform, error) {
	names := map[string]bool{}
	for _, d := range inv.Devices {
		names[d.Platform] = true
	}
	return platforms(inv.Templates, slices.Sorted(maps.Keys(names)), false)
}
