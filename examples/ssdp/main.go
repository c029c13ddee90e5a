// Ssdp is a program, more than an example to copy: it announces and finds devices in the local
// network by the Simple Service Discovery Protocol of UPnP (UPnP Device Architecture 1.1,
// section 1).
//
//	ssdp device [-uuid text] [-location url] [-max-age duration] [-delay duration] type [service ...]
//	ssdp search [-count n] [-wait duration] target
//
// Both take -interface name and -group addr:port, too; with -group [ff02::c]:1900
// they use IPv6. A target is upnp:rootdevice, ssdp:all, uuid:... or a type:
//
//	ssdp device -location 'http://{host}:8080/description.xml' urn:schemas-upnp-org:device:Basic:1
//	ssdp search upnp:rootdevice
//
// The device joins the group on every interface, also on those that appear later. In the location,
// {host} becomes the device's address on the interface of the message. It doesn't serve the
// description.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const about = `Ssdp announces and finds devices in the local network by SSDP, as UPnP does.

usage: ssdp device [flags] type [service ...]
       ssdp search [flags] target
With -h after device or search: their flags.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "ssdp:", err)
		os.Exit(1)
	}
}

// settings are the arguments.
type settings struct {
	group    netip.AddrPort
	ifs      []*net.Interface // empty: all of them
	uuid     string
	location string
	maxAge   time.Duration
	delay    time.Duration
	count    int
	wait     time.Duration
	rest     []string
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	chosen, args, err := choose(about, args, stdout)
	if err != nil {
		return err
	}
	var s settings
	flags := flag.NewFlagSet("ssdp "+chosen, flag.ContinueOnError)
	group := flags.String("group", "239.255.255.250:1900", "multicast group and port; port 0 lets a device choose a free one, for tests")
	name := flags.String("interface", "", "network interface; none is all")
	do, most := device, 100
	usage := "Device announces a device and its services, and answers who searches.\n\nusage: ssdp device [flags] type [service ...]"
	switch chosen {
	case "device":
		flags.StringVar(&s.uuid, "uuid", "", "of the device, the same at each start; none makes one")
		flags.StringVar(&s.location, "location", "http://{host}/description.xml", "where the description is")
		flags.DurationVar(&s.maxAge, "max-age", 30*time.Minute, "how long an announcement is good")
		flags.DurationVar(&s.delay, "delay", 5*time.Second, "longest time before an answer, which is chosen at random")
	case "search":
		do, most = search, 1
		usage = "Search prints each answer to a search for upnp:rootdevice, ssdp:all, uuid:... or a type.\n\nusage: ssdp search [flags] target"
		flags.IntVar(&s.count, "count", 0, "end after so many answers; 0 is never")
		flags.DurationVar(&s.wait, "wait", 3*time.Second, "how long to wait for answers")
	case "":
		return errors.New("needs device or search: see -h")
	default:
		return fmt.Errorf("unknown command %q: needs device or search", chosen)
	}
	if err := parse(flags, usage, args, stdout); err != nil {
		return err
	}
	if s.rest = flags.Args(); len(s.rest) < 1 || len(s.rest) > most {
		return fmt.Errorf("unexpected number of arguments: %q", s.rest)
	}
	// The arguments become lines of a message.
	for _, text := range append([]string{s.uuid, s.location}, s.rest...) {
		if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return fmt.Errorf("a space or a control character in %q", text)
		}
	}
	if s.group, err = netip.ParseAddrPort(*group); err != nil {
		return err
	}
	if s.ifs, err = interfaces(*name); err != nil {
		return err
	}
	return do(ctx, s, stdout)
}

// network is the group's family.
func (s settings) network() string {
	if s.group.Addr().Is4() {
		return "udp4"
	}
	return "udp6"
}
