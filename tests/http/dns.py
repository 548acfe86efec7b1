# SPDX-License-Identifier: AGPL-3.0-or-later
"""A name server for tests, on a loopback port of its own, over UDP."""
import socket
import struct
import threading

TYPES = {1: socket.AF_INET, 28: socket.AF_INET6}


class Dns:
    """names: {"app.test": (["127.0.0.2", "::1"], TTL)}, "none": there is no such name, "broken": SERVFAIL,
    "silent": no answer at all. What is not in it does not exist."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.at = "127.0.0.1:%d" % self.sock.getsockname()[1]
        self.names, self.asked = {}, {}
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            q, peer = self.sock.recvfrom(4096)
            try:
                a = self.answer(q)
            except (IndexError, struct.error, UnicodeDecodeError):
                continue
            if a:
                self.sock.sendto(a, peer)

    def answer(self, q):
        labels, i = [], 12
        while q[i]:
            labels.append(q[i + 1:i + 1 + q[i]].decode())
            i += 1 + q[i]
        kind, = struct.unpack("!H", q[i + 1:i + 3])
        name, question = ".".join(labels).lower(), q[12:i + 5]
        said = self.names.get(name, "none")
        self.asked[name] = self.asked.get(name, 0) + 1
        if said == "silent":
            return None
        code = {"none": 3, "broken": 2}.get(said, 0) if isinstance(said, str) else 0
        rows = b""
        n = 0
        if not isinstance(said, str) and kind in TYPES:
            for ip in said[0]:
                if (":" in ip) == (kind == 28):
                    data = socket.inet_pton(TYPES[kind], ip)
                    rows += struct.pack("!HHHIH", 0xc00c, kind, 1, said[1], len(data)) + data
                    n += 1
        return q[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, n, 0, 0) + question + rows
