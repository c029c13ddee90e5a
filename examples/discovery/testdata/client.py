# The multicast client of the same document: it asks the group and port that are
# its arguments, first with a wrong ID, and prints the first answer.
import sys

from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol


class Client(DatagramProtocol):
    def startProtocol(self):
        self.transport.setOutgoingInterface("127.0.0.1").addCallback(self.ask)

    def ask(self, _):
        for datagram in b"Unique", b"UniqueID":
            self.transport.write(datagram, (sys.argv[1], int(sys.argv[2])))

    def datagramReceived(self, datagram, address):
        print("client received %s from %s:%d" % (datagram.decode(), *address))
        reactor.stop()


reactor.listenMulticast(0, Client())
reactor.run()
