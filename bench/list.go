package main

import (
	"fmt"
	"time"

	"activationd/control"
)

const (
	listFinished = 100_000
	listRows     = 100
	listTimes    = 9
)

// lists measures lists of 100 among 100,000 finished jobs: an unfiltered one, and one by each
// kind of filter. Each goal is a number of milliseconds more than the unfiltered list takes,
// measured in turns with it. The jobs are held until their deadline has passed, so they end without a run.
func lists(b *bench, t *table) error {
	d, err := b.start("{}")
	if err != nil {
		return err
	}
	defer d.end()
	request := "add\nhold:yes\ndeadline:1s\nlabel:nightly backup\ntag:night,lab\nlock:sw1:shared\nscript:\"cd /srv\\ntar c . | gzip >/var/backups/srv.tar.gz\\n\"\n\n"
	if _, _, err := d.pipeline(listFinished, request); err != nil {
		return err
	}
	if err := until("the end of all jobs", func() bool {
		_, out, err := call[control.StatusOut](d, "status", nil)
		return err == nil && out[0].States["finished"] == listFinished
	}); err != nil {
		return err
	}
	list := func(in control.ListIn) (ms float64, err error) {
		if len(in.State) == 0 {
			in.State = []string{"all"}
		}
		in.Limit = listRows
		begin := time.Now()
		_, _, err = call[control.Activation](d, "list", in)
		return time.Since(begin).Seconds() * 1000, err
	}
	yesterday := time.Now().Add(-24 * time.Hour).Format(time.RFC3339)
	for _, f := range []struct {
		name string
		goal float64
		in   control.ListIn
	}{
		{"--state", 50, control.ListIn{State: []string{"missed"}}},
		{"--outcome", 50, control.ListIn{Outcome: []string{"failed"}}},
		{"--failed", 50, control.ListIn{Failed: true}},
		{"--owner", 50, control.ListIn{Owner: "root"}},
		{"--device", 50, control.ListIn{Device: []string{"sw1"}}},
		{"--kind", 50, control.ListIn{Kind: "job"}},
		{"--label", 50, control.ListIn{Label: "*backup"}},
		{"--tag", 50, control.ListIn{Tag: []string{"lab"}}},
		{"--since", 50, control.ListIn{Since: yesterday}},
		{"--until", 50, control.ListIn{Until: yesterday}},
		{"--match TEXT that all have", 150, control.ListIn{Match: "GZIP"}},
		{"--match TEXT that none has", 150, control.ListIn{Match: "none"}},
		{"--sort owner", 0, control.ListIn{Sort: "owner"}},
	} {
		var plain, filtered []float64
		for range listTimes {
			p, err := list(control.ListIn{})
			if err != nil {
				return err
			}
			q, err := list(f.in)
			if err != nil {
				return err
			}
			plain, filtered = append(plain, p), append(filtered, q)
		}
		t.add(fmt.Sprintf("list of %d among %d finished", listRows, listFinished), "ms", median(plain))
		r := t.add("  with "+f.name+": more than that", "ms", median(filtered)-median(plain)).noted("%.2f x", median(filtered)/median(plain))
		if f.goal > 0 {
			r.atMost(f.goal)
		}
	}
	return nil
}
