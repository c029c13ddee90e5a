# A connected Twisted client: it sends each of its lines to the port that is its
# argument, one after the other, and prints what comes back.
import sys

from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol


class Client(DatagramProtocol):
    def __init__(self, port, texts):
        self.port = port
        self.texts = texts

    def startProtocol(self):
        self.transport.connect("127.0.0.1", self.port)
        self.next()

    def next(self):
        if self.texts:
            self.transport.write(self.texts.pop(0).encode())
        else:
            reactor.stop()

    def datagramReceived(self, data, addr):
        print("received %r from %s:%d" % (data.decode(), *addr))
        self.next()


reactor.listenUDP(0, Client(int(sys.argv[1]), sys.argv[2:]))
reactor.run()
