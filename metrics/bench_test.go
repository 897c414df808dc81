package metrics_test

import (
	"testing"
	"time"
)

// What is counted as it happens is on the way of each request and each start.
func BenchmarkCount(b *testing.B) {
	r := recorder(full)
	for _, one := range []struct {
		name string
		do   func()
	}{
		{"request", func() { r.Begin("line"); r.End("line", "add", 200) }},
		{"start", func() { r.Started(time.Millisecond) }},
		{"end", func() { r.Ended("job", "activate", "succeeded", time.Second) }},
		{"commit", func() { r.Committed(time.Millisecond) }},
	} {
		b.Run(one.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				one.do()
			}
		})
	}
}
