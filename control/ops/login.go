package ops

import (
	"context"

	"activationd/control"
	"activationd/loginstore"
)

// loginOps returns the operations on logins to devices.
func (d Daemon) loginOps() []control.Op {
	return []control.Op{
		control.Declare("login try", control.Submitter, "report a step of a login to a device, for your own activation; as operator, for any", d.loginTry).At("POST /logins/try"),
		control.Declare("login list", control.Operator, "list the logins that devices have refused and that are not tried again", d.loginList).At("GET /logins"),
		control.Declare("login retry", control.Operator, "allow the logins that a device has refused to be tried again", d.loginRetry).At("POST /logins/retry"),
	}
}

func (d Daemon) loginTry(ctx context.Context, c control.Caller, in control.LoginIn) (control.Reply[control.LoginOut], error) {
	try := loginstore.Try{Device: in.Device, User: in.User, What: in.What, Digest: in.Digest, Holder: in.Activation}
	why, err := d.Engine.Login(ctx, actor(c), in.Step, try, control.OneLine(in.Said))
	if err != nil {
		return control.Reply[control.LoginOut]{}, err
	}
	return control.Reply[control.LoginOut]{Lines: []control.LoginOut{{Closed: why}}}, nil
}

func (d Daemon) loginList(ctx context.Context, _ control.Caller, _ control.Nothing) (control.Reply[control.Login], error) {
	ls, err := d.Engine.Logins(ctx, "")
	return logins(ls), err
}

func (d Daemon) loginRetry(ctx context.Context, c control.Caller, in control.DeviceIn) (control.Reply[control.Login], error) {
	ls, err := d.Engine.RetryLogins(ctx, actor(c), in.Device)
	return logins(ls), err
}

func logins(ls []loginstore.Login) (reply control.Reply[control.Login]) {
	for _, l := range ls {
		reply.Lines = append(reply.Lines, control.Login{
			Device: l.Device, User: l.User, What: l.What, State: string(l.State), Tries: l.Tries, Since: l.Since, For: l.Holder, Said: l.Said,
		})
	}
	return reply
}
