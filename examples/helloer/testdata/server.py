# An echo server on the port that is its argument, or on a free one. It prints
# its port, and what it gets.
import sys

from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol


class Echo(DatagramProtocol):
    def datagramReceived(self, data, addr):
        print("received", data.decode())
        self.transport.write(data, addr)


port = reactor.listenUDP(int(sys.argv[1]), Echo(), interface="127.0.0.1")
print("listening on", port.getHost().port)
reactor.run()
