package sql

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests use the zone of Prague on any machine

	"activationd/internal/fault"
	"activationd/internal/timetext/timeforms"
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

// TestNewTellsNoSecrets checks that errors about a DSN do not contain its password.
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
			var got string
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
		{"in the gap", "2026-03-29 02:30:00", "is never shown by a clock in Europe/Prague, because of daylight saving"},
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
			at, err := fromWall(wall, prague(t))
			if got := at.Format(time.RFC3339); fmt.Sprint(err) != tt.want && got != tt.want {
				t.Errorf("fromWall(%s) = %s, %v, want %s", tt.wall, got, err, tt.want)
			}
		})
	}
}

// TestColumns checks that a query may set the same fields as a file, under the same names,
// except those that decide what is run.
func TestColumns(t *testing.T) {
	for _, f := range reservation.Fields {
		if got := fieldOf(strings.ToUpper(f.Name)); f.Command != (got == nil) || got != nil && got.Name != f.Name {
			t.Errorf("the column %s sets %+v", f.Name, got)
		}
	}
	for alias, name := range aliases {
		if f := fieldOf(alias); f == nil || f.Name != name {
			t.Errorf("the column %s sets %+v, want %s", alias, f, name)
		}
	}
	want := "id (resid), owner, start (from_time), end (to_time), devices (device), vlans, topology, label, lead, tail, timeout, grace, retries, missed"
	if got := columnNames(); got != want {
		t.Errorf("the columns are %s, want %s", got, want)
	}
}

// TestNumbers checks that seconds may have any type of number, for instance that of
// extract(epoch from interval).
func TestNumbers(t *testing.T) {
	for _, v := range []any{int64(2000000), float64(2000000), float32(2000000), "2000000", "2000000.000", " 2000000  ", "555:33:20"} {
		c := cell{v: v}
		if d := c.Duration(); c.problem != "" || *d != 2000000*time.Second {
			t.Errorf("%#v is %v, %s, want 2000000 s", v, d, c.problem)
		}
	}
	c := cell{v: float64(0.25)}
	if d := c.Duration(); c.problem != "" || *d != 250*time.Millisecond {
		t.Errorf("a quarter of a second is %v, %s", d, c.problem)
	}
	c = cell{v: "1.5.2"}
	if d := c.Duration(); c.problem == "" {
		t.Errorf("1.5.2 is %v", d)
	}
	c = cell{column: new(column), v: 1797843600.25}
	if c.Instant(); !strings.Contains(c.problem, "write @1797843600.25 for seconds") {
		t.Errorf("for a time that is a number, the problem is %q", c.problem)
	}
}

// TestNoAnswer tries a server that accepts the connection and never answers.
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
	zone := func() *time.Location { return prague(t) }
	return s.sourceIn(t, query, addr, zone)
}

func (s *testServer) sourceIn(t *testing.T, query, addr string, zone func() *time.Location) *Source {
	t.Helper()
	src, err := New(Config{Driver: s.driver, DSN: s.dsn(addr), Query: query, Zone: func() (*time.Location, error) { return zone(), nil }, Nodes: func(topology string) ([]string, error) {
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

// show returns a set as lines.
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
		if len(r.VLANs) > 0 {
			fmt.Fprintf(&b, " %v", r.VLANs)
		}
		b.WriteByte('\n')
	}
	for _, r := range set.Rejects {
		fmt.Fprintf(&b, "%s: %s\n", r.Where, r.Text)
	}
	return b.String()
}

// contract checks what must hold for every server.
func contract(t *testing.T, s *testServer) {
	t.Run("Virtlab's tables", func(t *testing.T) { virtlab(t, s) })
	t.Run("queries", func(t *testing.T) { queries(t, s) })
	t.Run("times", func(t *testing.T) { times(t, s) })
	t.Run("zones", func(t *testing.T) { zones(t, s) })
	t.Run("faults", func(t *testing.T) { faults(t, s) })
	t.Run("cut off", func(t *testing.T) { cutOff(t, s) })
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "activationd/cmd/activationd", "activationd/cmd/atwrap")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Run("check", func(t *testing.T) { checkConfig(t, s, bin) })
	t.Run("gone", func(t *testing.T) {
		s.stop()
		if out, err := checked(t, s, bin, ""); err == nil || !strings.HasPrefix(out, "activationd: c.yaml:2: sources[1]: the bookings: ") || strings.Contains(out, password) {
			t.Errorf("the check of a source that is gone: %v\n%s", err, out)
		}
		_, err := s.source(t, "", "").Load(t.Context())
		if fault.Of(err) != fault.Unavailable || strings.Contains(err.Error(), password) {
			t.Errorf("Load() = %v, want unavailable", err)
		}
	})
}

// checkConfig checks the reservations of a database together with those of a file.
func checkConfig(t *testing.T, s *testServer, bin string) {
	s.exec(t, "CREATE TABLE bookings (id VARCHAR(23), device VARCHAR(20), start_text VARCHAR(40), end_text VARCHAR(40))")
	s.exec(t, `INSERT INTO bookings VALUES ('1@db', 'r1', '2099-12-01T11:00:00Z', '2099-12-01T13:00:00Z'),
		('2@db', 'r2', '2099-12-01T11:00:00Z', '2099-12-01T13:00:00Z'), ('3@db', 'r1', '2020-12-01T11:00:00Z', '2020-12-01T13:00:00Z')`)
	quoted := map[string]string{"postgres": `"end"`, "mysql": "`end`"}[s.driver]
	out, err := checked(t, s, bin, "SELECT id, device, start_text AS start, end_text AS "+quoted+" FROM bookings ORDER BY id")
	for _, want := range []string{
		"the bookings: 3 reservation(s), of which 1 are over\n",
		"the bookings: row 1: 1@db: 1@file (",
		"/a.yml:1) has r1 from 2099-12-01 10:00:00 to 2099-12-01 12:00:00\n",
	} {
		if err != nil || !strings.Contains(out, want) || strings.Count(out, "notice") != 1 {
			t.Errorf("the check has not said %q: %v\n%s", want, err, out)
		}
	}
	if out, err = checked(t, s, bin, "SELECT id, device, end_text AS start, start_text AS "+quoted+" FROM bookings WHERE id = '1@db'"); err == nil ||
		out != "activationd: the bookings: row 1 (1@db): end: is before start\n" {
		t.Errorf("the check of a wrong row: %v\n%s", err, out)
	}
}

// checked returns what activationd --check-config says about a file and the result of a query.
func checked(t *testing.T, s *testServer, bin, query string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	quoted, err := json.Marshal(query)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"dsn": s.dsn(""),
		"c.yaml": "sources: [{files: a.yml},\n  {sql: {name: the bookings, driver: " + s.driver + ", dsn_file: dsn, query: " + string(quoted) + "}}]\n" +
			`reservations: {activate: ["true"], deactivate: ["true"]}`,
		"a.yml": `reservations: [{id: 1@file, start: 2099-12-01T10:00:00Z, end: 2099-12-01T12:00:00Z, devices: [r1]}]`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), bin+"/activationd", "--check-config", "--sql", "--config", "c.yaml")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TZ=UTC")
	out, err := cmd.CombinedOutput()
	return string(out), err
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
row 6 (1045): id: 1045 consists of digits only, like the ids of jobs; write 1045@site, for instance
row 7 (1046@x): end: is before start
row 8 (1047@x): end: is missing
row 10 (gap@x): from_time: "2027-03-28 02:30:00" is never shown by a clock in Europe/Prague, because of daylight saving
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

// slot is the columns of a valid slot; further ones may follow.
const slot = "'2026-11-21 10:00:00' AS from_time, '2026-11-21 12:00:00' AS to_time"

const shown = "2026-11-21T09:00:00Z to 2026-11-21T11:00:00Z"

func queries(t *testing.T, s *testServer) {
	quoted := map[string]string{"postgres": `"`, "mysql": "`"}[s.driver]
	lists := (&cell{mysql: s.driver == "mysql"}).unlist()
	jsonDevices := "SELECT 'a@b' AS id, jsonb_array_elements_text('[\"r1\", \"r2\"]') AS device, " + slot
	if s.driver == "mysql" {
		jsonDevices = "SELECT 'a@b' AS id, j.device, " + slot + " FROM (SELECT '[\"r1\", \"r2\"]' AS devices) x, " +
			"JSON_TABLE(devices, '$[*]' COLUMNS (device TEXT PATH '$')) j"
	}
	tests := []struct{ name, query, want string }{
		{"all columns", "SELECT 'a@b' AS ID, 'g7' AS owner, 'exam' AS label, 'nodes r1 r2' AS topology, 300 AS lead, '90s' AS tail, '1h' AS timeout, " +
			"0 AS grace, 3 AS retries, 'skip' AS missed, 'lab=3, core=1' AS vlans, " + slot,
			"row 1: a@b " + shown + " r1+r2 \"g7\" \"exam\" \"nodes r1 r2\" \"skip\" 5m0s 1m30s 1h0m0s 0s 3 map[core:1 lab:3]\n"},
		{"no VLANs", "SELECT 'a@b' AS id, 'lab=3, lab=1' AS vlans, " + slot,
			"row 1 (a@b): vlans: \"lab=1\" is not a domain with a number, such as lab=3, or occurs twice\n"},
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
			"row 2 (a@b): end: differs from row 1; rows with the same id may differ only in their device\n"},
		{"one row of two is bad", "SELECT 'a@b' AS id, 'r1' AS device, " + slot + " UNION ALL SELECT 'a@b', 'r2', 'soon', '2026-11-21 12:00:00'",
			"row 2 (a@b): from_time: \"soon\" is not a time: write it like 2099-12-21T10:00:00+01:00, or 2099-12-21T09:00:00Z for UTC\n"},
		{"devices as an array", "SELECT 'a@b' AS id, '{r1,r2}' AS devices, " + slot,
			"row 1 (a@b): devices: \"{r1,r2}\" is a list as one text; have the query give one device a row, or names with commas: " + lists + "\n"},
		{"devices as JSON", "SELECT 'a@b' AS id, '[\"r1\", \"r2\"]' AS devices, " + slot,
			"row 1 (a@b): devices: \"[\\\"r1\\\", \\\"r2\\\"]\" is a list as one text; have the query give one device a row, or names with commas: " + lists + "\n"},
		{"JSON as the hint says", jsonDevices, "row 1: a@b " + shown + " r1+r2\n"},
		{"no id", "SELECT NULL AS id, " + slot, "row 1: id: is missing\n"},
		{"all is wrong", "SELECT 'a/b' AS id, 'r 1' AS device, 'junk' AS topology, -1 AS lead, 'soon' AS tail, 0 AS timeout, 'x' AS retries, 'maybe' AS missed, " + slot,
			"row 1 (a/b): tail: \"soon\" is not a duration: write it like 90s, 5m, 1h30m, 2d or PT1H30M; retries: \"x\" is not a whole number\n"},
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

// times tries every type of column that may have a time or a duration.
func times(t *testing.T, s *testServer) {
	// The zone of the server is America/New_York, or its offset in winter.
	if s.driver == "postgres" {
		postgresTimes(t, s)
	} else {
		mariaTimes(t, s)
	}
	// All forms as texts, in one load: want and why are by id.
	var rows []string
	want, why := map[string]reservation.Reservation{}, map[string]string{}
	row := func(id, columns string) { rows = append(rows, "SELECT '"+id+"@x' AS id, "+columns) }
	const end = "'2100-11-21T09:00:00Z'"
	for i, f := range append(timeforms.Instants(), timeforms.Local()...) {
		id := fmt.Sprintf("t%d", i)
		row(id, "'"+f.Text+"' AS start, "+end+" AS to_time, NULL AS lead, NULL AS tail, NULL AS timeout, NULL AS grace")
		switch {
		case strings.HasPrefix(f.Why, "has no zone"): // the source has one
			want[id+"@x"] = reservation.Reservation{Start: f.Want.Add(-time.Hour)}
		case f.Why != "":
			why[id+"@x"] = f.Why
		case f.Want.Year() == 1970, f.Want.Year() == 2199: // the slot would be too long
			why[id+"@x"] = "end: "
		default:
			want[id+"@x"] = reservation.Reservation{Start: f.Want}
		}
	}
	for i, f := range timeforms.Durations() {
		if f.Text == "" || f.Text == "90" || f.Text == "1.5" { // nothing, and seconds
			continue
		}
		for k, key := range []string{"lead", "tail", "timeout", "grace"} {
			id := fmt.Sprintf("d%d.%d", i, k)
			columns := []string{"NULL AS lead", "NULL AS tail", "NULL AS timeout", "NULL AS grace"}
			columns[k] = "'" + f.Text + "' AS " + key
			row(id, "'2099-11-21T09:00:00Z' AS start, "+end+" AS to_time, "+strings.Join(columns, ", "))
			d := f.Want
			r := reservation.Reservation{Start: time.Date(2099, 11, 21, 9, 0, 0, 0, time.UTC)}
			*[]**time.Duration{&r.Lead, &r.Tail, &r.Timeout, &r.Grace}[k] = &d
			want[id+"@x"] = r
			if f.Why != "" {
				why[id+"@x"] = f.Why
			}
		}
	}
	set := s.load(t, strings.Join(rows, " UNION ALL "))
	for _, r := range set.Reservations {
		w, ok := want[r.ID]
		w.ID = r.ID
		w.End = r.End
		if field := differs(&r, &w); !ok || field != "" {
			t.Errorf("%s is loaded as %+v, want %+v (%s)", rows[rowOf(r.Where)-1], r, w, why[r.ID])
		}
	}
	for _, r := range set.Rejects {
		if !strings.Contains(r.Text, why[r.ID]) || why[r.ID] == "" {
			t.Errorf("%s is rejected: %s, want %+v%s", rows[rowOf(r.Where)-1], r.Text, want[r.ID], why[r.ID])
		}
	}
	if n := len(set.Reservations) + len(set.Rejects); n != len(rows) {
		t.Errorf("%d rows are loaded, want %d", n, len(rows))
	}
}

func rowOf(where string) (n int) {
	_, _ = fmt.Sscanf(where, "row %d", &n)
	return n
}

// column returns the start, or the error, of a source with a single row that starts at value.
func (s *testServer) column(t *testing.T, value string) string {
	t.Helper()
	set, err := s.source(t, "SELECT 'a@b' AS id, "+value+" AS start, '2030-01-01T00:00:00Z' AS to_time", "").Load(t.Context())
	if err != nil {
		return err.Error()
	}
	return show(set)
}

func postgresTimes(t *testing.T, s *testServer) {
	starts := func(at string) string { return "row 1: a@b " + at + " to 2030-01-01T00:00:00Z \n" }
	for _, tt := range []struct{ value, want string }{
		{"TIMESTAMPTZ '2026-11-21 10:00:00+01'", starts("2026-11-21T09:00:00Z")},
		{"TIMESTAMP '2026-11-21 10:00:00'", starts("2026-11-21T09:00:00Z")},
		{"DATE '2026-11-22'", starts("2026-11-21T23:00:00Z")},
		{"(TIMESTAMPTZ '2026-11-21 10:00:00+01')::text", starts("2026-11-21T09:00:00Z")}, // 04:00:00-05
		{"(TIMESTAMP '2026-11-21 10:00:00')::text", starts("2026-11-21T09:00:00Z")},
		{"to_char(TIMESTAMPTZ '2026-11-21 10:00:00+01', 'YYYY-MM-DD HH24:MI:SS TZH')", starts("2026-11-21T09:00:00Z")},
		{"to_json(TIMESTAMPTZ '2026-11-21 10:00:00+01') #>> '{}'", starts("2026-11-21T09:00:00Z")},
		{"(DATE '2026-11-22')::text", "row 1 (a@b): start: \"2026-11-22\" has no time of day: write it with its offset"},
		{"TIMESTAMPTZ 'infinity'", "row 1 (a@b): start: \"infinity\" is not a time"},
		{"TIMESTAMP '-infinity'", "row 1 (a@b): start: \"-infinity\" is not a time"},
		{"DATE 'infinity'", "row 1 (a@b): start: \"infinity\" is not a time"},
		{"TIMESTAMPTZ '0044-03-15 10:00:00+00 BC'", "row 1 (a@b): start: "},
		{"TIMESTAMP '2044-03-15 10:00:00 BC'", "row 1 (a@b): start: "},
		{"DATE '2044-03-15 BC'", "row 1 (a@b): start: "},
		{"(TIMESTAMPTZ '2044-03-15 10:00:00+00 BC')::text", "row 1 (a@b): start: "},
		{"1797843600", "row 1 (a@b): start: \"1797843600\" is a number: write @1797843600 for seconds since 1970"},
		{"TIME '10:00'", "column start: is of type TIME, which is no date"},
		{"TIMETZ '10:00+01'", "column start: is of type TIMETZ, which is no date"},
		{"INTERVAL '1 day'", "column start: is of type INTERVAL, which is no date"},
	} {
		if got := s.column(t, tt.value); !strings.HasPrefix(strings.TrimPrefix(got, s.source(t, "", "").Name()+": "), tt.want) {
			t.Errorf("%s is loaded as %s, want %s", tt.value, got, tt.want)
		}
	}
	for value, want := range map[string]string{
		"INTERVAL '1 day 2 hours'": "26h0m0s", "INTERVAL '90 seconds'": "1m30s", "INTERVAL '1.5 hours'": "1h30m0s", "TIME '01:30'": "1h30m0s",
		"90": "1m30s", "90::numeric": "1m30s", "INTERVAL '1 month'": "has a unit of no fixed length, mon: write days", "INTERVAL '-1 hour'": "has a minus sign",
		"INTERVAL '1 day' - INTERVAL '2 hours'": "has a minus sign", "TIMESTAMPTZ '2026-11-21 10:00:00+01'": "is a time",
	} {
		if got := show(s.load(t, "SELECT 'a@b' AS id, "+value+" AS lead, "+slot)); !strings.Contains(got, " "+want) {
			t.Errorf("a lead of %s is loaded as %s, want %s", value, got, want)
		}
	}
	for style, want := range map[string]string{"iso_8601": "P1DT2H", "sql_standard": "1 2:00:00", "postgres": "1 day 02:00:00"} {
		s.exec(t, "ALTER ROLE lab SET intervalstyle = '"+style+"'")
		if got := show(s.load(t, "SELECT 'a@b' AS id, INTERVAL '1 day 2 hours' AS lead, (INTERVAL '1 day 2 hours')::text AS label, "+slot)); !strings.HasSuffix(got, " \""+want+"\" 26h0m0s\n") {
			t.Errorf("an interval in style %s is loaded as %s", style, got)
		}
	}
}

func mariaTimes(t *testing.T, s *testServer) {
	s.exec(t, "CREATE TABLE stamps (id VARCHAR(23), start TIMESTAMP NULL, to_time DATETIME)")
	s.exec(t, "INSERT INTO stamps VALUES ('a@b', '2026-11-21 04:00:00', '2026-11-21 12:00:00')") // 09:00 UTC
	query := "SELECT id, start, to_time FROM stamps"
	want := "row 1: a@b " + shown + " \n"
	if got := show(s.load(t, query)); got != want { // the session's zone is -05:00
		t.Errorf("loaded %s, want %s", got, want)
	}
	dsn := s.dsn
	for _, param := range []string{"time_zone=%27%2B00%3A00%27", "parseTime=true", "parseTime=true&loc=Asia%2FTokyo"} {
		s.dsn = func(addr string) string { return dsn(addr) + "?" + param }
		if got := show(s.load(t, query)); got != want {
			t.Errorf("with %s loaded %s, want %s", param, got, want)
		}
	}
	s.dsn = func(addr string) string { return dsn(addr) + "?time_zone=%27SYSTEM%27" }
	_, err := s.source(t, query, "").Load(t.Context())
	if fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), "column start: is a TIMESTAMP, which the server gives in a zone") {
		t.Errorf("with time_zone SYSTEM: %v, want that it is not known", err)
	}
	s.dsn = dsn
	s.exec(t, "CREATE TABLE kinds (t DATETIME(3), d DATE, s TIMESTAMP NULL, h TIME, y YEAR)")
	starts := func(at string) string { return "row 1: a@b " + at + " to 2030-01-01T00:00:00Z \n" }
	none := func(text string) string {
		return "row 1 (a@b): start: \"" + text + "\" names a day that does not exist\n"
	}
	for _, tt := range []struct{ column, value, want string }{
		{"t", "2026-11-21 10:00:00.250", starts("2026-11-21T09:00:00Z")},
		{"t", "2026-12-00 10:00:00", none("2026-12-00 10:00:00.000")},
		{"t", "2027-00-10 10:00:00", none("2027-00-10 10:00:00.000")},
		{"t", "0000-00-00 00:00:00", none("0000-00-00 00:00:00.000")},
		{"t", "2027-03-28 02:30:00", "row 1 (a@b): start: \"2027-03-28 02:30:00.000\" is never shown by a clock in Europe/Prague"},
		{"t", "1969-01-01 00:00:00", "row 1 (a@b): start: \"1969-01-01 00:00:00.000\" is not in the years"},
		{"d", "2026-11-22", starts("2026-11-21T23:00:00Z")},
		{"d", "2027-00-10", none("2027-00-10 00:00:00")},
		{"d", "2027-01-00", none("2027-01-00 00:00:00")},
		{"d", "0000-00-00", none("0000-00-00 00:00:00")},
		{"s", "2026-11-21 04:00:00", starts("2026-11-21T09:00:00Z")},
		{"s", "0000-00-00 00:00:00", none("0000-00-00 00:00:00")},
		{"h", "10:00:00", "column start: is of type TIME, which is no date"},
		{"y", "2027", "column start: is of type YEAR, which is no date"},
		{"CAST(t AS CHAR)", "2027-00-10 10:00:00", none("2027-00-10 10:00:00.000")},
		{"CAST(d AS CHAR)", "2026-11-22", "row 1 (a@b): start: \"2026-11-22\" has no time of day"},
		{"t + 0", "2026-11-21 10:00:00", starts("2026-11-21T09:00:00Z")}, // a number of 14 digits
	} {
		s.exec(t, "DELETE FROM kinds")
		base := strings.NewReplacer("CAST(", "", " AS CHAR)", "", " + 0", "").Replace(tt.column)
		s.exec(t, "INSERT INTO kinds ("+base+") VALUES ('"+tt.value+"')")
		set, err := s.source(t, "SELECT 'a@b' AS id, "+tt.column+" AS start, '2030-01-01T00:00:00Z' AS to_time FROM kinds", "").Load(t.Context())
		got := show(set)
		if err != nil {
			got = strings.TrimPrefix(err.Error(), s.source(t, "", "").Name()+": ")
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s %s is loaded as %s, want %s", tt.column, tt.value, got, tt.want)
		}
	}
	for value, want := range map[string]string{
		"TIME '01:30:00'": "1h30m0s", "TIME '838:59:59'": "838h59m59s", "TIME '00:00:01.5'": "1.5s", "TIME '-01:00:00'": "has a minus sign",
		"90": "1m30s", "90.5": "1m30.5s", "1.5E6": "416h40m0s", "DATE '2026-11-21'": "has a minus sign",
	} {
		if got := show(s.load(t, "SELECT 'a@b' AS id, "+value+" AS lead, "+slot)); !strings.Contains(got, " "+want) {
			t.Errorf("a lead of %s is loaded as %s, want %s", value, got, want)
		}
	}
}

// zones checks that the same rows mean other times if the rules of their zone have changed.
func zones(t *testing.T, s *testServer) {
	zone := time.FixedZone("Lab/Zone", 3600)
	src := s.sourceIn(t, "SELECT 'a@b' AS id, "+slot, "", func() *time.Location { return zone })
	before, err := src.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, unchanged, err := src.LoadIfChanged(t.Context(), before.Fingerprint); err != nil || !unchanged {
		t.Errorf("by the same rules unchanged is %v, %v", unchanged, err)
	}
	zone = time.FixedZone("Lab/Zone", 7200)
	after, unchanged, err := src.LoadIfChanged(t.Context(), before.Fingerprint)
	if err != nil || unchanged || show(after) != "row 1: a@b 2026-11-21T08:00:00Z to 2026-11-21T10:00:00Z \n" {
		t.Errorf("by other rules unchanged is %v, %v, and it is loaded as %s", unchanged, err, show(after))
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
		{"a column twice", "SELECT 'a' AS id, 'b' AS resid, " + slot, fault.Invalid, "columns id and resid: are the same field"},
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

// cutOff breaks the connection at every place: the result must be an error, never a smaller
// set.
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
