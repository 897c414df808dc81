// Package wrapper is both sides of a run's wrapper process, cmd/atwrap: the wrapper itself,
// and the forms of the files in the run directory, by which the wrapper and the daemon
// communicate.
//
// The wrapper is the parent of one script. It prepares the script's
// configuration directory, cgroup and output, and starts the script, at a given time
// if there is one. It ends the script when its time is up or when it is asked to, kills
// all processes that the script leaves, and writes down how the script ended. The wrapper
// outlives the daemon and needs nothing from it once it runs: a file says what to do, and
// files report what was done.
//
// # The run directory
//
// The files, in the order in which they are made:
//
//   - lock, by the daemon, which takes the lock and hands it over to the wrapper. So the
//     lock is held from before the wrapper's start until its exit, without a gap;
//   - spec, stdin, topology and log, by the daemon;
//   - the content of lock: the wrapper's process id;
//   - started, made before the script starts and filled after: if it is missing, no
//     script ran;
//   - log.0, log.1 and so on, and log.new, see below;
//   - notify, if the script has reported something, see below;
//   - config, the last state of the configuration directory;
//   - unread, if there is something to be put into it, see below;
//   - result.
//
// All forms carry a version, and a reader refuses a form or a key that
// it does not know. Room on the disk for the result is reserved before the script
// starts, so a disk that is full at the script's end does not make the run a lost one.
// If even that fails, the wrapper tries for a minute to write the result.
//
// # Which process is which
//
// A process id can be used again. So a file here that names a process also has the time on
// CLOCK_BOOTTIME at which it was written: a process with that id that began later is
// another one. Scripts carry a mark of their run in the variable
// ACTIVATION_RUN, which their children inherit. By this mark a
// daemon finds them if the wrapper is killed.
//
// # The end of a run
//
// At the timeout, or when StopSignal arrives, the script's process group gets
// TERM (and CONT, for stopped processes), and has the grace period to end, even
// if the leader ends first. Each EXTEND_TIMEOUT_USEC= that comes during this period extends
// it to that time from then, by [MaxExtend] at most in all. After that, or when the script ends by itself, the group
// is killed. This happens while the leader, dead or alive, still keeps the group's id from
// being used again. Processes that have left the group are killed in the run's cgroup, or
// found as children of the wrapper, which is the subreaper of all of them: when wait says
// that there are no children, there are no descendants. Processes that fork faster
// than they can be killed are stopped first. Leftovers get no grace, because they were not
// meant to be there. A process that cannot be killed
// within ten seconds, because it sleeps in the kernel, is named in the result. Then
// the end is not verified, and the daemon waits until that process is gone.
//
// A process that is made in a frozen cgroup does not reach its exec, and its
// parent sleeps until it does. So the wrapper waits until the cgroup is thawed, while
// timeout and stop stay in force. If the cgroup is frozen at just the wrong moment, the
// daemon kills the child, and the wrapper reports that the script never ran.
//
// The wrapper itself ignores TERM, INT, HUP and QUIT. All processes get them
// when the machine goes down; they end the script, and the wrapper reports that.
//
// # The output
//
// The script writes into a pipe. The wrapper writes the beginning of the output to
// log, and the rest to files of the tail's size, log.0, log.1 and so on, of
// which it keeps the last two. At the end it appends their newest part to log, after a
// line that says how much is missing. A kill -9 of the wrapper does not lose what has been
// written; the daemon joins the files then. If the specification asks for it, the log is
// rotated instead: log has the newest output, log.1 and so on have older output, and
// nothing is left to be done at the end. A full disk
// costs output, never the script. If leftovers are kept, the wrapper leaves a shell behind
// that empties the pipe as long as a process can write to it: one more mebibyte goes to the
// log, the rest is discarded.
//
// # Notifications
//
// If [Spec.Notify] is set, the script finds a socket in NOTIFY_SOCKET and reports there by
// the protocol of sd_notify(3): READY=1, RELOADING=1, STOPPING=1, STATUS=,
// EXTEND_TIMEOUT_USEC=, WATCHDOG=1 and WATCHDOG=trigger. The wrapper owns the socket, so nothing is lost while no daemon
// runs. It replaces the file notify after each change, at most ten times a second, and the
// daemon learns that from the kernel.
//
// A message counts if its sender is a descendant of the wrapper or a member of the
// run's cgroup; the kernel says which process the sender is. All others are refused and
// counted. A sender that has ended when its message is received is believed only if it was
// the script's user's or root's: such a process could end the script anyway. A message
// of more than 4096 bytes is ignored, and descriptors that come with a message are closed.
//
// # Sockets
//
// Listening sockets that [Spec.Listen] names come from the supervisor as the descriptors from
// [FirstSocket] on. The script gets them as the descriptors from 3 on, by the protocol of
// sd_listen_fds(3). The wrapper keeps its own descriptors open and never uses them. So a
// daemon that was restarted can take a socket back from the wrapper, and give it to the next
// run before this one ends.
//
// # Streams
//
// If [Spec.Stream] is set, the script's standard input and output are pipes whose other ends the
// daemon has. The wrapper gets four descriptors from the supervisor, after the listening sockets: see
// [Spec.StreamFD]. It gives the script's two ends to the script and closes its own copies. So when the
// script's processes are gone, the daemon sees that. The wrapper keeps the daemon's two ends open and never
// uses them while the script runs. So a script whose daemon has ended finds no end of its input, and its
// output waits in the pipe. The next daemon takes both ends from the wrapper. If nobody reads, the pipe gets
// full, and then the script waits in write. All this goes past the wrapper, which is idle meanwhile.
//
// They are pipes and no sockets, because scripts do not expect sockets. Nobody can open
// /dev/stdout if it is a socket, bash takes a socket as standard input for a remote shell and reads
// .bashrc, and a socket that takes 200 KiB in large writes is full after 300 writes of a byte. What MSG_PEEK
// does for a socket, reading without consuming, tee(2) does for a pipe.
//
// InputSignal makes the wrapper close its copy of the pipe to the script's standard input. When the daemon
// has closed its own, the script finds the end of its input. In its place the
// wrapper has /dev/null then, by which a new daemon knows. Until then, the signal is pending.
//
// At the end of the run the wrapper copies what is still in the pipe from the script's standard output
// to the file unread, and consumes nothing of it. A daemon that was not there finds it in this file; one
// that was there may have read it since.
//
// # The early stage
//
// In the early stage Go's runtime has not begun. If nothing else happens, the wrapper does all its work there: it
// prepares the run, waits for its time, starts the script, moves the output to the beginning of the log, and records
// the script's end. The wrapper has 40 KiB of memory of its own then. The runtime begins when it is needed:
//
//   - at a timeout, and at a stop, also while the wrapper waits for its time;
//   - when the script sends a notification;
//   - when there is more output than the beginning of the log takes, and at the first output if the log is rotated;
//   - at the script's end, if it left processes behind or was allowed to, or if its run has a socket for
//     notifications or a stream;
//   - if the run's cgroup is frozen, or if something fails.
//
// See early.go.
//
// # What a start costs
//
// A wrapper is started for each run, so its own start is most of its cost. Before there was an
// early stage, the start of Go's runtime took two fifths of all processor time of a run of
// /bin/true, and /bin/true a quarter, on one machine. Other measures made a difference, too; they
// are taken here or by the supervisor:
//
//   - no package os, os/exec, os/signal or fmt: os alone costs 17 page faults and 30 µs
//     whenever the runtime begins;
//   - GOMAXPROCS=1, which saves a thread, and no runtime.LockOSThread, which
//     would start another;
//   - a blocked StopSignal and a signalfd instead of os/signal, and
//     a pidfd for the script's end;
//   - a vfork of our own, which saves a copy of the page tables and a pipe, and lets
//     limits, niceness and umask apply to the script alone;
//   - no parsing of /proc: CLOCK_BOOTTIME says the same as a process's start time;
//   - no fsync of the result while a daemon is there, see writeResult;
//   - no inode freed: ext4 skips the inodes freed in the last minutes
//     whenever it makes a new one.
//
// # An idle wrapper
//
// A wrapper in which Go's runtime runs has about 0.55 MiB of memory of its own. After ten
// seconds without an event it becomes idle: it leaves the runtime, and waits for the next
// event with 12 KiB and one thread. See idle.go. Until it is idle, it wakes every 30
// seconds to reap processes whose parents in the script have ended. In the early stage a wrapper
// needs neither: it has little memory, and the end of a child is an event.
package wrapper
