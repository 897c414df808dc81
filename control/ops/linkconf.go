package ops

import (
	"context"
	"strings"

	"activationd/control"
)

func (d Daemon) linkconf(ctx context.Context, c control.Caller, in control.LinkconfIn) (control.Reply[control.Nothing], error) {
	text := []byte(in.Topology)
	if !strings.HasPrefix(strings.TrimSpace(in.Topology), "{") {
		var err error
		if text, err = d.Topology(in.Topology); err != nil {
			return control.Reply[control.Nothing]{}, err
		}
	}
	if err := d.Engine.Link(ctx, actor(c), in.Resid, text); err != nil {
		return control.Reply[control.Nothing]{}, err
	}
	return control.Reply[control.Nothing]{Summary: "topology attached to " + in.Resid}, nil
}

func (d Daemon) dellinkconf(ctx context.Context, c control.Caller, in control.DellinkconfIn) (control.Reply[control.Nothing], error) {
	if err := d.Engine.Unlink(ctx, actor(c), in.Delresid); err != nil {
		return control.Reply[control.Nothing]{}, err
	}
	return control.Reply[control.Nothing]{Summary: "topology detached from " + in.Delresid}, nil
}
