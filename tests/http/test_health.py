#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Applications that are asked whether they are well: who is asked, what counts
as well, who gets requests, what is told of it."""
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import OK, STAFF, Client, Front, Origin, Tests, free_port, lines, main, wait

SICK = b"HTTP/1.1 500 Sick\r\nContent-Length: 0\r\n\r\n"


class App(Origin):
    """Says self.health to /healthz, and its own name to everything else."""

    def __init__(self, name, path=None):
        self.name = name
        super().__init__(path)

    def reset(self):
        super().reset()
        self.health, self.asked, self.reply = OK, 0, self.answer

    def answer(self, c, m):
        if m.line.split(b" ")[1] == b"/healthz":
            self.asked += 1
            if self.health is None:
                threading.Event().wait(60)
            c.sendall(self.health)
            return False
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(self.name), self.name))


class Health(Tests):
    def begin(self):
        self.a, self.b = App(b"a"), App(b"b")
        self.mute = socket.socket()     # accepts, by its backlog, and says nothing
        self.mute.bind(("127.0.0.1", 0))
        self.mute.listen(512)
        self.port, self.dead = free_port(), free_port()

        def service(host, *ups, **more):
            return dict({"listen": ["127.0.0.1:%d" % self.port], "hosts": [host], "upstream": list(ups),
                         "profiles": ["remote-user"], "health-ms": 50, "health-timeout-ms": 20000}, **more)
        self.front = Front({
            "policy": {"grants": [{"src": ["staff@example.edu"], "dst": ["*"], "ip": ["*"]}]},
            "identities": [{"address": STAFF + "/32", "login": "staff@example.edu"}],
            "services": {"wiki": service("wiki", self.a.url, self.b.url, **{"health-path": "/healthz"}),
                         "one": service("one", self.a.url, **{"health-path": "/healthz", "health-fall": 1, "health-rise": 1}),
                         "gone": service("gone", "http://127.0.0.1:%d" % self.dead, self.a.url),
                         "mute": service("mute", "http://127.0.0.1:%d" % self.mute.getsockname()[1],
                                         **{"health-path": "/healthz", "health-timeout-ms": 100})}})

    def before(self):
        self.a.reset()
        self.b.reset()
        wait(lambda: self.up("wiki") == [1, 1] and self.up("one") == [1])

    def end(self):
        self.front.stop()

    def up(self, service):
        return [int(l.rsplit(" ", 1)[1]) for l in self.front.command("metrics")
                if l.startswith("reeve_upstream_up{") and 'service="%s"' % service in l]

    def checks(self, service, result):
        return sum(int(l.rsplit(" ", 1)[1]) for l in self.front.command("metrics")
                   if l.startswith("reeve_health_checks_total{") and 'service="%s"' % service in l and 'result="%s"' % result in l)

    def get(self, host="wiki"):
        c = Client(self.port, STAFF, timeout=30)
        c.send(b"GET /x HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode())
        m = c.message()
        c.close()
        return m

    def test_who_is_sick_gets_nothing(self):
        self.b.health = SICK
        wait(lambda: self.up("wiki") == [1, 0])
        assert {self.get().body for _ in range(20)} == {b"a"}
        self.b.health = OK
        wait(lambda: self.up("wiki") == [1, 1])
        wait(lambda: self.get().body == b"b")
        told = lines(self.front.log, lambda l: l.get("event") == "upstream" and l.get("upstream") == self.b.url and l["health"] == "up")
        assert [l["health"] for l in told if l.get("event") == "upstream" and l.get("upstream") == self.b.url][:2] == ["down", "up"]

    def test_nobody_is_well(self):
        self.a.health = SICK
        wait(lambda: self.up("one") == [0])
        n = self.checks("one", "failed")
        m = self.get("one")
        assert m.status == 503 and b"upstream-down" in m.body, (m.head, m.body)
        assert n >= 1
        self.a.health = OK
        wait(lambda: self.up("one") == [1])
        assert self.get("one").body == b"a"

    def test_what_is_well(self):
        for raw, well in ((b"HTTP/1.1 204 No\r\n\r\n", True), (b"HTTP/1.1 302 Go\r\nContent-Length: 0\r\n\r\n", True),
                          (b"HTTP/1.1 103 Soon\r\n\r\n" + OK, True), (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", False),
                          (b"HTTP/1.1 200\nX: y\r\n\r\n", False), (b"", False), (b"\x00\x00\x00", False)):
            self.a.health = OK
            wait(lambda: self.up("one") == [1])
            self.a.health = raw
            n, k = self.checks("one", "well"), self.a.asked
            if well:
                wait(lambda: self.checks("one", "well") > n + 1 and self.a.asked > k + 1)
                assert self.up("one") == [1], raw
            else:
                wait(lambda: self.up("one") == [0])

    def test_byte_by_byte(self):
        def drip(c, m):
            if m.line.split(b" ")[1] == b"/healthz":
                self.a.asked += 1
                for i in range(len(OK)):
                    c.sendall(OK[i:i + 1])
                return False
            return self.a.answer(c, m)
        self.a.reply = drip
        n, k = self.checks("one", "well"), self.a.asked
        wait(lambda: self.checks("one", "well") > n + 3 and self.a.asked > k + 3)
        assert self.up("one") == [1]

    def test_dead_and_mute(self):
        wait(lambda: self.up("gone") == [0, 1] and self.up("mute") == [0])
        assert {self.get("gone").body for _ in range(10)} == {b"a"}
        assert self.get("mute").status == 503

    def test_what_is_asked(self):
        """With the service's name, and nobody's."""
        self.a.seen.clear()
        wait(lambda: len(self.a.seen) > 2)
        for m in self.a.seen[:3]:
            assert m.line == b"GET /healthz HTTP/1.1" and m.get(b"host") in (b"wiki", b"one"), m.head
            assert m.get(b"remote-user") is None and m.get(b"x-forwarded-for") is None, m.head

    def test_z_reload(self):
        """No more asking where the configuration no longer wants it; descriptors are given back."""
        self.a.health = self.b.health = SICK
        wait(lambda: self.up("wiki") == [0, 0])
        for v in self.front.conf["services"].values():
            v["health-ms"] = 0
        self.front.write()
        self.front.command("reload")
        assert self.up("wiki") == [1, 1] and self.get().status == 200
        n = self.a.asked
        for _ in range(5):
            self.get()
        assert self.a.asked == n and self.checks("wiki", "failed") == 0
        before = self.front.fds()
        for v in self.front.conf["services"].values():
            v["health-ms"] = 20
        self.front.write()
        self.front.command("reload")
        wait(lambda: self.a.asked > n + 100)
        assert self.front.fds() <= before + 12, (before, self.front.fds())


if __name__ == "__main__":
    main(Health)
