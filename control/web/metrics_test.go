package web_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"activationd/control/web"
)

// A meter hands over what is counted.
type meter struct{ counted chan string }

func (m *meter) Begin(face string) { m.counted <- face + " begins" }

func (m *meter) End(_, op string, code int) { m.counted <- fmt.Sprintf("%s: %d", op, code) }

// TestMeter checks that each request for an operation is counted, with the status of its reply.
func TestMeter(t *testing.T) {
	m := &meter{make(chan string, 100)}
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1\n")) })
	base := serve(t, &web.Server{Meter: m, Metrics: metrics})
	for _, tt := range []struct {
		method, path, secret string
		want                 []string
	}{
		{"GET", "/api/v1/things/x", "", []string{"http begins", "thing show: 200"}},
		{"GET", "/api/v1/things?no=1", "", []string{"http begins", "thing list: 400"}},
		{"GET", "/api/v1/things/follow?n=2", "", []string{"http begins", "thing follow: 200"}},
		{"DELETE", "/api/v1/things/x", "", []string{"http begins", "thing drop: 403"}},
		{"GET", "/api/v1/things", "wrong", []string{"http begins", "thing list: 401"}},
		{"GET", "/metrics", "", []string{"http begins", "metrics: 200"}},
		{"GET", "/metrics", "wrong", []string{"http begins", "metrics: 401"}},
		{"GET", "/nothing", "", nil}, // no operation, and its path is no label
		{"POST", "/metrics", "", nil},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, base+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.secret != "" {
			req.Header.Set("Authorization", "Bearer "+tt.secret)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		var got []string
		for range tt.want {
			got = append(got, <-m.counted)
		}
		if !slices.Equal(got, tt.want) || len(m.counted) > 0 {
			t.Errorf("%s %s: counted %q and %d more, want %q", tt.method, tt.path, got, len(m.counted), tt.want)
		}
		if status := fmt.Sprint(resp.StatusCode); len(tt.want) > 0 && !strings.HasSuffix(tt.want[1], status) {
			t.Errorf("%s %s: %s", tt.method, tt.path, status)
		}
	}
}
