package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"activationd/control"
)

// TestAtctlSource announces the reservations of a source with atctl, and reads them again.
func TestAtctlSource(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, `
sources: [{http: portal}]
reservations: {activate: ['true'], deactivate: ['true']}
`)
	d.Start()
	all := ""
	for i := range 3 {
		all += fmt.Sprintf(`,{"id":"%d@x","start":"2099-01-01T10:00:00Z","end":"2099-01-01T12:00:00Z","devices":["r%[1]d"]}`, i+1)
	}
	file := d.write("all.json", `{"reservations": [`+all[1:]+"]}\n", 0o644)
	none := d.write("none.json", "[]", 0o644)
	if got := d.must("source", "put", "portal", file, "--dry-run"); !strings.Contains(got, "added=3") {
		t.Errorf("a dry run: %s", got)
	}
	d.must("source", "put", "portal", file)
	shown := d.write("shown.json", d.must("source", "show", "portal"), 0o644)
	if got := d.must("source", "put", "portal", shown); !strings.Contains(got, "added=0 changed=0 removed=0") {
		t.Errorf("what was put is put again: %s", got)
	}
	for _, args := range [][]string{{}, {"--dry-run"}} {
		o := d.atctl(append([]string{"source", "put", "portal", none}, args...)...)
		if o.status != 4 || !strings.Contains(o.out+o.err, "would remove 3 of 3") || !strings.Contains(o.err, "force") {
			t.Errorf("all are removed, %q: %+v", args, o)
		}
	}
	if got := d.must("source", "put", "portal", none, "--force"); !strings.Contains(got, "removed=3") {
		t.Errorf("with --force: %s", got)
	}
	if o := d.atctl("source", "put", "other", none); o.status != 3 || !strings.Contains(o.err, "portal") {
		t.Errorf("an unknown source: %+v", o)
	}
}

// TestHTTPSource announces the reservations of a source over HTTP.
func TestHTTPSource(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig+`
sources: [{http: portal}, {files: DIR/res.yaml}]
reservations: {activate: ['true'], deactivate: ['true']}
`)
	d.write("res.yaml", "reservations: []\n", 0o644)
	d.Start()
	c := d.web()
	const path = "/api/v1/sources/portal/reservations"
	one := func(id, more string) string {
		return fmt.Sprintf(`{"id": %q, "start": "2099-01-01T10:00:00Z", "end": "2099-01-01T12:00:00Z", "devices": ["r%s"]%s}`, id, id[:1], more)
	}
	ids := func() (list string) {
		_, all, err := control.Call[control.Activation](t.Context(), &d.Client, "list", control.ListIn{Sort: "id"})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range all {
			list += a.ID + " "
		}
		return strings.TrimSpace(list)
	}
	three := "[" + one("1@x", "") + "," + one("2@x", "") + "," + one("3@x", "") + "]"
	for _, tt := range []struct {
		name, path, body string
		status           int
		want             string
		ids              string // afterwards
	}{
		{"an unknown source", "/api/v1/sources/other/reservations", `{"reservations": []}`, 404, "there are portal", ""},
		{"a source of files", "/api/v1/sources/res.yaml/reservations", `{"reservations": []}`, 404, "there are portal", ""},
		{"no list", path, `{"reservations": {}}`, 400, "reservations: want a list of objects", ""},
		{"a dry run", path, `{"reservations": ` + three + `, "dry-run": true}`, 200, `"added":3`, ""},
		{"all of them", path, `{"reservations": ` + three + `}`, 200, `"added":3`, "1@x 2@x 3@x"},
		{"the same again", path, `{"reservations": ` + three + `}`, 200, `"added":0,"changed":0`, "1@x 2@x 3@x"},
		{"too many removed", path, `{"reservations": [` + one("1@x", "") + `]}`, 409, "would remove 2 of 3 live reservations", "1@x 2@x 3@x"},
		{"what would be refused", path, `{"reservations": [` + one("1@x", "") + `], "dry-run": true}`, 200, `"removed":2`, "1@x 2@x 3@x"},
		{"and why", path, `{"reservations": [` + one("1@x", "") + `], "dry-run": true}`, 200, `"items":[{"what":"failed","source":"portal","text":"the load would remove 2 of 3 live reservations`, "1@x 2@x 3@x"},
		{"and what", path, `{"reservations": [` + one("1@x", "") + `], "dry-run": true}`, 200, `{"what":"removed","id":"3@x","source":"portal"}`, "1@x 2@x 3@x"},
		{"forced", path, `{"reservations": [` + one("1@x", "") + `], "force": true}`, 200, `"removed":2`, "1@x"},
		{"one that is wrong", path, `{"reservations": [` + one("1@x", "") + "," + one("2@x", `, "retries": "x"`) + "," + one("4@x", "") + `]}`, 200, "retries", "1@x 4@x"},
		{"a command", path, `{"reservations": [` + one("1@x", "") + "," + one("4@x", "") + "," + one("5@x", `, "activate": ["rm"]`) + `]}`, 200, "activate: only the configuration says what is run", "1@x 4@x"},
		{"a topology in a file", path, `{"reservations": [` + one("1@x", "") + "," + one("4@x", "") + "," + one("6@x", `, "topology": "t.clab.yml"`) + `]}`, 200, "there are no files beside these reservations", "1@x 4@x"},
	} {
		r := d.asked(c, http.MethodPut, tt.path, tt.body)
		if got := ids(); r.status != tt.status || !strings.Contains(r.body, tt.want) || got != tt.ids {
			t.Errorf("%s: %d %s; then there are %q; want %d %s and %q", tt.name, r.status, r.body, got, tt.status, tt.want, tt.ids)
		}
	}
	d.Kill()
	d.Start()
	if rep := d.asked(d.web(), http.MethodPost, "/api/v1/reload", ""); ids() != "1@x 4@x" || !strings.Contains(rep.body, `"removed":0`) {
		t.Errorf("after a restart there are %q, and a reload says %s", ids(), rep.body)
	}
	summary, _, err := control.Call[control.ReloadLine](t.Context(), &d.Client, "source put", control.SourcePutIn{Name: "portal", Reservations: "[" + one("7@x", "") + "]", Force: true})
	if err != nil || ids() != "7@x" {
		t.Errorf("by the line protocol: %s, %v; then there are %q", summary, err, ids())
	}
	for _, content := range []string{"null", "", `{"id": "7@x"}`, `[], "more": []`} {
		_, _, err := control.Call[control.ReloadLine](t.Context(), &d.Client, "source put", control.SourcePutIn{Name: "portal", Reservations: content, Force: true})
		if err == nil || !strings.Contains(err.Error(), "reservations") || ids() != "7@x" {
			t.Errorf("%q by the line protocol: %v; then there are %q", content, err, ids())
		}
	}

	// What was put can be read, and put again.
	c = d.web()
	content := `{"reservations": [` + one("7@x", `, "label": "a  b"`) + "," + one("8@x", "") + `]}`
	d.asked(c, http.MethodPut, path, content)
	got := d.asked(c, http.MethodGet, path, "")
	var have, want any
	if err := errors.Join(json.Unmarshal([]byte(got.body), &have), json.Unmarshal([]byte(content), &want)); err != nil || !reflect.DeepEqual(have, want) {
		t.Errorf("%s was put, and GET has %d %s", content, got.status, got.body)
	}
	if r := d.asked(c, http.MethodPut, path, got.body); !strings.Contains(r.body, `"added":0,"changed":0`) {
		t.Errorf("what was read is put again: %d %s", r.status, r.body)
	}

	// A source that is removed and added again is empty.
	const others = httpConfig + "reservations: {activate: ['true'], deactivate: ['true']}\n"
	d.configure(others + "sources: [{files: DIR/res.yaml}]\n")
	d.must("reload", "--force")
	if r := d.asked(c, http.MethodGet, path, ""); ids() != "" || r.status != http.StatusNotFound {
		t.Errorf("without the source there are %q, and GET has %d %s", ids(), r.status, r.body)
	}
	d.configure(others + "sources: [{http: portal}, {files: DIR/res.yaml}]\n")
	d.must("reload")
	if r := d.asked(c, http.MethodGet, path, ""); ids() != "" || strings.TrimSpace(r.body) != `{"reservations":[]}` {
		t.Errorf("with the source again there are %q, and GET has %d %s", ids(), r.status, r.body)
	}
}

// TestHTTPReady has a daemon whose source cannot be read at first.
func TestHTTPReady(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig+"reservations: {activate: ['true'], deactivate: ['true']}\nsources: [{files: DIR/res.yaml}]\n")
	d.write("res.yaml", "reservations: [}\n", 0o644)
	d.Start()
	c := d.web()
	reload := func(status int, want string) {
		t.Helper()
		r := d.asked(c, http.MethodPost, "/api/v1/reload", "")
		if r.status != status || r.header.Get("Retry-After") != "" || strings.Contains(r.body, "retry_after") || !strings.Contains(r.body, want) {
			t.Errorf("POST /reload: %d %v %s, want %d %s, and nothing about another time", r.status, r.header, r.body, status, want)
		}
	}
	ready := func(status int, want string) {
		t.Helper()
		if r := d.asked(c, http.MethodGet, "/readyz", ""); r.status != status || !strings.Contains(r.body, want) || strings.Contains(r.body, ": unavailable") {
			t.Errorf("GET /readyz: %d %q, want %d %q", r.status, r.body, status, want)
		}
	}
	const broken = "res.yaml:1: has no value where one is expected, or a bracket or a comma too many"
	reload(http.StatusConflict, broken)
	ready(http.StatusServiceUnavailable, "a source of reservations was never read; atctl status says which, and why\n")
	d.write("res.yaml", "reservations: []\n", 0o644)
	reload(http.StatusOK, `"rejected":0`)
	ready(http.StatusOK, "ok")
	d.write("res.yaml", "reservations: [}\n", 0o644)
	reload(http.StatusConflict, broken)
	ready(http.StatusOK, "ok")
	d.must("pause", "daemon", "--reason", "x")
	ready(http.StatusOK, "ok")
	d.configure("listen_http: [}\n")
	reload(http.StatusConflict, "config.yaml:1: ")
}
