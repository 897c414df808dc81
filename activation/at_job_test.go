package activation_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "activationd/activation"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

func inQueue(q string) NewJob { return NewJob{Order: Order{AtJob: &AtJob{Queue: q, MailTo: "ada"}}} }

func TestQueues(t *testing.T) {
	for _, tt := range []struct {
		queue string
		batch bool
		nice  int
	}{{"a", false, 0}, {"b", true, 2}, {"c", false, 4}, {"z", false, 50}, {"A", true, 0}, {"C", true, 4}, {"Z", true, 50}} {
		j := AtJob{Queue: tt.queue}
		if j.Batch() != tt.batch || j.Nice() != tt.nice || j.Check() != nil {
			t.Errorf("queue %s: batch %v, nice %d, %v; want %v, %d", tt.queue, j.Batch(), j.Nice(), j.Check(), tt.batch, tt.nice)
		}
	}
	for _, j := range []AtJob{{}, {Queue: "="}, {Queue: "aa"}, {Queue: "a", Mail: "perhaps"}, {Queue: "a", MailTo: "-oQ/tmp"}, {Queue: "a", MailTo: "a\nTo: b"}} {
		if err := j.Check(); !errors.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v, want it to be invalid", j, err)
		}
	}
}

func batchSettings(s *Settings) { s.BatchLoad, s.BatchInterval, s.ArmAhead = 1.5, minute, 0 }

func TestBatchWaitsForTheLoad(t *testing.T) {
	bubble(t, batchSettings, func(rig *testRig) {
		rig.loadAvg.Store(1.5)
		began := time.Now()
		rig.add(inQueue("b"))
		rig.add(inQueue("Z"))
		late := inQueue("C")
		late.At = began.Add(90 * time.Second)
		rig.add(late)
		rig.add(inQueue("a"))
		rig.ran("4.activate.1")
		rig.because("1", "waits for a load average below 1.5 (it is 1.50), which is looked at every 1m0s")
		rig.sleep(30 * time.Second)
		rig.loadAvg.Store(1.49)
		rig.sleep(30*time.Second - 1)
		rig.ran("4.activate.1")
		rig.sleep(1) // a minute after the first look
		rig.ran("4.activate.1 1.activate.1")
		rig.sleep(2 * minute)
		rig.ran("4.activate.1 1.activate.1 2.activate.1 3.activate.1")
		if at := rig.beganAt("3", Activate, 1).Sub(began); at != 3*minute {
			rig.t.Errorf("the third began after %v, want 3 minutes", at)
		}
	})
}

func TestBatchIsForced(t *testing.T) {
	bubble(t, batchSettings, func(rig *testRig) {
		rig.loadAvg.Store(9.0)
		rig.add(inQueue("b"))
		rig.do(Hold, "1")
		rig.do(Release, "1")
		rig.is("1", "waiting")
		rig.do(RunNow, "1")
		rig.is("1", "activating")
		rig.add(inQueue("b"))
		rig.do(Cancel, "2")
		rig.is("2", "cancelled")
	})
}

func TestBatchOutlivesTheDaemon(t *testing.T) {
	bubble(t, batchSettings, func(rig *testRig) {
		rig.loadAvg.Store(9.0)
		rig.add(inQueue("b"))
		rig.restart()
		rig.is("1", "waiting")
		rig.loadAvg.Store(0.0)
		rig.sleep(minute)
		rig.is("1", "activating")
	})
}

// An at job runs however late it is, and is not listed once it has ended.
func TestAtJobIsNeverMissed(t *testing.T) {
	bubble(t, func(s *Settings) { s.MissedGrace = minute }, func(rig *testRig) {
		j := inQueue("a")
		j.At = time.Now().Add(-1000 * hour)
		rig.add(j)
		other := rig.add(inQueue("c"))
		lines := func(by Actor) (text string) {
			err := rig.e.ListAt(context.Background(), by, func(a AtLine) error {
				text += fmt.Sprintf("%s %s %v %s %v;", a.ID, a.Queue, time.Since(a.Start), a.Owner, a.Running)
				return nil
			})
			if err != nil {
				rig.t.Error(err)
			}
			return text
		}
		if got, want := lines(Actor{}), "1 a 1000h0m0s ada true;"+other+" c 0s ada true;"; got != want {
			rig.t.Errorf("listed: %q, want %q", got, want)
		}
		if got := lines(Actor{Name: "eve", OnlyOwn: true}); got != "" {
			rig.t.Errorf("eve sees %q", got)
		}
		rig.sleep(minute)
		rig.is("1", "succeeded")
		if got := lines(Actor{}); got != "" {
			rig.t.Errorf("listed: %q, want none", got)
		}
		if _, err := rig.e.GetAt(context.Background(), Actor{}, "1"); !errors.Is(err, fault.NotFound) {
			rig.t.Errorf("GetAt of a finished job: %v", err)
		}
	})
}

func TestImportedOnce(t *testing.T) {
	bubble(t, func(s *Settings) { s.HistoryAge = minute }, func(rig *testRig) {
		j := inQueue("a")
		j.AtJob.Spool = "a0000101c88ea7.1.abc"
		first := rig.add(j)
		rig.sleep(hour) // it has ended and is forgotten
		if again := rig.add(j); again != first {
			rig.t.Errorf("the file of job %s is imported again as job %s", first, again)
		}
		j.AtJob = &AtJob{Queue: "a", Spool: "another"}
		if other := rig.add(j); other == first {
			rig.t.Error("another file is the same job")
		}
		rig.ran("1.activate.1 2.activate.1")
	})
}

// mailFiles makes a sendmail that can be run, and run directories with output.
func mailFiles(t *testing.T, outputs map[string]string) (sendmail string, runs string) {
	t.Helper()
	dir := t.TempDir()
	sendmail = filepath.Join(dir, "sendmail")
	if err := os.WriteFile(sendmail, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	for run, text := range outputs {
		if err := os.Mkdir(filepath.Join(dir, run), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, run, wrapper.LogFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return sendmail, dir
}

func TestMail(t *testing.T) {
	sendmail, dir := mailFiles(t, map[string]string{"1.activate.1": "out\n", "2.activate.1": "", "3.activate.1": "out\n", "4.activate.1": ""})
	bubble(t, func(s *Settings) { s.Sendmail = sendmail }, func(rig *testRig) {
		rig.w.runDir = dir
		rig.script("1", Activate, fails)
		for _, mail := range []string{"", "", MailNever, MailAlways} {
			j := inQueue("a")
			j.AtJob.Mail = mail
			rig.add(j)
			rig.sleep(time.Millisecond) // so that they end in this order
		}
		rig.sleep(time.Second)
		rig.is("1", "failed")
		rig.sleep(minute)
		rig.is("5", "succeeded")
		rig.is("6", "succeeded")
		for id, want := range map[string]string{"5": "Subject: Output from your job        1\nTo: ada\n\nout\n", "6": "Subject: Output from your job        4\nTo: ada\n\n"} {
			spec := rig.w.run(supervisor.Key{ID: id, Phase: Activate, N: 1}).spec
			if got := string(spec.Stdin); got != want || strings.Join(spec.Argv, " ") != sendmail+" -i ada" {
				rig.t.Errorf("mail %s: %q gets %q, want %q", id, spec.Argv, got, want)
			}
		}
		if _, err := rig.e.Get(context.Background(), "7"); !errors.Is(err, fault.NotFound) {
			rig.t.Errorf("a third mail: %v", err)
		}
	})
}

// An at job waits for its locks without a limit, as it may run without one.
func TestAtJobHasNoWaitLimit(t *testing.T) {
	bubble(t, func(s *Settings) { s.Jobs.WaitLimit = 10 * minute }, func(rig *testRig) {
		rig.script("1", Activate, long)
		rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		j := inQueue("a")
		j.Locks = []string{"a"}
		id := rig.add(j)
		rig.sleep(11 * minute)
		rig.is(id, "waiting")
	})
}
