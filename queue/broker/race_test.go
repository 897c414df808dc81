//go:build race

package broker

// The race detector of Go 1.26.8 ends itself in one of several runs of the random histories,
// by "ThreadSanitizer: CHECK failed" in tsan_rtl.cpp, with the goroutines of many bubbles of
// testing/synctest. So they run without it, and all other tests run with it.
const withRaceDetector = true
