// Package metrics shows what the daemon does in the form of Prometheus.
//
// Most metrics are read when somebody asks for them: a [Reading] is what the daemon's parts say
// of themselves, and the table families says what becomes of it. So a queue or a service that is
// deleted takes its series along, and what the store counts goes on after a restart. What nobody
// keeps, such as how late scripts start, a [Recorder] counts as it happens, since the daemon was
// started.
//
// No label has an id, an owner or a command. Names that somebody chose, of queues and services
// for example, are labels as long as there are at most [MaxNames] of a kind.
package metrics
