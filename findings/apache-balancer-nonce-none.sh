#!/usr/bin/env bash
# Apache 2.4.71 (Debian 12, 2.4.71-1~deb12u1), mod_proxy_balancer.
#
# A balancer whose nonce is "None", which stands for "no nonce is asked for", cannot be
# changed by balancer-manager any more: the form that the manager's own page sends (with its
# Referer, and its empty nonce field) is answered with 200 and the page, and nothing changes.
# Nothing is logged about it at level info. With a nonce of one's own, as ProxySet
# nonce=WORD, the same form takes the member out. So a program that drains members and checks
# the status of the reply only does nothing.
#
# Seen, status of the member after a form that disables it:
#   nonce=None    "Init Ok"
#   nonce=fixed   "Init Dis"
#
# Needs Debian 12 (amd64) and curl; the packages are unpacked into a folder for the time being.
set -euo pipefail

dir=$(mktemp -d)
httpd=
trap '[[ -z $httpd ]] || kill "$httpd" 2>/dev/null || :; wait; rm -rf "$dir"' EXIT
(cd "$dir" && apt-get -q -o APT::Sandbox::User=root download apache2-bin=2.4.71-1~deb12u1 libapr1 libaprutil1 libjansson4 liblua5.3-0 >/dev/null)
for package in "$dir"/*.deb; do dpkg -x "$package" "$dir/root"; done
export LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu
port=$((20000 + $$ % 10000))

failed=0
expect() { # NONCE STATUS
	local page got
	cat >"$dir/httpd.conf" <<CONF
ServerName localhost
ServerRoot $dir
PidFile $dir/pid
Mutex sem
ErrorLog $dir/log
LogLevel info
Listen 127.0.0.1:$port
$(for m in mpm_event authz_core proxy proxy_http proxy_balancer lbmethod_byrequests slotmem_shm status; do
		echo "LoadModule ${m}_module $dir/root/usr/lib/apache2/modules/mod_$m.so"
	done)
DefaultRuntimeDir $dir
<Proxy balancer://web>
	BalancerMember http://127.0.0.1:1
	ProxySet nonce=$1
</Proxy>
<Location /manager>
	SetHandler balancer-manager
</Location>
CONF
	"$dir/root/usr/sbin/apache2" -f "$dir/httpd.conf" -DFOREGROUND >"$dir/out" 2>&1 &
	httpd=$!
	page=http://127.0.0.1:$port/manager
	for _ in {1..200}; do
		curl -s -o "$dir/page" "$page" && break
		sleep 0.1
	done
	local nonce=$1
	[[ $nonce != None ]] || nonce=
	curl -s -o "$dir/page" -H "Referer: $page" -d "w_status_D=1&w=http://127.0.0.1:1&b=web&nonce=$nonce" "$page"
	curl -s -o "$dir/page" "$page"
	got=$(grep -o 'Init [A-Z][a-z]*' "$dir/page" | head -1)
	kill "$httpd"
	wait "$httpd" || :
	httpd=
	echo "nonce=$1: the member is \"$got\""
	[[ $got == "$2" ]] || { echo "expected was \"$2\"" && failed=1; }
}

expect None 'Init Ok'
expect fixed 'Init Dis'
exit "$failed"
