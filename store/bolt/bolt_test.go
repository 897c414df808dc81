package bolt_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"activationd/store"
	"activationd/store/bolt"
	"activationd/store/storetest"
)

// Some tests need a process of their own: this program again, in a role.
var roles = map[string]func(path string) error{
	"million": million,
	"open":    func(path string) error { _, err := bolt.Open(path); return err },
	"refused": refused,
	"scan":    scan,
	"vlans":   vlans,
	"queues":  queues,
	"writer":  writer,
}

const roleVar = "BOLT_TEST_ROLE"

func TestMain(m *testing.M) {
	if role, ok := roles[os.Getenv(roleVar)]; ok {
		if err := role(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	m.Run()
}

// inChild returns the command that plays a role with a file.
func inChild(t testing.TB, role, path string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, path)
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	return cmd
}

func open(t testing.TB, path string) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return db
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, filepath.Join(t.TempDir(), "state.db")) })
}
