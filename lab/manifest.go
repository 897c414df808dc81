package lab

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"activationd/internal/fault"
)

const (
	manifestName   = "manifest.json"
	manifestFormat = 1
	ownPlatforms   = "platforms" // the directory with the user's own platforms
)

// A manifest is the table of contents of a plan.
type manifest struct {
	Format     int               `json:"format"`
	Activation string            `json:"activation"`
	Lab        string            `json:"lab,omitempty"`
	Mapping    Mapping           `json:"mapping"`
	Links      []PlannedLink     `json:"links"`
	Devices    []manifestDevice  `json:"devices"`
	Files      map[string]string `json:"files"` // SHA-256, in hexadecimal digits, by name
}

type manifestDevice struct {
	Name        string `json:"name"`
	Platform    string `json:"platform"`
	Comparable  bool   `json:"whole,omitempty"`
	MustBeClean bool   `json:"bare,omitempty"`
	Lines       int    `json:"lines"`
	// Unverified are lines that can't be read back as they were written.
	Unverified []string     `json:"unverified,omitempty"`
	Duration   jsonDuration `json:"duration"`
	Access     Access       `json:"way"`
}

type checksFile struct {
	Applied []Check `json:"applied"`
	Clean   []Check `json:"clean"`
}

// Files returns the files of a plan by name: NAME.conf, NAME.undo and NAME.checks.json of each
// device, the user's own platforms, and manifest.json with the hashes of the other files.
func (p *Plan) Files(platforms map[string]*Platform) (map[string][]byte, error) {
	files := map[string][]byte{}
	m := manifest{
		Format: manifestFormat, Activation: p.Activation, Lab: p.Lab, Mapping: p.Mapping, Links: p.Links, Files: map[string]string{},
	}
	for _, d := range p.Devices {
		files[d.Name+".conf"] = lineFile(d.Apply)
		files[d.Name+".undo"] = lineFile(d.Undo)
		checks, err := indentJSON(checksFile{d.Applied, d.Clean})
		if err != nil {
			return nil, err
		}
		files[d.Name+".checks.json"] = checks
		if own := platforms[d.Platform]; own != nil {
			for name, data := range own.Files {
				files[ownPlatforms+"/"+name] = data
			}
		}
		m.Devices = append(m.Devices, manifestDevice{
			Name: d.Name, Platform: d.Platform, Comparable: d.Comparable, MustBeClean: d.MustBeClean, Lines: len(d.Apply), Unverified: d.Unverified,
			Duration: jsonDuration(d.Duration), Access: d.Access,
		})
	}
	for name, data := range files {
		sum := sha256.Sum256(data)
		m.Files[name] = hex.EncodeToString(sum[:])
	}
	data, err := indentJSON(m)
	files[manifestName] = data
	return files, err
}

func indentJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}

func lineFile(lines []string) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func linesOf(data []byte) (lines []string) {
	for l := range strings.Lines(string(data)) {
		lines = append(lines, strings.TrimSuffix(l, "\n"))
	}
	return lines
}

// writeFiles writes files into the directory dir, which must exist, and the manifest last.
// If they must be durable, they are on disk when it returns.
func writeFiles(dir string, files map[string][]byte, durable bool) error {
	names := slices.Sorted(maps.Keys(files))
	slices.SortStableFunc(names, func(a, b string) int {
		return ifElse(a == manifestName, 1, 0) - ifElse(b == manifestName, 1, 0)
	})
	dirs := []string{dir}
	for _, name := range names {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if sub := filepath.Dir(to); !slices.Contains(dirs, sub) {
			if err := os.MkdirAll(sub, 0o700); err != nil {
				return err
			}
			dirs = append(dirs, sub)
		}
		if err := writeFile(to, files[name], durable); err != nil {
			return err
		}
	}
	if !durable {
		return nil
	}
	for _, d := range dirs {
		if err := syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes a whole file or, if it fails, none.
func writeFile(name string, data []byte, durable bool) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".part-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if durable {
		err = errors.Join(err, f.Sync())
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is reported
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// WritePlan writes the files of a plan into a directory, which must exist, and for people what is sent to each
// device, as a difference to nothing: Upload knows what there was.
func WritePlan(dir string, p *Plan, platforms map[string]*Platform) error {
	files, err := p.Files(platforms)
	if err != nil {
		return err
	}
	for i := range p.Devices {
		err = errors.Join(err, writeDifference(dir, &p.Devices[i], ""))
	}
	if err := errors.Join(err, writeFiles(dir, files, false)); err != nil {
		return fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	return nil
}

// ReadPlan reads the files of a plan and checks them against the hashes in the manifest. If
// there is no manifest, the kind of its error is [fault.NotFound].
func ReadPlan(dir string) (*Plan, map[string]*Platform, error) {
	files, err := readPlanFiles(dir)
	if err != nil {
		return nil, nil, err
	}
	p, err := parsePlan(dir, files)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for _, d := range p.Devices {
		names = append(names, d.Platform)
	}
	all, err := platforms(filepath.Join(dir, ownPlatforms), names, true)
	return p, all, err
}

// readPlanFiles reads a manifest and the files that it names.
func readPlanFiles(dir string) (map[string][]byte, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no %s; run atctl lab generate first: %w", dir, manifestName, fault.NotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.OfFile(err))
	}
	m, err := parseManifest(filepath.Join(dir, manifestName), data)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{manifestName: data}
	for name := range m.Files {
		if files[name], err = os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return nil, fmt.Errorf("%w: %w", err, fault.OfFile(err))
		}
	}
	return files, nil
}

// parseManifest reads a manifest. It refuses names that lead out of the manifest's directory.
func parseManifest(file string, data []byte) (m manifest, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	bad := func(format string, args ...any) (manifest, error) {
		return manifest{}, fmt.Errorf("%s: %s: %w", file, fmt.Sprintf(format, args...), fault.Invalid)
	}
	if err := d.Decode(&m); err != nil {
		return bad("%v", err)
	}
	if m.Format != manifestFormat {
		return bad("is of format %d; this program reads %d", m.Format, manifestFormat)
	}
	seen := map[string]bool{}
	for _, d := range m.Devices {
		if err := errors.Join(checkName(d.Name), checkName(d.Platform)); err != nil {
			return bad("%v", err)
		}
		if seen[d.Name] {
			return bad("%s is there twice", d.Name)
		}
		seen[d.Name] = true
	}
	for name := range m.Files {
		dir, base := path.Split(name)
		if checkName(base) != nil || dir != "" && dir != ownPlatforms+"/" || base == manifestName {
			return bad("%.80q is not a file of a plan", name)
		}
	}
	return m, nil
}

// parsePlan makes a plan from its files.
func parsePlan(dir string, files map[string][]byte) (*Plan, error) {
	file := filepath.Join(dir, manifestName)
	m, err := parseManifest(file, files[manifestName])
	if err != nil {
		return nil, err
	}
	for name, want := range m.Files {
		if sum := sha256.Sum256(files[name]); hex.EncodeToString(sum[:]) != want {
			return nil, fmt.Errorf("%s is not the file that %s describes: its hash differs: %w", filepath.Join(dir, name), manifestName, fault.Conflict)
		}
	}
	p := &Plan{Activation: m.Activation, Lab: m.Lab, Mapping: m.Mapping, Links: m.Links}
	for _, d := range m.Devices {
		one := DevicePlan{Name: d.Name, Platform: d.Platform, Comparable: d.Comparable, MustBeClean: d.MustBeClean, Unverified: d.Unverified, Duration: time.Duration(d.Duration), Access: d.Access}
		for _, ext := range []string{".conf", ".undo", ".checks.json"} {
			if _, ok := m.Files[d.Name+ext]; !ok {
				return nil, fmt.Errorf("%s: has no %s%s: %w", file, d.Name, ext, fault.Invalid)
			}
		}
		one.Apply, one.Undo = linesOf(files[d.Name+".conf"]), linesOf(files[d.Name+".undo"])
		var c checksFile
		if err := json.Unmarshal(files[d.Name+".checks.json"], &c); err != nil {
			return nil, fmt.Errorf("%s.checks.json: %w: %w", d.Name, err, fault.Invalid)
		}
		one.Applied, one.Clean = c.Applied, c.Clean
		p.Devices = append(p.Devices, one)
	}
	return p, nil
}

// A jsonDuration is text in JSON, as in 1m30s.
type jsonDuration time.Duration

func (d jsonDuration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

func (d *jsonDuration) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	*d = jsonDuration(v)
	return err
}
