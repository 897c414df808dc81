package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/control/ops"
	"activationd/hook"
	"activationd/internal/config"
	"activationd/internal/fault"
	"activationd/internal/programs"
	"activationd/queue"
	"activationd/queue/broker"
	"activationd/supervisor/wrapper"
)

// assembleHooks makes the part that hands events to hooks. Their queues deliver them.
func (d *daemon) assembleHooks() error {
	d.hooks = hook.NewFeeder(hook.Parts{Events: d.engine.Events(), DB: d.queues.db, Queues: d.queues.Broker, Encode: ops.EncodeEvent, Log: d.log})
	newest, err := d.engine.Newest(context.Background())
	d.hooks.Configure(hooksOf(d.started), newest)
	return err
}

// hooksOf returns the hooks of a configuration, whose filters have been checked.
func hooksOf(c *configuration) (all []hook.Hook) {
	for i := range c.Hooks {
		h := hook.Hook{Name: c.Hooks[i].Name}
		for _, text := range c.Hooks[i].On {
			if f, err := hook.ParseFilter(text); err == nil {
				h.On = append(h.On, f)
			}
		}
		all = append(all, h)
	}
	return all
}

// hookGrace is the time between TERM and KILL for the commands of hooks.
const hookGrace = 10 * time.Second

// hookListener returns the listener of a hook's queue.
func (d *daemon) hookListener(h *config.Hook, set *activation.Settings) broker.Listener {
	l := broker.Listener{
		Name: "hook " + h.Name, Queues: []string{hook.Queue(h.Name)}, Instances: 1, Window: 1, Timeout: h.Timeout, Grace: hookGrace,
		Policy: queue.Policy{Attempts: h.Attempts, Backoff: h.Backoff.First, BackoffMax: h.Backoff.Max},
		Limits: queue.Limits{Messages: hook.MaxPending},
	}
	run := config.Listener{Command: h.Command, User: h.User, Directory: h.Directory, Environment: h.Environment, Grace: hookGrace}
	switch {
	case h.Post != "":
		l.Do = hook.NewPoster(hook.Post{URL: h.Post, Secret: h.Secret, AllowPrivate: h.AllowPrivate, Timeout: h.Timeout}).Deliver
		return l
	case h.Mail != "":
		run.Command = []string{set.Sendmail, "-i", h.Mail}
		name, to := h.Name, h.Mail
		l.Fill = func(spec *wrapper.Spec, m *queue.Message) (err error) {
			spec.Stdin, err = hook.Letter(name, to, m.Body)
			return err
		}
	default:
		l.Fill = func(spec *wrapper.Spec, m *queue.Message) error {
			env, err := hook.Environment(m.Body)
			spec.Env, spec.Stdin = append(spec.Env, env...), slices.Concat(m.Body, []byte("\n"))
			return err
		}
	}
	l.Prepare = func() (wrapper.Spec, error) { return d.specOf(&run, set) }
	return l
}

// hookNeeds returns the hooks that need attention.
func (d *daemon) hookNeeds(ctx context.Context) (all []control.Attention, err error) {
	troubles, err := d.hooks.Troubles(ctx)
	for _, t := range troubles {
		a := control.Attention{Kind: control.NeedsHook, ID: t.Hook, Since: t.Since, Text: control.OneLine(t.Text)}
		switch name := hook.Queue(t.Hook); {
		case t.Paused:
			a.Try = "atctl queue resume " + name
		case t.Dead:
			a.Try = fmt.Sprintf("atctl queue dead %s; when it is fixed: atctl queue dead %s retry", name, name)
		default:
			a.Try = "atctl queue peek " + name
		}
		all = append(all, a)
	}
	return all, err
}

// hooks checks what hooks name, and reads their secrets.
func (v *validator) hooks() {
	for i := range v.config.Hooks {
		h := &v.config.Hooks[i]
		for i := range h.On {
			if _, err := hook.ParseFilter(h.On[i]); err != nil {
				v.wrong(&h.On[i], err)
			}
		}
		switch {
		case h.Post != "":
			v.post(h)
		case h.Mail != "":
			if err := hook.CheckAddress(h.Mail); err != nil {
				v.wrong(&h.Mail, err)
			}
			if programs.Executable(v.config.At.Sendmail) != nil {
				v.notice(&h.Mail, "the program that sends mails is not installed: %s (at.sendmail)", v.config.At.Sendmail)
			}
		case len(h.Command) > 0:
			v.user(&h.User)
			if text := v.missing(h.Command, h.Directory, h.Environment, h.User); text != "" {
				v.notice(&h.Command, "%s", text)
			}
			v.refuse(&h.Command, "command", v.trustedCommand(h.Command, v.pathOf(h.Environment), h.User))
		}
	}
}

// post checks the URL of a hook, and reads the secret that signs what is posted.
func (v *validator) post(h *config.Hook) {
	p := hook.Post{URL: h.Post, AllowPrivate: h.AllowPrivate}
	if err := p.Check(); err != nil {
		v.wrong(&h.Post, err)
	}
	if h.SecretFile == "" {
		return
	}
	err := secretFile(h.SecretFile)
	if err == nil {
		h.Secret, err = readSecret(h.SecretFile)
	}
	if err != nil {
		v.wrong(&h.SecretFile, err)
		return
	}
	v.refuse(&h.SecretFile, "secret_file", v.trusted(h.SecretFile, ""))
}

// readSecret reads a file with one secret, whose last line's end is no part of it.
func readSecret(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	secret := strings.TrimRight(string(data), "\r\n")
	switch {
	case len(secret) < hook.MinSecret:
		return nil, fmt.Errorf("%s: the secret has %d characters, and must have at least %d: %w", name, len(secret), hook.MinSecret, fault.Invalid)
	case strings.ContainsAny(secret, "\r\n"):
		return nil, errors.New(name + " has several lines; want one secret")
	}
	return []byte(secret), nil
}

// hookInWords describes a hook in one line. It leaves out the path of a URL, which may be
// secret.
func hookInWords(h *config.Hook) string {
	text := h.Name + ": on " + strings.Join(h.On, " ") + ", "
	switch {
	case h.Post != "":
		text += "posted to " + hook.HostOf(h.Post)
		if len(h.Secret) > 0 {
			text += ", signed"
		}
	case h.Mail != "":
		text += "mailed to " + h.Mail
	default:
		text += control.OneLine(control.ShellWords(h.Command))
	}
	return text
}
