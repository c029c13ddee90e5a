"""Twisted's receiver and echo server."""

import socket

from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol

import common

program = common.Program()


class Receiver(DatagramProtocol):
    def datagramReceived(self, data, address):
        program.check(data)


class Echo(DatagramProtocol):
    def datagramReceived(self, data, address):
        program.echo(self.transport.write, data, address)


sock = common.listener(program.buffer)
port = reactor.adoptDatagramPort(
    sock.fileno(), socket.AF_INET, Echo() if program.role == "echo" else Receiver(), maxPacketSize=65536
)
reactor.callWhenRunning(program.ready, sock.getsockname()[1])
reactor.run()  # until SIGTERM
program.finish()
