package activation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

func inQueue(q string) NewJob { return NewJob{AtJob: &AtJob{Queue: q, MailTo: "ada"}} }

func TestQueues(t *testing.T) {
	for _, tt := range []struct {
		queue string
		batch bool
		nice  int
	}{{"a", false, 0}, {"b", true, 2}, {"c", false, 4}, {"z", false, 50}, {"A", true, 0}, {"C", true, 4}, {"Z", true, 50}} {
		j := AtJob{Queue: tt.queue}
		if j.Batch() != tt.batch || j.Nice() != tt.nice || j.check() != nil {
			t.Errorf("queue %s: batch %v, nice %d, %v; want %v, %d", tt.queue, j.Batch(), j.Nice(), j.check(), tt.batch, tt.nice)
		}
	}
	for _, j := range []AtJob{{}, {Queue: "="}, {Queue: "aa"}, {Queue: "a", Mail: "perhaps"}, {Queue: "a", MailTo: "-oQ/tmp"}, {Queue: "a", MailTo: "a\nTo: b"}} {
		if err := j.check(); !errors.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v, want it to be invalid", j, err)
		}
	}
}

func batchSettings(s *Settings) { s.BatchLoad, s.BatchInterval, s.ArmAhead = 1.5, minute, 0 }

func TestBatchWaitsForTheLoad(t *testing.T) {
	bubble(t, batchSettings, func(l *lab) {
		l.loadAvg.Store(1.5)
		began := time.Now()
		l.add(inQueue("b"))
		l.add(inQueue("Z"))
		late := inQueue("C")
		late.At = began.Add(90 * time.Second)
		l.add(late)
		l.add(inQueue("a"))
		l.ran("4.activate.1")
		l.because("1", "waits for a load average below 1.5 (it is 1.50), which is looked at every 1m0s")
		l.sleep(30 * time.Second)
		l.loadAvg.Store(1.49)
		l.sleep(30*time.Second - 1)
		l.ran("4.activate.1")
		l.sleep(1) // a minute after the first look
		l.ran("4.activate.1 1.activate.1")
		l.sleep(2 * minute)
		l.ran("4.activate.1 1.activate.1 2.activate.1 3.activate.1")
		if at := l.beganAt("3", Activate, 1).Sub(began); at != 3*minute {
			l.t.Errorf("the third began after %v, want 3 minutes", at)
		}
	})
}

func TestBatchIsForced(t *testing.T) {
	bubble(t, batchSettings, func(l *lab) {
		l.loadAvg.Store(9.0)
		l.add(inQueue("b"))
		l.do(Hold, "1")
		l.do(Release, "1")
		l.is("1", "waiting")
		l.do(RunNow, "1")
		l.is("1", "activating")
		l.add(inQueue("b"))
		l.do(Cancel, "2")
		l.is("2", "cancelled")
	})
}

func TestBatchOutlivesTheDaemon(t *testing.T) {
	bubble(t, batchSettings, func(l *lab) {
		l.loadAvg.Store(9.0)
		l.add(inQueue("b"))
		l.restart()
		l.is("1", "waiting")
		l.loadAvg.Store(0.0)
		l.sleep(minute)
		l.is("1", "activating")
	})
}

// A job of at's runs however late it is, and is not listed once it has ended.
func TestAtJobIsNeverMissed(t *testing.T) {
	bubble(t, func(s *Settings) { s.MissedGrace = minute }, func(l *lab) {
		j := inQueue("a")
		j.At = time.Now().Add(-1000 * hour)
		l.add(j)
		other := l.add(inQueue("c"))
		lines := func(by By) (text string) {
			err := l.e.ListAt(context.Background(), by, func(a AtLine) error {
				text += fmt.Sprintf("%s %s %v %s %v;", a.ID, a.Queue, time.Since(a.Start), a.Owner, a.Running)
				return nil
			})
			if err != nil {
				l.t.Error(err)
			}
			return text
		}
		if got, want := lines(By{}), "1 a 1000h0m0s ada true;"+other+" c 0s ada true;"; got != want {
			l.t.Errorf("listed: %q, want %q", got, want)
		}
		if got := lines(By{Name: "eve", OnlyOwn: true}); got != "" {
			l.t.Errorf("eve sees %q", got)
		}
		l.sleep(minute)
		l.is("1", "succeeded")
		if got := lines(By{}); got != "" {
			l.t.Errorf("listed: %q, want none", got)
		}
		if _, err := l.e.GetAt(context.Background(), By{}, "1"); !errors.Is(err, fault.NotFound) {
			l.t.Errorf("GetAt of one that has ended: %v", err)
		}
	})
}

func TestImportedOnce(t *testing.T) {
	bubble(t, func(s *Settings) { s.Keep = minute }, func(l *lab) {
		j := inQueue("a")
		j.AtJob.Spool = "a0000101c88ea7.1.abc"
		first := l.add(j)
		l.sleep(hour) // it has ended and is forgotten
		if again := l.add(j); again != first {
			l.t.Errorf("the file of job %s is job %s when it comes again", first, again)
		}
		j.AtJob = &AtJob{Queue: "a", Spool: "another"}
		if other := l.add(j); other == first {
			l.t.Error("another file is the same job")
		}
		l.ran("1.activate.1 2.activate.1")
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
	bubble(t, func(s *Settings) { s.Sendmail = sendmail }, func(l *lab) {
		l.w.runDir = dir
		l.script("1", Activate, fails)
		for _, mail := range []string{"", "", MailNever, MailAlways} {
			j := inQueue("a")
			j.AtJob.Mail = mail
			l.add(j)
			l.sleep(time.Millisecond) // so that they end in this order
		}
		l.sleep(time.Second)
		l.is("1", "failed")
		l.sleep(minute)
		l.is("5", "succeeded")
		l.is("6", "succeeded")
		for id, want := range map[string]string{"5": "Subject: Output from your job        1\nTo: ada\n\nout\n", "6": "Subject: Output from your job        4\nTo: ada\n\n"} {
			spec := l.w.run(supervisor.Key{ID: id, Phase: Activate, N: 1}).spec
			if got := string(spec.Stdin); got != want || strings.Join(spec.Argv, " ") != sendmail+" -i ada" {
				l.t.Errorf("mail %s: %q gets %q, want %q", id, spec.Argv, got, want)
			}
		}
		if _, err := l.e.Get(context.Background(), "7"); !errors.Is(err, fault.NotFound) {
			l.t.Errorf("a third mail: %v", err)
		}
	})
}
