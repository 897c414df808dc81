#!/usr/bin/env bash
# FRRouting 8.4.4 (Debian 12, 8.4.4-1.1~deb12u2), zebra and vtysh.
#
# In "line vty", "no exec-timeout" does not bring the default of ten minutes back: it
# makes the time-out endless and writes that into the configuration, as
# "exec-timeout 0 0". "no exec-timeout 5 0", the negation of the line that is shown, is
# unknown. The only line that leads back to a configuration without the command is its
# default value, "exec-timeout 10 0". So whoever undoes a configuration by "no LINE"
# leaves sessions that never end.
#
# Seen:
#   exec-timeout 5 0      shown: " exec-timeout 5 0"
#   no exec-timeout 5 0   "% Unknown command", shown: " exec-timeout 5 0"
#   no exec-timeout       shown: " exec-timeout 0 0"
#   exec-timeout 10 0     shown: nothing
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
mkdir -p "$dir/run"
chown frr:frr "$dir/run"
"$dir/root/usr/lib/frr/zebra" -A 127.0.0.1 -i "$dir/run/zebra.pid" -z "$dir/run/zserv.api" --vty_socket "$dir/run" -f /dev/null >"$dir/zebra.log" 2>&1 &
zebra=$!
trap 'kill "$zebra" 2>/dev/null || :' EXIT
for _ in {1..600}; do
	[[ -S $dir/run/zebra.vty ]] && break
	sleep 0.1
done

# gives LINE in "line vty", and prints what of it is shown then.
gives() {
	printf '%s\n' 'configure terminal' 'line vty' "$1" end 'show running-config' |
		"$dir/root/usr/bin/vtysh" --vty_socket "$dir/run" --config_dir "$dir/run" >"$dir/said" 2>&1
	sed -n '/^Current configuration/,$s/^ *\(exec-timeout .*\)/\1/p' "$dir/said"
}

failed=0
expect() { # LINE SHOWN
	local shown
	shown=$(gives "$1")
	echo "$1: shown is \"$shown\""
	[[ $shown == "$2" ]] || { echo "expected was \"$2\"" && failed=1; }
}

expect 'exec-timeout 5 0' 'exec-timeout 5 0'
expect 'no exec-timeout 5 0' 'exec-timeout 5 0'
expect 'no exec-timeout' 'exec-timeout 0 0'
expect 'exec-timeout 10 0' ''
exit "$failed"
