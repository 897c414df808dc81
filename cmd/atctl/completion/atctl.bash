# bash completion for atctl, activationd, at, atq, atrm and batch   -*- shell-script -*-

# The words before the cursor, as they were typed, into the array words. Readline divides
# the line at characters such as @ and =, too; the array begins has, for each word, the index
# of its first part in COMP_WORDS. $1 is what readline replaces; the variable before is what
# the last word has before it.
_atctl_words() {
	local i part blanks rest=${COMP_LINE:0:COMP_POINT}
	words=() begins=()
	for ((i = 0; i <= COMP_CWORD; i++)); do
		blanks=${rest%%[![:blank:]]*}
		rest=${rest#"$blanks"}
		part=${COMP_WORDS[i]}
		[[ $rest == "$part"* ]] || part=$rest # the cursor is inside
		rest=${rest#"$part"}
		if [[ $i -eq 0 || $blanks ]]; then
			words+=("$part") begins+=("$i")
		else
			words[-1]+=$part
		fi
	done
	before=${words[-1]%"$1"}
	[[ $before != -*=* ]] || before=${before#*=} # completions are values of the flag
}

# Offers the lines of $1, each a completion and, behind a tab, its description. Readline
# prints descriptions if there are several completions.
_atctl_offer() {
	local line value about tab=$'\t' widest=0 values=() abouts=()
	while IFS= read -r line; do
		[[ $line ]] || continue
		value=${line%%"$tab"*} about=
		[[ $line != *"$tab"* ]] || about=${line#*"$tab"}
		value=${value#"$before"}
		values+=("$value") abouts+=("$about")
		((${#value} <= widest)) || widest=${#value}
	done <<<"$1"
	local i width=${COLUMNS:-80} plain=
	local room=$((width - widest - 4))
	((${#values[@]} > 1 && room > 8)) || plain=yes
	[[ ${COMP_TYPE:-9} != 37 && ${COMP_TYPE:-9} != 42 ]] || plain=yes # they are inserted
	for i in "${!values[@]}"; do
		value=${values[i]} about=${abouts[i]}
		if [[ $plain ]]; then
			[[ $value == +([[:alnum:]_@%+=:,./-]) ]] || printf -v value %q "$value"
		elif [[ $about ]]; then
			((${#about} <= room)) || about=${about:0:room-1}…
			printf -v value '%-*s  (%s)' "$widest" "$value" "$about"
			printf -v value '%-*s' $((width / 2)) "$value" # not two in a line
		fi
		COMPREPLY+=("$value")
	done
	compopt -o nosort 2>/dev/null # older ones sort
}

# Runs atctl, or what stands in its place, with the words as they were typed: nothing of
# the line is carried out.
_atctl() {
	local words begins before reply directive program=$1
	COMPREPLY=()
	_atctl_words "$2"
	[[ $program != \~/* ]] || program=$HOME/${program:2}
	reply=$("$program" __complete_typed "${words[@]:1}" 2>/dev/null) || return
	directive=${reply##*:} reply=${reply%:*}
	if ((directive & 64)); then
		local first=${begins[${#words[@]}-reply]}
		if declare -F _comp_command_offset >/dev/null; then
			_comp_command_offset "$first"
		elif declare -F _command_offset >/dev/null; then
			_command_offset "$first"
		elif ((reply == 1)); then
			mapfile -t COMPREPLY < <(compgen -c -- "${words[-1]}")
		else
			compopt -o default
		fi
		return
	fi
	((!(directive & 2))) || compopt -o nospace
	((!(directive & 16))) || compopt -o dirnames
	((!(directive & 8))) || compopt -o default
	_atctl_offer "$reply"
}

_atctl_activationd() {
	COMPREPLY=()
	local words begins before
	_atctl_words "$2"
	local word=${words[-1]} flag=${words[-2]}
	[[ $word != --*=* ]] || flag=${word%%=*} word=${word#*=}
	case $flag in
	--config | --atwrap | --spawn) compopt -o default ;;
	--state-dir | --runtime-dir) compopt -o dirnames ;;
	--listen) ;;
	--schema) mapfile -t COMPREPLY < <(compgen -W 'config reservations' -- "$word") ;;
	*) mapfile -t COMPREPLY < <(compgen -W '--config --state-dir --runtime-dir --listen --atwrap --spawn --drain
		--check-config --sql --strict --schema --version --help' -- "$word") ;;
	esac
}

# The jobs that atq lists, with their times.
_atctl_at_jobs() {
	local number rest
	while IFS=$'\t' read -r number rest; do
		[[ $number != "$1"* ]] || printf '%s\t%s\n' "$number" "$rest"
	done < <(timeout 1 atq 2>/dev/null)
}

_atctl_at() {
	COMPREPLY=()
	local words begins before word
	_atctl_words "$2"
	word=${words[-1]}
	case $1:${words[-2]} in
	*atq:-q | *at:-q) mapfile -t COMPREPLY < <(compgen -W '{a..z} {A..Z}' -- "$word") ;;
	*at:-f) compopt -o default ;;
	*at:-u) mapfile -t COMPREPLY < <(compgen -u -- "$word") ;;
	*at:-t | *:-o | *batch:*) ;;
	*atq:* | *atrm:* | *at:-[crdl]) _atctl_offer "$(_atctl_at_jobs "$word")" ;;
	*)
		local choices='now noon midnight teatime today tomorrow monday tuesday wednesday thursday friday saturday sunday'
		[[ $word != -* ]] || choices='-V -q -f -u -m -M -l -b -v -t -c -d -r -o'
		mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
		;;
	esac
}

complete -F _atctl atctl
complete -F _atctl_activationd activationd
complete -F _atctl_at at atq atrm batch
