package direct

import (
	"encoding/base64"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"activationd/schedule/timespec"
)

// TestUnderstands checks which command lines are not left to the ordinary path; that both do the
// same is tested with the program.
func TestUnderstands(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string // the beginning of the request; empty: left alone
	}{
		{[]string{"--", "true"}, "add\narg:true\ndir:" + dir + "\numask:"},
		{[]string{"--in=20d", "--lock", "a", "--lock=b", "echo", "--x"}, "add\nin:20d\narg:echo\narg:--x\ndir:" + dir + "\nlock:a\nlock:b\numask:"},
		{[]string{"--at", "now", "true"}, ""},
		{[]string{"--in", "1m", "--in", "2m", "true"}, ""},
		{[]string{"a b"}, ""},
		{[]string{"echo", "a\nb"}, ""},
		{[]string{"--in", "5m"}, ""},
	} {
		request := string(new(path).addRequest(tt.args))
		if len(request) < len(tt.want) || request[:len(tt.want)] != tt.want || tt.want == "" && request != "" {
			t.Errorf("%q: the request %q, want %q", tt.args, request, tt.want)
		}
	}
}

func TestAdded(t *testing.T) {
	const right = "200 OK id=17\n{\"id\":\"17\",\"due\":\"2099-12-21T10:00:00Z\"}\n.\n"
	if id := added(right); id != "17" {
		t.Errorf("the id is %q", id)
	}
	for n := range len(right) {
		if id := added(right[:n]); id != "" {
			t.Errorf("%q: the id is %q before the reply is complete", right[:n], id)
		}
	}
}

// TestSoon compares times with those of package timespec: in zones with daylight saving, near its
// changes and far from them.
func TestSoon(t *testing.T) {
	units := []string{"min", "minute", "minutes", "hour", "hours", "day", "days", "week", "weeks", "month", "Days", ""}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	zones := map[string]zone{}
	for _, name := range []string{"", "UTC", "Europe/Prague", "Australia/Lord_Howe", "America/Asuncion", "Asia/Tokyo", "Africa/Casablanca"} {
		p := &path{env: []string{"TZ=" + name}}
		var ok bool
		if zones[name], ok = p.local(); !ok {
			t.Fatalf("the zone %q cannot be read", name)
		}
	}
	names := slices.Sorted(maps.Keys(zones))
	read := 0
	for range 20_000 {
		name := names[random.IntN(len(names))]
		loc, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(1_600_000_000+random.Int64N(1_000_000_000), random.Int64N(1e9))
		words := []string{"now", "+", strconv.Itoa(random.IntN(1 << random.IntN(15))), units[random.IntN(len(units))]}
		words = words[:[]int{1, 2, 4, 4, 4, 4}[random.IntN(6)]]
		z := zones[name]
		due, east, ok := soon(words, now.Unix(), &z)
		if !ok {
			continue
		}
		read++
		want, err := timespec.Parse(words, now, loc)
		_, wantEast := want.Zone()
		if err != nil || want.Unix() != due || want.Nanosecond() != 0 || east != wantEast {
			t.Fatalf("%q at %v is %v, %d s ahead of UTC, want %v, %v; seed %d", words, now.In(loc), time.Unix(due, 0).In(loc), east, want, err, seed)
		}
	}
	if read < 8000 {
		t.Errorf("only %d of 20,000 times are read; seed %d", read, seed)
	}
}

// TestZones compares all zones of the database with package time, at each change and a second before it.
func TestZones(t *testing.T) {
	const dir = "/usr/share/zoneinfo/"
	understood := 0
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() { // links lead to files that are read
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		z, ok := parseZone(data)
		loc, err := time.LoadLocationFromTZData(name, data)
		if !ok {
			return nil
		}
		if err != nil {
			t.Errorf("%s is no zone, but it is read: %v", name, err)
			return nil
		}
		understood++
		var times []int64
		for i := range z.kinds {
			times = append(times, z.time(i), z.time(i)-1, z.time(i)+1)
		}
		for _, at := range append(times, 0, 1<<31, 1<<33) {
			p, ok := z.at(at)
			_, want := time.Unix(at, 0).In(loc).Zone()
			if ok && (p.east != want || at < p.begin || at >= p.end) {
				t.Errorf("%s at %d: %+v, want %d s ahead of UTC", name, at, p, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if understood < 100 {
		t.Errorf("only %d zones are read", understood)
	}
}

// FuzzZone reads broken files.
func FuzzZone(f *testing.F) {
	data, err := os.ReadFile("/usr/share/zoneinfo/Europe/Prague")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, int64(1_700_000_000))
	f.Fuzz(func(_ *testing.T, data []byte, at int64) {
		if z, ok := parseZone(data); ok {
			z.at(at)
		}
	})
}

func TestRepeats(t *testing.T) {
	for _, tt := range []struct {
		env  []string
		want bool
	}{
		{[]string{"A=1", "AA=2", "B=1", "A", "=x"}, false},
		{[]string{"A=1", "B=2", "A=3"}, true},
	} {
		if got := (&path{env: tt.env}).repeats(); got != tt.want {
			t.Errorf("%q: %t, want %t", tt.env, got, tt.want)
		}
	}
}

func TestPieces(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 3, 4, 5, 100, 3 << 16, 3<<16 + 1, 7 << 16} {
		script := make([]byte, n)
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		pieces := Pieces(script)
		if got, want := strings.Join(pieces, ""), base64.StdEncoding.EncodeToString(script); got != want {
			t.Errorf("%d bytes are not encoded as by package base64", n)
		}
		for _, p := range pieces {
			if len(p) > 1<<18 {
				t.Errorf("%d bytes: a piece has %d", n, len(p))
			}
		}
	}
}
