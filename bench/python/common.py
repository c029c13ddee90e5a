"""What the Python programs share: arguments, the check of payloads, the line at the end. See ../README.md."""

import json
import resource
import socket
import sys
import time

MARK = 0xA5C3F00D5EED1234
PATTERN = bytes((i * 131 + 7) & 0xFF for i in range(65536))


def arguments():
    role, way = sys.argv[1:3]
    named = dict(a.split("=", 1) for a in sys.argv[3:])
    return role, way, int(named.get("size", 64)), float(named.get("warm", 0.1)), int(named.get("buffer", 4 << 20))


def listener(buffer):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    s.bind(("127.0.0.1", 0))
    s.setblocking(False)
    return s


def cpu_ns():
    r = resource.getrusage(resource.RUSAGE_SELF)
    return int((r.ru_utime + r.ru_stime) * 1e9)


class Check:
    """Length, number and masked copy of each datagram; all of the content and the clock one time in 64."""

    def __init__(self, size, warm):
        self.size, self.warm = size, warm
        self.received = self.bad = self.disorder = self.lost = self.next = 0
        self.first = self.base = self.last = None
        self.base_count = self.last_count = 0
        self.middle = PATTERN[8 : size - 8]

    def __call__(self, data):
        seq = int.from_bytes(data[:8], "little")
        if len(data) != self.size or int.from_bytes(data[-8:], "little") != seq ^ MARK:
            self.bad += 1
            return
        if seq == self.next:
            self.next = seq + 1
        elif seq < self.next:
            self.disorder += 1
        else:
            self.lost += seq - self.next
            self.next = seq + 1
        self.received += 1
        if self.received & 63 == 1:
            self.sample(data)

    def sample(self, data):
        if data[8:-8] != self.middle:
            self.bad += 1
        now = time.monotonic()
        if self.first is None:
            self.first = now
        if now - self.first <= self.warm:
            self.base, self.base_count = now, self.received
        self.last, self.last_count = now, self.received


class Program:
    """Either checks what it receives, or sends it back with reply."""

    def __init__(self):
        self.role, self.way, size, warm, self.buffer = arguments()
        self.check = Check(size, warm)
        self.received = self.sent = self.errors = 0

    def ready(self, port):
        print(json.dumps({"port": port}), flush=True)
        self.cpu = cpu_ns()

    def echo(self, reply, data, address):
        self.received += 1
        try:
            reply(data, address)
            self.sent += 1
        except OSError:
            self.errors += 1

    def finish(self):
        out = {"coalesced": False, "cpu_ns": cpu_ns() - self.cpu}
        if self.role == "echo":
            out.update(received=self.received, sent=self.sent, errors=self.errors)
        else:
            c = self.check
            out.update(received=c.received, bad=c.bad, disorder=c.disorder, lost=c.lost)
            out.update(counted=c.last_count - c.base_count, seconds=(c.last or 0) - (c.base or 0))
        print(json.dumps(out), flush=True)
