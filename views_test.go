package udp_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// A view that a user has built without a socket returns errors from every method that can,
// and panics in none.
func TestViewsWithoutASocket(t *testing.T) {
	for _, v := range []any{
		&udp.ConnectedConn{}, &udp.ConnectedConn{Conn: new(udp.Conn)},
		&udp.MulticastConn{}, &udp.MulticastConn{Conn: new(udp.Conn)},
	} {
		value := reflect.ValueOf(v)
		for i := range value.NumMethod() {
			name, m := value.Type().Method(i).Name, value.Method(i)
			t.Run(fmt.Sprintf("%T.%s", v, name), func(t *testing.T) {
				args := make([]reflect.Value, m.Type().NumIn())
				for i := range args {
					args[i] = reflect.Zero(m.Type().In(i))
				}
				if name == "Shutdown" || name == "Run" {
					args[0] = reflect.ValueOf(context.Background())
				}
				if m.Type().IsVariadic() {
					args = args[:len(args)-1]
				}
				results := m.Call(args)
				if len(results) == 0 {
					return
				}
				last := results[len(results)-1]
				switch {
				case last.Type() == reflect.TypeFor[error]():
					require.False(t, last.IsNil())
					require.ErrorIs(t, last.Interface().(error), os.ErrInvalid)
				case last.Type() == reflect.TypeFor[<-chan struct{}]():
					<-last.Interface().(<-chan struct{})
				}
			})
		}
	}
}

// A view of the wrong socket returns errors too, and its other methods work.
func TestViewsOfAnotherSocket(t *testing.T) {
	c, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	defer func() { c.Close(); <-c.Done() }()
	group, peer := netip.MustParseAddr("239.1.2.3"), c.LocalAddrPort()

	m := udp.MulticastConn{Conn: c}
	require.ErrorIs(t, m.Join(group), os.ErrInvalid)
	require.ErrorIs(t, m.SetMulticastTTL(1), os.ErrInvalid)
	_, err = m.SendGroup([]byte("x"), group, 9)
	require.ErrorIs(t, err, os.ErrInvalid)
	require.Empty(t, m.Memberships())
	require.NoError(t, m.SendTo([]byte("x"), peer))

	cc := udp.ConnectedConn{Conn: c}
	require.ErrorIs(t, cc.Send([]byte("x")), syscall.ENOTCONN)
	require.ErrorIs(t, cc.Reconnect(peer), syscall.ENOTCONN)
	_, err = cc.Disconnect()
	require.ErrorIs(t, err, syscall.ENOTCONN)
	require.False(t, cc.RemoteAddrPort().IsValid())
	require.NoError(t, cc.SetWriteDeadline(time.Time{}))

	// What a user does to a view does not change the socket's own.
	mc, err := udp.ListenMulticast(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	socket := mc.Conn
	defer func() { socket.Close(); <-socket.Done() }()
	mc.Conn = c
	require.ErrorIs(t, mc.Join(group), os.ErrInvalid)
	again, ok := socket.Multicast()
	require.True(t, ok)
	require.NoError(t, again.SetMulticastTTL(1))
	mc.Conn = nil
	require.ErrorIs(t, mc.Join(group), os.ErrInvalid)
}
