package ecosystem

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	dtlsnet "github.com/pion/dtls/v3/pkg/net"
	coapdtls "github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/mux"
	coapnet "github.com/plgd-dev/go-coap/v3/net"
	"github.com/plgd-dev/go-coap/v3/options"
	"github.com/plgd-dev/go-coap/v3/pkg/runner/periodic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/session"
)

// coapListener is what a server of go-coap accepts from. It finishes the handshake: go-coap
// would do it with a mutex locked, and synctest does not count that as waiting.
type coapListener struct{ net.Listener }

func (l coapListener) AcceptWithContext(ctx context.Context) (net.Conn, error) {
	c, err := l.Accept()
	if err != nil {
		return nil, coapnet.ErrListenerIsClosed
	}
	return c, c.(*dtls.Conn).HandshakeContext(ctx)
}

func TestCoAPOverDTLS(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		// go-coap has one timer for all conns of the program, unless it is given another.
		stop := make(chan struct{})
		defer close(stop)
		timer := options.WithPeriodicRunner(periodic.New(stop, 100*time.Millisecond))

		inner, err := session.Config{Socket: server.Config}.Listen(t.Context(), "udp4", server.addr+":0")
		require.NoError(t, err)
		l, err := dtls.NewListenerWithOptions(dtlsnet.PacketListenerFromListener(inner),
			dtls.WithCertificates(certificate(t)))
		require.NoError(t, err)
		router := mux.NewRouter()
		require.NoError(t, router.Handle("/a", mux.HandlerFunc(func(w mux.ResponseWriter, _ *mux.Message) {
			assert.NoError(t, w.SetResponse(codes.Content, message.TextPlain, bytes.NewReader([]byte("hello"))))
		})))
		s := coapdtls.NewServer(options.WithMux(router), timer)
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(coapListener{l}) }()

		conn := dtlsClient(t, client, l.Addr())
		c := coapdtls.Client(conn, timer, options.WithCloseSocket(),
			options.WithTransmission(1, time.Second, 10))
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			r, err := c.Get(ctx, "/a")
			cancel()
			require.NoError(t, err)
			body, err := r.ReadBody()
			require.NoError(t, err)
			require.Equal(t, "hello", string(body))
		}
		require.NoError(t, c.Close())
		<-c.Done()
		s.Stop()
		_ = l.Close()
		<-ended
	})
}
