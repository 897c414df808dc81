// Package lab does the work that an activation needs on the devices of a laboratory. It
// reads an inventory (the switches, devices, cables and pools of VLAN ids that exist) and a
// topology (the nodes and links that a reservation wants). From both, and from the VLAN ids
// that were leased, it makes a plan: the exact lines for each device, the lines that undo
// them, and the checks that verify both. It sends the plan to the devices, reads back
// whether the devices have it, and undoes it at the end.
//
// Making a plan is pure: equal input gives equal bytes, and any number of plans may be made
// at once. Before the first byte goes to a device, everything that undoing needs is written
// to disk, so the program may be killed at any point and run again.
//
// # The files
//
//   - inventory*.go read the inventory; platform*.go and interface_names.go read how a kind
//     of device works; reader.go has what these readers share.
//   - mapping.go chooses a device for each node, route.go a path over the switches for each
//     link.
//   - plan.go and template.go make the plan, manifest.go writes and reads it, check*.go
//     compare the answers of devices with it.
//   - config*.go know configurations: config_blocks*.go with indented blocks,
//     config_sets*.go with lines of "set", config_menus*.go with the menus of RouterOS,
//     config_commands.go the commands of a shell. config_access.go finds the lines that
//     change how a device is reached.
//   - work.go runs the work on all devices at once: upload.go, verify.go, erase.go and
//     drift.go. access.go and secret.go log in, lock.go lets one program at a time write to
//     a device, logins.go keeps refused passwords from being tried again.
//
// # What it leaves to others
//
// The daemon leases VLAN ids; here they are input. Package device talks with the devices.
package lab
