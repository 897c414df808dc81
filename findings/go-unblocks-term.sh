#!/usr/bin/env bash
# Go 1.26.8, package runtime, with coreutils 9.1 (env --block-signal).
#
# A supervisor can start a program with signals blocked, so that none arrives before it is
# ready for them. A Go program does not keep all of that mask. The documentation of os/signal
# says that a mask from before the start is generally honoured, and lists the exceptions: signals
# of faults, ILL, TRAP, STKFLT, CHLD, PROF, and some internal ones. Not in that list, but
# unblocked too, are HUP, INT, QUIT, TERM and ABRT. So a TERM that came while it was blocked,
# and was still pending, ends the program before main begins. USR1 and others stay blocked.
#
# Seen (the mask in the first thread of a Go program, and in grep, by /proc):
#   HUP   go: unblocked  grep: blocked
#   INT   go: unblocked  grep: blocked
#   QUIT  go: unblocked  grep: blocked
#   TERM  go: unblocked  grep: blocked
#   ABRT  go: unblocked  grep: blocked
#   USR1  go: blocked  grep: blocked
#   ALRM  go: blocked  grep: blocked
#   TSTP  go: blocked  grep: blocked
#
# Needs Go and coreutils 8.31 or later.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >go.mod <<'MOD'
module mask

go 1.24
MOD

cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	data, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "SigBlk:") {
			fmt.Print(line)
		}
	}
}
GO

go build -o mask .
go doc os/signal | grep -q 'the synchronous signals, SIGILL, SIGTRAP, SIGSTKFLT,'

# blocked LINE says whether a line of /proc/PID/status has a blocked signal.
blocked() { [[ $1 =~ ^SigBlk:[[:space:]]*0+$ ]] && echo unblocked || echo blocked; }

for signal in HUP INT QUIT TERM ABRT USR1 ALRM TSTP; do
	printf '%-5s go: %s  grep: %s\n' "$signal" \
		"$(blocked "$(env --block-signal="$signal" ./mask)")" \
		"$(blocked "$(env --block-signal="$signal" grep ^SigBlk: /proc/self/status)")"
done >seen
cat seen

diff - seen <<'SEEN'
HUP   go: unblocked  grep: blocked
INT   go: unblocked  grep: blocked
QUIT  go: unblocked  grep: blocked
TERM  go: unblocked  grep: blocked
ABRT  go: unblocked  grep: blocked
USR1  go: blocked  grep: blocked
ALRM  go: blocked  grep: blocked
TSTP  go: blocked  grep: blocked
SEEN
