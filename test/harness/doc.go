// Package harness has what tests of several packages need: how much to try, and a
// daemon to try it on.
//
// Only tests import it. It takes no part in the program, so it may do what only main
// packages do elsewhere: read the environment and the flags.
package harness
