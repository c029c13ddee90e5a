// Package clients_test runs the clients in this directory against servers of Debian.
package clients_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp/examples/internal/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// freePort returns a port of 127.0.0.1 that nobody listens on.
func freePort(t *testing.T) string {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer c.Close()
	_, port, err := net.SplitHostPort(c.LocalAddr().String())
	require.NoError(t, err)
	return port
}

// serve writes a configuration, in which DIR and PORT are replaced as in args, and starts a
// server with it. It skips the test when the server is not installed.
func serve(t *testing.T, config string, server string, args ...string) (address string) {
	if _, err := exec.LookPath(server); err != nil {
		server = "/usr/sbin/" + server // not in the PATH of ordinary users
	}
	program.Need(t, server)
	dir, port := t.TempDir(), freePort(t)
	fill := strings.NewReplacer("DIR", dir, "PORT", port).Replace
	for name, text := range files(config) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(fill(text)), 0o600))
	}
	for i := range args {
		args[i] = fill(args[i])
	}
	cmd := exec.Command(server, args...)
	cmd.Env = append(os.Environ(), "SNMP_PERSISTENT_DIR="+dir)
	program.StartCmd(t, nil, cmd)
	return "127.0.0.1:" + port
}

// files divides a text at lines like "-- name --".
func files(text string) map[string]string {
	all, name := map[string]string{}, ""
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(line, "-- "); ok {
			name, _, _ = strings.Cut(n, " ")
			continue
		}
		all[name] += line
	}
	return all
}

// ask builds a client and runs it until the server has started and it succeeds.
func ask(t *testing.T, client string, args ...string) string {
	binary := filepath.Join(t.TempDir(), client)
	build, err := exec.Command("go", "build", "-o", binary, "./"+client).CombinedOutput()
	require.NoError(t, err, "%s", build)
	var out, errs bytes.Buffer
	require.Eventually(t, func() bool {
		out.Reset()
		errs.Reset()
		cmd := exec.Command(binary, args...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		return cmd.Run() == nil
	}, time.Minute, 100*time.Millisecond, "%s", &errs)
	return out.String()
}

func TestDNS(t *testing.T) {
	server := serve(t, `-- conf --
server:
  interface: 127.0.0.1
  port: PORT
  username: ""
  chroot: ""
  directory: "DIR"
  pidfile: "DIR/pid"
  use-syslog: no
  local-zone: "example.test." static
  local-data: "www.example.test. A 192.0.2.7"
remote-control:
  control-enable: no
`, "unbound", "-d", "-c", "DIR/conf")
	require.Equal(t, "192.0.2.7\n", ask(t, "dns", server, "www.example.test"))
	out, err := exec.Command("go", "run", "./dns", server, "nothing.example.test").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "nothing.example.test: RCodeNameError")
}

func TestSNMP(t *testing.T) {
	server := serve(t, "-- conf --\nrocommunity public\nsysDescr a test\n",
		"snmpd", "-f", "-Le", "-C", "-c", "DIR/conf", "-p", "DIR/pid", "udp:127.0.0.1:PORT")
	require.Equal(t, "a test\n", ask(t, "snmp", server, "public"))
}

func TestSTUN(t *testing.T) {
	server := serve(t, "", "turnserver", "-n", "--no-tls", "--no-dtls", "--no-cli", "-L", "127.0.0.1",
		"-p", "PORT", "--log-file", "stdout", "--pidfile", "DIR/pid", "--userdb", "DIR/db")
	require.Regexp(t, `^127\.0\.0\.1:\d+\n$`, ask(t, "stun", server))
}

func TestNTP(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("chronyd wants to be root")
	}
	server := serve(t, `-- conf --
port PORT
bindaddress 127.0.0.1
allow 127.0.0.1
local stratum 8
cmdport 0
pidfile DIR/pid
`, "chronyd", "-x", "-d", "-f", "DIR/conf", "-u", "root")
	require.Regexp(t, `^stratum 8, offset -?\d+(\.\d+)?.?s, round trip \d`, ask(t, "ntp", server))
}

func TestRADIUS(t *testing.T) {
	server := serve(t, `-- users --
bob Cleartext-Password := "hello"
-- radiusd.conf --
prefix = /usr
logdir = DIR
run_dir = DIR
pidfile = DIR/pid
libdir = /usr/lib/freeradius
security {
  allow_vulnerable_openssl = yes
}
client localhost {
  ipaddr = 127.0.0.1
  secret = testing123
  require_message_authenticator = no
}
modules {
  pap {
  }
  files {
    filename = DIR/users
  }
}
server default {
  listen {
    type = auth
    ipaddr = 127.0.0.1
    port = PORT
  }
  authorize {
    files
    pap
  }
  authenticate {
    Auth-Type PAP {
      pap
    }
  }
}
-- dictionary --
`, "freeradius", "-f", "-d", "DIR", "-l", "stdout")
	for password, want := range map[string]string{"hello": "accepted\n", "wrong": "rejected\n"} {
		require.Equal(t, want, ask(t, "radius", server, "testing123", "bob", password), fmt.Sprint(password))
	}
}
