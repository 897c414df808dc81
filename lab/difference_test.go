package lab

import (
	"os"
	"slices"
	"testing"
)

// What a line does follows from the configuration that was there. Secrets are masked, wherever they stand.
func TestDifference(t *testing.T) {
	const before = `hostname c1
interface Gi0/1
 description old
 shutdown
 ip address 10.0.0.1 255.255.255.0
interface Gi0/2
 ip ospf 1 area 0
key chain lab
`
	d := &DevicePlan{Name: "c1", Apply: []string{
		"hostname c1", "interface Gi0/1", " no ip address", " no shutdown", " ip ospf 1 area 0", "interface Gi0/3", " no shutdown",
		"key chain lab", " key 1", "  key-string 7 0822455D0A16", "username ada secret swordfish", "no router bgp 1",
	}}
	for _, tt := range []struct {
		name, before string
		want         []string
	}{
		{"known", before, []string{
			" hostname c1", " interface Gi0/1", "- ip address 10.0.0.1 255.255.255.0", "- shutdown", "+ ip ospf 1 area 0", "+interface Gi0/3", "+ no shutdown",
			" key chain lab", "+ key 1", "+  key-string 7 ***", "+username ada secret ***", "+no router bgp 1",
		}},
		{"not known", "", []string{
			"+hostname c1", "+interface Gi0/1", "+ no ip address", "+ no shutdown", "+ ip ospf 1 area 0", "+interface Gi0/3", "+ no shutdown",
			"+key chain lab", "+ key 1", "+  key-string 7 ***", "+username ada secret ***", "+no router bgp 1",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := writeDifference(dir, d, tt.before); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(dir + "/c1.diff")
			if got := linesOf(data); err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("the difference is %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}
