package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/display"
	"activationd/internal/help"
)

func newServiceCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service COMMAND",
		Short: "Show and control services",
		Long: `Service shows, starts, stops, restarts and scales services: programs that always run, and are
started again when they end. The configuration declares them. A service has one or more
instances, each with a number: web@2 is the second instance of the service web.

NAME is the name of a service, a pattern with * and ? (in quotes), or an instance. Of a
service such as shop/web, shop_web is another name.

"atctl log web@2" prints the output of an instance, "atctl why web@2" says what it waits for
or why it ended, and "atctl events --kind service" shows what happens to all.`,
		Args: help.Unknown,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newServiceListCommand(a), newServiceStatusCommand(a), newServiceStartCommand(a), newServiceStopCommand(a), newServiceRestartCommand(a),
		newServiceScaleCommand(a), newServiceLogCommand(a), newServiceReloadCommand(a), newServiceEnvCommand(a),
		newServiceNewCommand(a))
	return cmd
}

const groupHelp = "only services of the group `GROUP`"

func newServiceListCommand(a *app) *cobra.Command {
	var in control.ServiceIn
	cmd := &cobra.Command{
		Use:   "list [NAME...]",
		Short: "List the instances of services",
		Long: `List shows the instances of all services, or of those that are named, and their states:

  down      it was stopped, or is not started by itself
  waiting   for a service that it needs
  starting  its process runs, and is not ready yet
  ready     its process runs, and its check of readiness, if any, succeeds
  unready   its process runs, and its check of readiness fails
  draining  it is about to be stopped, and ends the work that it has
  stopping  its process was asked to end
  backoff   its process has ended, and is started again after a pause
  fatal     it failed too often; it is tried again slowly, or by "service start"

UP is how long its process runs. FAILED counts the runs in a row that failed.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args
			return a.serviceTable(cmd.Context(), "service list", in)
		},
	}
	cmd.Flags().StringVar(&in.Group, "group", "", groupHelp)
	return cmd
}

// serviceTable calls an operation that returns instances, and prints these.
func (a *app) serviceTable(ctx context.Context, op string, in any) error {
	if a.json {
		return a.printJSON(ctx, op, in)
	}
	clock, err := a.clock(ctx)
	if err != nil {
		return err
	}
	t := newTable(os.Stdout, column{"INSTANCE", 0}, column{"STATE", 0}, column{"UP", 0}, column{"PID", 0}, column{"FAILED", 0},
		column{"NEXT", 0}, column{"USER", 16}, column{"REASON OR COMMAND", 0})
	t.spare = []string{"USER", "PID", "FAILED"}
	t.times = clock
	var output []string
	err = stream(ctx, a, op, in, func(i control.ServiceInstance) error {
		if op == "service stop" && i.Killed {
			output = append(output, fmt.Sprintf("%s@%d was killed, because it had not ended within stop_limit", i.Service, i.Instance))
		}
		for _, line := range i.Output {
			output = append(output, i.ID+": "+line)
		}
		up, pid, text := "", "", i.Command
		if i.PID > 0 {
			up, pid = display.Span(max(time.Since(i.Started.Time), 0)), fmt.Sprint(i.PID)
		}
		if i.Reason != "" {
			text = i.Reason
		}
		return t.row(fmt.Sprintf("%s@%d", i.Service, i.Instance), i.State, up, pid, nonzero(i.Failures), i.Next.Time, i.User, text)
	})
	err = t.end(err)
	for _, line := range output {
		fmt.Fprintln(os.Stderr, printable(line))
	}
	return err
}

func newServiceStatusCommand(a *app) *cobra.Command {
	var in control.ServiceIn
	cmd := &cobra.Command{
		Use:   "status NAME...",
		Short: "Show all that is known of instances",
		Long: `Status prints, for each instance of the named services, all that list has no room for: how
its last run ended, for example. If no process of it runs, the last lines of the output of
that run follow.`,
		Args: takes(1, 0, "a NAME; see atctl service list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args
			if a.json {
				return a.printJSON(cmd.Context(), "service list", in)
			}
			clock, err := a.clock(cmd.Context())
			if err != nil {
				return err
			}
			first := true
			return stream(cmd.Context(), a, "service list", in, func(i control.ServiceInstance) error {
				if !first {
					fmt.Println()
				}
				first = false
				if err := showInstance(&i, clock); err != nil || i.PID > 0 || i.LastExit == nil {
					return err
				}
				return a.showLastLines(cmd.Context(), &i)
			})
		},
	}
	cmd.Flags().StringVar(&in.Group, "group", "", groupHelp)
	return cmd
}

func showInstance(i *control.ServiceInstance, clock *clock) error {
	pid, exit := "", ""
	if i.PID > 0 {
		pid = fmt.Sprintf("%d, started %s", i.PID, clock.Both(i.Started.Time))
	}
	if e := i.LastExit; e != nil {
		exit = fmt.Sprintf("%s at %s; its output: atctl log %s --attempt %d", e.Reason, clock.Both(e.At), i.ID, e.Run)
	}
	scaled := ""
	if s := i.Scaled; s != nil {
		scaled = fmt.Sprintf("to %d by %s at %s, declared are %d", s.Instances, s.By, clock.Both(s.At), s.Declared)
	}
	rolling := ""
	if r := i.Rollout; r != nil {
		rolling = fmt.Sprintf("%s; begun by %s at %s", r.Text, r.By, clock.Both(r.At))
		if i.Extra {
			rolling += "; this instance runs until that is over"
		}
	}
	return fields(os.Stdout, [][2]string{
		{"instance", fmt.Sprintf("%s@%d", i.Service, i.Instance)},
		{"times in", clock.Zone},
		{"state", i.State},
		{"reason", i.Reason},
		{"since", clock.Both(i.Since)},
		{"process", pid},
		{"next try", clock.Both(i.Next.Time)},
		{"run", nonzero(i.Run)},
		{"failed", nonzero(i.Failures)},
		{"last end", exit},
		{"user", i.User},
		{"groups", strings.Join(i.Groups, " ")},
		{"scaled", scaled},
		{"rolling", rolling},
		{"listens at", strings.Join(i.Listen, " ")},
		{"command", i.Command},
	}...)
}

// lastLines is how many lines of output the status of an instance has.
const lastLines = 20

// showLastLines prints the end of what the last run of an instance wrote.
func (a *app) showLastLines(ctx context.Context, i *control.ServiceInstance) error {
	in := control.LogIn{ID: i.ID, Attempt: strconv.Itoa(i.LastExit.Run), Lines: strconv.Itoa(lastLines)}
	var text strings.Builder
	err := stream(ctx, a, "log", in, func(out control.LogOut) error {
		data, err := outputIn(&out)
		text.Write(data)
		return err
	})
	if reply, ok := errors.AsType[*control.ReplyError](err); ok { // its log is gone, or is another's
		fmt.Printf("\n  (the output of run %d cannot be read: %s)\n", i.LastExit.Run, printable(reply.Description))
		return nil
	}
	if text.Len() > 0 {
		fmt.Println()
	}
	for line := range strings.Lines(text.String()) {
		fmt.Println("  " + printable(strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", "    ")))
	}
	return err
}

func newServiceStartCommand(a *app) *cobra.Command {
	var in control.ServiceStartIn
	cmd := &cobra.Command{
		Use:   "start NAME...",
		Short: "Start services, and what they need",
		Long: `Start starts the named services, and first the services that these need. It tries at once
what waits for its next try, or is fatal. With --wait it returns when all are ready, or when
the run of one has failed; otherwise at once.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args
			return a.serviceTable(cmd.Context(), "service start", in)
		},
	}
	cmd.Flags().StringVar(&in.Group, "group", "", groupHelp)
	cmd.Flags().BoolVar(&in.Wait, "wait", false, "return when all are ready")
	return cmd
}

func newServiceStopCommand(a *app) *cobra.Command {
	var in control.ServiceStopIn
	cmd := &cobra.Command{
		Use:   "stop NAME...",
		Short: "Stop services",
		Long: `Stop stops the named services and returns when none of their processes is left. Services
that need others are stopped before these, all others at once. What has not ended within
the setting stop_limit is killed, and stop prints its name. If stop is interrupted, the
daemon goes on. What is stopped stays stopped, also after a restart of the daemon or of
the machine, until somebody starts it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args
			return a.serviceTable(cmd.Context(), "service stop", in)
		},
	}
	cmd.Flags().StringVar(&in.Group, "group", "", groupHelp)
	cmd.Flags().BoolVar(&in.Dependants, "with-dependants", false, "stop the services that need them, too")
	return cmd
}

func newServiceRestartCommand(a *app) *cobra.Command {
	var in control.ServiceRestartIn
	cmd := &cobra.Command{
		Use:   "restart NAME...",
		Short: "Restart services",
		Long: `Restart stops the process of each instance and starts another one; what is down is
started. It does not wait until the new processes are ready.

With --rolling it restarts one instance of a service after the other, and waits until each
is ready. What is down is left alone. If the service has the key surge, as many extra
instances run meanwhile. At the first instance that does not get ready the rolling restart
stops: the others run on. Restart then prints why, and the last lines of that instance.

--continue goes on: first with the instances that are not ready, then with those that have
not been restarted yet. --back undoes a change of the declaration: each instance that has
been restarted gets the declaration and the environment with which it ran before.

The daemon carries out a rolling restart. It goes on if this command is interrupted, and
when the daemon is started again. "service status NAME" shows how far it is.`,
		Example: `  atctl service restart --rolling web
  atctl service restart --continue web
  atctl service restart --back web`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args
			if in.Continue && in.Back {
				return usage(cmd, "--continue and --back exclude each other")
			}
			return a.serviceTable(cmd.Context(), "service restart", in)
		},
	}
	cmd.Flags().StringVar(&in.Group, "group", "", groupHelp)
	cmd.Flags().BoolVar(&in.Rolling, "rolling", false, "one instance after the other")
	cmd.Flags().BoolVar(&in.Continue, "continue", false, "go on with a rolling restart that was stopped")
	cmd.Flags().BoolVar(&in.Back, "back", false, "return to the former declaration, one instance after the other")
	return cmd
}

func newServiceScaleCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "scale NAME N|declared",
		Short: "Change the number of instances of services",
		Long: `Scale changes the number of instances of the named services. The instances whose numbers
remain are left alone. New ones are started, unless all others are down; of too many, those
with the highest numbers are removed. Scale does not wait until that is done: see list.

The number stays, also after a reload, a restart of the daemon or of the machine, until
"scale NAME declared" sets it to the declared one again, or the configuration no longer
declares the service. Scale refuses a number with which two instances would have the same
address.`,
		Example: `  atctl service scale web 5
  atctl service scale 'shop/*' declared`,
		Args: takes(2, 2, "a NAME, and the number of instances or declared"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := control.ServiceScaleIn{Name: args[0], Declared: args[1] == "declared"}
			if !in.Declared {
				n, err := strconv.Atoi(args[1])
				if err != nil || n < 1 || strconv.Itoa(n) != args[1] { // +1 does not mean one more
					return usage(cmd, fmt.Sprintf("want the number of instances, 1 or more, or declared, have %q", args[1]))
				}
				in.Instances = n
			}
			return a.serviceTable(cmd.Context(), "service scale", in)
		},
	}
}

func newServiceLogCommand(a *app) *cobra.Command {
	var in control.ServiceIn
	opts := logOptions{keepGoing: true, prefixed: true}
	cmd := &cobra.Command{
		Use:   "log NAME...",
		Short: "Print the output of services",
		Long: `Log prints the output of the instances of services: of one instance as "atctl log" does, of
several one after the other, with the instance before each line. Without other flags it
prints the output of each instance's newest run that has written something. With -f it goes
on until it is interrupted, and the lines are in the order in which they arrive.

--exit -1 prints the output of the last run that has ended, and --exit -2 that of the run
before it.`,
		Example: `  atctl service log -f web
  atctl service log --exit -1 web@2`,
		Args: takes(1, 0, "a NAME; see atctl service list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args
			var ids []string
			err := stream(cmd.Context(), a, "service list", in, func(i control.ServiceInstance) error {
				ids = append(ids, i.ID)
				return nil
			})
			if err != nil || len(ids) == 0 {
				return err
			}
			return runLog(cmd.Context(), a, opts, ids)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Group, "group", "", groupHelp)
	f.BoolVarP(&opts.Follow, "follow", "f", false, "go on with what is written")
	f.StringVarP(&opts.Lines, "lines", "n", "", "print only the last `N` lines of each run")
	f.StringVar(&opts.Grep, "grep", "", "print only lines that match `REGEXP`")
	f.StringVar(&opts.Attempt, "attempt", "", "print the output of run `N|all`")
	f.StringVar(&opts.Exit, "exit", "", "print the output of a run that has ended: `-1|-2` and so on")
	return cmd
}

func newServiceReloadCommand(a *app) *cobra.Command {
	var in control.ReloadIn
	cmd := &cobra.Command{
		Use:   "reload NAME...",
		Short: "Read the configuration again, and say what this changes of services",
		Long: `Reload has the daemon read its configuration again, as "atctl reload" does, and puts all of it
in force. It prints what this changes of the named services: each instance that is

  added     new, and started
  changed   started again, as its command, environment or user has changed;
            one that is down stays down
  rolling   started again when its turn in the rolling restart comes
  live      left running: what has changed takes effect at once
  removed   stopped, because it is no longer declared

Lines with rejected and notice tell about a service. Instances of which nothing has changed
have no line. What was stopped stays stopped.`,
		Example: `  atctl service reload --dry-run web
  atctl service reload 'shop/*'`,
		Args: takes(1, 0, "a NAME; '*' means all"),
		RunE: func(cmd *cobra.Command, args []string) error {
			key := strings.NewReplacer("/", "_")
			for _, pattern := range args {
				if _, err := path.Match(key.Replace(pattern), ""); err != nil {
					return usage(cmd, fmt.Sprintf("%q is not a pattern", pattern))
				}
			}
			return runLoad(cmd.Context(), a, "reload", in, loadOutput{chosen: func(l control.ReloadLine) bool {
				if l.Source != "configuration" {
					return false
				}
				id := key.Replace(l.ID)
				name, _, _ := strings.Cut(id, "@")
				return slices.ContainsFunc(args, func(pattern string) bool {
					ok, _ := path.Match(key.Replace(pattern), name) // the pattern was tried
					return ok || key.Replace(pattern) == id
				})
			}})
		},
	}
	cmd.Flags().BoolVar(&in.DryRun, "dry-run", false, "only print what would change")
	return cmd
}

func newServiceEnvCommand(a *app) *cobra.Command {
	var in control.ServiceIn
	diff := false
	cmd := &cobra.Command{
		Use:   "env NAME...",
		Short: "Show the environment of services, and how it differs from what is declared",
		Long: `Env prints the variables of the environment in which the instances of services run; of one
that does not run, those with which it would be started. The variables that differ from run
to run, ACTIVATION_RUN for instance, are left out.

With --diff it prints only the variables that differ from what the configuration and the
environment files declare now: after "-" the value with which the process runs, after "+"
the one with which the next process will run after a reload.

Values that look like secrets are printed as ***. Only admins may read environments.`,
		Example: `  atctl service env --diff 'shop/*'`,
		Args:    takes(1, 0, "a NAME; see atctl service list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args
			return runServiceEnv(cmd.Context(), a, in, diff)
		},
	}
	cmd.Flags().StringVar(&in.Group, "group", "", groupHelp)
	cmd.Flags().BoolVar(&diff, "diff", false, "only what differs from what is declared now")
	return cmd
}

func runServiceEnv(ctx context.Context, a *app, in control.ServiceIn, diff bool) error {
	last := ""
	return stream(ctx, a, "service env", in, func(v control.ServiceVariable) error {
		switch {
		case diff && !v.Differs:
			return nil
		case a.json:
			return json.NewEncoder(os.Stdout).Encode(v)
		case v.ID != last:
			fmt.Printf("%s@%d\n", v.Service, v.Instance)
			last = v.ID
		}
		type line struct {
			sign  string
			value *string
		}
		lines := []line{{"", cmp.Or(v.Runs, v.Declared)}}
		switch {
		case diff:
			lines = []line{{"- ", v.Runs}, {"+ ", v.Declared}}
		case v.Runs == nil && v.Differs: // the process does not have it
			return nil
		}
		for _, l := range lines {
			if l.value != nil {
				fmt.Printf("  %s%s=%s\n", l.sign, printable(v.Name), printable(*l.value))
			}
		}
		return nil
	})
}
