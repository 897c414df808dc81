package main

import (
	"net/http"
	"strings"
	"testing"

	"activationd/control/ops"
	"activationd/control/panel"
	"activationd/internal/config"
)

// TestRoutesLeaveOwnPaths: the configuration cannot route to queues what the panel serves.
func TestRoutesLeaveOwnPaths(t *testing.T) {
	pages, err := panel.New(panel.Config{Registry: ops.Registry(ops.Daemon{}), Key: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	pages.Routes(func(pattern string, _ bool, _ func(http.ResponseWriter, *http.Request, panel.Client)) {
		_, path, _ := strings.Cut(pattern, " ")
		if path == "/{$}" {
			return
		}
		n++
		_, err := config.Parse("d", []byte("queues: {routes: [{queue: q, path: '"+path+"'}]}\n"))
		if err == nil || !strings.Contains(err.Error(), "the daemon's own") {
			t.Errorf("%s: %v; add its first segment to ownSegments of internal/config", path, err)
		}
	})
	if n < 5 {
		t.Errorf("the panel has only %d paths", n)
	}
}
