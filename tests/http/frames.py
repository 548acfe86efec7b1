# SPDX-License-Identifier: AGPL-3.0-or-later
"""HTTP/2 frames, written by hand. Used by test_wire_h2.py and test_wire_hostile.py."""
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import STAFF, Ended, Reader

DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A field, not indexed, not compressed (RFC 7541 6.2.2); short ones."""
    def text(t):
        assert len(t) < 127
        return bytes([len(t)]) + t
    return b"\x00" + text(name) + text(value)


def request(stream, fields, end=True, **pseudo):
    p = {b":method": b"GET", b":scheme": b"http", b":authority": b"wiki", b":path": b"/"}
    p.update({b":" + k.encode(): v for k, v in pseudo.items()})
    block = b"".join(literal(n, v) for n, v in p.items() if v is not None) + b"".join(literal(n, v) for n,
            v in fields)
    return frame(HEADERS, 4 | (1 if end else 0), stream, block)


class Frames:
    def __init__(self, port, src=STAFF):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(src, 0))
        self.r = Reader(self.sock)
        self.sock.sendall(PREFACE + frame(SETTINGS, 0, 0))

    def send(self, data):
        self.sock.sendall(data)
        return self

    def next(self):
        head = self.r.take(9)
        n = int.from_bytes(head[:3], "big")
        return head[3], head[4], int.from_bytes(head[5:9], "big"), self.r.take(n)

    def until(self, *kinds):
        while True:
            f = self.next()
            if f[0] == SETTINGS and not f[1] & 1:
                self.sock.sendall(frame(SETTINGS, 1, 0))
            if f[0] in kinds:
                return f

    def ended(self):
        try:
            while True:
                if self.next()[0] == GOAWAY:
                    return True
        except TimeoutError:
            return False
        except (Ended, OSError):
            return True
