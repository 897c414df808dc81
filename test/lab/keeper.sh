#!/usr/bin/env bash
# Keeps a laboratory for a test. It makes the laboratory and runs the shell commands
# that it reads, one a line, from its standard input. Its answer to each is a line: the
# status, and the output in Base64. When the input ends, however the test ended, it
# removes everything.
#
#   keeper.sh NAME DIRECTORY
set -uo pipefail
cd "$(dirname "$0")" || exit
trap : INT TERM HUP # not '': what is started here would ignore them too
LAB=$1 LAB_DIR=$2

# shellcheck source=../../scripts/demo/lab.sh
. ../../scripts/demo/lab.sh
# shellcheck source=routers.sh
. ./routers.sh

while IFS= read -r command; do
	(
		set -e
		eval "$command"
	) >"$LAB_DIR/said" 2>&1 </dev/null
	printf '%s %s\n' $? "$(base64 -w 0 <"$LAB_DIR/said")"
done
lab_stop
rm -rf "$LAB_DIR"
