package web_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"activationd/control"
	"activationd/control/web"
)

// TestEncodedBodies checks that a body with a Content-Encoding is pushed only if the message says so, too.
func TestEncodedBodies(t *testing.T) {
	push := control.Declare("queue push", control.Submitter, "push", func(_ context.Context, _ control.Caller, in control.QueuePushIn) (control.Reply[thing], error) {
		return control.Reply[thing]{Lines: []thing{{ID: in.Name, List: in.Header}}}, nil
	}).At("POST /queues/{name}/messages").Single()
	routes := map[string]*web.Push{
		"/plain":   {Queue: "q", Forward: []string{"Content-Type"}},
		"/encoded": {Queue: "q", Forward: []string{"content-encoding"}},
	}
	base := serveOps(t, &web.Server{Routes: func(path string) (*web.Push, bool) { p, ok := routes[path]; return p, ok }}, push)
	for _, tt := range []struct {
		path, encoding string
		code           int
	}{
		{"/plain", "gzip", 415},
		{"/plain", "Identity", 200},
		{"/plain", "", 200},
		{"/encoded", "gzip", 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+tt.path, strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		if tt.encoding != "" {
			req.Header.Set("Content-Encoding", tt.encoding)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if resp.StatusCode != tt.code {
			t.Errorf("%s with %q: %d, want %d", tt.path, tt.encoding, resp.StatusCode, tt.code)
		}
	}
}
