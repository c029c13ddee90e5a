# The multicast server of Twisted's "UDP Networking" document, with the check of
# its UniqueID, on the loopback interface. Its argument is the group.
import sys

from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol


class Server(DatagramProtocol):
    def startProtocol(self):
        joining = self.transport.joinGroup(sys.argv[1], "127.0.0.1")
        joining.addCallback(lambda _: print("serving", self.transport.getHost().port))

    def datagramReceived(self, datagram, address):
        # The check is to ensure that we only serve requests from ourselves.
        if datagram == b"UniqueID":
            print("server received", datagram.decode())
            self.transport.write(b"data", address)


reactor.listenMulticast(0, Server())
reactor.run()
