#!/usr/bin/env bash
# github.com/segmentio/encoding v0.5.4, package json, with Go 1.26.
#
# It is meant to be used in the place of encoding/json. If a struct has another one embedded
# by pointer, and is itself encoded by pointer, it writes the embedded fields that are empty
# although their tags have omitempty; encoding/json leaves them out. With the struct embedded
# by value both leave them out. It does not know omitzero (Go 1.24), so a time that is zero
# is written. What it writes is valid, and larger.
#
# Seen, for struct { *T } with T { A string `json:"a,omitempty"`; B int `json:"b"` }:
#   by pointer   encoding/json {"b":1}, segmentio {"a":"","b":1}
#   by value     encoding/json {"b":1}, segmentio {"b":1}
#   omitzero     encoding/json {}, segmentio {"t":"0001-01-01T00:00:00Z"}
#
# Needs Go and a proxy of Go modules.
set -euo pipefail

dir=$(mktemp -d)
trap 'chmod -R u+w "$dir" && rm -rf "$dir"' EXIT
cd "$dir"
export GOFLAGS=-mod=mod GOMODCACHE=$dir/mod

cat >go.mod <<'MOD'
module embedded

go 1.24

require (
	github.com/segmentio/asm v1.1.3
	github.com/segmentio/encoding v0.5.4
)
MOD

cat >main.go <<'GO'
package main

import (
	std "encoding/json"
	"fmt"
	"time"

	"github.com/segmentio/encoding/json"
)

type T struct {
	A string `json:"a,omitempty"`
	B int    `json:"b"`
}

type byPointer struct{ *T }

type byValue struct{ T }

type zero struct {
	T time.Time `json:"t,omitzero"`
}

func main() {
	for _, v := range []any{&byPointer{&T{B: 1}}, &byValue{T{B: 1}}, &zero{}} {
		a, err := std.Marshal(v)
		if err != nil {
			panic(err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s %s\n", a, b)
	}
}
GO
go build -o embedded . 2>build.log || { cat build.log && exit 1; }

./embedded | tee seen
diff seen - <<'SEEN'
{"b":1} {"a":"","b":1}
{"b":1} {"b":1}
{} {"t":"0001-01-01T00:00:00Z"}
SEEN
