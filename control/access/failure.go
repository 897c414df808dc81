package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"activationd/control"
	"activationd/internal/fault"
)

// ErrShutdown is the reply to a request that the daemon's shutdown left unanswered.
var ErrShutdown = fmt.Errorf("the daemon is shutting down; try again when it is back: %w", fault.Unavailable)

// Failure returns the code, as in HTTP, and the text with which a face replies to a
// request for command that failed with err. If ctx, under which the request ran, was
// cancelled, and err says no more than that, the reply is ErrShutdown. The text of an
// internal error goes into the log only; the client gets a reference to it.
func Failure(ctx context.Context, log *slog.Logger, command string, err error) (code int, text string) {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = ErrShutdown
	}
	code = control.Code(err)
	if code == 500 {
		ref := strconv.FormatInt(time.Now().UnixMilli(), 36)
		log.Error("operation failed", "command", command, "ref", ref, "err", err)
		return code, "internal error; the daemon's log has the details, at ref=" + ref
	}
	return code, fault.Text(err)
}
