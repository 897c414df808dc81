package main

// A spec says what a page is made of.
type spec struct {
	name    string
	section int
	// names are other names of the page, beside those of its commands.
	names []string
	// title is what apropos and whatis find.
	title string
	// synopsis is how it is called, a line for each form; that of commands is made of their help.
	synopsis []string
	// commands of atctl that it describes.
	commands []string
	// about is its description, if the first text has none.
	about string
	texts []text
	// example is a file in docs that the page has as it is, after a sentence.
	example, sentence string
	files             [][2]string // with what they are
	variables         [][2]string
	examples          []string
	see               []string
}

// specs are the pages. A text belongs to the first page that has it: other pages, and the
// texts themselves, refer to this one.
var specs = []spec{
	{
		name: "atctl", section: 1, title: "control activationd",
		synopsis: []string{"atctl COMMAND [flags] [arguments]", "atctl COMMAND --help"},
		commands: []string{"completion", "version"},
		texts: []text{{"atctl.md", nil}, {"atctl.md", []string{
			"Tables and times", "Which daemon", "Exit status", "at, batch, atq, atrm", "JSON", "Completion"}}},
		files: [][2]string{
			{"/run/activationd/control.sock", "the socket of the daemon of root"},
			{"$XDG_RUNTIME_DIR/activationd/control.sock", "the socket of a user's own daemon"},
		},
		variables: [][2]string{
			{"ACTIVATIOND_SOCKET", "the socket of the daemon; see WHICH DAEMON"},
			{"NO_COLOR", "if it is set, tables have no colours"},
			{"TZ", "the zone of times that are typed without a zone"},
		},
		examples: []string{
			"atctl add --at 'tomorrow 03:00' -- /usr/local/bin/backup --all",
			"atctl add --in 5m --timeout 1m -- make -C /srv/lab check",
			`atctl wait "$(atctl add --file experiment.sh)"`,
			"atctl list",
			"atctl why 1042@ostrava",
			"atctl every add nightly --cron '30 3 * * *' -- /usr/local/bin/backup",
			"atctl queue push mails --body hello",
		},
		see: []string{"at(1)", "systemd.time(7)", "activationd(8)"},
	},
	{
		name: "atctl-add", section: 1, title: "add and change jobs",
		commands: []string{"add", "edit", "import-at"},
		texts:    []text{{"jobs.md", nil}, {"atctl.md", []string{"Adding a job", "What a job runs"}}},
	},
	{
		name: "atctl-list", section: 1, title: "show jobs and reservations, and why they are in their state",
		commands: []string{"list", "show", "why", "locks"},
		about:    "These commands show what is scheduled, what runs and what has ended, with the reasons.",
		texts:    []text{{"atctl.md", []string{"Lists"}}},
	},
	{
		name: "atctl-log", section: 1, title: "print what runs have written, wait for them, report progress",
		commands: []string{"log", "files", "wait", "progress"},
		about:    "These commands are about runs of jobs and reservations: what they print, the files that they leave, and how they end.",
		texts:    []text{{"atctl.md", []string{"Output"}}},
	},
	{
		name: "atctl-cancel", section: 1, title: "cancel, hold, release, run, retry and forgive jobs and reservations",
		commands: []string{"cancel", "hold", "release", "run", "retry", "forgive"},
		about:    "These commands cancel, hold, release, start, retry and forgive jobs and reservations: those with the given ids, or all that match filters.",
		texts:    []text{{"atctl.md", []string{"One command for many"}}},
	},
	{
		name: "atctl-every", section: 1, title: "recurring jobs",
		commands: []string{"every", "next", "import-cron"},
		texts:    []text{{"recurrences.md", nil}, {"atctl.md", []string{"Recurrences"}}},
		see:      []string{"crontab(5)", "systemd.time(7)"},
	},
	{
		name: "atctl-book", section: 1, title: "book devices",
		commands: []string{"book", "free", "linkconf", "dellinkconf"},
		texts:    []text{{"booking.md", nil}, {"conflicts.md", nil}},
	},
	{
		name: "atctl-calendar", section: 1, title: "show who has which device when",
		commands: []string{"calendar"},
		texts:    []text{{"calendar.md", nil}},
	},
	{
		name: "atctl-service", section: 1, title: "show and control services, which always run",
		commands: []string{"service"},
		texts:    []text{{"services.md", nil}, {"atctl.md", []string{"Services"}}, {"env-files.md", nil}},
	},
	{
		name: "atctl-queue", section: 1, title: "queues of messages, and the listeners that handle them",
		commands: []string{"queue"},
		texts:    []text{{"queues.md", nil}, {"atctl.md", []string{"Queues"}}},
	},
	{
		name: "atctl-status", section: 1, title: "show what needs attention, and what happens now",
		commands: []string{"status", "top"},
		about:    "These commands show the state of the daemon, and what a person should look at.",
		texts:    []text{{"atctl.md", []string{"What happens now"}}},
	},
	{
		name: "atctl-events", section: 1, title: "follow events, publish texts, find who changed what",
		commands: []string{"events", "publish", "audit"},
		about:    "These commands follow events, publish them, and list who changed what.",
		texts:    []text{{"atctl.md", []string{"What happened, and who did it"}}, {"hooks.md", nil}},
	},
	{
		name: "atctl-report", section: 1, title: "report what was used, by owner, device or tag",
		commands: []string{"report"},
		texts:    []text{{"reports.md", nil}, {"atctl.md", []string{"Reports"}}},
	},
	{
		name: "atctl-reload", section: 1, title: "check and load the configuration and the reservations",
		commands: []string{"check", "reload", "source"},
		about:    "These commands check the configuration and the reservations, and load them.",
	},
	{
		name: "atctl-pause", section: 1, title: "pause what would begin, back up the state, stop the daemon",
		commands: []string{"pause", "resume", "backup", "stop"},
		about:    "These commands are for maintenance. activationd(8) describes pauses, backups, and the ways to stop the daemon.",
	},
	{
		name: "atctl-lab", section: 1, title: "configure the devices of a laboratory, and undo it",
		commands: []string{"lab", "logins"},
		texts: []text{{"lab.md", nil}, {"lab.md", []string{"Switches must be ready", "Topologies", "How a startup-config is undone", "Files"}},
			{"atctl.md", []string{"The laboratory"}}},
	},
	{
		name: "atctl-vlan", section: 1, title: "lease VLANs, and run commands one at a time",
		commands: []string{"vlan"},
		about:    "These commands lease the VLANs of a laboratory's switches, and keep commands apart that must not run at the same time.",
		texts:    []text{{"atctl.md", []string{"VLANs"}}},
	},
	{
		name: "activationd.yaml", section: 5, title: "the configuration of activationd",
		example:  "activationd.example.yaml",
		sentence: "The configuration of activationd(8), with every key.",
		files:    [][2]string{{"/etc/activationd/activationd.yaml", "the configuration of the daemon of root"}},
	},
	{
		name: "activationd-reservations", section: 5, title: "the files of reservations of activationd",
		texts: []text{{"reservations.md", nil}},
	},
	{
		name: "activationd-inventory", section: 5, title: "the inventory of a laboratory's devices",
		about:   "The inventory says which devices a laboratory has, how they are wired, and how activationd(8) reaches them. atctl-lab(1) makes configurations of it.",
		texts:   []text{{"lab.md", []string{"The inventory", "Names of interfaces", "Platforms", "Your own platforms"}}, {"devices.md", nil}},
		example: "lab.example.yaml", sentence: "This inventory has every key.",
	},
	{
		name: "activationd-protocol", section: 7, title: "the control protocol of activationd",
		texts: []text{{"protocol.md", nil}},
		files: [][2]string{{"/run/activationd/control.sock", "the socket of the daemon of root"}},
	},
	{
		name: "activationd-scripts", section: 7, title: "what activationd gives to scripts, and what they must do",
		texts: []text{{"scripts.md", nil}},
	},
	{
		name: "activationd-times", section: 7, title: "times and durations, as activationd reads them",
		texts: []text{{"times.md", nil}},
		see:   []string{"systemd.time(7)"},
	},
	{
		name: "activationd", section: 8, title: "activate reservations and run jobs on time",
		synopsis: []string{"activationd [flags]", "activationd --check-config [--sql] [--strict] [FILE]...", "activationd --schema config|reservations"},
		texts:    []text{{"configuration.md", nil}, {"operations.md", nil}},
		files: [][2]string{
			{"/etc/activationd/activationd.yaml", "the configuration of the daemon of root; its keys are in activationd.yaml(5)"},
			{"/var/lib/activationd", "its state"},
			{"/run/activationd/control.sock", "its control socket"},
		},
		examples: []string{
			"activationd --check-config /etc/activationd/activationd.yaml",
			"activationd --schema reservations >reservations.schema.json",
			"activationd --state-dir state --runtime-dir run 2>activationd.log &",
		},
		see: []string{"systemd.service(5)", "atctl(1)", "activationd.yaml(5)", "activationd-reservations(5)"},
	},
	{
		name: "at", section: 1, names: []string{"batch", "atq", "atrm"}, title: "run commands at a time",
		texts: []text{{"at.md", nil}},
		see:   []string{"atctl(1)", "activationd(8)"},
	},
}
