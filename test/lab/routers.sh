# shellcheck shell=bash
# FRR routers in the laboratory of scripts/demo/lab.sh, sourced after it. Each router is
# a zebra and an ospfd in a namespace of their own, with two ports on a switch. Its
# console is vtysh behind a serial line, which a Serial-Ethernet converter (ser2net,
# RFC 2217) offers on loopback.

read -ra ROUTERS <<<"${LAB_ROUTERS-}"

console_port_of() { echo "700$(number_of "$1")"; }

in_vtysh() {
	local router=$1
	shift
	in_host "$router" vtysh --vty_socket "$LAB_DIR/$router" --config_dir "$LAB_DIR/$router" "$@"
}

# routers_start starts all routers, after lab_start.
routers_start() {
	local name
	for name in "${ROUTERS[@]}"; do
		router_start "$name"
	done
	for name in "${ROUTERS[@]}"; do
		console_start "$name"
	done
	# ser2net's own configuration has all the lines.
	for name in "${ROUTERS[@]}"; do
		cat <<-END
			connection: &$name
			  accepter: telnet(rfc2217),tcp,127.0.0.1,$(console_port_of "$name")
			  connector: serialdev,$LAB_DIR/$name/tty,9600n81,local
			  options: {kickolduser: false}
		END
	done >"$LAB_DIR/ser2net.yaml"
	in_mgmt setsid ser2net -n -c "$LAB_DIR/ser2net.yaml" >"$LAB_DIR/ser2net.log" 2>&1 </dev/null &
	for name in "${ROUTERS[@]}"; do
		becomes_true in_mgmt nc -z 127.0.0.1 "$(console_port_of "$name")"
	done
}

router_start() {
	local name=$1 dir=$LAB_DIR/$1 program daemon interface
	ip netns add "$LAB-$name"
	ip -n "$LAB-$name" link set lo up
	in_host "$name" sysctl -q net.ipv4.ip_forward=1
	for interface in 1 2; do
		lab_wire "$name" "eth$interface" "$(switch_of "$name")" "p$(number_of "$name")$interface"
	done
	mkdir "$dir"
	for program in vtysh zebra ospfd; do
		echo "hostname $name" >"$dir/$program.conf"
	done
	chown -R frr:frr "$dir"
	for daemon in zebra ospfd; do
		ip netns exec "$LAB-$name" "/usr/lib/frr/$daemon" -d -A 127.0.0.1 -i "$dir/$daemon.pid" -z "$dir/zserv.api" \
			--vty_socket "$dir" -f "$dir/$daemon.conf" --log "file:$dir/$daemon.log" </dev/null >"$dir/$daemon.said" 2>&1
		becomes_true test -S "$dir/$daemon.vty"
	done
}

# console_start NAME starts the serial line. The console goes on after a logout.
console_start() {
	local dir=$LAB_DIR/$1
	cat >"$dir/console" <<-END
		#!/bin/sh
		for login in \$(seq 1000); do
			vtysh --vty_socket $dir --config_dir $dir || sleep 1
		done
	END
	chmod 755 "$dir/console"
	ip netns exec "$LAB-$1" setsid socat "PTY,link=$dir/tty,raw,echo=0,mode=600" \
		"EXEC:$dir/console,pty,setsid,ctty,stderr" >"$dir/socat.log" 2>&1 </dev/null &
	becomes_true test -e "$dir/tty"
}

# becomes_true COMMAND... repeats the command until it succeeds, for at most ten minutes.
becomes_true() {
	local try
	for try in {1..12000}; do
		"$@" >/dev/null 2>&1 && return
		sleep 0.05
	done
	echo "not true, $try times asked: $*" >&2
	return 1
}

more_devices() {
	local name
	for name in "${ROUTERS[@]}"; do
		echo "  $name: {platform: frr, connect: 'rfc2217://127.0.0.1:$(console_port_of "$name")'${CONSOLE_PACE:+, pace: {$CONSOLE_PACE\}}}"
	done
}

more_wiring() {
	local name interface
	for name in "${ROUTERS[@]}"; do
		for interface in 1 2; do
			echo "  - $name:eth$interface -- $(switch_of "$name"):p$(number_of "$name")$interface"
		done
	done
}
