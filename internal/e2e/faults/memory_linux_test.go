package faults_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/netns"
)

// memoryGroup is a cgroup of version 1 that one thread enters. The memory of the process is
// charged to the group of its main thread (mm_struct.owner). So the thread is charged only for
// memory of the kernel, and no page fault waits. Version 2 does not distinguish threads.
type memoryGroup struct {
	dir  string
	home *os.File // the tasks of the group that the thread comes from
}

// newMemoryGroup names the group of a process; it exists while a thread is in it.
func newMemoryGroup(t *testing.T, pid int) *memoryGroup {
	groups, err := os.ReadFile("/proc/self/cgroup")
	require.NoError(t, err)
	own := regexp.MustCompile(`(?m)^\d+:memory:(.*)$`).FindSubmatch(groups)
	if own == nil {
		t.Skip("no memory controller of cgroup version 1")
	}
	parent := filepath.Join("/sys/fs/cgroup/memory", string(own[1]))
	home, err := os.OpenFile(filepath.Join(parent, "tasks"), os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no cgroup to write to: ", err)
	}
	t.Cleanup(func() { home.Close() })
	return &memoryGroup{filepath.Join(parent, "udp-test-"+strconv.Itoa(pid)), home}
}

func (g *memoryGroup) set(name, value string) error {
	return os.WriteFile(filepath.Join(g.dir, name), []byte(value), 0)
}

// limited calls f on a thread for which the kernel may allocate so many more pages.
func (g *memoryGroup) limited(t *testing.T, pages int, f func()) {
	require.NoError(t, os.Mkdir(g.dir, 0o755))
	require.NoError(t, g.set("memory.limit_in_bytes", strconv.Itoa(pages*os.Getpagesize())))
	require.NoError(t, g.set("memory.oom_control", "1")) // calls fail, instead of killing the process
	thread, entered, done, left := make(chan int), make(chan struct{}), make(chan struct{}), make(chan struct{})
	go onThread(func() {
		thread <- unix.Gettid()
		<-entered
		defer func() { <-left }()
		defer close(done)
		f()
	})
	id := strconv.Itoa(<-thread)
	require.NoError(t, g.set("tasks", id))
	close(entered)
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		// A page fault waits for memory, such as a page for its table.
		t.Log("raising the limit")
		require.NoError(t, g.set("memory.limit_in_bytes", "-1"))
		<-done
	}
	_, err := g.home.WriteString(id)
	close(left)
	require.NoError(t, err)
	require.NoError(t, os.Remove(g.dir))
}

// onThread calls f on a thread that is not the main one.
func onThread(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Gettid() != os.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		onThread(f)
	}()
	<-done
}

// The kernel has no memory left for what a call needs.
func TestExhaustedKernelMemory(t *testing.T) {
	if raceDetector() { // which maps memory at any time, and ends the process if it can't
		if testing.Short() {
			t.Skip("runs the go command")
		}
		cmd := exec.CommandContext(t.Context(), "go", "test", "-v", "-count=1", "-run=^TestExhaustedKernelMemory$", ".")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		if !bytes.Contains(out, []byte("\n--- PASS: TestExhaustedKernelMemory ")) {
			t.Skipf("without the race detector:\n%s", out)
		}
		t.Logf("%s", out)
		return
	}
	if os.Getenv(memorySubject) != "" {
		g := newMemoryGroup(t, os.Getpid())
		// Let the process itself need no more memory later.
		debug.SetGCPercent(-1)
		runtime.MemProfileRate = 0
		_ = bytes.Repeat([]byte{1}, 64<<20)
		require.NoError(t, unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE))
		runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0))) // a thread in a page fault keeps others from running
		exhaust(t, 1000, []error{unix.ENOMEM, unix.ENOBUFS, unix.ENFILE}, func(left int, f func()) { g.limited(t, left, f) })
		return
	}
	netns.Isolated(t, func() {
		g := newMemoryGroup(t, os.Getpid())
		if err := os.Mkdir(g.dir, 0o755); err != nil {
			t.Skip("no cgroup of one's own: ", err)
		}
		require.NoError(t, os.Remove(g.dir))
		for tries := 1; ; tries++ {
			cmd := exec.Command(os.Args[0], "-test.run=^TestExhaustedKernelMemory$", "-test.v", "-test.timeout=2m")
			cmd.Env = append(os.Environ(), memorySubject+"=1")
			out, err := cmd.CombinedOutput()
			// The runtime ends a process in which it can't map memory itself, one in twenty.
			if bytes.Contains(out, []byte("fatal error: runtime: cannot allocate memory")) && tries < 20 {
				_ = os.Remove(newMemoryGroup(t, cmd.Process.Pid).dir)
				continue
			}
			t.Logf("%s", out)
			require.NoError(t, err)
			require.Contains(t, string(out), "--- PASS: TestExhaustedKernelMemory")
			return
		}
	})
}

const memorySubject = "UDP_TEST_MEMORY"

func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
