# An echo server on the port that is its argument. It prints what it gets. The
# port is shared, since its test holds it.
import sys

from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol


class Echo(DatagramProtocol):
    def datagramReceived(self, data, addr):
        print("received", data.decode())
        self.transport.write(data, addr)


reactor.listenMulticast(
    int(sys.argv[1]), Echo(), interface="127.0.0.1", listenMultiple=True
)
print("listening")
reactor.run()
