package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestParseCrontab reads lines as cron(8) does.
func TestParseCrontab(t *testing.T) {
	const head = "SHELL=/bin/bash\nPATH = \"/usr/local/bin:/usr/bin\" \nMAILTO=\"\"\n"
	for _, tt := range []struct {
		name, text string
		system     bool
		want       string // the lines, then what is bad, then what differs
	}{
		{"five fields", "30 4 * * 1-5 /usr/bin/backup --all\n", false,
			`1 "30 4 * * 1-5" "/usr/bin/backup --all"`},
		{"tabs and blanks", "  */5\t*  * \t* *\tcd /srv  && ./x # no comment\n", false,
			`1 "*/5 * * * *" "cd /srv  && ./x # no comment"`},
		{"a nickname", "@daily x\n@reboot\t y z\n", false, `1 "@daily" "x"
2 "@reboot" "y z"`},
		{"a nickname and many words", "@reboot         logcheck    if [ -x /usr/sbin/logcheck ]; then nice -n10 /usr/sbin/logcheck -R; fi\n", true,
			`1 logcheck: "@reboot" "if [ -x /usr/sbin/logcheck ]; then nice -n10 /usr/sbin/logcheck -R; fi"`},
		{"comments and empty lines", "# m h dom mon dow command\n\n   # * * * * * x\n", false, ""},
		{"a sign for no log", "-0 1 * * * x\n", false, `1 "0 1 * * *" "x"`},
		{"an assignment in a command", "0 5 * * * A=1 x\n@hourly B=2 y\n", false, `1 "0 5 * * *" "A=1 x"
2 "@hourly" "B=2 y"`},
		{"a system's", "17 *\t* * *\troot    cd / && run-parts --report /etc/cron.hourly\n", true,
			`1 root: "17 * * * *" "cd / && run-parts --report /etc/cron.hourly"
differs line 1: run-parts runs all programs in /etc/cron.hourly as one job, with one log and one exit status`},
		{"no user", "17 * * * * root\n", true, `bad line 1: has no command after the user`},
		{"no command", "17 * * * *\n@daily\n17 * * * * \n", false, `bad line 1: is neither five fields and a command, nor NAME=VALUE: "17 * * * *"
bad line 2: is neither five fields and a command, nor NAME=VALUE: "@daily"
bad line 3: has no command`},
		{"nonsense", "once upon a time\n", false, `bad line 1: is neither five fields and a command, nor NAME=VALUE: "once upon a time"`},
		{"an input", `0 9 * * 1 mail -s "100\% done" root%Dear all,%%it is Monday.` + "\n", false,
			`1 "0 9 * * 1" "mail -s \"100% done\" root" <"Dear all,\n\nit is Monday.\n"
differs line 1: the text after % becomes the standard input of the command, as in cron`},
		{"a percent sign", `0 9 * * 1 date +\%F_\%T >/tmp/x` + "\n", false, `1 "0 9 * * 1" "date +%F_%T >/tmp/x"`},
		{"a backslash before a percent sign", `0 9 * * 1 echo a\\%b\n` + "\n", false, `1 "0 9 * * 1" "echo a\\\\" <"b\\n\n"
differs line 1: the text after % becomes the standard input of the command, as in cron`},
		{"mail", "MAILTO=root\n@daily x\n", false, `2 "@daily" "x"
differs line 1: MAILTO=root: no output is mailed; atctl log prints it, and a hook can send mail when a job fails`},
		{"who", "LOGNAME=ada\n@daily x\n", false, `2 "@daily" "x"
differs line 1: LOGNAME cannot be changed, and is left out`},
		{"a zone", "CRON_TZ=Europe/Prague\n@daily x\n", false, `2 "@daily" "x" in Europe/Prague
differs line 1: CRON_TZ=Europe/Prague: the lines that follow occur in this zone; the cron of Debian does not know it`},
		{"a delay", "RANDOM_DELAY=45\n@daily x\n", false, `2 "@daily" "x" delayed by 45m
differs line 1: RANDOM_DELAY=45: each occurrence has a delay of its own, which is always the same`},
		{"without an end", "@daily x", false, `1 "@daily" "x"
differs line 1: cron ignores a crontab whose last line has no end; it is imported nevertheless`},
		{"line ends of Windows", "@daily x\r\n", false, `1 "@daily" "x"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := parseCrontab(tt.text, tt.system)
			var got []string
			for _, l := range c.lines {
				user, in, zone := "", "", ""
				if l.user != "" {
					user = l.user + ": "
				}
				if l.stdin != "" {
					in = fmt.Sprintf(" <%q", l.stdin)
				}
				if l.env.zone != "" {
					zone = " in " + l.env.zone
				}
				if l.env.jitter != "" {
					zone += " delayed by " + l.env.jitter
				}
				got = append(got, fmt.Sprintf("%d %s%q %q%s%s", l.line, user, l.when, l.command, in, zone))
			}
			for _, n := range c.bad {
				got = append(got, "bad "+n.String())
			}
			for _, n := range c.notes {
				got = append(got, "differs "+n.String())
			}
			if all := strings.Join(got, "\n"); all != tt.want {
				t.Errorf("%q is\n%s\nwant\n%s", tt.text, all, tt.want)
			}
		})
	}
	c := parseCrontab(head+"@daily x\nHOME=/srv\nA='b c'\nEMPTY=\n@daily y\n", false)
	if len(c.lines) != 2 || len(c.notes) != 0 || len(c.bad) != 0 {
		t.Fatalf("%+v", c)
	}
	first, second := c.lines[0].env, c.lines[1].env
	if first.shell != "/bin/bash" || !first.noMail || first.home != "" ||
		!slices.Equal(first.vars, []string{"SHELL=/bin/bash", "PATH=/usr/local/bin:/usr/bin"}) {
		t.Errorf("the environment of the first line is %+v", first)
	}
	if second.home != "/srv" || !slices.Equal(second.vars[2:], []string{"HOME=/srv", "A=b c", "EMPTY="}) {
		t.Errorf("the environment of the second line is %+v", second)
	}
}

// TestNameOf has commands of packages of Debian and of people.
func TestNameOf(t *testing.T) {
	for command, want := range map[string]string{
		"/usr/local/bin/backup --all":                                                                                       "backup",
		"cd / && run-parts --report /etc/cron.hourly":                                                                       "cron.hourly",
		"test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }":                                      "cron.daily",
		"[ -x /etc/init.d/anacron ] && if [ ! -d /run/systemd/system ]; then /usr/sbin/invoke-rc.d anacron; fi":             "invoke-rc.d",
		"test -e /run/systemd/system || SERVICE_MODE=1 /usr/lib/x86_64-linux-gnu/e2fsprogs/e2scrub_all_cron":                "e2scrub_all_cron",
		"command -v debian-sa1 > /dev/null && debian-sa1 1 1":                                                               "debian-sa1",
		"test -x /usr/bin/certbot -a \\! -d /run/systemd/system && perl -e 'sleep int(rand(43200))' && certbot -q renew":    "certbot",
		"if [ -x /usr/share/mdadm/checkarray ] && [ $(date +%d) -le 7 ]; then /usr/share/mdadm/checkarray --cron --all; fi": "checkarray",
		"if [ -x /usr/sbin/logcheck ]; then nice -n10 /usr/sbin/logcheck -R; fi":                                            "logcheck",
		"flock -n /run/lock/x.lock nice -n 19 /opt/sync.sh >/dev/null 2>&1":                                                 "sync.sh",
		"sleep 20; MAILTO=x ./a":                "a",
		"cd /opt && /usr/bin/php -q report.php": "report.php",
		"cd /srv":                               "cron",
		"\"/opt/my tool/run\"":                  "my",
		"/opt/ünder":                            "nder",
	} {
		if got := nameOf(command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
}
