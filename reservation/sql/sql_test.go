package sql

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests are about Prague, wherever they run

	"activationd/internal/fault"
	"activationd/reservation"
)

var _ reservation.Source = (*Source)(nil)

func prague(t *testing.T) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// TestNewTellsNoSecrets: also a DSN that cannot be parsed has a password in it.
func TestNew(t *testing.T) {
	tests := []struct{ name, driver, dsn, want string }{
		{"no driver", "", "x", `driver: "" is neither postgres nor mysql: invalid`},
		{"another driver", "sqlite", "x", `driver: "sqlite" is neither postgres nor mysql: invalid`},
		{"broken postgres", "postgres", "postgres://lab:" + password + "@host:port/db", "dsn: cannot be parsed, or names a file"},
		{"broken words", "postgres", "host=h password=" + password + " sslmode=maybe", "dsn: cannot be parsed, or names a file"},
		{"broken mysql", "mysql", "lab:" + password + "@tcp(host:3306", "dsn: cannot be parsed; write"},
		{"mysql without a slash", "mysql", "lab:" + password, "dsn: cannot be parsed; write"},
		{"mysql's TLS", "mysql", "lab:" + password + "@tcp(h)/db?tls=nonsense", "dsn: "},
		{"postgres", "postgres", "postgres://lab:" + password + "@db.example.org/virtlab", "postgres:db.example.org/virtlab"},
		{"mysql", "mysql", "lab:" + password + "@tcp(db.example.org:3306)/virtlab", "mysql:db.example.org/virtlab"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := New(Config{Driver: tt.driver, DSN: tt.dsn})
			got := ""
			if err != nil {
				got = err.Error()
				if fault.Of(err) != fault.Invalid {
					t.Errorf("kind %v, want invalid", fault.Of(err))
				}
			} else {
				got = s.Name()
			}
			if !strings.HasPrefix(got, tt.want) || strings.Contains(got, password) {
				t.Errorf("New() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestFromWall(t *testing.T) {
	tests := []struct{ name, wall, want string }{
		{"winter", "2026-11-21 10:00:00", "2026-11-21T10:00:00+01:00"},
		{"summer", "2026-07-01 10:00:00", "2026-07-01T10:00:00+02:00"},
		{"before the gap", "2026-03-29 01:59:59", "2026-03-29T01:59:59+01:00"},
		{"in the gap", "2026-03-29 02:30:00", "2026-03-29 02:30:00 is never shown by a clock in Europe/Prague, because of daylight saving"},
		{"after the gap", "2026-03-29 03:00:00", "2026-03-29T03:00:00+02:00"},
		{"before the fold", "2026-10-25 01:59:59", "2026-10-25T01:59:59+02:00"},
		{"in the fold, the first", "2026-10-25 02:30:00", "2026-10-25T02:30:00+02:00"},
		{"after the fold", "2026-10-25 03:00:00", "2026-10-25T03:00:00+01:00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wall, err := time.Parse("2006-01-02 15:04:05", tt.wall)
			if err != nil {
				t.Fatal(err)
			}
			at, problem := fromWall(wall, prague(t))
			if got := at.Format(time.RFC3339); problem != tt.want && got != tt.want {
				t.Errorf("fromWall(%s) = %s, %q, want %s", tt.wall, got, problem, tt.want)
			}
		})
	}
}

// TestNoAnswer: somebody listens and never says a word.
func TestNoAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for driver, dsn := range map[string]string{
		"postgres": fmt.Sprintf("postgres://lab:%s@%s:%s/virtlab?sslmode=disable", password, host, port),
		"mysql":    fmt.Sprintf("lab:%s@tcp(%s:%s)/virtlab", password, host, port),
	} {
		t.Run(driver, func(t *testing.T) {
			s, err := New(Config{Driver: driver, DSN: dsn, Timeout: 200 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Load(t.Context())
			if fault.Of(err) != fault.Unavailable || strings.Contains(err.Error(), password) || !strings.HasPrefix(err.Error(), s.Name()+": ") {
				t.Errorf("Load() = %v, want unavailable", err)
			}
		})
	}
}

func TestPostgres(t *testing.T) { contract(t, startPostgres(t)) }

func TestMariaDB(t *testing.T) { contract(t, startMariaDB(t)) }

// load reads with the given query and expects no error.
func (s *testServer) load(t *testing.T, query string) reservation.Set {
	t.Helper()
	set, err := s.source(t, query, "").Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (s *testServer) source(t *testing.T, query, addr string) *Source {
	t.Helper()
	src, err := New(Config{Driver: s.driver, DSN: s.dsn(addr), Query: query, Location: prague(t), Nodes: func(topology string) ([]string, error) {
		if !strings.HasPrefix(topology, "nodes ") {
			return nil, fmt.Errorf("line 1: has no nodes: %w", fault.Invalid)
		}
		return strings.Fields(topology)[1:], nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// show is a set as lines.
func show(set reservation.Set) string {
	var b strings.Builder
	for _, r := range set.Reservations {
		fmt.Fprintf(&b, "%s: %s %s to %s %s", r.Where, r.ID, r.Start.UTC().Format(time.RFC3339), r.End.UTC().Format(time.RFC3339), strings.Join(r.Devices, "+"))
		for _, s := range []string{r.Owner, r.Label, r.Topology, r.Missed} {
			if s != "" {
				fmt.Fprintf(&b, " %q", s)
			}
		}
		for _, d := range []*time.Duration{r.Lead, r.Tail, r.Timeout, r.Grace} {
			if d != nil {
				fmt.Fprintf(&b, " %v", *d)
			}
		}
		if r.Retries != nil {
			fmt.Fprintf(&b, " %d", *r.Retries)
		}
		b.WriteByte('\n')
	}
	for _, r := range set.Rejects {
		fmt.Fprintf(&b, "%s: %s\n", r.Where, r.Text)
	}
	return b.String()
}

// contract is what holds on every server.
func contract(t *testing.T, s *testServer) {
	t.Run("Virtlab's tables", func(t *testing.T) { virtlab(t, s) })
	t.Run("queries", func(t *testing.T) { queries(t, s) })
	t.Run("times", func(t *testing.T) { times(t, s) })
	t.Run("faults", func(t *testing.T) { faults(t, s) })
	t.Run("cut off", func(t *testing.T) { cutOff(t, s) })
	t.Run("gone", func(t *testing.T) {
		s.stop()
		_, err := s.source(t, "", "").Load(t.Context())
		if fault.Of(err) != fault.Unavailable || strings.Contains(err.Error(), password) {
			t.Errorf("Load() = %v, want unavailable", err)
		}
	})
}

func virtlab(t *testing.T, s *testServer) {
	datetime := map[string]string{"postgres": "TIMESTAMP", "mysql": "DATETIME"}[s.driver]
	s.exec(t, "CREATE TABLE reservations (resid VARCHAR(23) NOT NULL DEFAULT '' PRIMARY KEY, from_time "+datetime+" NOT NULL, to_time "+datetime+")")
	s.exec(t, "CREATE TABLE reserved_devices (device VARCHAR(20) NOT NULL DEFAULT '', resid VARCHAR(23) NOT NULL DEFAULT '')")
	src := s.source(t, "", "")
	set, err := src.Load(t.Context())
	if err != nil || len(set.Reservations) != 0 || set.Fingerprint == "" {
		t.Errorf("empty tables: %+v, %v", set, err)
	}
	s.exec(t, `INSERT INTO reservations VALUES ('1042@ostrava', '2026-11-21 10:00:00', '2026-11-21 12:00:00'),
		('1043@praha', '2026-07-01 10:00:00', '2026-07-01 12:00:00'), ('1044@praha', '2026-12-01 10:00:00', '2026-12-01 12:00:00'),
		('1045', '2027-01-01 10:00:00', '2027-01-01 12:00:00'), ('1046@x', '2027-01-02 10:00:00', '2027-01-02 09:00:00'),
		('1047@x', '2027-01-03 10:00:00', NULL), ('', '2027-01-04 10:00:00', '2027-01-04 12:00:00'),
		('gap@x', '2027-03-28 02:30:00', '2027-03-28 12:00:00')`)
	s.exec(t, "INSERT INTO reserved_devices VALUES ('r2@ostrava', '1042@ostrava'), ('r1@ostrava', '1042@ostrava'), ('r1@ostrava', '1042@ostrava'), ('sw@praha', '1043@praha'), ('x', 'nobody')")
	after, unchanged, err := src.LoadIfChanged(t.Context(), set.Fingerprint)
	if err != nil || unchanged {
		t.Fatalf("unchanged %v, %v after an insert", unchanged, err)
	}
	want := `row 1: 1043@praha 2026-07-01T08:00:00Z to 2026-07-01T10:00:00Z sw@praha
row 2: 1042@ostrava 2026-11-21T09:00:00Z to 2026-11-21T11:00:00Z r1@ostrava+r2@ostrava
row 5: 1044@praha 2026-12-01T09:00:00Z to 2026-12-01T11:00:00Z 
row 9: id: is missing
row 6 (1045): id: 1045 is only digits, as jobs' ids are; write for instance 1045@site
row 7 (1046@x): end: is before start
row 8 (1047@x): end: is missing
row 10 (gap@x): from_time: 2027-03-28 02:30:00 is never shown by a clock in Europe/Prague, because of daylight saving
`
	if got := show(after); got != want {
		t.Errorf("loaded\n%swant\n%s", got, want)
	}
	if same, unchanged, err := src.LoadIfChanged(t.Context(), after.Fingerprint); !unchanged || err != nil || same.Fingerprint != after.Fingerprint {
		t.Errorf("unchanged %v, %v, want true", unchanged, err)
	}
	s.exec(t, "DELETE FROM reserved_devices WHERE device = 'sw@praha'")
	if _, unchanged, err := src.LoadIfChanged(t.Context(), after.Fingerprint); unchanged || err != nil {
		t.Errorf("unchanged %v, %v after a delete", unchanged, err)
	}
}

// slot is a sound slot's columns; what follows may be more.
const slot = "'2026-11-21 10:00:00' AS from_time, '2026-11-21 12:00:00' AS to_time"

const shown = "2026-11-21T09:00:00Z to 2026-11-21T11:00:00Z"

func queries(t *testing.T, s *testServer) {
	quoted := map[string]string{"postgres": `"`, "mysql": "`"}[s.driver]
	tests := []struct{ name, query, want string }{
		{"all columns", "SELECT 'a@b' AS ID, 'g7' AS owner, 'exam' AS label, 'nodes r1 r2' AS topology, 300 AS lead, '90s' AS tail, '1h' AS timeout, " +
			"0 AS grace, 3 AS retries, 'skip' AS missed, " + slot,
			"row 1: a@b " + shown + " r1+r2 \"g7\" \"exam\" \"nodes r1 r2\" \"skip\" 5m0s 1m30s 1h0m0s 0s 3\n"},
		{"all empty", "SELECT 'a@b' AS id, NULL AS owner, NULL AS label, NULL AS topology, NULL AS lead, NULL AS tail, NULL AS timeout, " +
			"NULL AS grace, NULL AS retries, NULL AS missed, NULL AS devices, " + slot,
			"row 1: a@b " + shown + " \n"},
		{"devices in one", "SELECT 'a@b' AS id, ' r2, r1,,r2 ' AS devices, 'nodes x' AS topology, " + slot,
			"row 1: a@b " + shown + " r1+r2 \"nodes x\"\n"},
		{"other names", "SELECT 'a@b' AS id, '2026-11-21T10:00:00+01:00' AS start, '2026-11-21T11:00:00Z' AS " + quoted + "end" + quoted,
			"row 1: a@b " + shown + " \n"},
		{"padded", "SELECT CAST('a@b' AS CHAR(23)) AS id, CAST('r1' AS CHAR(20)) AS device, " + slot,
			"row 1: a@b " + shown + " r1\n"},
		{"rows apart", "SELECT 'a@b' AS id, 'r1' AS device, " + slot + " UNION ALL SELECT 'c@d', 'r1', '2026-11-21 10:00:00', '2026-11-21 12:00:00'" +
			" UNION ALL SELECT 'a@b', 'r2', '2026-11-21 10:00:00', '2026-11-21 12:00:00'",
			"row 1: a@b " + shown + " r1+r2\nrow 2: c@d " + shown + " r1\n"},
		{"rows at odds", "SELECT 'a@b' AS id, 'r1' AS device, " + slot + " UNION ALL SELECT 'a@b', 'r2', '2026-11-21 10:00:00', '2026-11-21 12:00:01'",
			"row 2 (a@b): end: is another than in row 1; rows of one id differ in their device only\n"},
		{"one row of two is bad", "SELECT 'a@b' AS id, 'r1' AS device, " + slot + " UNION ALL SELECT 'a@b', 'r2', 'soon', '2026-11-21 12:00:00'",
			"row 2 (a@b): from_time: \"soon\" is not a time; use a time's column, or texts like 2026-11-21T10:00:00+01:00\n"},
		{"no id", "SELECT NULL AS id, " + slot, "row 1: id: is missing\n"},
		{"all is wrong", "SELECT 'a/b' AS id, 'r 1' AS device, 'junk' AS topology, -1 AS lead, 'soon' AS tail, 0 AS timeout, 'x' AS retries, 'maybe' AS missed, " + slot,
			"row 1 (a/b): tail: \"soon\" is neither a number of seconds nor like 90s, 5m, 1h30m; retries: \"x\" is not a whole number\n"},
		{"more is wrong", "SELECT 'a/b' AS id, 'r 1' AS device, 'junk' AS topology, -1 AS lead, 0 AS timeout, 'maybe' AS missed, " + slot,
			"row 1 (a/b): topology: line 1: has no nodes; id: \"a/b\" is not 1 to 64 letters, digits and ._@:+- beginning with a letter or digit, without \"..\"; " +
				"devices: \"r 1\" is not 1 to 64 letters, digits and ._@:+- beginning with a letter, digit or _, without \"..\"; " +
				"lead: -1s is negative; timeout: must be more than 0; missed: \"maybe\" is neither run nor skip\n"},
		{"endless lead", "SELECT 'a@b' AS id, 9223372036854775807 AS lead, " + slot,
			"row 1 (a@b): lead: 9223372036854775807 seconds is more than 10 years\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := show(s.load(t, tt.query)); got != tt.want {
				t.Errorf("loaded\n%swant\n%s", got, tt.want)
			}
		})
	}
}

func times(t *testing.T, s *testServer) {
	// The server's zone is America/New_York, or its winter's.
	if s.driver == "postgres" {
		got := show(s.load(t, "SELECT 'a@b' AS id, TIMESTAMPTZ '2026-11-21 10:00:00+01' AS start, TIMESTAMP '2026-11-21 12:00:00' AS to_time"))
		if want := "row 1: a@b " + shown + " \n"; got != want {
			t.Errorf("loaded %s, want %s", got, want)
		}
		got = show(s.load(t, "SELECT 'a@b' AS id, TIMESTAMPTZ 'infinity' AS start, DATE '2026-11-22' AS to_time"))
		if want := `row 1 (a@b): start: "infinity" is not a time;`; !strings.HasPrefix(got, want) {
			t.Errorf("loaded %s, want %s", got, want)
		}
		return
	}
	s.exec(t, "CREATE TABLE stamps (id VARCHAR(23), start TIMESTAMP NULL, to_time DATETIME)")
	s.exec(t, "INSERT INTO stamps VALUES ('a@b', '2026-11-21 04:00:00', '2026-11-21 12:00:00')") // 09:00 UTC
	query := "SELECT id, start, to_time FROM stamps"
	want := "row 1: a@b " + shown + " \n"
	if got := show(s.load(t, query)); got != want { // the session's zone is -05:00
		t.Errorf("loaded %s, want %s", got, want)
	}
	dsn := s.dsn
	defer func() { s.dsn = dsn }()
	s.dsn = func(addr string) string { return dsn(addr) + "?time_zone=%27%2B00%3A00%27" }
	if got := show(s.load(t, query)); got != want {
		t.Errorf("with time_zone +00:00 loaded %s, want %s", got, want)
	}
	s.dsn = func(addr string) string { return dsn(addr) + "?time_zone=%27SYSTEM%27" }
	_, err := s.source(t, query, "").Load(t.Context())
	if fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), "column start: is a TIMESTAMP, which the server gives in a zone") {
		t.Errorf("with time_zone SYSTEM: %v, want that it is not known", err)
	}
	s.exec(t, "INSERT INTO stamps VALUES ('zero@b', '2026-11-21 04:00:00', '0000-00-00 00:00:00')")
	s.dsn = dsn
	if got := show(s.load(t, query+" WHERE id = 'zero@b'")); got != "row 1 (zero@b): to_time: is the zero date\n" {
		t.Errorf("loaded %s, want that it is the zero date", got)
	}
}

func faults(t *testing.T, s *testServer) {
	sleep := map[string]string{"postgres": "pg_sleep(600)::text", "mysql": "SLEEP(600)"}[s.driver]
	tests := []struct {
		name, query string
		kind        fault.Kind
		want        string
	}{
		{"no such table", "SELECT * FROM nowhere", fault.Invalid, "query: "},
		{"no such column", "SELECT nothing FROM reservations", fault.Invalid, "query: "},
		{"syntax", "SELEKT", fault.Invalid, "query: "},
		{"an unknown column", "SELECT 'a' AS id, 1 AS color, " + slot, fault.Invalid, "column color: unknown; there are id (resid)"},
		{"a column twice", "SELECT 'a' AS id, 'b' AS resid, " + slot, fault.Invalid, "columns id and resid: are the same thing"},
		{"missing columns", "SELECT 'a' AS id", fault.Invalid, "column start: is missing: invalid\ncolumn end: is missing: invalid"},
		{"a query that writes", "DELETE FROM reservations RETURNING resid, from_time, to_time", fault.Unavailable, ""},
		{"two statements", "SELECT 'a' AS id, " + slot + "; DELETE FROM reservations", "", ""},
		{"slow", "SELECT 'a' AS id, " + sleep + " AS owner, " + slot, fault.Unavailable, "no answer within 5s: unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := s.source(t, tt.query, "")
			if tt.name == "slow" {
				src.conf.Timeout = 5 * time.Second // in which the server is reached
			}
			set, err := src.Load(t.Context())
			if err == nil {
				t.Fatalf("Load() = %+v, want an error", set)
			}
			text, ok := strings.CutPrefix(err.Error(), src.Name()+": ")
			if !ok || !strings.HasPrefix(text, tt.want) || tt.kind != "" && !errors.Is(err, tt.kind) {
				t.Errorf("Load() = %v (%v), want %s (%v)", err, fault.Of(err), tt.want, tt.kind)
			}
		})
	}
	var n int
	if err := s.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM reservations").Scan(&n); err != nil || n == 0 {
		t.Errorf("%d reservations are left, %v", n, err)
	}

	dsn := s.dsn
	defer func() { s.dsn = dsn }()
	const wrong = "wr0ng-pw!"
	s.dsn = func(addr string) string { return strings.Replace(dsn(addr), password, wrong, 1) }
	_, err := s.source(t, "", "").Load(t.Context())
	if fault.Of(err) != fault.Unavailable || strings.Contains(err.Error(), wrong) {
		t.Errorf("with a wrong password: %v", err)
	}
}

// cutOff breaks the connection at every place: then there is an error, never a
// smaller set.
func cutOff(t *testing.T, s *testServer) {
	var q strings.Builder
	for i := range 40 {
		if i > 0 {
			q.WriteString(" UNION ALL ")
		}
		fmt.Fprintf(&q, "SELECT 'r%d' AS id, 'd%d' AS device, %s", i, i, slot)
	}
	whole := s.load(t, q.String())
	if len(whole.Reservations) != 40 {
		t.Fatalf("%d reservations, want 40", len(whole.Reservations))
	}
	addr, said := s.cut(t, 0)
	if _, err := s.source(t, q.String(), addr).Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	broken := 0
	for after := int64(1); after < said.Load()+40; after += 37 {
		addr, _ := s.cut(t, after)
		set, err := s.source(t, q.String(), addr).Load(t.Context())
		switch {
		case err != nil:
			if broken++; fault.Of(err) != fault.Unavailable {
				t.Errorf("cut after %d bytes: %v, want unavailable", after, err)
			}
		case !slices.EqualFunc(set.Reservations, whole.Reservations, func(a, b reservation.Reservation) bool { return a.Hash() == b.Hash() }):
			t.Errorf("cut after %d bytes: %d reservations and no error", after, len(set.Reservations))
		}
	}
	if broken < 20 {
		t.Errorf("only %d loads were cut off", broken)
	}
}
