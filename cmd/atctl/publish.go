package main

import (
	"github.com/spf13/cobra"

	"activationd/control"
)

func newPublishCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "publish TOPIC TEXT",
		Short: "Publish a text as an event",
		Long: `Publish stores an event with a TEXT of at most 4 KiB, for people and programs that follow
its TOPIC: see "atctl events". All clients may see it, with your name. It is kept as
long as other events.

A topic is words joined by dots, such as build.42.done. Write a dot within a word as %2E,
and a percent sign as %25. The first word is not one with which topics of activationd
itself begin, such as activation, service or queue. So nobody can publish that a job has
failed.

With --json, "since" is a number from which "atctl events --since" prints this event and
all that follow.`,
		Example: `  atctl publish build.42.done '3 warnings'
  atctl events 'build.#'`,
		Args: takes(2, 2, "a TOPIC and a TEXT; quote the text"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.do(cmd.Context(), "publish", control.PublishIn{Topic: args[0], Text: args[1]})
		},
	}
}
