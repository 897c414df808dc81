// Package service knows what a service is: a declaration of processes that always run, its
// instances. A [Declaration] is complete and holds everything a service needs to run; its
// texts are templates, which [Declaration.Instance] fills in for one instance. [Validate] finds
// everything that is wrong with a set of declarations.
// [Declaration.RestartHash] and [Declaration.LiveHash] tell what changes if one declaration
// replaces another.
//
// A [Roster] makes an activation for each instance, changes the number of instances, and carries
// out rolling restarts. It also hands running instances to the checks of package probe.
//
// # Names
//
// A service is shown by the name that its declaration has, such as shop/web. Everywhere else
// its name has an underscore instead of the slash, shop_web: this is its key.
//
// # What it leaves to others
//
// Package config reads declarations from the configuration, package discover reads them from
// .env files, and cmd/activationd looks up users and makes a [Declaration] of what was read.
package service
