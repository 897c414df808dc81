# shellcheck shell=bash
# What the demo checks, sourced by bash after lab.sh. See check in ../story.sh.

# reaches FROM TO SECONDS succeeds if an echo request is answered in about that time.
# Each try lasts two seconds, because after three ping counts an unreachable host as an
# answer.
reaches() {
	local until=$((SECONDS + $3))
	until in_host "$1" ping -n -q -c 1 -i 0.2 -w 2 "$(address_of "$2")"; do
		((SECONDS < until)) || return 1
	done >/dev/null 2>&1
}

# look "HOST HOST"... tries all pairs of hosts in both directions, all at once, and sets
# REACHED to a line "FROM TO yes" or "FROM TO no" for each. The arguments are the pairs
# that should reach each other; these get as long as they need.
look() {
	local from to pair seconds
	REACHED=$(
		for from in "${HOSTS[@]}"; do
			for to in "${HOSTS[@]}"; do
				[[ $from == "$to" ]] && continue
				seconds=0
				for pair in "$@"; do
					[[ " $pair " == *" $from "* && " $pair " == *" $to "* ]] && seconds=$PATIENCE
				done
				{ if reaches "$from" "$to" "$seconds"; then echo "$from $to yes"; else echo "$from $to no"; fi; } &
			done
		done
		wait
	)
}

# together HOST HOST succeeds if each reached the other; apart, if neither did.
together() { both "$1" "$2" yes; }
apart() { both "$1" "$2" no; }
both() {
	local lines
	lines=$(grep -E "^($1 $2|$2 $1) " <<<"$REACHED")
	[[ $(grep -c " $3\$" <<<"$lines") -eq 2 ]] || {
		echo "$lines" | tr '\n' ';'
		return 1
	}
}

all_apart() {
	[[ $(wc -l <<<"$REACHED") -eq 12 ]] && none_match ' yes$' <<<"$REACHED"
}

reply_is_good() {
	local first
	read -r first <"$1"
	[[ $first == '200 '* && " $first " == *' rejected=0 '* ]] || {
		echo "${first:-no answer}"
		return 1
	}
}

# show ID FILTER prints details of an activation, filtered by jq.
show() { atctl --json show "$1" | jq -er "$2"; }

# slot_is ID START END checks the slot that the daemon knows, in seconds since 1970.
slot_is() {
	local slot
	slot=$(date -d "$(show "$1" .start)" +%s)-$(date -d "$(show "$1" .end)" +%s)
	[[ $slot == "$2-$3" ]] || {
		echo "the slot of $1 is $slot, announced was $2-$3"
		return 1
	}
}

slots_are_known() { slot_is "$A" "$A_START" "$A_END" && slot_is "$B" "$B_START" "$B_END"; }

in_state() {
	[[ $(show "$1" .state) == "$2" ]] || {
		echo "$1 is $(show "$1" .state)"
		return 1
	}
}

both_in_state() { in_state "$A" "$1" && in_state "$B" "$1"; }

# milliseconds FROM TO prints the time between two RFC 3339 times.
milliseconds() { echo $((($(date -d "$2" +%s%N) - $(date -d "$1" +%s%N)) / 1000000)); }

# in_time FROM TO succeeds if TO came after FROM, and prints how long after. That depends
# on the machine, too, so the check does not judge it.
in_time() {
	local ms
	ms=$(milliseconds "$1" "$2")
	echo "$ms ms after it"
	((ms >= 0))
}

first_attempt() { show "$1" "[.attempts[] | select(.phase == \"$2\")][0].started"; }
began_on_time() { in_time "$(show "$1" .start)" "$(first_attempt "$1" activate)"; }
ended_on_time() { in_time "$(show "$1" .end)" "$(first_attempt "$1" deactivate)"; }

succeeded() {
	local how
	how=$(show "$1" '"\(.state) \(.outcome) \([.attempts[] | "\(.phase) \(.n) \(.exit)"] | join(", "))"')
	[[ $how == 'finished succeeded activate 1 0, deactivate 1 0' ]] || {
		echo "$how"
		return 1
	}
}

tag_of() { vsctl "$(switch_of "$1")" get Port "p$(number_of "$1")" tag; }

# lease_of ID prints the only VLAN of an activation.
lease_of() {
	atctl --json vlan list | jq -ser --arg id "$1" '[.[] | select(.holder == $id and .state == "leased") | .id] | if length == 1 then .[0] else error(tostring) end'
}

different_vlans() {
	local a b switch
	a=$(lease_of "$A") || return
	b=$(lease_of "$B") || return
	echo "$a and $b"
	[[ $a != "$b" && $(tag_of "${A_HOSTS[0]}") == "$a" && $(tag_of "${A_HOSTS[1]}") == "$a" &&
		$(tag_of "${B_HOSTS[0]}") == "$b" && $(tag_of "${B_HOSTS[1]}") == "$b" ]] || return
	for switch in "${SWITCHES[@]}"; do
		[[ $(vsctl "$switch" get Port t0 trunks) == "[$(printf '%s\n' "$a" "$b" | sort -n | paste -s -d , | sed 's/,/, /g'), 4095]" ]] || {
			vsctl "$switch" get Port t0 trunks
			return 1
		}
	done
}

no_drift() {
	ACTIVATIOND_SOCKET=$DIR/run/control.sock in_mgmt "$BIN/atctl" lab drift --inventory "$DIR/inventory.yaml" >"$DIR/drift" 2>&1 || {
		cat "$DIR/drift"
		return 1
	}
}

leftover_counted() {
	[[ $(show "$1" '[.attempts[] | select(.phase == "activate").leftovers] | add') -ge 1 ]]
}

# switches prints the configuration of the switches that decides where frames go.
switches() {
	local switch
	for switch in "${SWITCHES[@]}"; do
		vsctl "$switch" --columns=_uuid,name,interfaces,tag,trunks,vlan_mode,protected,external_ids,other_config,qos list Port
		vsctl "$switch" --columns=_uuid,name,ports,mirrors,flood_vlans,external_ids,other_config list Bridge
	done
}

switches_are() { switches | diff "$1" -; }

no_leases() {
	local leases
	leases=$(atctl --json vlan list) || return
	none_match . <<<"$leases"
}
