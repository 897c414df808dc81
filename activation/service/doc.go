// Package service knows what a service is: a declaration of processes that always run, its
// instances. A [Declaration] is complete and holds everything a service needs to run; its
// texts are templates, which [Declaration.Instance] fills in for one instance. [Validate] finds
// everything that is wrong with a set of declarations.
// [Declaration.RestartHash] and [Declaration.LiveHash] tell what changes if one declaration
// replaces another.
//
// # Names
//
// A service is shown by the name that its declaration has, such as shop/web. Everywhere else
// its name has an underscore instead of the slash, shop_web: this is its key.
//
// # What it leaves to others
//
// Where declarations come from (the configuration, and discovered files) is their readers'
// affair: package config reads the configuration, and cmd/activationd looks up users and
// translates.
package service
