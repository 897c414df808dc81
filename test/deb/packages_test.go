package deb

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"activationd/test/harness"
)

// packages is the directory of the packages that the tests have built; TestMain removes it.
var packages string

// A release is what one `make deb` makes.
type release struct {
	version  string
	main, at string // the packages' files
}

// The packages of two versions of this source, built once for all tests, when the first
// asks. The second writes a state that the first does not know.
var buildReleases = sync.OnceValues(func() ([2]release, error) {
	var built [2]release
	flags, err := newerState(packages)
	if err != nil {
		return built, err
	}
	for i, flags := range []string{"", flags} {
		version := fmt.Sprintf("1.0~test%d", i+1)
		r, err := build(version, filepath.Join(packages, version), flags)
		if err != nil {
			return built, err
		}
		built[i] = r
	}
	return built, nil
})

// releases returns the packages of a version and of the next one.
func releases(t *testing.T) (older, newer release) {
	t.Helper()
	built, err := buildReleases()
	if err != nil {
		t.Fatal(err)
	}
	return built[0], built[1]
}

// newerState returns flags of go for programs whose state has one more version than those
// of this source.
func newerState(dir string) (flags string, err error) {
	const file, before, after = "store/bolt/open.go", "\tfunc(*bbolt.Tx) error { return nil },\n}", "\tfunc(*bbolt.Tx) error { return nil },\n\tfunc(*bbolt.Tx) error { return nil },\n}"
	source, err := os.ReadFile("../../" + file)
	if err != nil {
		return "", err
	}
	if strings.Count(string(source), before) != 1 {
		return "", fmt.Errorf("%s does not have %q once", file, before)
	}
	return "-overlay=" + dir + "/overlay.json", errors.Join(
		os.WriteFile(dir+"/open.go", []byte(strings.Replace(string(source), before, after, 1)), 0o644),
		os.WriteFile(dir+"/overlay.json", fmt.Appendf(nil, `{"Replace": {%q: %q}}`, file, dir+"/open.go"), 0o644))
}

// build makes the packages of a version in a directory, with these flags of go.
func build(version, dir, flags string) (release, error) {
	arch, err := exec.Command("dpkg", "--print-architecture").Output()
	if err != nil {
		return release{}, fmt.Errorf("dpkg --print-architecture: %w", err)
	}
	cmd := exec.Command("make", "-C", "../..", "deb", "VERSION="+version, "DIST="+dir)
	cmd.Env = append(os.Environ(), "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" "+flags))
	if out, err := cmd.CombinedOutput(); err != nil {
		return release{}, fmt.Errorf("make deb: %w\n%s", err, harness.Tail(string(out), 40))
	}
	name := dir + "/activationd%s_" + version + "_" + strings.TrimSpace(string(arch)) + ".deb"
	r := release{version: version, main: fmt.Sprintf(name, ""), at: fmt.Sprintf(name, "-at")}
	_, noMain := os.Stat(r.main)
	_, noAt := os.Stat(r.at)
	return r, errors.Join(noMain, noAt)
}
