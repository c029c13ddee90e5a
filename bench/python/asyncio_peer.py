"""asyncio's receiver and echo server."""

import asyncio
import signal

import common


class Protocol(asyncio.DatagramProtocol):
    def __init__(self, program):
        self.program = program
        if program.role == "receive":
            check = program.check
            self.datagram_received = lambda data, address: check(data)

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.program.echo(self.transport.sendto, data, address)


async def main():
    program = common.Program()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    sock = common.listener(program.buffer)
    transport, _ = await loop.create_datagram_endpoint(lambda: Protocol(program), sock=sock)
    program.ready(sock.getsockname()[1])
    await stop.wait()
    program.finish()
    transport.close()


asyncio.run(main())
