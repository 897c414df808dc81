package direct

import (
	"encoding/base64"
	"math/rand/v2"
	"os"
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
		v := new(values)
		request := ""
		if v.parse(tt.args) {
			request = string(v.request())
		}
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
	read := 0
	for range 20_000 {
		loc, err := time.LoadLocation([]string{"UTC", "Europe/Prague", "Australia/Lord_Howe", "America/Asuncion"}[random.IntN(4)])
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(1_600_000_000+random.Int64N(1_000_000_000), random.Int64N(1e9))
		words := []string{"now", "+", strconv.Itoa(random.IntN(1 << random.IntN(15))), units[random.IntN(len(units))]}
		words = words[:[]int{1, 2, 4, 4, 4, 4}[random.IntN(6)]]
		due := soon(words, now, loc)
		if due.IsZero() {
			continue
		}
		read++
		if want, err := timespec.Parse(words, now, loc); err != nil || !want.Equal(due) || want.In(loc).String() != due.String() {
			t.Fatalf("%q at %v is %v, want %v, %v; seed %d", words, now.In(loc), due, want, err, seed)
		}
	}
	if read < 8000 {
		t.Errorf("only %d of 20,000 times are read; seed %d", read, seed)
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
