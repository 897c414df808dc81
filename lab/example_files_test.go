package lab

import (
	"path/filepath"
	"testing"

	"activationd/topology"
)

// TestExamples reads the files that come with the program.
func TestExamples(t *testing.T) {
	inventories, _ := filepath.Glob("../examples/labs/inventory.yaml")
	topologies, _ := filepath.Glob("../examples/labs/*.clab.yml")
	if len(inventories) == 0 || len(topologies) < 3 {
		t.Fatalf("there are %d inventories and %d topologies", len(inventories), len(topologies))
	}
	for _, name := range inventories {
		if _, err := ReadInventory(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range topologies {
		topo, err := topology.Read(name)
		if err != nil {
			t.Error(err)
			continue
		}
		t.Log(topo.Name, len(topo.Nodes), len(topo.Links), topo.Notices)
	}
}
