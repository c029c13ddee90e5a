package netns

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inside is an argument of a test binary that Run or Isolated has started.
const inside = "inside-a-namespace"

// Run calls f where [New] works. If the process may make namespaces, that is here.
// Otherwise it runs the test binary once more under "unshare -Urn", for this test
// only, and f runs there; if that isn't allowed either, the test is skipped. What
// follows Run in a test runs in both processes.
func Run(t *testing.T, f func()) {
	t.Helper()
	if started() {
		f()
		return
	}
	ns, err := makeOne()
	if err != nil {
		rerun(t, f, "-Urn")
		return
	}
	unix.Close(ns)
	f()
}

// Isolated calls f in a process all of whose threads are in a new namespace that
// has only lo, which is up. For that it runs the test binary once more, for this test
// only. If that isn't allowed, the test is skipped.
func Isolated(t *testing.T, f func()) {
	t.Helper()
	how := "-n"
	if os.Geteuid() != 0 {
		how = "-Urn"
	}
	rerun(t, f, how)
}

func started() bool { return slices.Contains(flag.Args(), inside) }

func rerun(t *testing.T, f func(), how string) {
	t.Helper()
	if started() {
		if lo, err := net.InterfaceByName("lo"); err != nil || lo.Flags&net.FlagUp == 0 {
			Self(t).IP("link set lo up")
		}
		f()
		return
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("network namespaces need unshare(1):", err)
	}
	if out, err := exec.CommandContext(t.Context(), unshare, how, "true").CombinedOutput(); err != nil {
		t.Skipf("unshare %s: %v: %s", how, err, out)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("network namespaces need ip(8):", err)
	}
	if err := exec.CommandContext(t.Context(), os.Args[0], "-test.list=^$").Run(); errors.Is(err, unix.ENOEXEC) {
		t.Skip("another processor's program, which is emulated, can't start itself:", err)
	}
	args := []string{how, os.Args[0], "-test.run=" + pattern(t.Name()), "-test.v", "-test.count=1"}
	if end, ok := t.Deadline(); ok {
		// If it hangs, it prints its stacks and ends before this process does.
		args = append(args, "-test.timeout="+max(time.Second, time.Until(end)-5*time.Second).String())
	}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	flag.Visit(func(f *flag.Flag) { // the test's own
		if !strings.HasPrefix(f.Name, "test.") {
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	cmd := exec.CommandContext(t.Context(), unshare, append(args, inside)...)
	// Otherwise a binary with the race detector sleeps for a second when it exits.
	cmd.Env = append(os.Environ(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	// With -cover, go test would take the line for this process's.
	out = bytes.ReplaceAll(out, []byte("\ncoverage: "), []byte("\ncovered: "))
	switch skipped := skips(string(out), t.Name()); {
	case err != nil:
		t.Fatalf("in a namespace: %v\n%s", err, out)
	case skipped[t.Name()] != "":
		t.Skipf("in a namespace:\n%s", out)
	case !bytes.Contains(out, []byte("--- PASS: "+t.Name()+" ")):
		t.Fatalf("the test did not run in its namespace:\n%s", out)
	default:
		t.Logf("in a namespace:\n%s", out)
		for name, why := range skipped {
			// Repeated here, so that a skip in another process is not mistaken for a pass.
			t.Run(strings.TrimPrefix(name, t.Name()+"/"), func(t *testing.T) { t.Skipf("in a namespace:\n%s", why) })
		}
	}
}

// skips returns, from the output of a run with -test.v, the skipped ones of a test and
// its subtests, each with what it printed.
func skips(out, test string) map[string]string {
	skipped, printed, running := make(map[string]string), make(map[string]string), ""
	for line := range strings.Lines(out) {
		if m := skipLine.FindStringSubmatch(line); m != nil {
			if m[1] == test || strings.HasPrefix(m[1], test+"/") {
				skipped[m[1]] = printed[m[1]] + line
			}
		} else if m := runLine.FindStringSubmatch(line); m != nil {
			running = m[1]
		} else {
			printed[running] += line
		}
	}
	return skipped
}

var (
	skipLine = regexp.MustCompile(`^ *--- SKIP: (\S+) `)
	runLine  = regexp.MustCompile(`^=== [A-Z]+ +(\S+)\n$`)
)

// pattern matches the test of that name and nothing else.
func pattern(name string) string {
	levels := strings.Split(name, "/")
	for i, level := range levels {
		levels[i] = "^" + regexp.QuoteMeta(level) + "$"
	}
	return strings.Join(levels, "/")
}

// New makes a namespace that has only lo, which is up. If that isn't allowed, it
// skips the test.
func New(t testing.TB) *NS {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("network namespaces need ip(8):", err)
	}
	if _, err := net.Interfaces(); err != nil {
		t.Skip("package net can't read the interfaces here:", err) // QEMU's emulator, big endian
	}
	fd, err := makeOne()
	if err != nil {
		t.Skip("no network namespace:", err)
	}
	n := own(t, fd, true)
	n.IP("link set lo up")
	return n
}

// Self is the namespace that the test runs in.
func Self(t testing.TB) *NS {
	t.Helper()
	fd, err := current()
	if err != nil {
		t.Fatal("the thread's namespace:", err)
	}
	return own(t, fd, false)
}

// own makes an NS of a namespace. made: the namespace is new.
func own(t testing.TB, fd int, made bool) *NS {
	t.Cleanup(func() { unix.Close(fd) })
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	if made {
		cables.Delete(st.Ino) // an earlier namespace may have had the inode
	}
	veths, _ := cables.LoadOrStore(st.Ino, new(atomic.Int64))
	return &NS{t: t, fd: fd, veths: veths.(*atomic.Int64)}
}

// cables has NS.veths by the inode of the namespace.
var cables sync.Map

// makeOne makes a namespace and leaves the calling thread where it was.
func makeOne() (fd int, err error) {
	err = switched(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
		fd, err = current()
		return err
	})
	return fd, err
}

func current() (int, error) {
	return unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// switched calls enter and f and then returns the thread to its namespace, even if f
// panics or ends its goroutine. A thread that can't return stays locked, so it ends
// with its goroutine.
func switched(enter, f func() error) error {
	runtime.LockOSThread()
	before, err := current()
	if err == nil {
		if err = enter(); err != nil {
			unix.Close(before)
		}
	}
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		if unix.Setns(before, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		unix.Close(before)
	}()
	return f()
}

// Do calls f on the calling goroutine with its thread inside n. Sockets that f
// makes stay in n. Goroutines that f starts run outside.
func (n *NS) Do(f func()) {
	n.t.Helper()
	err := switched(func() error { return unix.Setns(n.fd, unix.CLONE_NEWNET) }, func() error { f(); return nil })
	if err != nil {
		n.t.Fatal("entering a namespace:", err)
	}
}

// Command runs a program inside n and returns what it printed. The test fails if
// the program does, and is skipped if the program is not installed.
func (n *NS) Command(name string, args ...string) string {
	n.t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		n.t.Skip(err)
	}
	out, err := n.Try(name, args...)
	if err != nil {
		n.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// Try runs a program inside n and returns what it printed.
func (n *NS) Try(name string, args ...string) (out string, err error) {
	n.t.Helper()
	n.Do(func() {
		// The child is forked from this thread, and so inherits its namespace.
		var b []byte
		b, err = exec.Command(name, args...).CombinedOutput()
		out = string(b)
	})
	return out, err
}

// veth makes the pair. It skips the test where no pair can be made with given indexes, as in
// gVisor, which chooses them itself.
func (n *NS) veth(name string, index int, other *NS, otherName string, otherIndex int) {
	n.t.Helper()
	args := fmt.Sprintf("link add %s index %d type veth peer name %s index %d netns /proc/%d/fd/%d",
		name, index, otherName, otherIndex, os.Getpid(), other.fd)
	out, err := n.Try("ip", strings.Fields(args)...)
	if err == nil {
		return
	}
	if out, err := New(n.t).Try("ip", strings.Fields("link add one index 11 type veth peer name two index 12")...); err != nil {
		n.t.Skipf("no virtual cables with indexes here: %v: %s", err, out)
	}
	n.t.Fatalf("ip %s: %v: %s", args, err, out)
}

// Rename gives an interface that is up another name. It skips the test before Linux 6.2,
// where only one that is down can be renamed.
func (n *NS) Rename(name, to string) {
	n.t.Helper()
	out, err := n.Try("ip", "link", "set", name, "name", to)
	if err != nil && strings.Contains(out, "Device or resource busy") {
		n.t.Skip("an interface that is up can't be renamed here")
	}
	if err != nil {
		n.t.Fatalf("ip link set %s name %s: %v: %s", name, to, err, out)
	}
}

// AwaitRunning waits until an interface can carry datagrams. The first end of a cable
// is not running until some time after the second was set up.
func (n *NS) AwaitRunning(ifname string) {
	n.t.Helper()
	n.await(func() error {
		var ifi *net.Interface
		var err error
		n.Do(func() { ifi, err = net.InterfaceByName(ifname) })
		if err == nil && ifi.Flags&net.FlagRunning == 0 {
			err = fmt.Errorf("%s is not running", ifname)
		}
		return err
	})
}

// needIPv6 skips the test where the kernel was started without IPv6.
func (n *NS) needIPv6() {
	n.t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		n.t.Skip("no IPv6 here: ", err)
	}
	unix.Close(fd)
}

// needRoutes skips the test where routes to a host's own addresses are not listed, as in
// gVisor. It tries an IPv4 address, whose route Linux adds at once (fib_add_ifaddr in
// net/ipv4/fib_frontend.c).
func (n *NS) needRoutes() {
	n.t.Helper()
	other := New(n.t)
	other.IP("addr add 127.0.0.9/32 dev lo")
	if other.IP("route show table local 127.0.0.9") == "" {
		n.t.Skip("routes are not listed here")
	}
}

// await tries f until it succeeds.
func (n *NS) await(f func() error) {
	n.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatal(err)
		}
	}
}

// Interface returns an interface of n by its name.
func (n *NS) Interface(name string) *net.Interface {
	n.t.Helper()
	var ifi *net.Interface
	var err error
	n.Do(func() { ifi, err = net.InterfaceByName(name) })
	if err != nil {
		n.t.Fatalf("interface %s: %v", name, err)
	}
	return ifi
}

// Move moves an interface from n to another namespace. There it is down and has no
// addresses.
func (n *NS) Move(ifname string, to *NS) {
	n.t.Helper()
	n.IP(fmt.Sprintf("link set %s netns /proc/%d/fd/%d", ifname, os.Getpid(), to.fd))
}
