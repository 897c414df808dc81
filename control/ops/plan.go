package ops

import (
	"context"
	"encoding/base64"
	"fmt"

	"activationd/control"
	"activationd/internal/fault"
)

// planOps returns the operations on undo plans.
func (d Daemon) planOps() []control.Op {
	return []control.Op{
		control.Declare("plan keep", control.Submitter, "store the undo plan of a running activation", d.planKeep).At("PUT /activations/{id}/plan"),
		control.DeclareStream("plan show", control.Submitter, "print the stored undo plan, in pieces of base64", d.planShow).At("GET /activations/{id}/plan"),
	}
}

func (d Daemon) planKeep(ctx context.Context, c control.Caller, in control.PlanIn) (control.Reply[control.Nothing], error) {
	plan, err := base64.StdEncoding.DecodeString(in.Base64)
	if err != nil {
		return control.Reply[control.Nothing]{}, fmt.Errorf("base64: %.40q is not base64: %w", in.Base64, fault.Invalid)
	}
	if err := d.Engine.KeepPlan(ctx, actor(c), in.ID, in.Fence, plan); err != nil {
		return control.Reply[control.Nothing]{}, err
	}
	return control.Reply[control.Nothing]{Summary: "kept"}, nil
}

func (d Daemon) planShow(ctx context.Context, c control.Caller, in control.IDIn, send func(control.PlanOut) error) error {
	plan, err := d.Engine.UndoPlan(ctx, actor(c), in.ID)
	if err != nil {
		return err
	}
	for len(plan) > 0 {
		piece := plan[:min(len(plan), backupPiece)]
		plan = plan[len(piece):]
		if err := send(control.PlanOut{Base64: base64.StdEncoding.EncodeToString(piece)}); err != nil {
			return err
		}
	}
	return nil
}
