# shellcheck shell=sh
# What the activate and deactivate scripts share: leases of VLANs, kept as files
# until the VLANstore is there, and an Open vSwitch as the lab's switch. Sourced
# by /bin/sh.
#
# From the daemon: ACTIVATION_ID, ACTIVATION_DEVICES (names, separated by
# spaces), ACTIVATION_CONFIG_DIR.
#
# Settings, from `reservations: environment:` in the daemon's configuration:
#
#   OVS_DB       where the switch's database listens, as ovs-vsctl(8) says it;
#                unset: the machine's own
#   VLAN_LEASES  the directory of leases; default /var/lib/activationd/vlans
#   VLAN_FIRST, VLAN_LAST   the pool; default 100 and 199
#
# The switch knows its wiring: the port that a device is plugged into says so in
# external_ids, and is an access port. Free, it is protected and has no tag, so
# that it reaches nobody; lent, it has the tag and the activation's mark, set and
# cleared with the tag in one transaction:
#
#   ovs-vsctl set Port PORT vlan_mode=access protected=true external_ids:device=NAME
#
# A lease is a file named by the VLAN's number; it holds the activation's id.

: "${ACTIVATION_ID:?is set by activationd}" "${ACTIVATION_CONFIG_DIR:?is set by activationd}"
VLAN_LEASES=${VLAN_LEASES:-/var/lib/activationd/vlans}
VLAN_FIRST=${VLAN_FIRST:-100}
VLAN_LAST=${VLAN_LAST:-199}

fail() {
	echo "$ACTIVATION_ID: $*" >&2
	exit 1
}

case $ACTIVATION_ID in
*[!0-9A-Za-z@._:+-]*) fail "an id with characters that the switch would take for syntax" ;;
esac

# vsctl talks to the switch and waits until it has done what it was told, for a
# bounded time.
vsctl() { ovs-vsctl ${OVS_DB:+"--db=$OVS_DB"} --timeout=20 "$@"; }

# ports_of_devices prints the port of each of the reservation's devices.
ports_of_devices() {
	[ -n "${ACTIVATION_DEVICES:-}" ] || fail "the reservation has no devices"
	for device in $ACTIVATION_DEVICES; do
		port=$(vsctl --bare --columns=name find Port "external_ids:device=\"$device\"")
		[ -n "$port" ] || fail "no port of the switch has external_ids:device=$device"
		echo "$port"
	done
}

# ports_of_activation prints the ports that bear the reservation's mark. No answer
# is a failure and not "none", here and below: hence no pipes.
ports_of_activation() { vsctl --bare --columns=name find Port "external_ids:activation=\"$ACTIVATION_ID\""; }

# upload sends a file of commands as one transaction: all of it or nothing.
upload() {
	file=$1
	set --
	while read -r line; do
		# The file is our own: words separated by spaces, without quoting.
		# shellcheck disable=SC2086
		set -- "$@" -- $line
	done <"$file"
	[ $# -eq 0 ] || vsctl "$@"
}

# mark_of prints whose mark a port bears.
mark_of() {
	mark=$(vsctl --if-exists get Port "$1" external_ids:activation) || return
	mark=${mark#\"}
	echo "${mark%\"}"
}

# expect PORT TAG ID: the switch says so, or this attempt has failed.
expect() {
	tag=$(vsctl get Port "$1" tag) || fail "port $1 could not be read"
	[ "$tag" != '[]' ] || tag=
	mark=$(mark_of "$1") || fail "port $1 could not be read"
	if [ "$tag" != "$2" ] || [ "$mark" != "$3" ]; then
		fail "port $1 has tag '$tag' of '$mark', and should have '$2' of '$3'"
	fi
}

# locked runs a command while no other script looks at the leases. The lock goes
# with the process, so a dead script holds none.
locked() {
	mkdir -p "$VLAN_LEASES"
	(
		flock -w 60 9 || fail "$VLAN_LEASES is locked by somebody else"
		"$@"
	) 9>"$VLAN_LEASES/.lock"
}

# lease prints the reservation's VLAN: the one that it has, or else the lowest
# that nobody has.
lease() { locked lease_locked; }
lease_locked() {
	free=
	vlan=$VLAN_FIRST
	while [ "$vlan" -le "$VLAN_LAST" ]; do
		if [ ! -e "$VLAN_LEASES/$vlan" ]; then
			free=${free:-$vlan}
		elif [ "$(cat "$VLAN_LEASES/$vlan")" = "$ACTIVATION_ID" ]; then
			echo "$vlan"
			return
		fi
		vlan=$((vlan + 1))
	done
	[ -n "$free" ] || fail "every VLAN of $VLAN_FIRST-$VLAN_LAST is lent"
	# Whole or not there: a lease without its holder would never come back.
	echo "$ACTIVATION_ID" >"$VLAN_LEASES/.new"
	sync "$VLAN_LEASES/.new"
	mv "$VLAN_LEASES/.new" "$VLAN_LEASES/$free"
	sync "$VLAN_LEASES"
	echo "$free"
}

# release gives the reservation's VLAN back, if it has one.
release() { locked release_locked; }
release_locked() {
	for file in "$VLAN_LEASES"/[0-9]*; do
		if [ -e "$file" ] && [ "$(cat "$file")" = "$ACTIVATION_ID" ]; then
			rm "$file"
		fi
	done
}
