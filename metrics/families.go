package metrics

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A family is a metric that a [Reading] has. Read calls emit for each series, with the values of
// the labels.
type family struct {
	name, help string
	counter    bool
	labels     []string
	read       func(r *Reading, emit emitter)
}

// An emitter adds a series.
type emitter func(value float64, labels ...string)

// byKey emits what a map has, by its key.
func byKey[V int | int64 | uint64](m map[string]V, emit emitter, before ...string) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		emit(float64(m[key]), append(slices.Clone(before), key)...)
	}
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func seconds(d time.Duration) float64 { return max(0, d.Seconds()) }

// A state is one value of the label state.
type state struct {
	word string
	n    int64
}

func states(emit emitter, name string, all ...state) {
	for _, s := range all {
		emit(float64(s.n), name, s.word)
	}
}

// families are all metrics that are read.
var families = []family{
	{"activations", "Activations that the daemon knows, by state.", false, []string{"state"},
		func(r *Reading, emit emitter) { byKey(r.States, emit) }},
	{"attempts_running", "Attempts whose script runs now, or is about to.", false, nil,
		func(r *Reading, emit emitter) { emit(float64(r.Running)) }},
	{"attempts_unverified", "Attempts whose script has ended while a process of it cannot be killed.", false, nil,
		func(r *Reading, emit emitter) { emit(float64(r.Unverified)) }},
	{"conflicting_reservations", "Reservations that cannot have what they want, as others have it.", false, nil,
		func(r *Reading, emit emitter) { emit(float64(r.Conflicting)) }},
	{"overdue_seconds", "How late the daemon is with the next thing that it has to do; 0 if it is on time.", false, nil,
		func(r *Reading, emit emitter) { emit(seconds(r.Overdue)) }},
	{"waiting_seconds", "How long activations that are first in a queue for a lock, a device or a slot have waited at most.", false, nil,
		func(r *Reading, emit emitter) { emit(seconds(r.Waits)) }},
	{"locks_waiting", "Places in the queues for locks, devices and slots that activations have.", false, nil,
		func(r *Reading, emit emitter) { emit(float64(r.Queued)) }},
	{"generation", "How many loads of sources and configuration have been applied.", false, nil,
		func(r *Reading, emit emitter) { emit(float64(r.Generation)) }},
	{"events_total", "Events that have been recorded.", true, nil,
		func(r *Reading, emit emitter) { emit(float64(r.Events)) }},
	{"draining", "1 while the daemon is being drained.", false, nil,
		func(r *Reading, emit emitter) { emit(truth(r.Draining)) }},
	{"clock_in_doubt", "1 while the machine's clock is not trusted.", false, nil,
		func(r *Reading, emit emitter) { emit(truth(r.InDoubt)) }},
	{"logins_refused", "Logins that devices have refused, and that are not tried again.", false, nil,
		func(r *Reading, emit emitter) { emit(float64(r.Logins)) }},
	{"paused", "Pauses that are in force, by what is paused.", false, []string{"what"},
		func(r *Reading, emit emitter) { byKey(r.Pauses, emit) }},

	{"source_reservations", "Reservations that a source has in force.", false, []string{"source"},
		func(r *Reading, emit emitter) {
			for _, s := range r.Sources {
				emit(float64(s.Live), s.Name)
			}
		}},
	{"source_rejected", "Reservations of a source that were rejected by the last load.", false, []string{"source"},
		func(r *Reading, emit emitter) {
			for _, s := range r.Sources {
				emit(float64(s.Rejected), s.Name)
			}
		}},
	{"source_failing", "1 if the last attempt to read a source failed.", false, []string{"source"},
		func(r *Reading, emit emitter) {
			for _, s := range r.Sources {
				emit(truth(s.Failing), s.Name)
			}
		}},
	{"source_last_success_timestamp_seconds", "When a source was last read, in seconds since 1970.", false, []string{"source"},
		func(r *Reading, emit emitter) {
			for _, s := range r.Sources {
				if !s.Read.IsZero() {
					emit(float64(s.Read.UnixMilli())/1000, s.Name)
				}
			}
		}},

	{"reload_total", "How often a source was read since the daemon was started.", true, []string{"source", "result"},
		func(r *Reading, emit emitter) {
			for _, s := range r.Sources {
				byKey(s.Loads, emit, s.Name)
			}
		}},

	{"vlans", "VLAN ids of a pool, by state.", false, []string{"pool", "state"},
		func(r *Reading, emit emitter) {
			for _, v := range r.VLANs {
				states(emit, v.Pool, state{"free", int64(v.Free)}, state{"leased", int64(v.Leased)}, state{"quarantined", int64(v.Quarantined)})
			}
		}},

	{"service_instances", "Instances of a service, by state.", false, []string{"service", "state"},
		func(r *Reading, emit emitter) {
			for _, s := range r.Services {
				byKey(s.States, emit, s.Name)
			}
		}},

	{"queue_messages", "Messages of a queue, by state.", false, []string{"queue", "state"},
		func(r *Reading, emit emitter) {
			for _, q := range r.Queues {
				states(emit, q.Name, state{"dead", q.Dead}, state{"delayed", q.Delayed}, state{"ready", q.Ready}, state{"work", q.Work})
			}
		}},
	{"queue_bytes", "Size of the messages of a queue that are not over.", false, []string{"queue"},
		func(r *Reading, emit emitter) {
			for _, q := range r.Queues {
				emit(float64(q.Bytes), q.Name)
			}
		}},
	{"queue_oldest_seconds", "For how long the oldest message of a queue that is ready or in work has been there.", false, []string{"queue"},
		func(r *Reading, emit emitter) {
			for _, q := range r.Queues {
				emit(seconds(q.Oldest), q.Name)
			}
		}},
	{"queue_processes", "Processes of listeners that serve a queue now.", false, []string{"queue"},
		func(r *Reading, emit emitter) {
			for _, q := range r.Queues {
				emit(float64(q.Processes), q.Name)
			}
		}},
	{"queue_paused", "1 while a queue is paused.", false, []string{"queue"},
		func(r *Reading, emit emitter) {
			for _, q := range r.Queues {
				emit(truth(q.Paused), q.Name)
			}
		}},
	{"queue_served", "1 if a listener serves a queue.", false, []string{"queue"},
		func(r *Reading, emit emitter) {
			for _, q := range r.Queues {
				emit(truth(q.Served), q.Name)
			}
		}},
	{"queue_pushed_total", "Messages that were pushed into a queue.", true, []string{"queue"},
		func(r *Reading, emit emitter) {
			for _, q := range r.Queues {
				emit(float64(q.Pushed), q.Name)
			}
		}},
	{"queue_deliveries_total", "What became of messages of a queue; again is each delivery that failed and is followed by another.", true, []string{"queue", "result"},
		func(r *Reading, emit emitter) {
			for _, q := range r.Queues {
				byKey(q.Deliveries, emit, q.Name)
			}
		}},

	{"hook_pending", "Events that wait to be delivered to a hook.", false, []string{"hook"},
		func(r *Reading, emit emitter) {
			for _, h := range r.Hooks {
				emit(float64(h.Pending), h.Name)
			}
		}},
	{"hook_dead", "Events that could not be delivered to a hook and are not tried again.", false, []string{"hook"},
		func(r *Reading, emit emitter) {
			for _, h := range r.Hooks {
				emit(float64(h.Dead), h.Name)
			}
		}},
	{"hook_deliveries_total", "Events that were delivered to a hook.", true, []string{"hook"},
		func(r *Reading, emit emitter) {
			for _, h := range r.Hooks {
				emit(float64(h.Delivered), h.Name)
			}
		}},
	{"hook_failures_total", "Deliveries to a hook that failed.", true, []string{"hook"},
		func(r *Reading, emit emitter) {
			for _, h := range r.Hooks {
				emit(float64(h.Failed), h.Name)
			}
		}},

	{"store_bytes", "Size of the file of a store.", false, []string{"store"},
		func(r *Reading, emit emitter) { byKey(r.Stores, emit) }},
	{"store_reads_total", "Values that were read from a store.", true, []string{"store"},
		func(r *Reading, emit emitter) { byKey(r.Reads, emit) }},
	{"disk_free_bytes", "Space on the file system of a directory that is free for the daemon.", false, []string{"directory"},
		func(r *Reading, emit emitter) {
			for _, d := range r.Disks {
				emit(float64(d.Free), d.Directory)
			}
		}},
	{"disk_size_bytes", "Size of the file system of a directory.", false, []string{"directory"},
		func(r *Reading, emit emitter) {
			for _, d := range r.Disks {
				emit(float64(d.Size), d.Directory)
			}
		}},
	{"disk_free_inodes", "Inodes on the file system of a directory that are free; absent if it does not limit them.", false, []string{"directory"},
		func(r *Reading, emit emitter) {
			for _, d := range r.Disks {
				if d.AllInodes > 0 {
					emit(float64(d.Inodes), d.Directory)
				}
			}
		}},
	{"unreadable", "1 for a part of the daemon whose metrics are missing, as it could not be read.", false, []string{"part"},
		func(r *Reading, emit emitter) {
			for _, part := range r.Failed {
				emit(1, part)
			}
		}},
}

// desc is a family's description for the library.
func (f *family) desc() *prometheus.Desc {
	return prometheus.NewDesc(prefix+f.name, f.help, f.labels, nil)
}

// names are the labels whose values somebody chose.
var names = map[string]bool{"queue": true, "service": true, "source": true, "pool": true, "hook": true}
