package broker

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"activationd/queue"
	"activationd/supervisor/wrapper"
)

// listen is what a stream listener of the benchmarks does.
func listen() {
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		var m struct {
			ID uint64 `json:"id"`
		}
		if err := json.Unmarshal(line, &m); err != nil {
			panic(err)
		}
		_, _ = fmt.Fprintf(out, "{\"id\":%d,\"ok\":true}\n", m.ID)
		if in.Buffered() == 0 {
			_ = out.Flush()
		}
	}
}

// BenchmarkStream pushes with 64 callers, who do not wait for answers, and waits until all
// messages are worked off.
func BenchmarkStream(b *testing.B) {
	for _, window := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprint(window), func(b *testing.B) {
			self, err := os.Executable()
			if err != nil {
				b.Fatal(err)
			}
			l := per("io", self)
			l.Stream, l.Window, l.Instances = true, window, 1
			l.Prepare = func() (wrapper.Spec, error) {
				return wrapper.Spec{Argv: []string{self}, UID: -1, GID: -1, Env: []string{"BROKER_LISTEN=1"}}, nil
			}
			r := newPlace(b, l).start()
			q := r.create("io")
			var left atomic.Int64
			left.Store(int64(b.N))
			body := make([]byte, 512)
			for i := range body {
				body[i] = 'x'
			}
			b.ResetTimer()
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if p := r.Push(b.Context(), []NewMessage{{"io", queue.New{Body: body}}}); p[0].Err != nil {
							panic(p[0].Err)
						}
					}
				})
			}
			wg.Wait()
			for {
				list, err := r.Queues(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if list[0].Messages == 0 {
					break
				}
				runtime.Gosched()
			}
			_ = q
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
