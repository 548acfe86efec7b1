#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""reeved's identities file as it changes: who stays who they are, and what those
are told whose time is over."""
import os
import resource
import sys
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import ADMIN, STAFF, STUDENT, Client, Origin, Reeved, Tests, free_port, main, wait

GET = b"GET / HTTP/1.1\r\nHost: wiki\r\n\r\n"
FIRST = "127.0.0.1"


class Standalone(Tests):
    def begin(self):
        self.origin, self.port, self.metrics = Origin(), free_port(), free_port()
        self.rows = [{"address": a + "/32", "login": n + "@example.edu"}
                     for a, n in ((FIRST, "guest"), (STAFF, "staff"), (STUDENT, "student"), (ADMIN, "admin"))]
        self.reeved = Reeved({
            "policy": {"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]},
            "identities": self.rows,
            "services": {"wiki": {"listen": ["127.0.0.1:%d" % self.port], "hosts": ["wiki"], "upstream": [self.origin.url],
                                  "profiles": ["remote-user"]}},
            "more": {"metrics": "127.0.0.1:%d" % self.metrics}})

    def before(self):
        self.origin.reset()

    def end(self):
        self.reeved.stop()

    def get(self, src):
        c = Client(self.port, src, timeout=30)
        c.send(GET)
        m = c.message()
        c.close()
        return m

    def test_a_row_goes(self):
        """Its own connections end, those of the rows behind it do not, nor what they are in the middle of."""
        wait(lambda: self.get(FIRST).status == 200)

        def slow(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
            going.append(c)
        going = []
        self.origin.reply = slow
        down = Client(self.port, STUDENT, timeout=30).send(GET)
        wait(lambda: going)
        self.origin.reply = None
        kept = [Client(self.port, src, timeout=30) for src in (FIRST, STAFF, ADMIN)]
        for c in kept:
            c.send(GET)
            assert c.message().status == 200
        self.reeved.conf["identities"] = self.rows[1:]
        self.reeved.command("reload")
        wait(lambda: self.get(FIRST).status == 403)
        assert kept[0].ended(30)
        for c in kept[1:]:
            c.send(GET)
            assert c.message().status == 200
        going[0].sendall(b"k")
        assert down.message().body == b"ok"
        assert [m.get(b"remote-user") for m in self.origin.seen[-2:]] == [b"staff@example.edu", b"admin@example.edu"]

    def test_a_long_answer(self):
        """From socket to socket, by the pipes that the sandbox lets a front keep."""
        data = bytes(range(256)) * 12345

        def long(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        self.origin.reply = long
        wait(lambda: self.get(STAFF).body == data)
        if resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 1024:       # with fewer, none is for pipes
            with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % self.metrics, timeout=60) as r:
                rows = [float(l.split()[1]) for l in r.read().decode().splitlines() if l.startswith("reeve_spliced_bytes_total{")]
            assert rows and sum(rows) > 0, rows

    def test_b_row_comes(self):
        """Before the others, and with another person's login where one was."""
        kept = [Client(self.port, src, timeout=30) for src in (STAFF, ADMIN)]
        for c in kept:
            c.send(GET)
            assert c.message().status == 200
        self.reeved.conf["identities"] = [self.rows[0]] + [dict(r, login="other@example.edu") if r["address"].startswith(STAFF) else r
                                                           for r in self.rows[1:]]
        self.reeved.command("reload")
        wait(lambda: self.get(FIRST).status == 200)
        assert kept[0].ended(30)
        kept[1].send(GET)
        assert kept[1].message().status == 200
        assert self.get(STAFF).status == 200 and self.origin.seen[-1].get(b"remote-user") == b"other@example.edu"

    def test_c_time_is_over(self):
        assert self.get(ADMIN).status == 200
        kept = Client(self.port, ADMIN, timeout=30)
        kept.send(GET)
        assert kept.message().status == 200
        self.reeved.conf["identities"] = [dict(r, **{"expires-ms": -5000}) if r["address"].startswith(ADMIN) else r for r in self.rows]
        self.reeved.command("reload")
        m = wait(lambda: [m for m in [self.get(ADMIN)] if m.status != 200])[0]
        assert m.status == 401 and b"session-expired" in m.body, (m.head, m.body)
        assert b"admin" not in m.body and kept.ended(30)
        assert self.get(STUDENT).status == 200
        self.reeved.conf["identities"] = self.rows
        self.reeved.command("reload")
        wait(lambda: self.get(ADMIN).status == 200)


if __name__ == "__main__":
    main(Standalone, reeved=True)
