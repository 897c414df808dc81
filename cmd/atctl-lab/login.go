package main

import (
	"context"
	"errors"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/lab"
)

// login returns a function that reports a step of a login to a device to the daemon, and
// returns why the login must not be tried. Outside of scripts of the daemon, it works without
// a daemon, too.
func (a *app) login() func(context.Context, lab.LoginStep) (string, error) {
	c, err := a.client()
	return func(ctx context.Context, s lab.LoginStep) (string, error) {
		if err != nil {
			return "", err
		}
		_, lines, err := control.Call[control.LoginOut](ctx, c, "login try", control.LoginIn{
			Step: s.Step, Device: s.Device, User: s.User, What: s.What, Digest: s.Digest, Activation: a.activation, Said: s.Said,
		})
		if err != nil || len(lines) == 0 {
			if a.activation == "" && errors.Is(err, fault.Unavailable) {
				err = nil
			}
			return "", err
		}
		return lines[0].Closed, nil
	}
}
