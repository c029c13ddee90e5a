package metrics_test

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/metrics"
)

// An exporter of its own, here in the format of statsd.
func ExampleSet_Samples() {
	queue := udp.NewQueue(1000, udp.DropNewest)
	conn, err := udp.Listen(context.Background(), "udp", "127.0.0.1:0", queue)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()

	var set metrics.Set
	set.AddSocket("syslog", conn)
	set.AddQueue("syslog", queue)
	var lines []string
	for s := range set.Samples() {
		name := append([]string{"udp", s.Metric.Kind, s.Metric.Name}, s.Labels...)
		lines = append(lines, fmt.Sprintf("%s:%.0f|g", strings.Join(name, "."), s.Value))
	}
	slices.Sort(lines)
	for _, line := range lines[:4] {
		fmt.Println(line)
	}
	// Output:
	// udp.queue.dropped_datagrams.syslog:0|g
	// udp.queue.peak_datagrams.syslog:0|g
	// udp.queue.received_datagrams.syslog:0|g
	// udp.queue.waiting_datagrams.syslog:0|g
}
