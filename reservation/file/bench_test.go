package file

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const many = 100_000

func manyYAML() string {
	var b strings.Builder
	b.WriteString("reservations:\n")
	for i := range many {
		fmt.Fprintf(&b, "  - id: %d@ostrava\n    owner: group%d\n    start: 2026-11-21T10:00:00+01:00\n"+
			"    end: 2026-11-21T12:00:00+01:00\n    devices: [r%d, s%d]\n", i, i%50, i%30, i%40)
	}
	return b.String()
}

func manyJSON() string {
	var b strings.Builder
	b.WriteString("{\"reservations\": [\n")
	for i := range many {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "  {\"id\": \"%d@ostrava\", \"owner\": \"group%d\", \"start\": \"2026-11-21T10:00:00+01:00\", "+
			"\"end\": \"2026-11-21T12:00:00+01:00\", \"devices\": [\"r%d\", \"s%d\"]}", i, i%50, i%30, i%40)
	}
	b.WriteString("\n]}\n")
	return b.String()
}

func benchSource(b *testing.B, name, content string) *Source {
	path := filepath.Join(b.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
	return New(path)
}

func benchLoad(b *testing.B, s *Source) {
	b.ReportAllocs()
	for b.Loop() {
		set, err := s.Load(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if len(set.Reservations) != many {
			b.Fatalf("%d reservations, %d rejects", len(set.Reservations), len(set.Rejects))
		}
	}
}

func BenchmarkLoadJSON100k(b *testing.B) { benchLoad(b, benchSource(b, "lab.json", manyJSON())) }

func BenchmarkLoadYAML100k(b *testing.B) { benchLoad(b, benchSource(b, "lab.yml", manyYAML())) }

// BenchmarkLoadYAMLWhole100k has an anchor, so that it must be parsed in one piece.
func BenchmarkLoadYAMLWhole100k(b *testing.B) {
	text := strings.Replace(manyYAML(), "owner: group0", "owner: &a group0", 1)
	text = strings.TrimSuffix(text, "devices: [r9, s39]\n") + "devices: [*a]\n"
	benchLoad(b, benchSource(b, "lab.yml", text))
}

func BenchmarkUnchanged100k(b *testing.B) {
	s := benchSource(b, "lab.json", manyJSON())
	set, err := s.Load(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, same, err := s.LoadIfChanged(b.Context(), set.Fingerprint); err != nil || !same {
			b.Fatalf("unchanged %v, %v", same, err)
		}
	}
}
