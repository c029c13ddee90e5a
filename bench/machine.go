package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// A machine is what the figures hold for.
type machine struct {
	CPU, Kernel, Go, Compiler, Python string
	Cores                             int
	MemoryGiB                         int
	Load                              string
}

func thisMachine() machine {
	m := machine{Go: runtime.Version(), Cores: runtime.NumCPU(), Kernel: firstLine("uname", "-sr"),
		Compiler: firstLine("gcc", "--version"), Python: firstLine("/usr/bin/python3", "--version"), CPU: runtime.GOARCH}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	mem, _ := os.ReadFile("/proc/meminfo")
	var kib int
	fmt.Sscanf(string(mem), "MemTotal: %d kB", &kib)
	m.MemoryGiB = (kib + 1<<19) >> 20
	load, _ := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(load)); len(f) > 0 {
		m.Load = f[0]
	}
	return m
}

func firstLine(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// busyTime is the time that all cores together have not been idle.
func busyTime() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var user, nice, system, idle, wait, irq, soft, steal int64
	fmt.Sscanf(string(b), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &soft, &steal)
	return time.Duration(user+nice+system+irq+soft+steal) * 10 * time.Millisecond // USER_HZ is 100
}

func cores() float64 { return float64(runtime.NumCPU()) }
