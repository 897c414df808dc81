// Package biglab fills a store with a large laboratory, for tests and measurements: weeks of
// reservations and jobs, of which most are finished. A real engine makes all of it, with a clock
// that goes on as soon as nothing is left to do, and with runs that end at once. So the records are
// those of a laboratory, and a hundred thousand of them take a minute.
package biglab

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"activationd/activation"
	"activationd/activation/announce"
	"activationd/reservation/file"
	"activationd/store"
	"activationd/store/bolt"
	"activationd/store/memstore"
	"activationd/topology"
)

// A Lab says how large a laboratory is. Slots are two hours long, and of all activations one in five
// is a job. Finished and Pending are how many activations there are of each, without those of the
// present slot, which run.
type Lab struct {
	Finished, Pending, Devices int
}

// Source is the name of the source of the reservations: the daemon's configuration has it as a
// source that clients put, http.
const Source = "portal"

const (
	slot = 2 * time.Hour
	// failing is how many activations there are for each one that fails, clashes how many
	// reservations conflict, and owners how many own all of them.
	failing = 40
	clashes = 5
	owners  = 200
)

// perSlot is how many activations begin in each slot: as many as have devices.
func (l Lab) perSlot() int { return l.Devices * 3 / 4 }

// began is when the first slot begins: the present one is that in which now is.
func (l Lab) began(now time.Time) time.Time {
	return now.Truncate(slot).Add(-time.Duration(l.Finished/l.perSlot()) * slot)
}

// Fill makes the state of the laboratory at a time in a new file.
func Fill(ctx context.Context, path string, l Lab, now time.Time) (err error) {
	db := memstore.New()
	if err := l.make(ctx, db, now); err != nil {
		return err
	}
	return save(ctx, db, path)
}

// save copies a store into a new file.
func save(ctx context.Context, from store.Store, path string) (err error) {
	db, err := bolt.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return from.View(ctx, func(all store.Tx) error {
		return db.Update(ctx, func(tx store.Tx) error {
			for k, v := range all.Scan("", "") {
				if err := tx.Put(k, v); err != nil {
					return err
				}
			}
			return tx.Raise(all.Stamp())
		})
	})
}

// make makes the state of the laboratory at a time.
func (l Lab) make(ctx context.Context, db store.Store, now time.Time) (err error) {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	w := newWarp(l.began(now).Add(-time.Hour))
	set := settings()
	e := activation.New(activation.Parts{
		DB: db, Host: host, Boot: strings.TrimSpace(string(boot)), Runs: w, Alarm: w, Clock: w, Nodes: topology.Devices, Log: slog.New(slog.DiscardHandler),
	}, set)
	var loader *announce.Loader
	put := file.NewPut(Source, func(ctx context.Context) ([]byte, error) { return loader.Content(ctx, Source) })
	conf := announce.Configuration{Settings: set, Sources: []announce.Source{{Source: put, Missed: activation.MissedRun}}}
	loader = announce.NewLoader(e, conf, topology.Devices, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(ctx)
	loading, stopLoading := context.WithCancel(ctx)
	ended := make(chan error, 2)
	go func() { ended <- e.Run(ctx) }()
	go func() {
		ended <- loader.Run(loading, func(context.Context) (announce.Configuration, error) { return conf, nil })
	}()
	err = cmp.Or(l.announce(ctx, loader, w.Now()), l.submit(ctx, e, w.Now()))
	stopLoading() // or it would look for conflicts after each step
	if err == nil {
		err = w.goTo(ctx, e, now)
	}
	if err == nil {
		err = e.Judge(ctx)
	}
	stop()
	for range 2 {
		if one := <-ended; !errors.Is(one, context.Canceled) {
			err = errors.Join(err, one)
		}
	}
	return err
}

func settings() activation.Settings {
	d := activation.Defaults{
		Activate: []string{"true"}, Deactivate: []string{"true"}, Timeout: time.Hour, UndoTimeout: time.Hour, Grace: time.Second,
		BackoffFirst: time.Second, BackoffMax: time.Second, Missed: activation.MissedRun,
	}
	return activation.Settings{
		MaxParallel: 1000, MissedGrace: time.Hour, MaxRemoval: 1, HistoryAge: 365 * 24 * time.Hour, EventsCount: 100_000, Jobs: d, Reservations: d,
	}
}

// jobOf says which of the activations of a slot are jobs.
func jobOf(n int) bool { return n%5 == 4 }

// device is the name of one of the devices: they are of five kinds.
func (l Lab) device(n int) string {
	return []string{"core", "edge", "fw", "leaf", "spine"}[n%5] + strconv.Itoa(n/5+1)
}

// all calls each with the number of each activation, in the order of their slots, its number in the
// slot, and when that begins.
func (l Lab) all(from time.Time, each func(i, n int, begins time.Time)) {
	per := l.perSlot()
	first := from.Add(time.Hour)
	for i := range l.Finished/per*per + per + l.Pending {
		each(i, i%per, first.Add(time.Duration(i/per)*slot))
	}
}

// announce puts the reservations of all times.
func (l Lab) announce(ctx context.Context, loader *announce.Loader, from time.Time) error {
	type reservation struct {
		ID      string    `json:"id"`
		Owner   string    `json:"owner"`
		Start   time.Time `json:"start"`
		End     time.Time `json:"end"`
		Devices []string  `json:"devices"`
		Label   string    `json:"label"`
	}
	var content struct {
		Reservations []reservation `json:"reservations"`
	}
	present := l.Finished / l.perSlot()
	l.all(from, func(i, n int, begins time.Time) {
		if jobOf(n) {
			return
		}
		at := n / 5 * 6 // six devices for five activations, of which one is a job
		var devices []string
		switch n % 5 {
		case 0:
			devices = []string{l.device(at), l.device(at + 1)}
		case 1:
			devices = []string{l.device(at + 2), l.device(at + 3)}
		default:
			devices = []string{l.device(at + n%5 + 2)}
		}
		if n == 1 && i/l.perSlot() > present && i/l.perSlot() <= present+clashes {
			devices = append(devices, l.device(at)) // which the one before has
		}
		content.Reservations = append(content.Reservations, reservation{
			ID: fmt.Sprintf("%d@%s", 100_000+i, Source), Owner: owner(i), Start: begins, End: begins.Add(slot), Devices: devices, Label: "course " + strconv.Itoa(i%30),
		})
	})
	data, err := json.Marshal(content)
	if err != nil {
		return err
	}
	rep, err := loader.Put(ctx, Source, announce.Put{Content: data}, announce.LoadOptions{})
	if err == nil && rep.Added != len(content.Reservations) {
		err = fmt.Errorf("of %d reservations %s", len(content.Reservations), rep.Summary())
	}
	return err
}

func owner(i int) string { return "user" + strconv.Itoa(i*7%owners) }

// submit adds the jobs of all times.
func (l Lab) submit(ctx context.Context, e *activation.Engine, from time.Time) error {
	var jobs []activation.NewJob
	l.all(from, func(i, n int, begins time.Time) {
		if jobOf(n) {
			jobs = append(jobs, activation.NewJob{
				Order: activation.Order{Owner: owner(i), Label: "nightly backup", Argv: []string{"backup", "--all"}}, At: begins.Add(time.Duration(n) * time.Second),
			})
		}
	})
	for len(jobs) > 0 {
		some := jobs[:min(1000, len(jobs))]
		if _, err := e.Add(ctx, activation.Actor{Kind: "uid", Name: "root", Role: "admin"}, some); err != nil {
			return err
		}
		jobs = jobs[len(some):]
	}
	return nil
}
