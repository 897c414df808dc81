package ops

import (
	"context"
	"fmt"
	"strings"

	"activationd/activation"
	"activationd/control"
	"activationd/vlanstore"
)

// examples is how much of each kind status names of what needs attention.
const examples = 3

// A needList is what needs attention.
type needList []control.Attention

// more adds an entry for all but the number that is shown.
func (l *needList) more(kind string, all, shown int, try string) {
	if all > shown {
		*l = append(*l, control.Attention{Kind: kind, More: all - shown, Try: try})
	}
}

// of adds activations.
func (l *needList) of(kind string, s activation.Sample, one func(*activation.View) control.Attention, all string) {
	for _, v := range s.Views {
		a := one(&v)
		a.Kind, a.ID, a.Label = kind, v.ID, v.Label
		*l = append(*l, a)
	}
	l.more(kind, s.All, len(s.Views), all)
}

// attention returns what needs a person, the most urgent first, as far as the caller may
// see it.
func (d Daemon) attention(ctx context.Context, c control.Caller, s *control.StatusOut) (l needList, err error) {
	if s.ClockWhy != "" {
		l = append(l, control.Attention{Kind: control.NeedsClock, Text: "not trusted yet: " + s.ClockWhy, Try: "timedatectl"})
	}
	found, err := d.Engine.Attention(ctx, actor(c), examples)
	if err != nil {
		return nil, err
	}
	l.of(control.NeedsStuck, found.Stuck, stuck, "atctl list --state stuck")
	l.of(control.NeedsStart, found.Fatal, fatal, "atctl service list")
	l.of(control.NeedsEnd, found.Hanging, hanging, "atctl list")
	if err := d.sourcesNeed(ctx, &l, s.Sources); err != nil {
		return nil, err
	}
	l.of(control.NeedsClear, found.Conflicting, conflicting, "atctl list --state conflicting")
	if c.Role >= control.Operator { // others may not list logins
		if err := d.loginsNeed(ctx, &l); err != nil {
			return nil, err
		}
	}
	if err := d.vlansNeed(ctx, &l); err != nil {
		return nil, err
	}
	if c.Role >= control.Operator && d.Queues != nil {
		if err := d.queuesNeed(ctx, &l, s); err != nil {
			return nil, err
		}
	}
	if c.Role >= control.Operator && d.Hooks != nil { // others may not see all events
		hooks, err := d.Hooks(ctx)
		if err != nil {
			return nil, err
		}
		l = append(l, hooks[:min(len(hooks), examples)]...)
		l.more(control.NeedsHook, len(hooks), examples, "atctl queue list 'hook/*'")
	}
	l.of(control.NeedsFailed, found.Failed, failed, "atctl list --failed --since 24h")
	return l, nil
}

func stuck(v *activation.View) control.Attention {
	return control.Attention{
		Since: v.Since, Text: v.Reason,
		Try: fmt.Sprintf("atctl retry %s; or, after cleaning up by hand, atctl forgive %s", v.ID, v.ID),
	}
}

func conflicting(v *activation.View) control.Attention {
	return control.Attention{Since: v.ConflictSince, Text: activation.ConflictsText(v.Conflicts), Try: "atctl why " + v.ID}
}

func fatal(v *activation.View) control.Attention {
	return control.Attention{Since: v.Since, Text: v.Reason, Try: fmt.Sprintf("atctl log %s; when it is fixed: atctl service start %s", v.ID, v.ID)}
}

func hanging(v *activation.View) control.Attention {
	a := control.Attention{Text: v.Reason, Try: "atctl why " + v.ID}
	if n := len(v.Attempts); n > 0 {
		a.Since = v.Attempts[n-1].Result.Ended
	}
	if len(v.WaitsFor) > 0 {
		a.Text = "it waits for " + strings.Join(v.WaitsFor, ", and for ")
	}
	return a
}

func failed(v *activation.View) control.Attention {
	text := v.Reason
	if v.Outcome != activation.Failed || text == "" {
		text = strings.TrimSuffix(string(v.Outcome)+": "+text, ": ")
	}
	return control.Attention{Since: v.Since, Text: text, Try: "atctl why " + v.ID}
}

func (d Daemon) sourcesNeed(ctx context.Context, l *needList, sources []control.SourceStatus) error {
	rejected := 0
	for _, src := range sources {
		rejected += src.Rejected
		if src.Error != "" {
			*l = append(*l, control.Attention{
				Kind: control.NeedsSource, Source: src.Name, Since: src.Failing, Try: "atctl reload",
				Text: control.OneLine(strings.TrimPrefix(src.Error, src.Name+": ")),
			})
		}
	}
	if rejected == 0 {
		return nil
	}
	unused, err := d.Unused(ctx, "")
	shown := 0
	for _, u := range unused {
		if u.Over || shown == examples {
			continue
		}
		shown++
		text := control.OneLine(u.Text)
		if u.Where != "" {
			text = u.Where + ": " + text
		}
		*l = append(*l, control.Attention{
			Kind: control.NeedsReject, ID: u.ID, Source: u.Source, Since: u.Read, Text: text, Try: "correct it, and then atctl reload",
		})
	}
	l.more(control.NeedsReject, rejected, shown, "atctl list --state rejected")
	return err
}

func (d Daemon) loginsNeed(ctx context.Context, l *needList) error {
	logins, err := d.Engine.Logins(ctx, "")
	for i, login := range logins {
		if i == examples {
			break
		}
		*l = append(*l, control.Attention{
			Kind: control.NeedsLogin, ID: login.Holder, Device: login.Device, Since: login.Since, Text: login.Refusal(),
			Try: "correct it in the inventory, or atctl retry --device " + login.Device,
		})
	}
	l.more(control.NeedsLogin, len(logins), examples, "atctl logins")
	return err
}

func (d Daemon) vlansNeed(ctx context.Context, l *needList) error {
	leases, err := d.Engine.VLANs(ctx, vlanstore.Filter{State: vlanstore.Quarantined})
	for i, v := range leases {
		if i == examples {
			break
		}
		*l = append(*l, control.Attention{
			Kind: control.NeedsVLAN, ID: v.Holder, Domain: v.Domain, VLAN: v.ID, Since: v.Since, Text: v.Reason,
			Try: fmt.Sprintf("remove it from the switches, and then atctl vlan free %s %d", v.Domain, v.ID),
		})
	}
	l.more(control.NeedsVLAN, len(leases), examples, "atctl vlan list --state quarantined")
	return err
}
