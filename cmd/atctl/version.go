package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildVersion is set by the linker (make build).
var buildVersion string

func newVersionCommand(*app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print this program's version",
		Long:  `Version prints the version of atctl. The daemon's own is in "atctl status".`,
		Args:  none,
		RunE:  func(*cobra.Command, []string) error { return printVersion() },
	}
}

func printVersion() error {
	_, err := fmt.Println("atctl", version())
	return err
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && buildVersion == "" {
		return info.Main.Version
	}
	return buildVersion
}
