package activation_test

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	. "activationd/activation"

	"activationd/internal/fault"
	"activationd/store"
)

// A bell makes a job each hour, under each of its names. It is a complete producer.
type bell struct{}

const bellKey = "toy/"

func (*bell) enter(t *Txn, name string, was, is time.Time) error {
	data, err := is.MarshalText()
	if err != nil {
		return err
	}
	if err := t.Put(bellKey+name, data); err != nil {
		return err
	}
	return t.Enter(name, was, is)
}

func (b *bell) Due(t *Txn, name string) (bool, error) {
	var due time.Time
	if due.UnmarshalText(t.Get(bellKey+name)) != nil {
		return false, fault.NotFound
	}
	if !t.Come(due) {
		return false, nil
	}
	if err := t.Cancel(t.Members(name, 10), "the next bell"); err != nil {
		return false, err
	}
	j := NewJob{Order: Order{Owner: "sexton", Argv: []string{"ring"}}}
	if _, err := t.Add(&j, name, "the bell rings", func(*Record) {}); err != nil {
		return false, err
	}
	return true, b.enter(t, name, due, due.Add(hour))
}

func (*bell) Woken(t *Txn, why Wake) error {
	return t.Append(wokenLog, []byte(strconv.Itoa(int(why))), 1) // the transaction may run again
}

func (*bell) Ended(t *Txn, _, r *Record) error { return t.Append(endedLog, []byte(r.Outcome), 1) }

const (
	wokenLog = "x/woken/"
	endedLog = "x/ended/"
)

// logged returns the entries of one of the bell's logs.
func (rig *testRig) logged(log string) (vals []string) {
	_ = rig.db.View(context.Background(), func(tx store.Tx) error {
		vals = nil
		for _, v := range tx.Scan(log, "") {
			vals = append(vals, string(v))
		}
		return nil
	})
	return vals
}

func TestProducer(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		var b bell
		rig.shutDown()
		rig.producers = func(e *Engine) { e.Register("bell", &b) }
		rig.start()
		start := time.Now()
		err := rig.e.Update(context.Background(), func(t *Txn) error {
			return b.enter(t, "bell~noon", time.Time{}, t.Now.Add(hour))
		})
		if err != nil {
			t.Fatal(err)
		}
		rig.script("2", Activate, script{lasts: 90 * minute})
		rig.sleep(hour - 1)
		rig.ran("")
		rig.restart()
		rig.sleep(2*hour + minute)
		rig.ran("1.activate.1 2.activate.1 3.activate.1")
		rig.is("2", "cancelled")
		if v := rig.get("1"); v.From != "bell~noon" || !v.Start.Equal(start.Add(hour)) {
			t.Errorf("the first is of %s and was due at %v", v.From, v.Start)
		}
		if ended := rig.logged(endedLog); !slices.Equal(ended, []string{"succeeded", "cancelled", "succeeded"}) {
			t.Errorf("ended: %v", ended)
		}
		woken := len(rig.logged(wokenLog))
		rig.shutDown()
		rig.boot = "boot2"
		rig.start()
		if got := rig.logged(wokenLog)[woken:]; !slices.Equal(got, []string{"0", "1"}) { // rebooted, resumed
			t.Errorf("woken: %v", got)
		}
		rig.sleep(hour)
		rig.ran("1.activate.1 2.activate.1 3.activate.1 4.activate.1")
		// A daemon that ends before an hour's bell is durable has not rung it, and the next
		// one rings it once.
		rig.mem.SetFull(true)
		rig.sleep(hour)
		rig.restart()
		rig.sleep(minute)
		rig.ran("1.activate.1 2.activate.1 3.activate.1 4.activate.1")
		rig.mem.SetFull(false)
		rig.sleep(minute)
		rig.ran("1.activate.1 2.activate.1 3.activate.1 4.activate.1 5.activate.1")
		// The due times of an unknown producer are ignored.
		rig.shutDown()
		rig.producers = nil
		rig.start()
		rig.sleep(2 * hour)
		rig.ran("1.activate.1 2.activate.1 3.activate.1 4.activate.1 5.activate.1")
	})
}
