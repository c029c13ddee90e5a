//lint:file-ignore SA1019 Programs still use what the library deprecates.

// Package session_test runs servers of other libraries, unchanged, on the net.Listener of package
// session.
package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
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
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp/session"
)

// go-coap looks for expired connections every four seconds, and only then notices that it should
// stop.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("time.Sleep")) }

func config() *dtls.Config {
	return &dtls.Config{
		PSK:             func([]byte) ([]byte, error) { return []byte{1, 2, 3, 4}, nil },
		PSKIdentityHint: []byte("test"),
		CipherSuites:    []dtls.CipherSuiteID{dtls.TLS_PSK_WITH_AES_128_CCM_8},
	}
}

// listen returns a Listener of DTLS on one of package session.
func listen(t *testing.T) (*session.Listener, net.Listener) {
	ln, err := session.Listen(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	secure, err := dtls.NewListener(dtlsnet.PacketListenerFromListener(ln), config())
	require.NoError(t, err)
	return ln, secure
}

func TestPionDTLS(t *testing.T) {
	ln, secure := listen(t)
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := secure.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer c.Close()
				io.Copy(c, c)
			})
		}
	})
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			c, err := dtls.Dial("udp", ln.Addr().(*net.UDPAddr), config())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(time.Minute))
			for j := range 20 {
				text, b := fmt.Sprintf("client %d, message %d", i, j), make([]byte, 100)
				c.Write([]byte(text))
				if n, err := c.Read(b); err != nil || string(b[:n]) != text {
					t.Errorf("%q, %v", b[:n], err)
					return
				}
			}
		})
	}
	clients.Wait() // each says so to its server, which closes its session
	require.NoError(t, secure.Close())
	served.Wait()
	<-ln.Conn().Done()
	s := ln.Stats()
	require.EqualValues(t, 4, s.Accepted, "%+v", s)
	require.Zero(t, s.Active)
}

// contextListener is what go-coap wants: it closes the listener when it stops, and recognizes
// that by an error of its own.
type contextListener struct{ net.Listener }

func (l contextListener) AcceptWithContext(context.Context) (net.Conn, error) {
	c, err := l.Accept()
	if errors.Is(err, net.ErrClosed) {
		err = coapnet.ErrListenerIsClosed
	}
	return c, err
}

func TestGoCoAP(t *testing.T) {
	ln, secure := listen(t)
	router := mux.NewRouter()
	require.NoError(t, router.Handle("/a", mux.HandlerFunc(func(w mux.ResponseWriter, r *mux.Message) {
		body, err := r.ReadBody()
		if err == nil {
			err = w.SetResponse(codes.Content, message.TextPlain, bytes.NewReader(append(body, '!')))
		}
		if err != nil {
			t.Error(err)
		}
	})))
	server := coapdtls.NewServer(options.WithMux(router))
	served := make(chan error)
	go func() { served <- server.Serve(contextListener{secure}) }()

	client, err := coapdtls.Dial(ln.Addr().String(), config())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, size := range []int{0, 10, 5000} { // the longest one goes in blocks
		body := bytes.Repeat([]byte("x"), size)
		r, err := client.Post(ctx, "/a", message.TextPlain, bytes.NewReader(body))
		require.NoError(t, err)
		got, err := r.ReadBody()
		require.NoError(t, err)
		require.Equal(t, string(body)+"!", string(got))
	}
	require.NoError(t, client.Close())
	<-client.Done()
	server.Stop()
	require.NoError(t, <-served)
	<-ln.Conn().Done()
	require.EqualValues(t, 1, ln.Stats().Accepted)
}
