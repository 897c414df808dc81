package activation_test

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
)

// outsideOnly panics if its caller runs in a transaction, which may run again. So it must
// have no effects outside of the store, and read nothing outside.
func outsideOnly(what string) {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for more := true; more; {
		var frame runtime.Frame
		if frame, more = frames.Next(); strings.HasSuffix(frame.Function, "memstore.(*tx).run") {
			panic(what + " in a transaction")
		}
	}
}

// outside is the handler of a log that is discarded, and that no transaction may write.
type outside struct{}

func (outside) Enabled(context.Context, slog.Level) bool { return true }

func (outside) Handle(_ context.Context, r slog.Record) error {
	outsideOnly("a line is logged: " + r.Message)
	return nil
}

func (o outside) WithAttrs([]slog.Attr) slog.Handler { return o }
func (o outside) WithGroup(string) slog.Handler      { return o }
