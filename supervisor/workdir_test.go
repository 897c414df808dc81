package supervisor_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"activationd/internal/fault"
)

func TestWorkdir(t *testing.T) {
	s := newBench(t, "")
	dir := filepath.Dir(s.config.WorkdirsDir)
	kept, err := s.Workdir("1042@ostrava", -1, -1)
	if err != nil || kept != dir+"/kept/1042@ostrava" {
		t.Fatalf("Keep = %q, %v", kept, err)
	}
	if info, err := os.Stat(kept); err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("made %v, %v", info, err)
	}
	if err := os.WriteFile(kept+"/manifest", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	uid, gid := -1, -1
	if os.Getuid() == 0 { // its user may be another for the next attempt
		uid, gid = 64123, 64123
	}
	if again, err := s.Workdir("1042@ostrava", uid, gid); err != nil || again != kept {
		t.Errorf("Keep again = %q, %v", again, err)
	}
	info, err := os.Stat(kept)
	if err != nil {
		t.Fatal(err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); uid >= 0 && (!ok || int(stat.Uid) != uid || int(stat.Gid) != gid) {
		t.Errorf("belongs to %+v, want %d", stat, uid)
	}
	if _, err := os.Stat(kept + "/manifest"); err != nil {
		t.Errorf("what was kept: %v", err)
	}
	for _, id := range []string{"", ".", "..", "../runs", "a/b", "a\x00b"} {
		if _, err := s.Workdir(id, -1, -1); !errors.Is(err, fault.Invalid) {
			t.Errorf("Keep(%q) = %v, want invalid", id, err)
		}
		if err := s.RemoveWorkdir(t.Context(), id); !errors.Is(err, fault.Invalid) {
			t.Errorf("Unkeep(%q) = %v, want invalid", id, err)
		}
	}
	if ids, err := s.Workdirs(); err != nil || !slices.Equal(ids, []string{"1042@ostrava"}) {
		t.Errorf("Kept = %v, %v", ids, err)
	}
	// What a script puts there leads the daemon nowhere else.
	if err := os.Symlink(dir+"/config", kept+"/link"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is none
		if err := s.RemoveWorkdir(t.Context(), "1042@ostrava"); err != nil {
			t.Error(err)
		}
	}
	if ids, err := s.Workdirs(); err != nil || len(ids) != 0 {
		t.Errorf("Kept = %v, %v", ids, err)
	}
	if _, err := os.Stat(dir + "/config"); err != nil {
		t.Errorf("what a link led to: %v", err)
	}
	if err := os.Remove(dir + "/kept"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Workdir("1", -1, -1); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Keep without a place = %v, want unavailable", err)
	}
}
