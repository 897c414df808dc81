package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A memory is that of processes, in MiB.
type memory struct {
	pss     float64 // a page that n processes share counts as 1/n for each
	private float64 // shared with no other process
}

func (m *memory) add(o memory) {
	m.pss += o.pss
	m.private += o.private
}

// programOf returns the path of a process's program; empty if the process is gone.
func programOf(pid int) string {
	program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return program
}

// memoryOf returns the memory of a process; nothing if it is gone.
func memoryOf(pid int) (m memory) {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for l := range strings.Lines(string(data)) {
		f := strings.Fields(l)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "Pss:":
			m.pss += kib / 1024
		case "Private_Clean:", "Private_Dirty:":
			m.private += kib / 1024
		}
	}
	return m
}

// processorTime is that of the threads of a process, in milliseconds. What /proc/PID/stat says
// would be rounded down to 10 ms.
func processorTime(pid int) (ms float64) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, name := range threads {
		data, _ := os.ReadFile(name)
		if f := strings.Fields(string(data)); len(f) > 0 {
			ns, _ := strconv.ParseFloat(f[0], 64)
			ms += ns / 1e6
		}
	}
	return ms
}

// processTree returns a process and all that descend from it.
func processTree(pid int) []int {
	all := []int{pid}
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range threads {
		children, _ := os.ReadFile(name)
		for _, f := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(all, processTree(child)...)
			}
		}
	}
	return all
}
