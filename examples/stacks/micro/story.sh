# shellcheck shell=bash
# The story of the microservices, sourced by ../run.

# shellcheck disable=SC2034 # used by ../run
NEEDS=(redis-server nginx curl jq)

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
	check "nginx reaches the service of users, and that Redis" soon equal '{}' web /shop/user/
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
	for service in shop/user shop/order admin/audit; do
		check "nginx reaches $service, and that Redis" equal '{}' web "/$service/"
	done

	say "a new directory is a new service, without a reload"
	sed 's/=user/=invoice/' "$DIR/www/shop/user/.env" | new_service shop/invoice
	check "it is ready" soon states_are shop/invoice ready
	check "nginx reaches it" equal '{}' web /shop/invoice/
	local pid
	pid=$(pids_of shop/invoice)
	rm "$DIR/www/shop/invoice/.env"
	check "without its file it is no service" soon equal "admin/audit shop/cache shop/front shop/order shop/user" services
	check "and its process has ended" soon gone "$pid"
}

end() {
	say "atctl service stop '*'"
	check "all services stop" quietly atctl service stop --with-dependants '*'
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
