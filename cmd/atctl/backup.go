package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/terminal"
)

func newBackupCommand(a *app) *cobra.Command {
	var force, queues bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Save the daemon's state while it runs",
		Long: `Backup writes a consistent copy of the daemon's state to FILE, or to standard output if
FILE is -. FILE appears when it is complete and on the disk, or not at all.

To restore it, stop the daemon, replace state.db in its state directory ("atctl status"
prints the name) by FILE, and start the daemon.

If the configuration gives queues a file of their own (queues: store), that is not in FILE.
With --queues, backup copies only that file.`,
		Example: `  atctl backup /var/backups/activationd.db
  atctl backup --queues /var/backups/queues.db
  atctl backup - | ssh backup 'cat >activationd.db'`,
		Args: takes(1, 1, "one file name, or -"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			return runBackup(ctx, a, args[0], force, control.BackupIn{Queues: queues})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it exists")
	cmd.Flags().BoolVar(&queues, "queues", false, "copy the queues, if they have a file of their own")
	return cmd
}

func runBackup(ctx context.Context, a *app, name string, force bool, in control.BackupIn) (err error) {
	if name == "-" {
		if isTerminal(os.Stdout) {
			return fmt.Errorf("a backup is not text for a terminal; name a file: %w", fault.Invalid)
		}
		return fetchBackup(ctx, a, os.Stdout, in)
	}
	if _, err := os.Lstat(name); err == nil && !force {
		return fmt.Errorf("%s exists; use another name, or --force to replace it: %w", name, fault.Conflict)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", err, fault.Invalid)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // it may be closed already
			_ = os.Remove(f.Name())
		}
	}()
	if err := fetchBackup(ctx, a, f, in); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func fetchBackup(ctx context.Context, a *app, w io.Writer, in control.BackupIn) error {
	size, beside := 0, ""
	line := terminal.NewLine(os.Stderr)
	defer line.Clear()
	err := stream(ctx, a, "backup", in, func(piece control.BackupOut) error {
		beside = cmp.Or(beside, piece.Beside)
		data, err := base64.StdEncoding.DecodeString(piece.Base64)
		if err != nil {
			return fmt.Errorf("the daemon's reply: %w", err)
		}
		n, err := w.Write(data)
		size += n
		line.Show(fmt.Sprintf("received %.1f MiB", float64(size)/(1<<20)))
		return err
	})
	if err == nil && size == 0 {
		err = fmt.Errorf("the daemon sent an empty backup: %w", fault.Internal)
	}
	if err == nil && beside != "" {
		line.Clear()
		warn(fmt.Sprintf("the messages of queues are in %s, and not in this backup; atctl backup --queues FILE copies them", beside))
	}
	return err
}
