# shellcheck shell=bash
# A laboratory in a directory: two switches with a trunk between them (each an Open
# vSwitch in user space with an sshd before it), and hosts, each in a network
# namespace of its own on a port of its own. Sourced by bash: by the demo and by
# the tests in test/lab.
#
# Everything is in namespaces named $LAB-... Services listen on the loopback of
# $LAB-mgmt, where the daemon runs, too (in_mgmt). So two laboratories on one machine
# share nothing, and the machine's own network is not touched.

# shellcheck source=../story.sh
. "${BASH_SOURCE[0]%/*}/../story.sh"

SWITCHES=(sw1 sw2)
# Odd hosts are on sw1, even ones on sw2.
read -ra HOSTS <<<"${LAB_HOSTS-h1 h2 h3 h4}"

# address_of HOST prints its address. All of them are in one subnet, so that only the
# VLANs separate them.
address_of() { echo "10.77.0.${1#h}"; }

# number_of NAME, switch_of HOST, ssh_port_of SWITCH
number_of() { echo "${1##*[a-z]}"; }
switch_of() { echo "sw$((2 - $(number_of "$1") % 2))"; }
ssh_port_of() { echo "220$(number_of "$1")"; }

in_host() {
	local host=$1
	shift
	ip netns exec "$LAB-$host" "$@"
}

# in_mgmt runs a command where the switches' addresses are. Not by "ip netns exec",
# which hides the machine's cgroups.
in_mgmt() { nsenter --net="/run/netns/$LAB-mgmt" -- "$@"; }

# vsctl SWITCH ... configures and queries a switch directly, not by its sshd.
vsctl() {
	local switch=$1
	shift
	ovs-vsctl --db="unix:$LAB_DIR/$switch/db.sock" --timeout=600 "$@"
}

# lab_start DIR makes the laboratory; LAB is its name.
lab_start() {
	local dir=$1 name
	LAB_DIR=$dir
	mkdir -p "$dir"
	ip netns add "$LAB-mgmt"
	ip -n "$LAB-mgmt" link set lo up
	# A machine that has none but 127.0.0.1 finds no IPv4 address by name (AI_ADDRCONFIG).
	ip -n "$LAB-mgmt" link add mgmt0 type veth peer name mgmt1
	ip -n "$LAB-mgmt" address add 192.0.2.1/32 dev mgmt0
	ssh-keygen -q -t ed25519 -N '' -C lab -f "$dir/id_ed25519"
	for name in "${SWITCHES[@]}"; do
		switch_start "$name"
	done
	# The switches must not send frames of their own to each other.
	ip -n "$LAB-sw1" link add t0 type veth peer name t0 netns "$LAB-sw2"
	for name in "${SWITCHES[@]}"; do
		in_host "$name" sysctl -q net.ipv6.conf.t0.disable_ipv6=1
		ip -n "$LAB-$name" link set t0 up
		# Without any trunks, a trunk carries every VLAN. 4095 is none.
		vsctl "$name" add-port br0 t0 -- set Port t0 vlan_mode=trunk trunks=4095
	done
	for name in "${HOSTS[@]}"; do
		ip netns add "$LAB-$name"
		ip -n "$LAB-$name" link set lo up
		lab_wire "$name" eth1 "$(switch_of "$name")" "p$(number_of "$name")"
		ip -n "$LAB-$name" address add "$(address_of "$name")/24" dev eth1
	done
}

# lab_wire DEVICE INTERFACE SWITCH PORT plugs a device in. A port that no lab uses is
# protected: it reaches no other such port.
lab_wire() {
	ip -n "$LAB-$3" link add "$4" type veth peer name "$2" netns "$LAB-$1"
	ip -n "$LAB-$3" link set "$4" up
	ip -n "$LAB-$1" link set "$2" up
	vsctl "$3" add-port br0 "$4" -- set Port "$4" vlan_mode=access protected=true
}

# switch_start NAME starts a switch and the sshd by which it is configured.
switch_start() {
	local name=$1 dir=$LAB_DIR/$1
	mkdir "$dir"
	ip netns add "$LAB-$name"
	export OVS_RUNDIR=$dir OVS_LOGDIR=$dir OVS_DBDIR=$dir
	ovsdb-tool create "$dir/conf.db" /usr/share/openvswitch/vswitch.ovsschema
	# In the namespace, so that it is found there when all is to end.
	ip netns exec "$LAB-$name" ovsdb-server -vconsole:off "$dir/conf.db" --remote="punix:$dir/db.sock" --unixctl="$dir/db.ctl" \
		--pidfile="$dir/db.pid" --detach --no-chdir --log-file="$dir/db.log"
	vsctl "$name" --no-wait init
	ip netns exec "$LAB-$name" ovs-vswitchd -vconsole:off "unix:$dir/db.sock" --unixctl="$dir/vs.ctl" \
		--pidfile="$dir/vs.pid" --detach --no-chdir --log-file="$dir/vs.log"
	vsctl "$name" add-br br0 -- set bridge br0 datapath_type=netdev

	# A login gets a shell whose ovs-vsctl talks to this switch.
	cat >"$dir/login" <<-END
		#!/bin/bash
		export OVS_RUNDIR='$dir' PS1='root@$name:\w# '
		[[ -z \$SSH_ORIGINAL_COMMAND ]] || exec bash -c "\$SSH_ORIGINAL_COMMAND"
		exec bash --noprofile --norc -i
	END
	chmod 755 "$dir/login"
	ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$dir/host_key"
	# Its home has no .bashrc, so the machine's own does not matter.
	cat >"$dir/sshd_config" <<-END
		ListenAddress 127.0.0.1:$(ssh_port_of "$name")
		HostKey $dir/host_key
		PidFile $dir/sshd.pid
		AuthorizedKeysFile $LAB_DIR/id_ed25519.pub
		ForceCommand $dir/login
		SetEnv HOME=$dir
		StrictModes no
		UsePAM no
		PasswordAuthentication no
		MaxStartups 100
		LogLevel VERBOSE
	END
	sshd_start "$name"
}

# sshd_start NAME starts a switch's sshd, and sshd_stop NAME ends it and its sessions.
sshd_start() {
	local dir=$LAB_DIR/$1 try
	mkdir -p /run/sshd # the chroot of the unprivileged part of Debian's sshd
	in_mgmt /usr/sbin/sshd -f "$dir/sshd_config" -E "$dir/sshd.log"
	for try in {1..6000}; do
		[[ -s $dir/sshd.pid ]] && return
		sleep 0.05
	done
	echo "the sshd of $1 does not start, $try times asked:" >&2
	cat "$dir/sshd.log" >&2
	return 1
}

sshd_stop() {
	local dir=$LAB_DIR/$1 pid
	for pid in $(pgrep -P "$(<"$dir/sshd.pid")") "$(<"$dir/sshd.pid")"; do
		end_process "$pid"
	done
	rm -f "$dir/sshd.pid"
}

# more_devices and more_wiring print what else is in the inventory.
more_devices() { :; }
more_wiring() { :; }

# lab_inventory prints the inventory of the laboratory.
lab_inventory() {
	local name
	echo "pools: {lab: {ranges: [100-199]}}"
	echo "credentials: {switches: {user: root, key: {file: $LAB_DIR/id_ed25519}}}"
	echo "devices:"
	for name in "${SWITCHES[@]}"; do
		echo "  $name:"
		echo "    platform: openvswitch"
		echo "    domain: lab"
		echo "    connect: ssh://127.0.0.1:$(ssh_port_of "$name")"
		echo "    credentials: switches"
		echo "    host_key: $(cut -d' ' -f1,2 "$LAB_DIR/$name/host_key.pub")"
		[[ -z ${LAB_PACE-} ]] || echo "    pace: {$LAB_PACE}"
	done
	for name in "${HOSTS[@]}"; do
		echo "  $name: {platform: linux}"
	done
	more_devices
	echo "wiring:"
	for name in "${HOSTS[@]}"; do
		echo "  - $name:eth1 -- $(switch_of "$name"):p$(number_of "$name")"
	done
	more_wiring
	echo "trunks: ['sw1:t0 -- sw2:t0']"
}

# lab_stop removes everything that lab_start made, also if that stopped half-way: all
# processes in the namespaces are the laboratory's.
lab_stop() {
	local space
	for space in /run/netns/"$LAB"-*; do
		[[ -e $space ]] || continue
		empty_space "${space##*/}"
		ip netns delete "${space##*/}"
	done
	return 0
}

# empty_space NAMESPACE kills the processes in it.
empty_space() {
	local try pids
	for try in {1..6000}; do
		pids=$(ip netns pids "$1") || return
		[[ -n $pids ]] || return 0
		# shellcheck disable=SC2086
		kill -KILL $pids 2>/dev/null
		sleep 0.05
	done
	echo "namespace $1 is not empty, $try times killed: $pids" >&2
}
