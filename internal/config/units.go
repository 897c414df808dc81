package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Size is a number of bytes, written 512, 64KiB, 1MiB or 1GiB.
type Size int64

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := parseSize(string(text))
	if err != nil {
		return err
	}
	*s = Size(n)
	return nil
}

// String writes the size as it is read.
func (s Size) String() string {
	n, unit := int64(s), ""
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return strconv.FormatInt(n, 10) + unit
}

func parseSize(s string) (int64, error) {
	number, unit := s, int64(1)
	for i, suffix := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			number, unit = strings.TrimSpace(n), 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("want a size such as 512, 64KiB or 1MiB, have %q", s)
	}
	return n * unit, nil
}

// A Share is a part of a whole, from 0 to 1, written as a percentage.
type Share float64

// UnmarshalText reads a percentage.
func (s *Share) UnmarshalText(text []byte) error {
	number, ok := strings.CutSuffix(string(text), "%")
	n, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(n >= 0 && n <= 100) {
		return fmt.Errorf("want a percentage from 0%% to 100%%, have %q", text)
	}
	*s = Share(n / 100)
	return nil
}

// A Mode is permission bits, written in octal.
type Mode uint32

// UnmarshalText reads permission bits.
func (m *Mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(string(text), "0o"), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("want an octal number from 000 to 777, have %q", text)
	}
	*m = Mode(n)
	return nil
}

// A LoadAverage is a number of processes that want a processor.
type LoadAverage float64

// UnmarshalText reads a number of more than 0.
func (l *LoadAverage) UnmarshalText(text []byte) error {
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(n > 0 && n <= 1e6) {
		return fmt.Errorf("want a number of more than 0, such as 1.5, have %q", text)
	}
	*l = LoadAverage(n)
	return nil
}

// An Rlimit is a resource's soft and hard limit; [Unlimited] is none.
type Rlimit struct{ Soft, Hard uint64 }

// Unlimited is the absence of a limit, RLIM_INFINITY.
const Unlimited = math.MaxUint64

// UnmarshalText reads BOTH or SOFT:HARD, each a number, a size or unlimited.
func (r *Rlimit) UnmarshalText(text []byte) error {
	soft, hard, two := strings.Cut(string(text), ":")
	if !two {
		hard = soft
	}
	var err error
	if r.Soft, err = parseLimit(soft); err != nil {
		return err
	}
	if r.Hard, err = parseLimit(hard); err != nil {
		return err
	}
	if r.Soft > r.Hard {
		return fmt.Errorf("the soft limit is above the hard one in %q", text)
	}
	return nil
}

func parseLimit(s string) (uint64, error) {
	if s == "unlimited" {
		return Unlimited, nil
	}
	n, err := parseSize(s)
	if err != nil {
		return 0, fmt.Errorf("want a limit such as 1024, 1GiB, unlimited or 1024:4096, have %q", s)
	}
	return uint64(n), nil
}
