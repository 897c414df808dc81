package ops

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
)

const (
	filePiece = 192 << 10 // bytes of a file in a line of the reply
	maxFile   = 64 << 20  // the largest file that is sent, in bytes
)

// harmless are the ends of the names of files in which atctl lab masks secrets.
var harmless = []string{".diff", ".transcript"}

// mayRead reports whether a caller may read a file of an activation.
func mayRead(v *activation.View, c control.Caller, name string) bool {
	return slices.Contains(harmless, path.Ext(name)) || v.For(actor(c)).Inputs
}

// filesOf returns the attempts whose files are wanted, the newest first.
func (d Daemon) filesOf(ctx context.Context, c control.Caller, verb, id, phase, n string) (activation.View, []activation.Log, error) {
	w, err := readLogWish(control.LogIn{ID: id, Phase: phase, Attempt: n})
	if err != nil {
		return activation.View{}, nil, err
	}
	v, logs, err := d.Engine.Logs(ctx, actor(c), id)
	if err != nil {
		return v, nil, d.notAnID(ctx, verb, id, err)
	}
	logs = slices.DeleteFunc(logs, func(l activation.Log) bool { return !w.wants(&l) })
	if len(logs) == 0 {
		err := w.missing(&v)
		return v, nil, err
	}
	slices.Reverse(logs)
	return v, logs, nil
}

// files lists files. The directories are looked at while the reply is written.
func (d Daemon) files(ctx context.Context, c control.Caller, in control.FilesIn) (reply control.Reply[control.File], err error) {
	v, logs, err := d.filesOf(ctx, c, "files", in.ID, in.Phase, in.Attempt)
	if err != nil {
		return reply, err
	}
	missing := 0
	var why error
	for i := range logs {
		all, err := logs[i].Files()
		if errors.Is(err, fs.ErrNotExist) {
			missing++
			continue
		}
		if err != nil { // it is on another host, say
			why = err
		}
		key := keyOf(&logs[i])
		for _, f := range all {
			reply.Lines = append(reply.Lines, control.File{Phase: key.phase, N: key.n, Name: f.Name, Size: f.Size, Time: f.Time, Closed: !mayRead(&v, c, f.Name)})
		}
	}
	switch {
	case len(reply.Lines) > 0:
		return reply, nil
	case why != nil:
		return reply, why
	case missing == len(logs):
		return reply, fmt.Errorf("there is no configuration directory of %s: its attempts did not run, or their directories were removed: %w", in.ID, fault.NotFound)
	}
	return reply, nil
}

// file sends a file of the newest attempt that has it.
func (d Daemon) file(ctx context.Context, c control.Caller, in control.FileIn, send func(control.FileOut) error) error {
	v, logs, err := d.filesOf(ctx, c, "file", in.ID, in.Phase, in.Attempt)
	if err != nil {
		return err
	}
	if !mayRead(&v, c, in.Name) {
		return fmt.Errorf("%.80q may have secrets in it, so only the owner of a job and admins may read it; you may read differences (NAME.diff) and transcripts (NAME.transcript): %w",
			in.Name, fault.Denied)
	}
	for i := range logs {
		f, err := logs[i].OpenFile(in.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return fmt.Errorf("%.80q cannot be read: %w", in.Name, err)
		}
		defer func() { _ = f.Close() }()
		return sendFile(ctx, f, in.Name, send)
	}
	return fmt.Errorf("no attempt of %s has a file %.80q; atctl files %s lists them: %w", v.ID, in.Name, v.ID, fault.NotFound)
}

// sendFile sends what a file has when it is opened: it may grow.
func sendFile(ctx context.Context, f fs.File, name string, send func(control.FileOut) error) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > maxFile {
		return fmt.Errorf("%.80q has %d bytes; files of up to %d are sent: %w", name, info.Size(), maxFile, fault.Invalid)
	}
	r := io.LimitReader(f, info.Size())
	buf := make([]byte, filePiece)
	for ctx.Err() == nil {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if err := send(control.FileOut{Base64: base64.StdEncoding.EncodeToString(buf[:n])}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("%.80q: %w", name, err)
		}
	}
	return context.Cause(ctx)
}
