#!/usr/bin/env bash
# gopkg.in/yaml.v2 v2.4.0 and go.yaml.in/yaml/v3 v3.0.4, with Go.
#
# A merge key (<<) that stands after a key of the mapping's own: by the YAML 1.1 merge
# key's definition own keys count, whatever their place. v3 does so. v2 lets the later one
# win, so that the same file has another value in it for programs that still use v2, as
# containerlab 0.79 does. With the merge key first, both agree.
#
# Seen, for the value of image:
#   {image: own, <<: *d}   v2 "merged", v3 "own"
#   {<<: *d, image: own}   v2 "own",    v3 "own"
#
# Needs Go and a proxy of Go modules.
set -euo pipefail

dir=$(mktemp -d)
trap 'chmod -R u+w "$dir" && rm -rf "$dir"' EXIT
cd "$dir"
export GOFLAGS=-mod=mod GOMODCACHE=$dir/mod

cat >go.mod <<'MOD'
module merge

go 1.21

require (
	go.yaml.in/yaml/v3 v3.0.4
	gopkg.in/yaml.v2 v2.4.0
)
MOD

cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	v3 "go.yaml.in/yaml/v3"
	v2 "gopkg.in/yaml.v2"
)

func main() {
	text := []byte("d: &d {image: merged}\nn: " + os.Args[1] + "\n")
	var two, three struct{ N struct{ Image string } }
	if err := v2.Unmarshal(text, &two); err != nil {
		panic(err)
	}
	if err := v3.Unmarshal(text, &three); err != nil {
		panic(err)
	}
	fmt.Printf("v2 %q, v3 %q\n", two.N.Image, three.N.Image)
}
GO
go build -o merge . 2>build.log || { cat build.log && exit 1; }

failed=0
expect() { # MAPPING VALUES
	local got
	got=$(./merge "$1")
	echo "$1: $got"
	[[ $got == "$2" ]] || { echo "expected was $2" && failed=1; }
}

expect '{image: own, <<: *d}' 'v2 "merged", v3 "own"'
expect '{<<: *d, image: own}' 'v2 "own", v3 "own"'
exit "$failed"
