package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A machine describes where the figures were measured, and with which versions.
type machine struct {
	CPU, Kernel, Go, Compiler, Python string
	Revision                          string   // of package udp
	Versions                          []string // of what it is compared with
	Cores                             int
	MemoryGiB                         int
	Load                              string
}

func (s *settings) machine() machine {
	m := machine{Go: runtime.Version(), Cores: runtime.NumCPU(), Kernel: firstLine("uname", "-sr"),
		Compiler: firstLine("gcc", "--version"), Python: firstLine(s.python, "--version"), CPU: runtime.GOARCH}
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
	m.Revision, m.Versions = s.versions()
	return m
}

// versions reads the versions of modules from a program that was built with them.
func (s *settings) versions() (revision string, others []string) {
	revision = firstLine("git", "describe", "--always", "--dirty", "--tags")
	info, err := buildinfo.ReadFile(filepath.Join(s.bin, peer))
	if err != nil {
		return revision, nil
	}
	for _, dep := range info.Deps {
		if dep.Path == "golang.org/x/net" || strings.Contains(dep.Path, "wireguard") {
			others = append(others, dep.Path+" "+dep.Version)
		}
	}
	return revision, append(others, "libuv "+firstLine(filepath.Join(s.bin, libuv), "version"),
		"Twisted "+firstLine(s.python, "-c", "import twisted; print(twisted.__version__)"))
}

func firstLine(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// busyTime returns how long all cores together were not idle.
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
