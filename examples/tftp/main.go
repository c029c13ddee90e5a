// Tftp serves the files of a directory (RFC 1350), and takes new ones with -write, until SIGINT.
//
//	tftp [-listen host:port] [-write] directory
//
// Try it with: curl tftp://localhost:6969/file
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/session"
)

const opRead, opWrite, opData, opAck, opError, blockSize = 1, 2, 3, 4, 5, 512

var codes = []error{1: fs.ErrNotExist, 2: fs.ErrPermission, 6: fs.ErrExist} // other errors are 0

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, udp.Config{}); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "tftp:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer, cfg udp.Config) error {
	flags := flag.NewFlagSet("tftp", flag.ContinueOnError)
	listen := flags.String("listen", ":6969", "`address` to listen on; port 69 needs privileges")
	write := flags.Bool("write", false, "take new files")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
		return cmp.Or(err, errors.New("needs a directory"))
	}
	dir, err := os.OpenRoot(flags.Arg(0)) // no name leads out of it
	if err != nil {
		return err
	}
	defer dir.Close()
	ln, err := session.Config{Socket: cfg, Accept: isRequest}.Listen(ctx, "udp", *listen)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "listening on", ln.Addr())
	context.AfterFunc(ctx, func() { ln.Close() }) // transfers continue
	for {
		c, err := ln.Accept()
		if err != nil {
			return ln.Conn().Run(context.Background(), 0) // until the last transfer has ended
		}
		go func() {
			defer c.Close()
			if err := serve(c, dir, *write); err != nil {
				code := max(0, slices.IndexFunc(codes, func(known error) bool { return errors.Is(err, known) }))
				c.Write(append([]byte{0, opError, 0, byte(code)}, err.Error()+"\x00"...))
			}
		}()
	}
}

func isRequest(d udp.Datagram) bool {
	return len(d.Data) > 2 && d.Data[0] == 0 && (d.Data[1] == opRead || d.Data[1] == opWrite)
}

// serve reads the request of a session and does it.
func serve(c net.Conn, dir *os.Root, write bool) error {
	b := make([]byte, blockSize+4)
	n, err := c.Read(b)
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(string(b[2:max(n, 2)]), "\x00") // then mode and options: all files are binary
	mode, transfer := os.O_RDONLY, send
	if b[1] == opWrite {
		if mode, transfer = os.O_CREATE|os.O_EXCL|os.O_WRONLY, receive; !write {
			return fs.ErrPermission
		}
	}
	file, err := dir.OpenFile(name, mode, 0o644)
	if err != nil {
		return errors.Unwrap(err)
	}
	defer file.Close()
	return transfer(c, file)
}

func send(c net.Conn, file *os.File) error {
	out := make([]byte, 4+blockSize)
	for block := uint16(1); ; block++ { // after 65,535 comes 0, as everybody has it
		n, err := io.ReadFull(file, out[4:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		binary.BigEndian.PutUint32(out, opData<<16|uint32(block))
		if _, err := ask(c, out[:4+n], opAck, block); err != nil || n < blockSize {
			return err
		}
	}
}

func receive(c net.Conn, file *os.File) error {
	ack := []byte{0, opAck, 0, 0}
	for block := uint16(1); ; block++ {
		in, err := ask(c, ack, opData, block)
		if err != nil {
			return err
		}
		if _, err := file.Write(in); err != nil {
			return err
		}
		if binary.BigEndian.PutUint16(ack[2:], block); len(in) < blockSize {
			_, err := c.Write(ack)
			return err
		}
	}
}

// ask sends a packet until the one that follows it arrives, and returns its payload.
func ask(c net.Conn, out []byte, op uint32, block uint16) ([]byte, error) {
	want := binary.BigEndian.AppendUint32(nil, op<<16|uint32(block))
	in := make([]byte, 4+blockSize)
	for range 5 {
		c.SetReadDeadline(time.Now().Add(time.Second))
		_, err := c.Write(out)
		for n := 0; err == nil; {
			if n, err = c.Read(in); err == nil && bytes.HasPrefix(in[:n], want) {
				return in[4:n], nil
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err // such as a Refusal: the client has ended
		}
	}
	return nil, os.ErrDeadlineExceeded
}
