package discover

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"
)

// A watched is a place with a watcher that runs.
type watched struct {
	*place
	w       *Watcher
	reports chan Result
}

func watch(t *testing.T, p *place, rescan time.Duration) *watched {
	t.Helper()
	d := &watched{p, nil, make(chan Result, 1000)}
	d.w = NewWatcher(slog.New(slog.NewTextHandler(t.Output(), nil)), func(r Result) { d.reports <- r })
	d.w.rescan = rescan
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
	return d
}

// until waits for a report of this.
func (d *watched) until(want string) {
	d.t.Helper()
	var last string
	for {
		select {
		case r := <-d.reports:
			if last = d.show(r); last == want {
				return
			}
		case <-time.After(2 * time.Minute):
			d.t.Fatalf("the last report is\n%s\nwant\n%s", last, want)
		}
	}
}

// TestWatch checks that a change is seen soon: the next scan without an event would be in an
// hour.
func TestWatch(t *testing.T) {
	d := watch(t, newPlace(t), time.Hour)
	if r := d.w.Scan(d.entries); d.show(r) != "" {
		t.Fatalf("nothing is there, and Scan has %s", d.show(r))
	}
	d.write("shop/web", "DAEMON=true\nCOMMAND=one\n") // two directories and a file are new
	d.until("shop/web x1 /bin/sh -c one")
	d.write("shop/web", "DAEMON=true\nCOMMAND=two\n")
	d.until("shop/web x1 /bin/sh -c two")
	d.write("shop/web", "DAEMON=true\nCOMMAND='\n")
	d.until("shop/web x1 /bin/sh -c two\n/shop/web/.env:2: the quote ' is not closed (kept)")
	d.must(os.WriteFile(d.dir+"/shop/new", []byte("DAEMON=true\nCOMMAND=three\n"), 0o644))
	d.must(os.Rename(d.dir+"/shop/new", d.path("shop/web")))
	d.until("shop/web x1 /bin/sh -c three")
	d.must(os.Rename(d.dir+"/shop", d.dir+"/store"))
	d.until("store/web x1 /bin/sh -c three")
	d.must(os.Remove(d.path("store/web")))
	d.until("")
}

func TestWatchLinks(t *testing.T) {
	p := newPlace(t)
	p.write("releases/5", "DAEMON=true\nCOMMAND=five\n")
	p.write("releases/6", "DAEMON=true\nCOMMAND=six\n")
	p.must(os.MkdirAll(p.dir+"/www/shop", 0o755))
	p.must(os.Symlink("../../releases/5", p.dir+"/www/shop/current"))
	p.entries[0].Pattern = p.dir + "/www/*/current/.env"
	d := watch(t, p, time.Hour)
	d.w.Scan(d.entries)
	d.until("shop/current x1 /bin/sh -c five")
	d.must(os.Symlink("../../releases/6", d.dir+"/www/shop/next"))
	d.must(os.Rename(d.dir+"/www/shop/next", d.dir+"/www/shop/current"))
	d.until("shop/current x1 /bin/sh -c six")
	d.write("shared", "DAEMON=true\nCOMMAND=shared\n")
	d.must(os.Remove(d.path("releases/6")))
	d.must(os.Symlink("../../shared/.env", d.path("releases/6")))
	d.until("shop/current x1 /bin/sh -c shared")
	d.write("shared", "DAEMON=true\nCOMMAND=changed\n")
	d.until("shop/current x1 /bin/sh -c changed")
}

// TestWatchNoEvent checks that a change is seen of which the kernel reports nothing: a
// directory further up becomes another one.
func TestWatchNoEvent(t *testing.T) {
	p := newPlace(t)
	p.write("one/www/shop/web", "DAEMON=true\nCOMMAND=one\n")
	p.write("two/www/shop/web", "DAEMON=true\nCOMMAND=two\n")
	p.must(os.Symlink("one", p.dir+"/now"))
	p.entries[0].Pattern = p.dir + "/now/www/*/*/.env"
	d := watch(t, p, 50*time.Millisecond)
	d.w.Scan(d.entries)
	d.until("shop/web x1 /bin/sh -c one")
	d.must(os.Symlink("two", d.dir+"/next"))
	d.must(os.Rename(d.dir+"/next", d.dir+"/now"))
	d.until("shop/web x1 /bin/sh -c two")
}

// TestWatchEntries checks that a file which was being changed during a load is found without
// another event, and that a load can change the entries.
func TestWatchEntries(t *testing.T) {
	p := newPlace(t)
	p.write("shop/web", "DAEMON=true\nCOMMAND=run\n")
	d := watch(t, p, time.Hour)
	d.w.Scan(d.entries)
	d.until("shop/web x1 /bin/sh -c run")
	if r := d.w.Scan(nil); d.show(r) != "" {
		t.Errorf("without entries, Scan has %s", d.show(r))
	}
}
