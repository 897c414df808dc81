# shellcheck shell=bash
# The broker's story, sourced by ../run.

# shellcheck disable=SC2034 # used by ../run
NEEDS=(apache2 redis-server redis-cli psql curl jq setpriv)
ALL=(db cache proxy web members monitor machines) # machine is for the manager of machines

prepare() {
	local bin password
	bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1) # Debian's versions
	[[ -x $bin/postgres ]] || die "postgresql is not installed"
	sed -i "s|/usr/lib/postgresql/15/bin|$bin|" "$DIR/activationd.yaml" "$DIR/setup"
	own postgres "$DIR/db"
	own redis "$DIR/cache"
	own www-data "$DIR/proxy"
	password=$(od -An -N 16 -tx1 /dev/urandom | tr -d ' \n')
	(umask 077 && sed "s/PASSWORD/$password/" "$DIR/broker.example.env" >"$DIR/broker.env")
	[[ $HOW == stay ]] || sed -i 's/^PRESENCE=.*/PRESENCE=3/' "$DIR/broker.env" # the story does not wait so long
	export PASSWORD=$password # for the job setup
}

begin() {
	local id
	check "the web workers wait for the database" soon waits web@1 db
	say "a job makes the database's files, once"
	id=$(as postgres "$DIR/bin/atctl" --socket "$DIR/run/control.sock" add --label setup --env PASSWORD -- "$DIR/setup" "$DIR/db")
	check "the job has succeeded" atctl wait "$id"
	say "atctl service start --wait ${ALL[*]}"
	check "all services are ready" quietly atctl service start --wait "${ALL[@]}"
	check "there is a queue for tasks" quietly atctl queue create pool
	check "the proxy passes requests on" soon web /
	atctl service list
}

once() {
	log_in 1
	check "the machine of student1 is on" soon session_is 1 active
}

story() {
	[[ $EUID -ne 0 ]] || check "each service runs as its user" users_are db=postgres cache=redis proxy=www-data web=www-data machines=daemon monitor=daemon
	check "without a log-in, there is no session" refused 401 /session
	check "with a wrong password, there is no log-in" refused 403 /login -d name=student1 -d password=wrong

	once
	log_in 2
	check "the machine of student2 is on" soon session_is 2 active
	check "each student has a machine of their own" machines_are 1 ready 2 ready 3 down 4 down
	say "both connect to the consoles of their machines: WebSockets through the proxy"
	connect 1
	connect 2
	check "student1 talks with machine@1" hears 1 "machine@1 is on"
	check "student2 talks with machine@2" hears 2 "machine@2 is on"
	check "a page of another site gets no console" refused 403 /console --cookie "$DIR/jar1" -H "Connection: Upgrade" -H "Upgrade: websocket" \
		-H "Sec-WebSocket-Version: 13" -H "Sec-WebSocket-Key: YWN0aXZhdGlvbmQtYnJrcg==" -H "Origin: http://elsewhere.example"
	speak 1 "a frame there and back"
	check "frames go both ways" hears 1 "a frame there and back"
	speak 1 pids
	check "the machine has two processes" hears 1 'pids [0-9]* [0-9]*'
	read -r -a MACHINE1 <<<"$(grep -m 1 '^pids ' "$DIR/heard1" | tr -d '\r' | cut -d' ' -f2-)"

	say "a task that takes an hour, and three short ones"
	push long '{"snapshot": 1, "seconds": 3600}'
	for task in a b c; do push "$task" '{"snapshot": 2, "seconds": 0.5}'; done
	for task in a b c; do check "short task $task is done" soon task_is "$task" "done"; done
	check "the long one still runs" task_is long running
	check "student2 cannot cancel it" refused 404 "/tasks/$(<"$DIR/task.long")" -X DELETE --cookie "$DIR/jar2"
	say "student1 cancels it"
	check "the request is answered" cancel long
	check "it is cancelled" task_is long cancelled
	check "none of its processes is left" no_task
	push bad '{"snapshot": "machine 1"}'
	check "a task that nobody understands is a dead letter at once" soon task_is bad dead
	atctl queue dead pool
	say "five tasks that take an hour: four of them run at once"
	for task in d e f g h; do push "$task" '{"snapshot": 1, "seconds": 3600}'; done
	check "four are in work" soon work_is 4
	check "the fifth waits" task_is h queued
	check "one is cancelled" cancel e
	check "the fifth runs" soon task_is h running
	check "the others are cancelled" cancel d f g h
	atctl queue list

	local worker refused
	refused=$(refused_by_workers)
	worker=$(worker_of 1)
	say "atctl service stop $worker, which has the WebSocket of student1, while requests come"
	for _ in {1..4}; do load & done
	check "$worker stops" quietly atctl service stop "$worker"
	check "its state is down" state_is "$worker" down
	check "the proxy does not use it" balancer_says "$worker" Dis
	check "student1's WebSocket goes on at another worker" soon worker_is_not 1 "$worker"
	speak 1 "and on"
	check "frames go both ways there, too" hears 1 "and on"
	say "atctl service start $worker"
	check "$worker is ready" quietly atctl service start --wait "$worker"
	: >"$DIR/answers"
	check "it gets requests again" soon grep -q "^$worker " "$DIR/answers"
	say "atctl service restart --rolling web"
	check "one after the other has restarted" quietly atctl service restart --rolling web
	touch "$DIR/enough"
	check "no request has failed meanwhile" no_failures
	check "the proxy has never tried a worker that was not there" equal "$refused" "$(refused_by_workers)"
	check "both students are still connected" both_connected

	say "kill -9 of the daemon"
	local before lives_on
	lives_on=(db cache proxy web machine@1 machine@2)
	before=$(pids_of "${lives_on[@]}")
	kill -KILL "$(<"$DIR/daemon.pid")"
	speak 1 "without a daemon"
	check "frames go both ways without it" hears 1 "without a daemon"
	start_daemon
	check "the next daemon has the same processes" equal "$before" "$(pids_of "${lives_on[@]}")"
	check "and follows all services" quietly atctl service start --wait "${ALL[@]}"

	say "the cache restarts, and the database is killed with SIGKILL"
	before=$(pids_of web)
	check "the cache is ready again" restart_and_wait cache
	kill -KILL "$(pids_of db)"
	check "the database is ready again" soon newer_run db@1 2
	check "the web workers are ready again" soon states_are web ready
	check "and they are the same processes" equal "$before" "$(pids_of web)"
	speak 2 "still here"
	check "student2's session has survived both" hears 2 "still here"

	say "kill -9 of student1's client"
	kill -KILL "$(<"$DIR/client1")"
	check "the monitor ends the session, and the manager stops the machine" soon session_is 1 over
	check "because the client died" equal "its client died" "$(sql "SELECT reason FROM session WHERE account = 'student1'")"
	check "machine@1 is off, and machine@2 is on" machines_are 1 down 2 ready
	check "no process of machine@1 is left" gone "${MACHINE1[@]}"
	say "kill -9 of machine@2"
	kill -KILL "$(pids_of machine@2)"
	check "it is on again by itself" soon newer_run machine@2 2
	say "student2 logs out"
	check "the log-out works" web /logout -X POST --cookie "$DIR/jar2"
	check "the session ends" soon session_is 2 over
	check "all machines are off" machines_are 1 down 2 down 3 down 4 down

	say "atctl service stop db"
	check "that is refused, because others need it" refuses "--with-dependants" atctl service stop db
}

hints() {
	cat <<-END

		    atctl service list                                    # and: atctl service status web@2
		    curl -c jar -d name=student1 -d password=desktop1 http://127.0.0.1:$PORT/login
		    curl -b jar http://127.0.0.1:$PORT/session            # until the state is active
		    broker client --url http://127.0.0.1:$PORT/console --session "\$(awk '\$6 == "session" { print \$7 }' jar)"
	END
}

end() {
	say "atctl service stop '*'"
	check "all services stop" quietly atctl service stop '*'
	check "all of them are down" states_are '*' down
	check "the database has ended in order" logged db@1 'database system is shut down'
	check "so has the cache" logged cache@1 'bye bye'
}

# quietly COMMAND... has no output unless the command fails.
quietly() {
	local said
	said=$("$@" 2>&1) || {
		echo "$said"
		return 1
	}
}

# waits ID SERVICE succeeds if an instance waits for a service. The daemon may just be starting.
waits() {
	atctl service list "$1" | grep -q waiting && atctl why "$1" | grep -w "$2"
}

web() {
	local path=$1
	shift
	curl --silent --show-error --fail --max-time "$PATIENCE" "$@" "http://127.0.0.1:$PORT$path"
}

# log_in N is a log-in of student N, whose cookies are in DIR/jarN.
log_in() {
	say "student$1 logs in"
	check "the log-in works" web /login --cookie-jar "$DIR/jar$1" -d "name=student$1" -d "password=desktop$1"
}

sql() { as postgres psql --host="$DIR/db" --port=$((PORT + 10)) --dbname=postgres --no-psqlrc -Atqc "$1"; }

# session_is N STATE checks the newest session of student N.
session_is() {
	local state
	state=$(sql "SELECT state FROM session WHERE account = 'student$1' ORDER BY begun DESC LIMIT 1")
	[[ $state == "$2" ]] || {
		echo "the session of student$1 is $state"
		return 1
	}
}

# refused STATUS PATH ... checks that a request is answered with this status.
refused() {
	local status=$1 got
	shift
	got=$(web "$@" --no-fail --output /dev/null --write-out '%{http_code}') && equal "$status" "$got"
}

equal() {
	[[ $1 == "$2" ]] || {
		echo "it is '$2', want '$1'"
		return 1
	}
}

# refuses TEXT COMMAND... checks that a command fails, and says TEXT.
refuses() {
	local text=$1 said
	shift
	if said=$("$@" 2>&1); then
		echo "it has not failed: $said"
		return 1
	fi
	grep -qF -e "$text" <<<"$said" || {
		echo "$said"
		return 1
	}
}

# list FILTER NAME... prints something of each instance of some services.
list() {
	local filter=$1
	shift
	atctl --json service list "$@" | jq -r "$filter"
}

pids_of() { list .pid "$@"; }
state_is() { equal "$2" "$(list .state "$1")"; }
states_are() { equal "$2" "$(list .state "$1" | sort -u)"; }
machines_are() {
	while (($#)); do
		state_is "machine@$1" "$2" || return
		shift 2
	done
}

# newer_run ID RUN succeeds if an instance is ready, and this is at least its run RUN.
newer_run() { [[ $(list "select(.state == \"ready\" and .run >= $2).id" "$1") == "$1" ]]; }

restart_and_wait() { quietly atctl service restart "$1" && quietly atctl service start --wait "$1"; }

# users_are SERVICE=USER... looks at the processes.
users_are() {
	local one
	for one; do
		equal "${one#*=}" "$(ps -o user:32= -p "$(pids_of "${one%=*}" | paste -s -d,)" | sort -u)" || return
	done
}

logged() { atctl log "$1" | tail -n 5 | grep -q "$2"; }

id_of() { awk '$6 == "session" { print $7 }' "$DIR/jar$1"; }

# connect N starts the client of student N; speak N TEXT sends a frame, and hears N PATTERN waits
# for one.
connect() {
	local fd
	mkfifo "$DIR/said$1"
	"$BIN/broker" client --url "http://127.0.0.1:$PORT/console" --session "$(id_of "$1")" <"$DIR/said$1" >"$DIR/heard$1" 2>&1 &
	echo $! >"$DIR/client$1"
	disown # the shell need not tell that it was killed
	exec {fd}>"$DIR/said$1"
	SPEAK[$1]=$fd
}
SPEAK=()
speak() { (trap '' PIPE && echo "$2" >&"${SPEAK[$1]}") || true; } # a client that has ended hears nothing
hears() { soon grep -qx "$2" "$DIR/heard$1"; }

# worker_of N prints the web worker that has the WebSocket of student N.
worker_of() { redis-cli -p $((PORT + 11)) get "seen:$(id_of "$1")"; }
worker_is_not() {
	local worker
	worker=$(worker_of "$1")
	[[ $worker == web@* && $worker != "$2" ]]
}
both_connected() { kill -0 "$(<"$DIR/client1")" "$(<"$DIR/client2")"; }

# push NAME BODY pushes a task, whose id is known by that name from then on.
push() { web /tasks --cookie "$DIR/jar1" --json "$2" | jq -er .id >"$DIR/task.$1"; }
task_is() { equal "$2" "$(web "/tasks/$(<"$DIR/task.$1")" --cookie "$DIR/jar1" | jq -r .state)"; }
cancel() {
	local name
	for name; do web "/tasks/$(<"$DIR/task.$name")" -X DELETE --cookie "$DIR/jar1" || return; done
}
work_is() { equal "$1" "$(atctl --json queue list pool | jq .work)"; }
no_task() { ps -o args= -p "$(run_processes "$DIR" | paste -s -d,)" | none_match '^broker task'; }

# load makes requests, one after the other, until there is a file `enough`.
load() {
	while [[ ! -e $DIR/enough ]]; do
		echo >>"$DIR/requests"
		web '/?seconds=0.1' >>"$DIR/answers" 2>>"$DIR/failures" || echo "after $(tail -n 1 "$DIR/answers")" >>"$DIR/failures"
	done
}
no_failures() {
	[[ ! -s $DIR/failures ]] || {
		cat "$DIR/failures"
		return 1
	}
	wc -l <"$DIR/requests"
}

# balancer_says ID STATUS looks at what the proxy shows of a web worker. refused_by_workers prints
# how often a worker has refused a connection of the proxy.
balancer_says() {
	local member
	member=$(web /balancer-manager | grep -F "http://127.0.0.1:$((PORT + ${1#web@}))</a>") || return
	grep -q "Init $2 " <<<"$member" || {
		echo "$member"
		return 1
	}
}
refused_by_workers() { atctl log proxy@1 | grep -c AH00957 || true; }

# gone PID... succeeds if no process has one of these ids.
gone() {
	local pid
	for pid; do
		! lives "$pid" || {
			ps -p "$pid"
			return 1
		}
	done
}
