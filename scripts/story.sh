# shellcheck shell=bash
# What the demo and the example stacks have in common: they tell a story, each promise in it
# is checked and gets a line, and nothing is left behind. Sourced by bash, by the tests in
# test/lab, too. STORY is the name of what is told.

# shellcheck disable=SC2034 # used where this is sourced
BOLD='' DIM='' GREEN='' RED='' PLAIN=''
if [[ -t 1 && -z ${NO_COLOR-} && ${TERM-dumb} != dumb ]]; then
	# shellcheck disable=SC2034
	BOLD=$'\e[1m' DIM=$'\e[36m' GREEN=$'\e[32m' RED=$'\e[1;31m' PLAIN=$'\e[0m'
fi

checked=0
failed=0

# check TEXT COMMAND... passes if the command succeeds. Functions that are checked succeed
# silently, or print what is wrong and fail. They run in a condition, where the shell does not
# stop at a failure by itself.
check() {
	local text=$1 said
	shift
	checked=$((checked + 1))
	if said=$("$@" 2>&1); then
		printf '              %sok%s    %s%s\n' "$GREEN" "$PLAIN" "$text" "${said:+ ($said)}"
	else
		failed=$((failed + 1))
		printf '              %sFAIL%s  %s: %s\n' "$RED" "$PLAIN" "$text" "$said"
	fi
}

# soon COMMAND... repeats the command until it succeeds or our patience ends. It is for
# changes that no event reports.
soon() {
	local until=$((SECONDS + PATIENCE)) said
	until said=$("$@" 2>&1); do
		((SECONDS < until)) || {
			echo "$said"
			return 1
		}
		sleep 0.1
	done
}

# summary N ends the story, which should have made N checks.
summary() {
	echo
	if [[ $failed -eq 0 && $checked -eq $1 ]]; then
		printf '%s%d of %d checks passed, in %d s.%s\n' "$GREEN" "$checked" "$1" "$SECONDS" "$PLAIN"
		return 0
	fi
	printf '%s%d checks of %d were made, and %d failed.%s\n' "$RED" "$checked" "$1" "$failed" "$PLAIN"
	return 1
}

say() { printf '%s%s  %s%s\n' "$BOLD" "$(date +%T.%3N)" "$*" "$PLAIN"; }
die() {
	echo "$STORY: $*" >&2
	exit 1
}

# none_match prints the lines that grep finds, and succeeds if there are none.
none_match() {
	grep "$@"
	[[ $? -eq 1 ]]
}

empty_dir() {
	[[ -d $1 ]] && find "$1" -mindepth 1 | none_match .
}

# run_processes DIR prints the ids of the wrappers of the daemon in DIR and of the
# processes that they started, whatever their parents are now. A process that ends
# meanwhile is left out. All processes of the machine are looked at by a few programs:
# one for each process would take seconds.
run_processes() {
	{
		# The environment has the mark of a run, and paths of this daemon.
		grep -lza '^ACTIVATION_RUN=' /proc/[0-9]*/environ | xargs -r grep -lzaF "$1/" || true
		# A wrapper has files of this daemon open.
		find /proc/[0-9]*/exe -printf '%p %l\n' | while read -r exe target; do
			[[ $target != "$BIN/atwrap"* || $(readlink "${exe%exe}"fd/*) != *"$1/"* ]] || echo "$exe"
		done || true
	} 2>/dev/null | cut -d / -f 3 | sort -u
}

no_processes() {
	local pids
	pids=$(run_processes "$1" | paste -sd ,)
	[[ -z $pids ]] || {
		ps -o pid,ppid,stat,args -p "$pids"
		return 1
	}
}

# end_process PID [SIGNAL] asks a process to end, and kills it after a minute. The
# process may be no child of ours, so there is no event to wait for.
end_process() {
	local pid=$1 signal try
	for signal in "${2:-TERM}" KILL; do
		kill -"$signal" "$pid" 2>/dev/null || return 0
		for try in {1..1200}; do
			lives "$pid" || return 0
			sleep 0.05
		done
	done
	echo "process $pid does not end, $try times asked" >&2
}

# lives PID succeeds if the process exists and is no zombie.
lives() {
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null && [[ $stat != *') Z '* ]]
}

# tell FUNCTION CLEAN_UP calls the two functions, the second in any case. DIR is a
# new directory then, which the second must remove.
tell() {
	local interrupted='' status
	stop() {
		interrupted=$1
		kill -TERM -- "-$!" 2>/dev/null
	}
	trap '' INT TERM HUP # not before the directory is known
	DIR=$(mktemp -d "${TMPDIR:-/tmp}/activationd-$STORY.XXXXXX")
	trap 'interrupted=130' INT
	trap 'interrupted=143' TERM HUP
	# The story is a process group of its own. So its failures, and the signals that end it,
	# do not affect the shell that cleans up.
	set +e -m
	(
		set -e
		"$1"
	) &
	set +m
	trap 'stop 130' INT
	trap 'stop 143' TERM HUP
	[[ -z $interrupted ]] || stop "$interrupted"
	wait $!
	status=$?
	[[ -z $interrupted ]] || wait $! # a signal ends the first
	status=${interrupted:-$status}
	trap '' INT TERM HUP PIPE # clean up once, also if nobody reads the output any more
	if [[ $status -ne 0 && -z $interrupted && -s $DIR/daemon.log ]]; then
		echo "--- the daemon's last words:" >&2
		tail -n 25 "$DIR/daemon.log" >&2
	fi
	"$2"
	return "$status"
}
