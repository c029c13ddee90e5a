package sys

import (
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// ifProc lists the interfaces where netlink is not allowed. It uses netdevice(7) and files of
// /proc, which keep showing the namespace in which they were opened.
type ifProc struct {
	fd    int      // of any socket
	dev   *os.File // /proc/net/dev
	inet6 *os.File // /proc/net/if_inet6; nil without IPv6
}

func openIfProc() (p *ifProc, err error) {
	p = &ifProc{}
	if p.dev, err = os.Open("/proc/thread-self/net/dev"); err != nil {
		return nil, err
	}
	if p.inet6, err = os.Open("/proc/thread-self/net/if_inet6"); err != nil {
		p.inet6 = nil
	}
	if p.fd, err = dgram(false); err != nil {
		p.fd, err = dgram(true)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *ifProc) close() {
	p.dev.Close()
	if p.inet6 != nil {
		p.inet6.Close()
	}
	if p.fd >= 0 {
		unix.Close(p.fd)
	}
}

// interfaces returns the interfaces in the order of their indexes, without hardware addresses
// and with only the first IPv4 address of each.
func (p *ifProc) interfaces() (all []socket.Interface, err error) {
	lines, err := readLines(p.dev)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		// "  eth0: 1234 …", after two lines of headings without a colon
		name, _, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		if i, ok := p.query(name); ok { // else it was removed meanwhile
			all = append(all, i)
		}
	}
	sortByIndex(all)
	if p.inet6 == nil {
		return all, nil
	}
	if lines, err = readLines(p.inet6); err != nil {
		return nil, err
	}
	for _, line := range lines {
		if index, prefix, tentative, ok := parseInet6(line); ok {
			addAddr(all, index, prefix, tentative)
		}
	}
	return all, nil
}

func readLines(f *os.File) ([]string, error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<24))
	return strings.Split(string(b), "\n"), err
}

func (p *ifProc) query(name string) (i socket.Interface, ok bool) {
	ifr, err := unix.NewIfreq(name)
	if err != nil || unix.IoctlIfreq(p.fd, unix.SIOCGIFINDEX, ifr) != nil {
		return i, false
	}
	i.Name, i.Index = name, int(ifr.Uint32())
	if unix.IoctlIfreq(p.fd, unix.SIOCGIFFLAGS, ifr) != nil {
		return i, false
	}
	i.Flags = linkFlags(uint32(ifr.Uint16()))
	if unix.IoctlIfreq(p.fd, unix.SIOCGIFMTU, ifr) == nil {
		i.MTU = int(ifr.Uint32())
	}
	if addr, ok := p.query4(name, unix.SIOCGIFADDR); ok {
		mask, _ := p.query4(name, unix.SIOCGIFNETMASK)
		bits, _ := net.IPMask(mask.AsSlice()).Size()
		i.Addrs = append(i.Addrs, netip.PrefixFrom(addr, bits))
	}
	return i, true
}

func (p *ifProc) query4(name string, request uint) (netip.Addr, bool) {
	ifr, err := unix.NewIfreq(name) // the kernel takes family zero for AF_INET
	if err != nil || unix.IoctlIfreq(p.fd, request, ifr) != nil {
		return netip.IPv4Unspecified(), false
	}
	b, err := ifr.Inet4Addr()
	if err != nil {
		return netip.IPv4Unspecified(), false
	}
	return netip.AddrFromSlice(b)
}

// parseInet6 reads a line of /proc/net/if_inet6: address, index, prefix length, scope and
// flags, all hexadecimal, and the interface's name.
func parseInet6(line string) (index int, prefix netip.Prefix, tentative, ok bool) {
	f := strings.Fields(line)
	if len(f) < 5 {
		return 0, prefix, false, false
	}
	b, err := hex.DecodeString(f[0])
	addr, isAddr := netip.AddrFromSlice(b)
	n, err1 := strconv.ParseUint(f[1], 16, 31)
	bits, err2 := strconv.ParseUint(f[2], 16, 8)
	flags, err3 := strconv.ParseUint(f[4], 16, 32)
	if !isAddr || !addr.Is6() || err != nil || err1 != nil || err2 != nil || err3 != nil {
		return 0, prefix, false, false
	}
	prefix = netip.PrefixFrom(addr, int(bits))
	return int(n), prefix, isTentative(byte(flags)), prefix.IsValid()
}
