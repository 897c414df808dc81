#compdef atctl activationd

# Runs atctl, or what stands in its place, with the words as they were typed: nothing of
# the line is carried out.
_atctl_atctl() {
	local reply directive line
	local -a lines values shown expl
	local -i first widest=0 described=0
	reply=$("${${(Q)words[1]}/#\~\//$HOME/}" __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null) || return
	lines=("${(@f)reply}")
	directive=${lines[-1]#:}
	lines=("${(@)lines[1,-2]}")
	if (( directive & 64 )); then
		(( first = CURRENT - lines[1] + 1, CURRENT = lines[1] ))
		words=("${(@)words[first,-1]}")
		_normal
		return
	fi
	[[ $PREFIX != -*=* ]] || compset -P 1 '*='
	for line in "${(@)lines}"; do
		values+=("${line%%$'\t'*}")
		(( ${#values[-1]} <= widest )) || widest=${#values[-1]}
		[[ $line != *$'\t'* ]] || described=1
	done
	if (( ${#values} )); then
		for line in "${(@)lines}"; do
			line="${(r:widest:)line%%$'\t'*}${${(M)line%$'\t'*}:+  -- ${line#*$'\t'}}"
			shown+=("${line[1,COLUMNS-1]}")
		done
		local -a how
		(( ! described )) || how=(-l -d shown)
		(( ! (directive & 2) )) || how+=(-S '')
		_wanted -V values expl value compadd "${(@)how}" -a values
		return
	fi
	if (( directive & 16 )); then
		_files -/
	elif (( directive & 8 )); then
		_files
	fi
}

_atctl_activationd() {
	_arguments \
		'--config=[read the configuration from a file]:file:_files' \
		'--state-dir=[keep state and logs in a directory]:directory:_files -/' \
		'--runtime-dir=[keep the control socket in a directory]:directory:_files -/' \
		'*--listen=[also answer on TCP]:host and port: ' \
		'--atwrap=[the program of the wrapper]:file:_files' \
		'--spawn=[the socket of the spawner]:file:_files' \
		'--drain[when asked to stop, wait for running scripts]' \
		'--check-config[check the configuration and the reservations, and exit]' \
		'--sql[with --check-config, check the sources that are databases, too]' \
		'--strict[with --check-config, notices are faults]' \
		'(- *)--schema=[print a JSON Schema and exit]:schema:(config reservations)' \
		'(- *)--version[print the version and exit]' \
		'(- *)--help[print the help and exit]'
}

_atctl() {
	_atctl_${service:-atctl}
}

if [[ $funcstack[1] == _atctl ]]; then # loaded as a function, for its first use
	_atctl
else # read by source
	compdef _atctl atctl activationd
fi
