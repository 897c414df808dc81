package pools

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"activationd/internal/fault"
)

// TestFollow changes the file in several ways. The rules follow it, and the last good ones
// stay while it cannot be read.
func TestFollow(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	dir := t.TempDir()
	path := filepath.Join(dir, "pools.json")
	reports := make(chan string, 100)
	f := NewFile(func(r Rules, err error) {
		text := strings.Join(r.List.Entries(), " ")
		if r.List == nil {
			text = "no file"
		}
		if err != nil {
			text += "; " + strings.ReplaceAll(fault.Text(err), dir, "")
		}
		reports <- text
	})
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	want := func(text string) {
		t.Helper()
		for { // a writer that is seen in the middle of its work is reported, too
			got := <-reports
			if got == text {
				return
			}
			if !strings.Contains(got, "want a list") {
				t.Fatalf("reported: %s, want %s", got, text)
			}
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Change(ctx, func(l *List) *List { return l.Deny("a") }); !errors.Is(err, fault.Conflict) {
		t.Errorf("without a path: %v", err)
	}
	f.Configure(path, nil, []string{"x"})
	want("no file")
	write("pools.json", `["a"]`)
	want("a")
	write("pools.json", `["a"`)
	want("a; /pools.json:1: the list has no end: EOF")
	if ok, _ := f.Rules().Allows("a"); !ok || f.Err() == nil {
		t.Errorf("the last good list is not in force: %v, %v", f.Rules(), f.Err())
	}
	if err := f.Change(ctx, func(l *List) *List { return l.Allow("b") }); err == nil || !strings.Contains(err.Error(), "repair the file first") {
		t.Errorf("a file that cannot be read is changed: %v", err)
	}
	write("new", `["a", "c"]`)
	if err := os.Rename(filepath.Join(dir, "new"), path); err != nil {
		t.Fatal(err)
	}
	want("a c")
	if err := f.Change(ctx, func(l *List) *List { return l.Allow("x").Deny("a") }); err != nil {
		t.Fatal(err)
	}
	want("c x")
	if ok, why := f.Rules().Allows("x"); ok || why != "denied by queues.deny (x)" {
		t.Errorf("the configuration does not count: %t, %s", ok, why)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want("no file")
	write("other.json", `["z"]`)
	f.Configure(filepath.Join(dir, "other.json"), nil, nil)
	want("z")
	write("broken.json", `[`)
	f.Configure(filepath.Join(dir, "broken.json"), nil, nil)
	want("; /broken.json:1: the list has no end: EOF")
	if ok, why := f.Rules().Allows("z"); ok || why != "broken.json cannot be read" {
		t.Errorf("a file that could never be read allows: %t, %s", ok, why)
	}
	f.Configure("", nil, nil)
	want("no file")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	select {
	case text := <-reports:
		t.Error("reported without a reason: ", fmt.Sprint(text))
	default:
	}
}
