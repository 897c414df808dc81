package supervisor_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// BenchmarkStart compares runs of /bin/true, four at a time: without anything,
// under coreutils' timeout, and under the wrapper with each guard, from Start
// to Exit. Compare rows of one execution only.
func BenchmarkStart(b *testing.B) {
	for _, argv := range [][]string{{"/bin/true"}, {"/usr/bin/timeout", "60", "/bin/true"}} {
		b.Run(strings.TrimPrefix(argv[0], "/usr"), func(b *testing.B) {
			atOnce(b, 4, func(int) {
				pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
				if err != nil {
					b.Error(err)
					return
				}
				if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
					b.Error(err)
				}
			})
		})
	}
	for _, guard := range guards(b) {
		b.Run("atwrap-"+guard, func(b *testing.B) {
			s := newBench(b, guard)
			spec := shell("")
			spec.Argv, spec.Timeout = []string{"/bin/true"}, time.Minute
			ended := make([]chan wrapper.Result, b.N)
			for i := range ended {
				ended[i] = make(chan wrapper.Result, 1)
			}
			go func() {
				for range b.N {
					x := <-s.Exits()
					ended[x.Key.N] <- x.Result
				}
			}()
			atOnce(b, 4, func(n int) {
				if err := s.Start(supervisor.Key{ID: "b", Phase: "activate", N: n}, spec); err != nil {
					b.Error(err)
					return
				}
				if r := <-ended[n]; r.Exit != 0 || r.Reason != wrapper.Exited {
					b.Errorf("%+v", r)
				}
			})
		})
	}
}

func atOnce(b *testing.B, workers int, f func(n int)) {
	var wg sync.WaitGroup
	before := cpu(b)
	b.ResetTimer()
	for w := range workers {
		wg.Go(func() {
			for n := w; n < b.N; n += workers {
				f(n)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-us/run")
}

// cpu returns the processor time of this process and of all that it reaped:
// on a machine with other work, a better measure than the clock.
func cpu(b *testing.B) (d time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var ru syscall.Rusage
		if err := syscall.Getrusage(who, &ru); err != nil {
			b.Fatal(err)
		}
		d += time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	return d
}

// privateMemory returns how much memory the run's wrapper has of its own, in KiB.
func (b *bench) privateMemory() int {
	b.t.Helper()
	data, err := os.ReadFile("/proc/" + itoa(b.wrapperPID()) + "/smaps_rollup")
	if err != nil {
		b.t.Skipf("this kernel does not tell: %v", err)
	}
	for l := range strings.Lines(string(data)) {
		if f := strings.Fields(l); f[0] == "Anonymous:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				b.t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// The wrapper's program stays lean: what it links is what each start pays for.
func TestWrapperImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "activationd/cmd/atwrap").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"os", "fmt", "os/exec", "os/signal", "net", "encoding/json", "log", "context"} {
		if strings.Contains("\n"+string(out), "\n"+bad+"\n") {
			t.Errorf("cmd/atwrap links package %s", bad)
		}
	}
}

// BenchmarkStream sends lines to cat and takes them back, with so many on their way at most. Compare rows of
// one execution only.
func BenchmarkStream(b *testing.B) {
	for _, window := range []int{1, 64} {
		b.Run(strconv.Itoa(window), func(b *testing.B) {
			s := newBench(b, "")
			s.start(streaming("exec cat"))
			st := s.stream()
			line := []byte(strings.Repeat("x", 511) + "\n")
			buf := make([]byte, 64<<10)
			sent, back, rest := 0, 0, 0
			for b.ResetTimer(); back < b.N; {
				for ; sent < b.N && sent-back < window; sent++ {
					if ok, err := st.Send(line); err != nil || !ok {
						b.Fatal(ok, err)
					}
				}
				n, err := st.Peek(b.Context(), buf)
				if err != nil {
					b.Fatal(err)
				}
				rest += n
				whole := rest / len(line)
				if err := st.Consume(whole * len(line)); err != nil {
					b.Fatal(err)
				}
				back, rest = back+whole, rest%len(line)
			}
			b.StopTimer()
			s.finish()
		})
	}
}
