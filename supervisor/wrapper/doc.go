// Package wrapper is both sides of a run's wrapper process, cmd/atwrap, and of
// the run directory through which the wrapper and the daemon know each other.
//
// The wrapper is the parent of one script. It prepares the script's
// configuration directory, cgroup and output, holds it back until its instant
// if it has one, starts it, ends it when its time is up or someone asks, kills
// whatever it leaves, and writes down how it ended. It outlives the daemon, and
// it needs nothing of it once it is born: it is told what to do by a file, and
// tells by files.
//
// # The run directory
//
// In the order in which they come to be: lock, which the daemon takes and hands
// over, so that there is no instant between its birth and its exit at which a
// wrapper does not hold it; spec, stdin, topology and log, by the daemon; the
// lock's content, which is the wrapper's process id; started, made before the
// script is and filled after, so that where it is missing nothing ran; log.0
// and so on, see below; config, the configuration directory's last state; and
// result. All forms carry a version, and a reader refuses a form or a key that
// it does not know. Result's room on the disk is reserved before the script is
// started, so a disk that is full at its end does not make it a lost one;
// should even that fail, the wrapper tries for a minute.
//
// # Who is who
//
// A process id can be used again. A file here that names one has beside it the
// instant of CLOCK_BOOTTIME at which it was written: a process of that number
// which began later is another one. Scripts carry a mark of their run in
// ACTIVATION_RUN, which their children inherit wherever they go, and by which a
// daemon finds them if the wrapper is killed.
//
// # The end of a run
//
// At the timeout, or when StopSignal comes, the script's process group gets
// TERM (and CONT, for those that are stopped), and has the grace to end, also
// if the leader ends first. Then, or when the script ends by itself, the group
// is killed while the leader, dead or alive, still keeps its number from being
// used again. What has left the group is killed in the run's cgroup, or found as the
// children of this process, which is the subreaper of them all: when wait says
// that there are no children, there are no descendants. Those that fork faster
// than they can be killed are stopped first. What a script leaves behind gets
// no grace: it was not meant to be there. A process that cannot be killed
// within ten seconds, because it sleeps in the kernel, is named in the result. Then
// the end is not verified, and the daemon waits until that process is gone.
//
// A script that is born into a frozen cgroup does not come to its exec, and its
// parent sleeps until it does. So the wrapper waits for the thaw before, with
// timeout and stop in force. If the cgroup is frozen in just that moment, the
// daemon kills the child, and the wrapper tells that the script never ran.
//
// The wrapper itself ignores TERM, INT, HUP and QUIT. They come to everybody
// when the machine goes down; the script ends of them and the wrapper tells so.
//
// # The output
//
// The script writes into a pipe, from which the wrapper writes the beginning to
// log and the rest to files of the tail's size, log.0, log.1 and so on, of
// which it keeps two. At the end their newest part is appended to log, behind a
// line that says how much is missing. What has been written is safe from a
// kill -9 of the wrapper; the daemon joins the files then. A disk that is full
// costs output, never the script. With the policy keep a shell is left behind to
// empty the pipe, as long as anybody can write to it: a mebibyte more goes to the
// log, the rest nowhere.
//
// # What a start costs
//
// A wrapper is started for each run, so its own start is most of its cost. Of
// the time that a run of /bin/true takes in all, measured in processor time on
// one machine, two fifths are the start of Go's runtime and a quarter is
// /bin/true. What was found to matter, and is done, here or by the supervisor:
//
//   - no package os, os/exec, os/signal or fmt: 17 page faults and 30 µs each
//     time for os alone;
//   - GOMAXPROCS=1, which saves a thread, and no runtime.LockOSThread, which
//     would start another;
//   - the signals: a blocked StopSignal and a signalfd instead of os/signal, and
//     a pidfd for the script's end;
//   - a vfork of our own, which saves copying page tables and a pipe, and lets
//     the limits, the niceness and the umask be the script's alone;
//   - no parsing of /proc: CLOCK_BOOTTIME says what a process's start time would;
//   - no fsync of the result while a daemon is there, see tell;
//   - no inode freed: ext4 walks past those that were freed in the last minutes
//     whenever it makes a new one.
//
// An idle wrapper has about 0.55 MiB of memory of its own, and wakes every 30
// seconds to reap what its script has lost.
package wrapper
