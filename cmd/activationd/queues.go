package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"activationd/control"
	"activationd/internal/config"
)

// queues checks what the settings of queues and their listeners name.
func (v *validator) queues() {
	q := &v.config.Queues
	for _, file := range []*string{&q.Store, &q.Pools} {
		info, err := os.Stat(*file)
		switch {
		case *file == "":
		case err == nil && info.IsDir():
			v.wrong(file, fmt.Errorf("%s is a directory; want a file", *file))
		case errors.Is(err, fs.ErrNotExist) && !isDir(filepath.Dir(*file)):
			v.wrong(file, fmt.Errorf("there is no directory %s for this file", filepath.Dir(*file)))
		}
	}
	if q.Store != "" {
		v.refuse(&q.Store, "queues.store", v.trusted(q.Store, ""))
	}
	for i := range v.config.Listeners {
		l := &v.config.Listeners[i]
		v.user(&l.User)
		v.group(&l.Group)
		if text := v.missing(l.Command, l.Directory, l.Environment, l.User); text != "" {
			v.notice(&l.Command, "%s", text)
		}
		v.refuse(&l.Command, "command", v.trustedCommand(l.Command, v.pathOf(l.Environment), l.User))
	}
}

// listenerInWords describes a listener in one line.
func listenerInWords(l *config.Listener) string {
	text := fmt.Sprintf("%s: %s, for %s, %d per queue", l.Name, control.OneLine(control.ShellWords(l.Command)), strings.Join(l.Queues, " "), l.Instances)
	if l.Together != config.Separate {
		text = fmt.Sprintf("%s: %s, for %s together (%s), %d", l.Name, control.OneLine(control.ShellWords(l.Command)), strings.Join(l.Queues, " "), l.Together, l.Instances)
	}
	if l.Per == config.PerStream {
		return text + fmt.Sprintf(", a stream with a window of %d", l.Window)
	}
	return text + ", a process per message"
}
