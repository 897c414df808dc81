// Command panel starts a daemon that shows its web panel with a week of a laboratory: 60 devices,
// 400 reservations, 2,000 jobs, 12 services and 8 queues, with conflicts, failed jobs, dead letters,
// a service that does not start, and a reservation that is stuck. `make panel` calls it. It runs
// until Ctrl-C, in a temporary directory that is removed then. Whoever can reach the address is an
// administrator.
//
//	go run ./scripts/panel [-bin DIR] [-address ADDRESS] [-jobs N] [-pictures DIR]
//
// With -pictures it saves the pictures of the documentation, by Chromium, and ends. The same
// reservations are made each time, as far from now.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"activationd/control"
)

//go:embed lab.yaml
var config string

// patience is how long the daemon may take to start, and a picture.
const patience = time.Minute

func main() {
	var d demo
	flag.StringVar(&d.bin, "bin", "bin", "where activationd and atctl are")
	flag.StringVar(&d.address, "address", "127.0.0.1:8085", "where the panel is")
	flag.IntVar(&d.jobs, "jobs", 2000, "how many jobs to run")
	flag.StringVar(&d.pictures, "pictures", "", "save the pictures of the documentation here, and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := d.run(ctx)
	stopped := ctx.Err() != nil
	stop()
	if err != nil && !stopped {
		fmt.Fprintln(os.Stderr, "panel:", err)
		os.Exit(1)
	}
}

// A demo is a daemon with its laboratory.
type demo struct {
	bin, address, pictures string
	jobs                   int

	dir    string
	client control.Client
}

func (d *demo) run(ctx context.Context) (err error) {
	if d.bin, err = filepath.Abs(d.bin); err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "panel-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(d.dir) }()
	if err := d.write(time.Now()); err != nil {
		return err
	}
	log, err := os.Create(d.dir + "/log")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	// A process group of its own: Ctrl-C must not end the daemon before its jobs have been cancelled.
	cmd := exec.Command(d.bin+"/activationd", "--config", d.dir+"/config.yaml", "--state-dir", d.dir+"/state", "--runtime-dir", d.dir+"/run")
	cmd.Stderr, cmd.SysProcAttr = log, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w; make build makes the programs", err)
	}
	d.client.Address = d.dir + "/run/control.sock"
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait()
	}()
	defer d.end(cmd, gone)
	if err := d.ready(ctx, gone); err != nil {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%w\n%s", err, text)
	}
	fmt.Printf("http://%s/ shows the panel; its jobs are being added\n", d.address)
	if err := d.fill(ctx); err != nil {
		return err
	}
	if d.pictures != "" {
		return d.takePictures(ctx)
	}
	fmt.Println("All jobs are there. Ctrl-C ends the daemon and removes its data")
	<-ctx.Done()
	return nil
}

// end stops what runs, so that no process is left, and the daemon.
func (d *demo) end(cmd *exec.Cmd, gone <-chan struct{}) {
	fmt.Println("The daemon and its processes end")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = d.call(ctx, "pause", control.PauseIn{What: "daemon"}) // what fails here is over anyhow
	_ = d.call(ctx, "queue delete", control.QueueDeleteIn{Name: "slow", Now: true, Discard: true})
	_, running, _ := control.Call[control.Activation](ctx, &d.client, "list", control.ListIn{State: []string{"running"}, Kind: "job"})
	for _, a := range running {
		_ = d.call(ctx, "cancel", control.CancelIn{ID: a.ID})
	}
	_ = d.call(ctx, "service stop", control.ServiceStopIn{ServiceIn: control.ServiceIn{Name: []string{"*"}}})
	_ = d.client.Close()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	<-gone
}

// ready waits until the daemon serves requests and has read its reservations.
func (d *demo) ready(ctx context.Context, gone <-chan struct{}) error {
	for deadline := time.Now().Add(patience); ; {
		resp, err := http.Get("http://" + d.address + "/readyz") //nolint:noctx // of this machine
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("%s says %s", d.address, resp.Status)
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("the daemon does not get ready: %w", err)
		}
		select {
		case <-gone:
			return errors.New("the daemon does not start")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// A slot is a reservation as a file has it.
type slot struct {
	ID         string    `json:"id"`
	Owner      string    `json:"owner"`
	Start      time.Time `json:"start"`
	End        time.Time `json:"end"`
	Devices    []string  `json:"devices"`
	Label      string    `json:"label"`
	Deactivate []string  `json:"deactivate,omitempty"`
}

// kinds are the devices: a letter, how many, and what they are.
var kinds = []struct {
	letter   string
	n        int
	platform string
}{{"r", 16, "frr"}, {"c", 12, "frr"}, {"h", 20, "linux"}, {"e", 12, "openvswitch"}}

// write writes what the daemon reads.
func (d *demo) write(now time.Time) error {
	var inventory strings.Builder
	inventory.WriteString("pools:\n  dc1: {ranges: [200-259]}\n  dc2: {ranges: [300-359]}\ndevices:\n")
	var devices []string
	for _, k := range kinds {
		for n := range k.n {
			name := k.letter + strconv.Itoa(n+1)
			devices = append(devices, name)
			fmt.Fprintf(&inventory, "  %s: {platform: %s, connect: 'telnet://127.0.0.1:%d'}\n", name, k.platform, 20000+len(devices))
		}
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	timetable, exams := reservations(now, devices)
	files := map[string]string{
		"config.yaml": strings.NewReplacer("DIR", d.dir, "ADDRESS", d.address, "USER", me.Username).Replace(config), "inventory.yaml": inventory.String(),
		"activate": `#!/bin/sh
printf '\033[1mactivating %s for %s\033[0m\n' "$ACTIVATION_ID" "$ACTIVATION_OWNER"
` + d.bin + `/atctl vlan alloc dc1:a dc2:b || exit 1
for device in $ACTIVATION_DEVICES; do printf '%s: \033[32mconfigured\033[0m\n' "$device"; sleep 0.3
cat >"$ACTIVATION_CONFIG_DIR/$device.diff" <<END
 interface eth1
- shutdown
+ description $ACTIVATION_ID
+ ip address 10.0.12.$ACTIVATION_FENCE 255.255.255.0
+router ospf
+ ospf router-id 10.255.0.1
+username lab secret ***
END
printf '2099-11-21T10:00:00.000Z > show running-config\n2099-11-21T10:00:00.150Z < \033[1mhostname %s\033[0m\n' "$device" >"$ACTIVATION_CONFIG_DIR/$device.transcript"
echo "hostname $device" >"$ACTIVATION_CONFIG_DIR/$device.conf"
done
`,
		"deactivate": `#!/bin/sh
for device in $ACTIVATION_DEVICES; do echo "$device: cleaned"; done
`,
		"broken": `#!/bin/sh
echo "e12: no answer from its console; is it powered?" >&2
exit 1
`,
	}
	for name, all := range map[string][]slot{"timetable.json": timetable, "exams.json": exams} {
		data, err := json.MarshalIndent(map[string]any{"reservations": all}, "", " ")
		if err != nil {
			return err
		}
		files[name] = strings.ReplaceAll(string(data), "DIR/", d.dir+"/")
	}
	for name, text := range files {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		path := filepath.Join(d.dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			return err
		}
	}
	return nil
}

// stuckSlot is the reservation that cannot be undone.
const stuckSlot = "1000@ostrava"

// reservations makes 400 reservations around a time. Those of exams want devices that the
// timetable has given away, and one of the first cannot be undone.
func reservations(now time.Time, devices []string) (timetable, exams []slot) {
	rng := rand.New(rand.NewPCG(4, 2)) //nolint:gosec // for pictures
	labels := []string{"OSPF areas", "BGP with two providers", "VLAN basics", "MPLS L3VPN", "IPv6 transition", "thesis", "spanning tree"}
	busy := make(map[string][]slot)
	free := func(device string, from, to time.Time) bool {
		for _, s := range busy[device] {
			if from.Before(s.End) && s.Start.Before(to) {
				return false
			}
		}
		return true
	}
	first := now.Truncate(30 * time.Minute)
	for n := 1001; len(timetable) < 388; n++ {
		from := first.Add(time.Duration(rng.IntN(7*48)-2) * 30 * time.Minute)
		to := from.Add(time.Duration(2+rng.IntN(5)) * 30 * time.Minute)
		s := slot{
			ID: strconv.Itoa(n) + "@ostrava", Owner: fmt.Sprintf("group%d", 1+rng.IntN(14)), Start: from, End: to,
			Label: labels[rng.IntN(len(labels))],
		}
		for _, i := range rng.Perm(len(devices) - 1)[:2+rng.IntN(4)] { // the last one is for the slot that gets stuck
			if free(devices[i], from, to) {
				s.Devices = append(s.Devices, devices[i])
			}
		}
		if len(s.Devices) == 0 || !to.After(now.Add(time.Minute)) {
			continue
		}
		for _, device := range s.Devices {
			busy[device] = append(busy[device], s)
		}
		timetable = append(timetable, s)
	}
	timetable = append(timetable, slot{
		ID: stuckSlot, Owner: "group3", Start: first.Add(-time.Hour), End: now.Add(20 * time.Second), Devices: devices[len(devices)-1:],
		Label: "spanning tree", Deactivate: []string{"DIR/broken"},
	})
	for i := range 11 {
		s := timetable[i*30]
		exams = append(exams, slot{
			ID: fmt.Sprintf("exam-%d@opava", i+1), Owner: "examiners", Start: s.Start.Add(15 * time.Minute), End: s.End.Add(30 * time.Minute),
			Devices: s.Devices[:1], Label: "exam",
		})
	}
	return timetable, exams
}

// fill adds jobs, queues and messages.
func (d *demo) fill(ctx context.Context) error {
	if err := d.fillQueues(ctx); err != nil {
		return err
	}
	if err := d.fillBookings(ctx); err != nil {
		return err
	}
	in := func(after, label string, arg ...string) control.AddIn {
		return control.AddIn{In: after, Label: label, Arg: arg}
	}
	jobs := []control.AddIn{
		in("", "recording of rack 2", "sh", "-c", "for n in $(seq 3600); do echo frame $n; sleep 1; done"),
		in("", "image of c4", "sleep", "5400"),
		in("2h", "firmware of all switches", "true"), in("20h", "inventory", "true"), in("40m", "mail to groups", "true"),
		{Label: "reset of rack 1", Arg: []string{"sleep", "1800"}, Lock: []string{"rack1"}},
		{Label: "cabling check", Arg: []string{"true"}, Lock: []string{"rack1"}},
		{Label: "<img src=x onerror=alert(1)> \u202eright to left\u202c 😀", Arg: []string{"true"}, Hold: true},
	}
	for _, job := range jobs { // in this order: one waits for another
		if err := d.call(ctx, "add", job); err != nil {
			return err
		}
	}
	special := len(jobs)
	jobs = nil
	outcomes := []string{"exit 0", "exit 0", "exit 0", "echo 'host h7 is down' >&2; exit 1"}
	for n := range d.jobs - special {
		job := in("", fmt.Sprintf("homework %d", 1+n), "true")
		job.Tag = []string{"homework"}
		if n%20 == 0 {
			job.Arg = []string{"sh", "-c", "echo checking; " + outcomes[n/20%len(outcomes)]}
		}
		jobs = append(jobs, job)
	}
	todo := make(chan control.AddIn)
	errs := make(chan error, 1)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range 4 {
		wg.Go(func() {
			c := control.Client{Address: d.client.Address}
			defer func() { _ = c.Close() }()
			for job := range todo {
				if _, _, err := control.Call[control.Activation](ctx, &c, "add", job); err != nil {
					select {
					case errs <- err:
					default:
					}
					cancel()
					return
				}
			}
		})
	}
	for _, job := range jobs {
		select {
		case todo <- job:
		case <-ctx.Done():
		}
	}
	close(todo)
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return ctx.Err()
	}
}

// call calls an operation whose reply does not matter.
func (d *demo) call(ctx context.Context, op string, in any) error {
	if _, _, err := control.Call[json.RawMessage](ctx, &d.client, op, in); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// fillBookings books devices for groups and for whoever looks at the panel, as far as they are free.
func (d *demo) fillBookings(ctx context.Context) error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	for _, b := range []struct{ owner, kind, long, from, label string }{
		{me.Username, "frr:2", "2h", "", "firmware of two routers"},
		{me.Username, "linux:1", "90m", "+1d", "a new image"},
		{me.Username, "frr:1", "8h", "+2d", "measurements over a day"},
		{"group3", "frr:2", "1h", "+5h", "BGP, again"},
		{"group7", "openvswitch:2", "3h", "+1d", "spanning tree"},
		{"group7", "frr:3", "4h", "+3d", "thesis <b>of Eva</b>"},
		{"group12", "linux:4", "2h", "+7d", ""},
	} {
		_, slots, err := control.Call[control.FreeOut](ctx, &d.client, "free", control.FreeIn{For: b.long, Kind: []string{b.kind}, From: b.from, Limit: 1})
		if err != nil {
			return err
		}
		for _, s := range slots {
			in := control.BookAddIn{
				Owner: b.owner, Devices: s.Devices, From: s.From.Format(time.RFC3339), To: s.To.Format(time.RFC3339), Label: b.label,
			}
			if err := d.call(ctx, "book add", in); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *demo) fillQueues(ctx context.Context) error {
	names := []string{"mails", "images", "slow", "broken", "grades", "logs", "backups", "alerts"}
	if err := d.call(ctx, "queue create", control.QueueCreateIn{Name: names}); err != nil {
		return err
	}
	if err := d.call(ctx, "queue pause", control.QueuePauseIn{Name: []string{"backups"}, Reason: "the disk is being replaced"}); err != nil {
		return err
	}
	for n, name := range names {
		for i := range 10 + 5*n {
			in := control.QueuePushIn{Name: name, Body: []string{fmt.Sprintf("message %d of %s", i, name)}}
			if i%7 == 6 {
				in.Delay = "3h"
			}
			if err := d.call(ctx, "queue push", in); err != nil {
				return err
			}
		}
	}
	return nil
}
