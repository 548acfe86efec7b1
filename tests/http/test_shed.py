#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Too many connections, too few descriptors, heads that never end: what is shed
is not what behaves, and everything is given back."""
import os
import resource
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import ADMIN, NOBODY, STAFF, Client, Ended, Front, Origin, Tests, free_port, main, wait

GET = b"GET / HTTP/1.1\r\nHost: wiki\r\n\r\n"
FILES = 320                             # of the front: (320 - 64) / 2 connections
ROOM = (FILES - 64) // 2


def limited(path):
    """A front that may have FILES descriptors."""
    with open(path, "w") as f:
        f.write("#!/bin/sh\nulimit -n %d\nexec \"%s/front_test_server\" \"$@\"\n" % (FILES, os.environ.get("top_builddir", ".")))
    os.chmod(path, 0o755)
    return path


class Shed(Tests):
    def begin(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
        self.origin, self.port = Origin(), free_port()
        dir = os.environ.get("TMPDIR", "/tmp")
        self.wrap = limited("%s/reeve-shed.%d" % (dir, os.getpid()))
        self.front = Front({
            "policy": {"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]},
            "identities": [{"address": STAFF + "/32", "login": "staff@example.edu"},
                           {"address": ADMIN + "/32", "login": "admin@example.edu"}],
            "services": {"wiki": {"listen": ["127.0.0.1:%d" % self.port], "hosts": ["wiki"], "upstream": [self.origin.url]}}},
            program=self.wrap)

    def before(self):
        self.origin.reset()
        wait(lambda: self.front.stats()["conns"] == 0, self.front.stats)

    def end(self):
        self.front.stop()
        os.unlink(self.wrap)

    def client(self, src=STAFF):
        return Client(self.port, src, timeout=60)

    def ask(self, c):
        c.send(GET)
        assert c.message().status == 200

    def flood(self, n, data=b"", src=NOBODY):
        """Connections that are there; those beyond the front's room wait in the kernel."""
        out = []
        for _ in range(n):
            s = socket.socket()
            s.bind((src, 0))
            s.settimeout(60)
            s.connect(("127.0.0.1", self.port))
            if data:
                s.sendall(data)
            out.append(s)
        return out

    def test_idle_flood(self):
        kept = self.client()
        self.ask(kept)
        idle = self.flood(2 * ROOM)
        wait(lambda: self.front.stats()["conns"] == ROOM, self.front.stats)
        for _ in range(20):
            self.ask(kept)              # needs a descriptor towards the application, too
        assert self.front.fds() <= FILES - 32, self.front.fds()
        assert self.front.stats()["conns"] == ROOM
        for s in idle:
            s.close()
        new = self.client()
        self.ask(new)
        new.close()
        kept.close()

    def test_all_of_them_busy(self):
        """Each connection has a request under way: there is a second descriptor for everyone."""
        held = []
        self.origin.reply = lambda c, m: held.append(c)
        clients = [self.client() for _ in range(ROOM)]
        for c in clients:
            c.send(GET)
        wait(lambda: len(held) == ROOM, lambda: "%d, %s" % (len(held), self.front.stats()))
        assert self.front.fds() <= FILES, self.front.fds()
        for h in held:
            h.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        for c in clients:
            assert c.message().status == 200
            c.close()

    def test_slow_heads(self):
        """A hundred heads that come a byte at a time take nobody's turn."""
        slow = self.flood(ROOM - 4, b"GET / HTTP/1.1\r\nHost: wi")
        kept = self.client()
        for i in range(50):
            slow[i % len(slow)].sendall(b"k")
            self.ask(kept)
        kept.close()
        for s in slow:
            s.close()

    def test_endless_heads(self):
        """What never ends is refused at its limit, and kept no longer than that."""
        before = self.front.rss()
        for _ in range(60):
            c = self.client(NOBODY)
            try:
                c.send(b"GET / HTTP/1.1\r\n" + (b"X-A: " + b"a" * 1000 + b"\r\n") * 400)
                assert c.message().status == 431
            except (Ended, OSError):    # more was on the way than is read past
                pass
            c.close()
        many = self.flood(ROOM, b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * 20000)
        for s in many:
            s.close()
        wait(lambda: self.front.stats()["conns"] == 0, self.front.stats)
        c = self.client()
        self.ask(c)
        c.close()
        assert self.front.rss() < before + (32 << 20), (before, self.front.rss())

    def test_one_person_is_not_everybody(self):
        """One identity's share of requests at once is its own."""
        kept = self.client(ADMIN)
        self.ask(kept)
        mine = self.flood(ROOM - 2, b"GET /slow HTTP/1.1\r\nHost: wiki\r\nX", src=STAFF)
        for _ in range(10):
            self.ask(kept)
        for s in mine:
            s.close()
        kept.close()


if __name__ == "__main__":
    main(Shed)
