package direct

import (
	"encoding/binary"
	"math"
	"syscall"
)

// A zone is a time zone as in a file of the time zone database: RFC 8536, version 2 or later. The zero zone is UTC.
type zone struct {
	times []byte // of the changes: eight bytes each, in seconds since 1970
	kinds []byte // what begins with each change: an index of types
	types []byte // six bytes each: seconds ahead of UTC, and three other things
	rule  string // for what comes after the last change
}

// A period is one in which the clocks do not change. Times are in seconds since 1970.
type period struct {
	begin, end int64
	east       int // seconds ahead of UTC
}

// local returns the zone that package time would call Local. It fails if that is not simple.
func (p *path) local() (z zone, ok bool) {
	name, set := p.getenv("TZ")
	switch {
	case !set:
		name = "/etc/localtime"
	case name == "" || name == "UTC":
		return z, true
	case name[0] == ':' || name[0] == '/':
		return z, false
	default:
		for i := range name {
			if c := name[i]; c == '.' || c >= '0' && c <= '9' {
				return z, false // perhaps a description of a zone, which package time does not know
			}
		}
		const dir = "/usr/share/zoneinfo/"
		if len(name) > len(p.text)-len(dir) {
			return z, false
		}
		name = text(append(append(p.text[:0], dir...), name...))
	}
	fd, errno := p.open(name)
	if errno != 0 {
		return z, !set && errno == syscall.ENOENT
	}
	n, errno := read(fd, p.zone[:])
	shut(fd)
	if errno != 0 || n == len(p.zone) {
		return z, false
	}
	return parseZone(p.zone[:n])
}

// parseZone reads a file of the database. It fails if there is anything unusual in it.
func parseZone(b []byte) (z zone, ok bool) {
	const (
		header = 44
		isUT   = iota - 1
		isStandard
		leap
		time
		kind
		name
		counts
	)
	var n [counts]int
	for _, width := range [...]int{4, 8} { // the first part is for programs that know only version 1
		if len(b) < header || string(b[:4]) != "TZif" || b[4] < '2' {
			return z, false
		}
		for i := range n {
			v := binary.BigEndian.Uint32(b[20+4*i:])
			if v > 1<<12 {
				return z, false
			}
			n[i] = int(v)
		}
		b = b[header:]
		for i, size := range [...]int{width * n[time], n[time], 6 * n[kind], n[name] + (width+4)*n[leap] + n[isStandard] + n[isUT]} {
			if len(b) < size {
				return z, false
			}
			switch i {
			case 0:
				z.times = b[:size]
			case 1:
				z.kinds = b[:size]
			case 2:
				z.types = b[:size]
			}
			b = b[size:]
		}
	}
	for _, k := range z.kinds {
		if int(k) >= n[kind] {
			return z, false
		}
	}
	if n[leap] > 0 || n[kind] == 0 || len(b) < 3 || b[0] != '\n' || b[len(b)-1] != '\n' {
		return z, false
	}
	z.rule = text(b[1 : len(b)-1])
	return z, true
}

// at returns the period of a time. It fails for a time before the first change, and for one after the last
// change if the clocks change after that, too.
func (z *zone) at(t int64) (p period, ok bool) {
	if len(z.types) == 0 {
		return period{math.MinInt64 / 2, math.MaxInt64 / 2, 0}, true
	}
	n := len(z.kinds)
	for i := n; i >= 0; i-- {
		p.begin, p.end = math.MinInt64/2, math.MaxInt64/2
		kind := 0
		if i > 0 {
			p.begin, kind = z.time(i-1), int(z.kinds[i-1])
		}
		if i < n {
			p.end = z.time(i)
		}
		if t < p.begin {
			continue
		}
		p.east = int(int32(binary.BigEndian.Uint32(z.types[6*kind:])))
		return p, (i > 0 || n == 0) && (i < n || !contains(z.rule, ','))
	}
	return p, false
}

func (z *zone) time(i int) int64 { return int64(binary.BigEndian.Uint64(z.times[8*i:])) }
