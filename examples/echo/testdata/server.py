# The echo server of Twisted's "UDP Networking" document. It prints its port.
from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol


class Echo(DatagramProtocol):
    def datagramReceived(self, data, addr):
        self.transport.write(data, addr)


port = reactor.listenUDP(0, Echo(), interface="127.0.0.1")
print("listening on", port.getHost().port)
reactor.run()
