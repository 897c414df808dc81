// Package spawn lets a daemon that is an ordinary user start runs as other users. A small
// process of root's, the spawner, does what is privileged: see [supervisor.Privileged]. [Client] is the
// daemon's end, [Server] the spawner's.
//
// # What the spawner believes
//
// It believes [Rules], a file of root's, and nothing that the daemon says. A run begins when the spawner
// takes over its directory: it makes root its owner, so that from then on nobody else changes what is
// in there, checks the specification against the rules, and writes it again. Later requests name the run, and
// the spawner reads all that it needs to know of it from that directory. So a spawner that was killed leaves
// nothing that the next one would need to know, and runs outlive both.
//
// # What it leaves to others
//
// What a run is, package supervisor knows; how it is kept, its wrapper. The spawner does not
// know why anything runs, and keeps nothing but the children that it has not reaped.
package spawn
