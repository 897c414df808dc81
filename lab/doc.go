// Package lab does the laboratory's work of an activation: it reads an inventory
// (what there is: switches, devices, wiring, pools of VLAN ids) and a topology (what
// somebody wants of it), makes of both, and of the VLAN ids that he was lent, a plan
// (the exact lines for each device, and those that undo them), brings it to the
// devices, reads back whether it is there, and takes it off again.
//
// What makes a plan is pure: equal input gives equal bytes, and any number may be
// made at once. What has an effect keeps, before the first byte goes to a device, all
// that undoing needs to know; so it may be killed at any point and run again.
//
// # What it leaves to others
//
// Which VLAN ids are free is the daemon's affair: here an id is a fact that is given.
// How to speak with a device is package device's.
package lab
