package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

const (
	nameVariable   = "COLLECTOR_TEST_NAME"
	routesVariable = "COLLECTOR_TEST_ROUTES" // ports of the cluster, its own first
)

// childNode is a server of a cluster. It writes its URL.
func childNode(ctx context.Context) error {
	var routes []*url.URL
	ports := strings.Split(os.Getenv(routesVariable), ",")
	for _, port := range ports[1:] {
		routes = append(routes, &url.URL{Scheme: "nats", Host: "127.0.0.1:" + port})
	}
	own, err := strconv.Atoi(ports[0])
	if err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: os.Getenv(nameVariable), Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: os.Getenv(dirVariable), NoSigs: true, NoLog: true,
		Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: own},
		Routes:  routes,
	})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		return fmt.Errorf("not ready")
	}
	fmt.Printf("url %s\n", s.ClientURL())
	<-ctx.Done()
	return nil // at once: the whole cluster ends
}

// startCluster starts three processes, by name. It takes other ports if somebody has
// taken one that was free.
func startCluster(t *testing.T) (nodes map[string]*process, urls []string) {
	for range 10 {
		var ports []string
		for range 3 {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer l.Close()
			_, port, err := net.SplitHostPort(l.Addr().String())
			require.NoError(t, err)
			ports = append(ports, port)
			require.NoError(t, l.Close())
		}
		nodes, urls = make(map[string]*process), nil
		dir := t.TempDir()
		for i := range 3 {
			name := fmt.Sprintf("node%d", i)
			nodes[name] = startChild(t, roleNode, nameVariable+"="+name, dirVariable+"="+filepath.Join(dir, name),
				routesVariable+"="+strings.Join(append([]string{ports[i]}, append(ports[:i:i], ports[i+1:]...)...), ","))
		}
		for _, p := range nodes {
			if u, ok := p.value("url"); ok {
				urls = append(urls, u)
			}
		}
		if len(urls) == 3 {
			return nodes, urls
		}
		for _, p := range nodes {
			p.kill()
		}
	}
	require.FailNow(t, "no free ports")
	return nil, nil
}

// TestCluster kills the leader of a replicated stream while datagrams arrive.
func TestCluster(t *testing.T) {
	nodes, urls := startCluster(t)
	defer func() {
		for _, p := range nodes {
			p.kill()
		}
	}()
	var all accepted
	cfg := testConfig(t)
	cfg.NATS.URL = strings.Join(urls, ",")
	cfg.NATS.Replicas = 3
	cfg.NATS.AckTimeout = defaults().NATS.AckTimeout
	c := collect(t, cfg, options{accepted: all.add})
	ready(t, c)

	s := dial(t, c.address())
	sent := 0
	inStream := func() int { return int(c.sources[0].counters.stream.Load() + c.publisher.replayed.Load()) }
	load := func(enough func() bool) {
		const some, ahead = 200, 20_000 // the servers may be slower than the sender
		for !enough() {
			s.numbers(c, sent, some)
			sent += some
			eventually(t, "the stream follows", func() bool { return sent-inStream() < ahead })
		}
	}
	load(func() bool { return inStream() > 2000 })

	stream := ask(t, "the stream", func(ctx context.Context) (jetstream.Stream, error) {
		return c.stream.js.Stream(ctx, cfg.NATS.Stream)
	})
	require.Equal(t, 3, stream.CachedInfo().Config.Replicas)
	leader := stream.CachedInfo().Cluster.Leader
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		nodes[leader].kill()
	}()
	more := 0
	load(func() bool {
		select {
		case <-killed:
			more++
		default:
		}
		return more > 10
	})
	eventually(t, "the spool is in the stream", func() bool {
		return c.stream.ready.Load() && !c.spool.Pending() && c.safe() == uint64(sent)
	})
	t.Logf("killed %s, the leader", leader)
	n := &c.sources[0].counters
	t.Logf("sent %d: acknowledged %d, spooled %d, duplicates %d, failures %d", sent, n.stream.Load(),
		n.spool.Load(), c.publisher.duplicates.Load(), c.publisher.failures.Load())
	result := readStream(t, c.stream.js, cfg.NATS.Stream)
	require.NoError(t, c.Shutdown())
	all.requireStored(t, result)
	require.Len(t, result.numbers, sent)
}
