package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"activationd/control"
	"activationd/hook"
	"activationd/internal/config"
	"activationd/internal/fault"
)

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
			if executable(v.config.At.Sendmail) != nil {
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
