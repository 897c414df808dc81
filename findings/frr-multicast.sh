#!/usr/bin/env bash
# FRRouting 8.4.4 (Debian 12, 8.4.4-1.1~deb12u2), zebra and vtysh.
#
# An interface's "multicast" has three states: on, off, and whatever the kernel has, which
# is the first one and is not shown. No command leads back to it. "no multicast" is not the
# opposite of having said "multicast", but the second state, and is shown; after that
# "multicast" is shown for ever. So a configuration that had neither line can't be brought
# back after either was given, but by a restart.
#
# Seen:
#   multicast      shown: " multicast"
#   no multicast   shown: " no multicast"
#   multicast      shown: " multicast"
#
# Needs root on Debian 12 (amd64): zebra runs in a network and a mount namespace of its
# own, from packages that are unpacked into a folder for the time being.
set -euo pipefail

if [[ ${1-} != inside ]]; then
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	chmod 755 "$dir"
	(cd "$dir" && apt-get -q -o APT::Sandbox::User=root download frr=8.4.4-1.1~deb12u2 libyang2=2.1.30-2 libjson-c5=0.16-2 libc-ares2 >/dev/null)
	for package in "$dir"/*.deb; do dpkg -x "$package" "$dir/root"; done
	unshare --net --mount --pid --fork --kill-child "$0" inside "$dir"
	exit
fi

dir=$2
lib=$dir/root/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$lib:$lib/frr
# The package's installation makes these users; here they are for this namespace alone.
printf 'root:x:0:0:root:/root:/bin/sh\nfrr:x:990:990::/:/bin/false\n' >"$dir/passwd"
printf 'root:x:0:\nfrr:x:990:\nfrrvty:x:991:frr\n' >"$dir/group"
mount --bind "$dir/passwd" /etc/passwd
mount --bind "$dir/group" /etc/group
ip link add lab0 type veth peer name lab1
mkdir -p "$dir/run"
chown frr:frr "$dir/run"
"$dir/root/usr/lib/frr/zebra" -A 127.0.0.1 -i "$dir/run/zebra.pid" -z "$dir/run/zserv.api" --vty_socket "$dir/run" -f /dev/null >"$dir/zebra.log" 2>&1 &
zebra=$!
trap 'kill "$zebra" 2>/dev/null || :' EXIT
for _ in {1..600}; do
	[[ -S $dir/run/zebra.vty ]] && break
	sleep 0.1
done

# gives LINE in the interface, and prints what of it is shown then.
gives() {
	printf '%s\n' 'configure terminal' 'interface lab0' "$1" end 'show running-config' |
		"$dir/root/usr/bin/vtysh" --vty_socket "$dir/run" --config_dir "$dir/run" >"$dir/said" 2>&1
	sed -n '/^Current configuration/,$s/^ *\(\(no \)\?multicast\)$/\1/p' "$dir/said"
}

failed=0
expect() { # LINE SHOWN
	local shown
	shown=$(gives "$1")
	echo "$1: shown is \"$shown\""
	[[ $shown == "$2" ]] || { echo "expected was \"$2\"" && failed=1; }
}

expect 'description untouched' ''
expect multicast multicast
expect 'no multicast' 'no multicast'
expect multicast multicast
exit "$failed"
