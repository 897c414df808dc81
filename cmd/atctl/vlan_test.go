package main

import (
	"fmt"
	"strings"
	"testing"

	"activationd/control"
)

// FuzzWant tries any argument of vlan alloc: if it is accepted, its parts make the same
// argument again.
func FuzzWant(f *testing.F) {
	for _, s := range []string{"ostrava:r1:eth1 -- r2:eth1", "ostrava/150:x", "ostrava/0:x", "a/:x", ":", "/1:x", "a:", "a/1/2:x", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		var in control.VLANAllocIn
		if err := addWant(&in, arg); err != nil {
			if len(in.Link)+len(in.Domain)+len(in.ID) > 0 {
				t.Errorf("%q: %v, but %+v", arg, err, in)
			}
			return
		}
		if len(in.Link) != 1 || len(in.Domain) != 1 || len(in.ID) != 1 || in.Link[0] == "" || in.Domain[0] == "" || strings.ContainsAny(in.Domain[0], ":/") {
			t.Fatalf("%q is %+v", arg, in)
		}
		again := fmt.Sprintf("%s/%s:%s", in.Domain[0], in.ID[0], in.Link[0])
		if again != arg && strings.Replace(again, "/0:", ":", 1) != arg {
			t.Errorf("%q is %q", arg, again)
		}
	})
}
