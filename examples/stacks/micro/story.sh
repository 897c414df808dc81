# shellcheck shell=bash
# The story of the microservices, sourced by ../run.

# shellcheck disable=SC2034 # used by ../run
NEEDS=(redis-server redis-cli nginx curl jq)

prepare() {
	# A service runs as the owner of its file.
	[[ $EUID -ne 0 ]] || chown -R www-data "$DIR/www/shop"
	[[ $EUID -ne 0 ]] || chown -R nobody "$DIR/www/admin"
}

begin() {
	say "each directory with a .env file that says DAEMON=true is a service"
	check "all of them are ready" soon states_are shop/cache ready shop/front ready shop/user ready shop/order ready admin/audit ready
}

once() {
	say "somebody posts a new user to /shop/user/create"
	check "the queue of users has a listener" soon listener_is _model_user 1
	check "the answer is that of the listener" grep -x '{"id":[0-9]*}' <(web /shop/user/create -d '{"name":"ada"}')
	check "Redis has the user" equal 1 count shop/user
}

hints() {
	cat <<-END

		    cd $DIR
		    atctl service list
		    curl http://127.0.0.1:$PORT/shop/user/
	END
}

web() { curl --silent --show-error --fail --max-time "$PATIENCE" "${@:2}" "http://127.0.0.1:$PORT$1"; }

# services prints the names of all services.
services() { atctl --json service list | jq -r .service | sort -u | paste -sd ' '; }

gone() { ! lives "$1"; }

# new_service NAME makes the directory of a service, as its owner would; the file has what
# is read from the input.
new_service() {
	local dir=$DIR/www/$1
	mkdir "$dir"
	cat >"$dir/.env"
	chown -R --reference="$dir/.." "$dir"
}

story() {
	check "a file without DAEMON=true is none" equal "admin/audit shop/cache shop/front shop/order shop/user" services
	once
	check "the service refuses what the model cannot do" refused 422 /shop/user/destroy
	check "which is a dead letter, with the reason" equal "the model has no such method" dead_reason _model_user
	atctl queue dead _model_user purge >/dev/null

	say "each service creates the queue of its model: a queue has a listener as soon as it exists"
	check "orders have one, too" soon listener_is _model_order 1
	check "the messages are not in the daemon's own store" elsewhere ada

	say "pools.json: $(tr -d '\n' <"$DIR/pools.json")"
	check "_model_audit, which is not in it, has no listener" soon listener_is _model_audit 0
	check "atctl queue list says why" listed _model_audit pools.json
	push _model_audit create '{"text":"waits"}' >/dev/null
	check "what is pushed waits" equal 1 waiting _model_audit
	say "atctl queue allow _model_audit"
	atctl queue allow _model_audit >/dev/null
	check "now it has a listener" soon listener_is _model_audit 1
	check "and what has waited is done" soon equal 1 count admin/audit
	say "atctl queue deny _model_audit"
	atctl queue deny _model_audit >/dev/null
	check "its listener has ended" soon listener_is _model_audit 0

	say "a new directory is a new service, without a reload, and a new queue"
	sed 's/=user/=invoice/' "$DIR/www/shop/user/.env" | new_service shop/invoice
	check "it is ready" soon states_are shop/invoice ready
	check "its queue has a listener" soon listener_is _model_invoice 1
	say "a message that takes its time is in work, one waits behind it, and the queue is deleted"
	local pid worker long other
	pid=$(pids_of shop/invoice)
	worker=$(processes_of _model_invoice)
	long=$(push _model_invoice hold)
	check "the first is in work" soon equal "$long" in_work _model_invoice
	push _model_invoice create '{"sum":7}' >/dev/null
	check "a queue with messages is not deleted by mistake" refuses --keep-messages atctl queue delete _model_invoice
	delete _model_invoice --keep-messages _model_order &
	check "the queue is being deleted" soon is_deleting _model_invoice
	check "it takes no more messages" refuses deleted push _model_invoice create '{}'
	check "its listener still works on the message" lives "$worker"
	release invoice
	check "the deletion is over when that is done" soon equal 0 cat "$DIR/deleted"
	check "the queue is gone" equal "_model_audit _model_order _model_user" queues
	check "so is its listener" soon gone "$worker"
	check "the message that waited was moved, and is done" soon equal 1 count shop/order
	rm "$DIR/www/shop/invoice/.env"
	check "without its file, the service is gone, too" soon equal "admin/audit shop/cache shop/front shop/order shop/user" services
	check "and its process has ended" soon gone "$pid"

	say "messages are pushed, one is in work, and the daemon is killed: kill -9"
	worker=$(processes_of _model_user)
	long=$(push _model_user hold)
	check "it is in work" soon equal "$long" in_work _model_user
	push_some &
	pid=$!
	check "ten orders are done" soon some_are_done 10
	kill_daemon
	check "listeners live on" lives "$worker"
	start_daemon
	touch "$DIR/enough"
	check "no push hangs" soon gone "$pid"
	check "every order that was answered is done" soon all_are_done
	check "none was handed out more often than three times" attempts_are "$DIR/pushed" 1 3
	check "the long message is in work as before" equal "$long" in_work _model_user
	check "by the same process" equal "$worker" processes_of _model_user
	release user
	check "it is done" soon equal "" in_work _model_user
	check "it was handed out once" equal 1 cache HGET deliveries "$long"

	say "a listener in the terminal: atctl queue listen _model_user --stream -- shop listen"
	long=$(push _model_user hold)
	check "the daemon's listener is busy" soon equal "$long" in_work _model_user
	REDIS=$DIR/www/shop/cache/cache.sock "$DIR/bin/atctl" --socket "$DIR/run/control.sock" queue listen _model_user --stream -- "$DIR/bin/shop" listen &
	pid=$!
	check "atctl queue list shows the other one" soon listed _model_user "by hand"
	for _ in {1..5}; do push _model_user create '{}'; done >"$DIR/users"
	check "it takes what the first has no time for" soon equal 6 count shop/user
	check "each message went to one of them" attempts_are "$DIR/users" 1 1
	other=$(push _model_user hold)
	check "both have a message in work" soon equal "$long $other" all_in_work _model_user
	kill -TERM "$pid"
	check "the other one has ended" soon gone "$pid"
	check "its message has returned to the queue" soon equal "1 1" left _model_user
	release user
	check "the first one finishes its own, and gets that, too" soon equal "1 2" handed_out "$long" "$other"
	release user
	check "it is done" soon equal "0 0" left _model_user

	say "kill -9 of a listener with a message in work"
	long=$(push _model_order hold)
	check "it is in work" soon equal "$long" in_work _model_order
	worker=$(processes_of _model_order)
	kill -KILL "$worker"
	check "it is handed out again, to another process" soon equal 2 cache HGET deliveries "$long"
	release order
	check "it is done" soon equal "" in_work _model_order
	check "the queue has a listener" soon listener_is _model_order 1
}

end() {
	say "everything ends"
	check "all services stop" quietly atctl service stop '*'
	for queue in $(queues); do
		check "the queue $queue is deleted" quietly atctl queue delete --discard "$queue"
	done
}

# delete QUEUE ... deletes a queue; the file `deleted` has the exit status then.
delete() {
	local status=0
	atctl queue delete "$@" || status=$?
	echo "$status" >"$DIR/deleted"
}
is_deleting() { atctl --json queue list "$1" | jq -e .deleting >/dev/null; }

# push QUEUE METHOD [BODY] pushes a message, and prints its number. push_some pushes orders
# until there is a file `enough`; the file `pushed` has those that were answered.
push() { atctl queue push "$1" --header "method=$2" --body "${3-}"; }
push_some() {
	while [[ ! -e $DIR/enough ]]; do
		push _model_order create "{}" >>"$DIR/pushed" 2>>"$DIR/refused" || true
	done
}
some_are_done() { (($(count shop/order) > $1)); }
all_are_done() {
	web /shop/order/ | jq -r 'keys[]' | sort >"$DIR/done"
	sort "$DIR/pushed" | comm -23 - "$DIR/done" | none_match . && wc -l <"$DIR/pushed"
}

# attempts_are FILE LEAST MOST looks at how often each of the messages in a file was handed out.
attempts_are() {
	local id n
	while read -r id; do
		n=$(cache HGET deliveries "$id")
		((n >= $2 && n <= $3)) || {
			echo "$id was handed out $n times"
			return 1
		}
	done <"$1"
}

# release MODEL lets the message in work of a model go on.
release() { cache LPUSH "release:$1" go >/dev/null; }
cache() { redis-cli -s "$DIR/www/shop/cache/cache.sock" "$@"; }

# handed_out ID... prints how often messages were handed out.
handed_out() { cache HMGET deliveries "$@" | paste -sd ' '; }

# count SERVICE prints how many objects it has.
count() { web "/$1/" | jq length; }

# refused STATUS PATH checks that a request is answered with this status.
refused() { equal "$1" curl --silent --output /dev/null --write-out '%{http_code}' -X POST "http://127.0.0.1:$PORT$2"; }

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

queues() { atctl --json queue list | jq -r .name | paste -sd ' '; }

# listener_is QUEUE N succeeds if a queue has N processes, and these live.
listener_is() {
	equal "$2" processes_known "$1" && equal "$2" processes_count "$1"
}
processes_known() { atctl --json queue list "$1" | jq .processes; }
processes_count() { processes_of "$1" | wc -l; }

# processes_of QUEUE prints the ids of the processes of its listener.
processes_of() {
	local proc
	for proc in $(run_processes "$DIR"); do
		if [[ $(readlink "/proc/$proc/exe") == "$DIR/bin/shop" ]] && grep -qzxF "QUEUE=$1" "/proc/$proc/environ"; then echo "$proc"; fi
	done 2>/dev/null
}

# listed QUEUE TEXT succeeds if the list of queues has the text, and prints that column.
listed() {
	local status
	status=$(atctl --json queue list "$1" | jq -r .status)
	echo "$status"
	[[ $status == *"$2"* ]]
}
waiting() { atctl --json queue list "$1" | jq .ready; }
# left QUEUE prints how many messages wait, and how many are in work.
left() { atctl --json queue list "$1" | jq -r '"\(.ready + .delayed) \(.work)"'; }
all_in_work() { in_work "$1" | sort -n | paste -sd ' '; }
in_work() { atctl --json queue peek "$1" --state work | jq -r .id; }
dead_reason() { atctl --json queue dead "$1" | jq -r '.last.reason | split(": ")[-1]'; }

# elsewhere TEXT succeeds if the queues have a store of their own. A body may be overwritten
# there when its message is done, but it never was in the other file.
elsewhere() {
	none_match -qF "$1" "$DIR/state/state.db" && [[ -s $DIR/queues.db ]] && ! [[ $DIR/queues.db -ef $DIR/state/state.db ]]
}

# kill_daemon kills it as a failure of the machine would: it cannot write anything more.
kill_daemon() {
	local pid
	pid=$(<"$DIR/daemon.pid")
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null || true
}

# states_are SERVICE STATE... checks the states of services.
states_are() {
	local state
	while (($#)); do
		state=$(atctl --json service list "$1" | jq -r .state | sort -u | paste -sd ' ')
		[[ $state == "$2" ]] || {
			echo "$1 is ${state:-not there}"
			return 1
		}
		shift 2
	done
}

pids_of() { atctl --json service list "$1" | jq -r .pid; }

# equal WANT COMMAND... succeeds if the command prints that.
equal() {
	local want=$1 got
	shift
	got=$("$@") || return
	[[ $got == "$want" ]] || {
		echo "it is '$got', want '$want'"
		return 1
	}
}

# quietly COMMAND... has no output unless the command fails.
quietly() {
	local said
	said=$("$@" 2>&1) || {
		echo "$said"
		return 1
	}
}
