package main

import (
	"context"
	"fmt"
	"os"

	"activationd/activation"
	"activationd/activation/service"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// checkPlace is where the checks of services are made.
func (d *daemon) checkPlace() service.Place {
	return service.Place{
		Report:  d.log,
		Command: d.checkCommand,
		Notices: d.runs.Notices(), Notified: d.runs.Notified,
		Log: func(k supervisor.Key, back int) (*os.File, error) {
			name := wrapper.LogFile
			if back > 0 {
				name = fmt.Sprintf("%s.%d", name, back)
			}
			return d.runs.Open(k, name)
		},
	}
}

// checkCommand runs the command of a check as an instance runs.
func (d *daemon) checkCommand(ctx context.Context, r *activation.Record, argv []string) error {
	spec, err := d.engine.CheckSpec(ctx, r)
	if err != nil {
		return err
	}
	spec.Argv = argv
	return d.runs.Command(ctx, &spec)
}
