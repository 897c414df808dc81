package harness

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Bin is the directory with the programs, once Main has built them.
var Bin string

// Main builds the programs and runs a package's tests, so many at once, because most
// of them wait for processes and devices. It ends the process. With race the daemon has
// the race detector.
func Main(m *testing.M, atOnce int, race bool) {
	code, err := run(m, atOnce, race)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M, atOnce int, race bool) (int, error) {
	if err := Parallel(atOnce); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "activationd-bin-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { // other users run atctl
		return 0, err
	}
	Bin = dir
	if err := Build(dir); err != nil {
		return 0, err
	}
	if race {
		if err := goBuild(os.Environ(), "-race", "-o", dir+"/", "activationd/cmd/activationd"); err != nil {
			return 0, err
		}
	}
	return m.Run(), nil
}

// Build puts the programs into dir; flags are for go build.
func Build(dir string, flags ...string) error {
	err := goBuild(append(os.Environ(), "CGO_ENABLED=0"), slices.Concat([]string{"-o", dir + "/"}, flags, []string{
		"activationd/cmd/activationd", "activationd/cmd/activationd-spawn", "activationd/cmd/atctl", "activationd/cmd/atctl-lab", "activationd/cmd/atctl-top",
	})...)
	if err != nil {
		return err
	}
	return Atwrap(dir)
}

// Atwrap puts the wrapper's program into dir, linked as make build links it.
func Atwrap(dir string) error {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	if out, err := exec.Command("make", "-s", "-C", strings.TrimSpace(string(root)), "atwrap", "BIN="+dir).CombinedOutput(); err != nil {
		return fmt.Errorf("make atwrap: %w\n%s", err, out)
	}
	return nil
}

func goBuild(env []string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build"}, args...)...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}
