# shellcheck shell=bash
# The story of the build farm, sourced by ../run.

# shellcheck disable=SC2034 # used by ../run
NEEDS=(git gcc go curl jq)

prepare() {
	local project go file name
	go=$(dirname "$(realpath "$(type -P go)")")
	sed -i "s|/usr/local/go/bin|$go|" "$DIR/activationd.yaml"
	own daemon "$DIR/builds"
	own daemon "$DIR/cache"
	own daemon "$DIR/git"
	own daemon "$DIR/tmp"
	for project in hello-c hello-go broken; do
		own daemon "$DIR/git/$project"
		for file in "examples/stacks/builds/sources/$project"/*; do
			name=${file##*/}
			cp "$file" "$DIR/git/$project/${name%.txt}" # of another module than this one
		done
		in_project "$project" git init --quiet
		commit "$project" "first version"
	done
}

# in_project PROJECT COMMAND... runs a command where the project's repository is.
in_project() { (cd "$DIR/git/$1" && as daemon env HOME=/nonexistent "${@:2}"); }

# commit PROJECT TEXT commits what has changed.
commit() {
	in_project "$1" git add .
	in_project "$1" git -c user.name=farm -c user.email=farm@example.org commit --quiet -m "$2"
}

begin() {
	check "all services are ready" quietly atctl service start --wait git web monitor
	say "atctl queue create io_fetch cpu_build"
	atctl queue create io_fetch cpu_build >/dev/null
	check "a queue has its listener as soon as it exists: two processes fetch sources" soon listener_is io_fetch 2
	atctl every hold poll
	browse &
}

once() {
	say "somebody requests a build of hello-c"
	FIRST=$(web /builds -d project=hello-c)
	check "build $FIRST is finished" soon build_is "$FIRST" finished
	check "its program works" equal "hello from C" "$("$DIR/builds/$FIRST/program")"
	check "the page was told live: requested, fetched, finished" soon told "builds.$FIRST." fetched finished requested
}

story() {
	local number numbers=() before pid

	once
	check "so is whoever follows the topics" equal "fetched finished requested" "$(topics "builds.$FIRST.#")"

	say "a project in Go, one that cannot be compiled, and one that is not there"
	number=$(web /builds -d project=hello-go)
	check "build $number is finished: a Go program without the network" soon build_is "$number" finished
	check "it works" equal "hello from Go" "$("$DIR/builds/$number/program")"
	number=$(web /builds -d project=broken)
	check "build $number has failed" soon build_is "$number" failed
	check "it is a dead letter at once, with what the compiler said" dead_letter cpu_build 1 missing
	number=$(web /builds -d project=nobodys)
	check "build $number has failed" soon build_is "$number" failed
	atctl queue dead cpu_build purge >/dev/null
	atctl queue dead io_fetch purge >/dev/null

	say "atctl every run nightly"
	atctl every run nightly >/dev/null
	check "both projects are built" soon built_by nightly 2
	say "atctl every release poll, and somebody commits to hello-c"
	atctl every release poll
	check "its newest version is built" soon built_by poll 1
	sed -i 's/from C/from the second version/' "$DIR/git/hello-c/hello.c"
	commit hello-c "second version"
	check "so is the next one" soon built_by poll 2
	check "it says so" equal "hello from the second version" "$(newest_by poll)"
	before=$(atctl --json every show poll | jq .outcomes.succeeded)
	check "each version is built once, however often it is looked for" soon jobs_of_poll $((before + 3))
	check "there are still two of them" built_by poll 2
	atctl every hold poll

	say "the compiler of the farm cannot be run any more"
	mark
	chmod -x "$DIR/compile"
	number=$(web /builds -d project=hello-c)
	check "the monitor says so" soon monitor_says cpu_build unhealthy paused
	check "the build waits, and no attempt is used up" equal "ready 0" "$(atctl --json queue peek cpu_build | jq -r '"\(.state) \(.attempts)"')"
	chmod +x "$DIR/compile"
	atctl queue resume cpu_build >/dev/null
	check "after atctl queue resume it is finished" soon build_is "$number" finished
	check "the monitor says that, too" soon monitor_says cpu_build healthy works

	say "the web service hangs: kill -STOP"
	pid=$(atctl --json service list web | jq .pid)
	mark
	kill -STOP "$pid"
	check "the monitor says so" soon monitor_says web@1 unhealthy "no answer"
	check "another process serves" soon another_serves "$pid"
	check "the monitor says that, too" soon monitor_says web@1 healthy works
	check "the page knows all builds: they are in the daemon's log of events" soon build_is "$FIRST" finished

	say "20 builds are requested, and the daemon is killed in the middle: kill -9"
	for _ in {1..20}; do
		numbers+=("$(web /builds -d project=hello-c)")
	done
	check "one of them is finished" soon build_is "${numbers[0]}" finished
	kill_daemon
	check "the page is there without the daemon" web /health
	start_daemon
	check "all of them are finished" soon builds_are finished "${numbers[@]}"
	check "no queue has a message left, or a dead letter" soon queues_are_empty
	check "the page was told that all of them are" soon told_finished "${numbers[@]}"
	check "it was told everything in order, and nothing twice" rising
}

hints() {
	cat <<-END

		    cd $DIR                                   # http://127.0.0.1:$PORT/ is the page
		    curl -d project=hello-c http://127.0.0.1:$PORT/builds
		    atctl events 'builds.#' 'monitor.#' --since 0
		    atctl queue list
	END
}

end() {
	say "everything ends"
	check "all services stop" quietly atctl service stop '*'
	for queue in io_fetch cpu_build; do
		check "the queue $queue is deleted" quietly atctl queue delete --discard "$queue"
	done
}

web() {
	local path=$1
	shift
	curl --silent --show-error --fail --max-time "$PATIENCE" "$@" "http://127.0.0.1:$PORT$path"
}

# quietly COMMAND... has no output unless the command fails.
quietly() {
	local said
	said=$("$@" 2>&1) || {
		echo "$said"
		return 1
	}
}

equal() {
	[[ $1 == "$2" ]] || {
		echo "it is '$2', want '$1'"
		return 1
	}
}

build_is() { equal "$2" "$(web /builds | jq -r ".[] | select(.number == $1) | .state")"; }
builds_are() {
	local number
	for number in "${@:2}"; do
		build_is "$number" "$1" || return
	done
}

# built_by WHO N succeeds if N builds that were requested by that one are finished.
built_by() { equal "$2" "$(web /builds | jq "[.[] | select(.state == \"finished\" and (.order | endswith(\"by $1\")))] | length")"; }
newest_by() { web /builds | jq -r "[.[] | select(.order | endswith(\"by $1\"))][0].text"; }

# browse is a browser that shows the page: it follows the events, and if the connection ends,
# it goes on after the last one.
browse() {
	local last=0
	while :; do
		curl --silent --no-buffer -H "Last-Event-ID: $last" "http://127.0.0.1:$PORT/events" >>"$DIR/live" || true
		last=$(sed -n 's/^id: //p' "$DIR/live" | tail -n 1)
		sleep 0.1
	done
}
told_finished() {
	local number
	for number; do
		grep -qF "\"builds.$number.finished\"" "$DIR/live" || {
			echo "not that build $number is"
			return 1
		}
	done
}
rising() { sed -n 's/^id: //p' "$DIR/live" | sort --check --numeric-sort --unique; }

# told PREFIX WHAT... compares what the page was told about topics with this prefix.
told() {
	local prefix=$1
	shift
	equal "$*" "$(sed -n 's/^data: //p' "$DIR/live" | jq -r --arg p "$prefix" '.topic | select(startswith($p)) | ltrimstr($p)' | sort -u | paste -sd ' ')"
}

# topics PATTERN prints the last words of the topics of the first three events.
topics() {
	atctl --json events --since 0 "$1" -n 3 | jq -r '.topic | split(".")[2]' | sort -u | paste -sd ' '
}

# listener_is QUEUE N succeeds if a queue has N processes, and these live.
listener_is() {
	equal "$2" "$(atctl --json queue list "$1" | jq .processes)" && equal "$2" "$(processes_of "$1" | wc -l)"
}

# processes_of QUEUE prints the ids of the processes of its listener, less their wrappers.
processes_of() {
	local proc
	for proc in $(run_processes "$DIR"); do
		if grep -qzxF "QUEUE=$1" "/proc/$proc/environ"; then echo "$proc"; fi
	done 2>/dev/null
}

# dead_letter QUEUE ATTEMPTS TEXT checks the only dead letter of a queue.
dead_letter() { equal "$2 true" "$(atctl --json queue dead "$1" | jq -r --arg text "$3" '"\(.attempts) \(.last.output | contains($text))"')"; }

# monitor_says WORKER HOW TEXT succeeds if the monitor has said so, and printed why, since
# the page was told as many lines as MARK.
monitor_says() {
	tail -n "+$((MARK + 1))" "$DIR/live" | sed -n 's/^data: //p' |
		jq -ers --arg topic "monitor.$1.$2" --arg text "$3" 'map(select(.topic == $topic and (.text | contains($text))).text)[0] // empty'
}
mark() { MARK=$(wc -l <"$DIR/live"); }

another_serves() {
	local now
	now=$(atctl --json service list web | jq -r 'select(.state == "ready").pid')
	[[ -n $now && $now != "$1" ]]
}

jobs_of_poll() { (($(atctl --json every show poll | jq .outcomes.succeeded) >= $1)); }

queues_are_empty() { equal "0 0" "$(atctl --json queue list | jq -r '.ready + .delayed + .work + .dead' | paste -sd ' ')"; }

# kill_daemon kills it as a failure of the machine would: it cannot write anything more.
kill_daemon() {
	local pid
	pid=$(<"$DIR/daemon.pid")
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null || true
}
