# shellcheck shell=bash
# A laboratory in a directory: an Open vSwitch in user space and four hosts, each
# in a network namespace of its own and on a port of its own. Sourced by bash.
#
# Everything is in namespaces named $LAB-..., the switch too: two laboratories on
# one machine share nothing, and the machine's own network is not touched.

HOSTS=(h1 h2 h3 h4)

# address_of HOST: all of them in one subnet, so that nothing but the VLAN
# keeps them apart.
address_of() { echo "10.77.0.${1#h}"; }

in_host() {
	local host=$1
	shift
	ip netns exec "$LAB-$host" "$@"
}

vsctl() { ovs-vsctl --db="$OVS_DB" --timeout=20 "$@"; }

# lab_start DIR makes the laboratory; LAB is its name. It sets OVS_DB.
lab_start() {
	local dir=$1 host
	mkdir -p "$dir"
	export OVS_RUNDIR=$dir OVS_LOGDIR=$dir OVS_DBDIR=$dir
	OVS_DB=unix:$dir/db.sock

	ip netns add "$LAB-switch"
	ovsdb-tool create "$dir/conf.db" /usr/share/openvswitch/vswitch.ovsschema
	ovsdb-server -vconsole:off "$dir/conf.db" --remote="punix:$dir/db.sock" --unixctl="$dir/db.ctl" \
		--pidfile="$dir/db.pid" --detach --no-chdir --log-file="$dir/db.log"
	vsctl --no-wait init
	ip netns exec "$LAB-switch" ovs-vswitchd -vconsole:off "$OVS_DB" --unixctl="$dir/vs.ctl" \
		--pidfile="$dir/vs.pid" --detach --no-chdir --log-file="$dir/vs.log"
	vsctl add-br br0 -- set bridge br0 datapath_type=netdev

	for host in "${HOSTS[@]}"; do
		ip netns add "$LAB-$host"
		ip -n "$LAB-switch" link add "port-$host" type veth peer name eth1 netns "$LAB-$host"
		ip -n "$LAB-switch" link set "port-$host" up
		ip -n "$LAB-$host" link set lo up
		ip -n "$LAB-$host" link set eth1 up
		ip -n "$LAB-$host" address add "$(address_of "$host")/24" dev eth1
		# A port that nobody has is protected: it reaches no other such port.
		vsctl add-port br0 "port-$host" -- set Port "port-$host" \
			vlan_mode=access protected=true external_ids:device="$host"
	done
}

# lab_stop DIR takes away what lab_start made, however far it came.
lab_stop() {
	local dir=$1 ns file
	for file in "$dir/vs.pid" "$dir/db.pid"; do
		[[ -s $file ]] && end_process "$(<"$file")"
	done
	for ns in "${HOSTS[@]}" switch; do
		[[ -e /run/netns/$LAB-$ns ]] && ip netns delete "$LAB-$ns"
	done
	return 0
}

# end_process PID [SIGNAL] asks a process to end and insists after 5 s. It need
# not be our child, so there is no event to wait for.
end_process() {
	local pid=$1 signal try
	for signal in "${2:-TERM}" KILL; do
		kill -"$signal" "$pid" 2>/dev/null || return 0
		for try in {1..100}; do
			lives "$pid" || return 0
			sleep 0.05
		done
	done
	echo "process $pid does not end, $try times asked" >&2
}

# lives PID: it is there, and not only a number that its parent has yet to read.
lives() {
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null && [[ $stat != *') Z '* ]]
}
