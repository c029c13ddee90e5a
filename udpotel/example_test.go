package udpotel_test

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/metrics"
	"github.com/udpkit/udp/udpotel"
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
	reader := metric.NewManualReader() // programs have a PeriodicReader with an exporter
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	if _, err := udpotel.Register(provider, &set); err != nil {
		fmt.Println(err)
		return
	}

	var collected metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &collected); err != nil {
		fmt.Println(err)
	}
	for _, m := range collected.ScopeMetrics[0].Metrics {
		if m.Name == "udp.queue.datagram.waiting" {
			fmt.Println(m.Description, m.Unit)
		}
	}
	// Output: Datagrams that wait for a consumer. {datagram}
}
