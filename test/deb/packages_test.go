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

// A release is what one `make deb` makes.
type release struct {
	version  string
	main, at string // the packages' files
}

// The packages of two versions of this source, built once for all tests, when the first
// asks.
var buildReleases = sync.OnceValues(func() ([2]release, error) {
	var built [2]release
	for i := range built {
		r, err := build(fmt.Sprintf("1.0~test%d", i+1))
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

func build(version string) (release, error) {
	arch, err := exec.Command("dpkg", "--print-architecture").Output()
	if err != nil {
		return release{}, fmt.Errorf("dpkg --print-architecture: %w", err)
	}
	if out, err := exec.Command("make", "-C", "../..", "deb", "VERSION="+version).CombinedOutput(); err != nil {
		return release{}, fmt.Errorf("make deb: %w\n%s", err, harness.Tail(string(out), 40))
	}
	name := "../../dist/activationd%s_" + version + "_" + strings.TrimSpace(string(arch)) + ".deb"
	r := release{version: version, main: fmt.Sprintf(name, ""), at: fmt.Sprintf(name, "-at")}
	if _, err := os.Stat(r.at); err != nil { // a package for all architectures
		r.at = filepath.Join("../../dist", "activationd-at_"+version+"_all.deb")
	}
	_, noMain := os.Stat(r.main)
	_, noAt := os.Stat(r.at)
	return r, errors.Join(noMain, noAt)
}
