package main

import "activationd/lab"

// inventory returns the devices of the laboratory that users can have, with their kinds. It
// reads the inventory each time that somebody asks: people do, and it changes. Without an
// inventory it returns nil.
func (d *daemon) inventory() (map[string][]string, error) {
	d.mu.Lock()
	file := d.current.Lab.Inventory
	d.mu.Unlock()
	if file == "" {
		return nil, nil
	}
	inv, err := lab.ReadInventory(file)
	if err != nil {
		return nil, err
	}
	return inv.Kinds()
}
