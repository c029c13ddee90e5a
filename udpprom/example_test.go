package udpprom_test

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/metrics"
	"github.com/udpkit/udp/udpprom"
)

func Example() {
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
	registry := prometheus.NewRegistry()     // or prometheus.DefaultRegisterer
	registry.MustRegister(udpprom.New(&set)) // promhttp serves it

	families, err := registry.Gather()
	if err != nil {
		fmt.Println(err)
	}
	for _, f := range families {
		if f.GetName() == "udp_queue_waiting_datagrams" {
			fmt.Println(f.GetHelp(), f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	// Output: Datagrams that wait for a consumer. 0
}
