#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""People with only a browser, over HTTP/2: every case of test_browser.py through Node's HTTP/2
client (h2_bridge.mjs), and what only streams can do."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames import DATA, HEADERS, RST, Frames, frame, literal, request
from test_browser import OTHER, STAFF, STUDENT, Browser
from wire import OK, Client, main, wait

HERE = os.path.dirname(os.path.abspath(__file__))
NAME = b"__Host-reeve="


class BrowserH2(Browser):
    def begin(self):
        super().begin()
        self.bridge = subprocess.Popen(["node", HERE + "/h2_bridge.mjs", str(self.port)], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        self.bridge_port = int(self.bridge.stdout.readline())

    def end(self):
        self.bridge.stdin.close()
        self.bridge.wait(timeout=30)
        super().end()

    def client(self):
        return Client(self.bridge_port, "127.0.0.1", timeout=60)

    def frames(self, data):
        f = Frames(self.port, src="127.0.0.1")
        f.sock.settimeout(60)
        return f.send(data)

    def get(self, stream, cookies, path=b"/open/x", host=b"wiki", **more):
        return request(stream, [(b"cookie", c) for c in cookies], path=path, authority=host + b".example", **more)

    def done(self, f, streams):
        """Those that ended well; the others were reset."""
        well, left = set(), set(streams)
        while left:
            kind, flags, n, _ = f.until(HEADERS, DATA, RST)
            if kind == RST or flags & 1:
                left.discard(n)
                if kind != RST:
                    well.add(n)
        return well

    # ---- as in HTTP/1.1, less what HTTP/2 has otherwise ----

    def nothing_on(self, quiet):
        """A connection is nobody's here, its streams are somebody's: it may stay, and serves no more."""
        assert self.ask("/open/x", cookie=STUDENT, html=False, on=quiet).status == 401

    def test_several_cookie_fields(self):
        """Crumbs are one field again (RFC 9113 8.2.3), and ours is not among them."""
        f = self.frames(self.get(1, [b"a=1", NAME + STAFF.encode(), b"b=2"]))
        assert self.done(f, {1}) == {1}
        assert self.origin.seen[-1].all(b"cookie") == [b"a=1; b=2"], self.origin.seen[-1].head
        assert self.origin.seen[-1].get(b"remote-user") == b"staff@example.edu"

    def test_revocation_cuts(self):
        """The streams of the person end; the connection, and somebody else's streams on it, do not."""
        def reply(c, m):
            if b"/open/held" in m.line:
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegin")
            else:
                c.sendall(OK)
        self.origin.reply = reply
        f = self.frames(self.get(1, [NAME + STUDENT.encode()], path=b"/open/held") +
                        self.get(3, [NAME + STAFF.encode()], path=b"/open/held"))
        heard = set()
        while heard != {1, 3}:
            heard.add(f.until(DATA)[2])
        self.front.command("revoke student@example.edu")
        assert f.until(RST)[2] == 1
        f.send(self.get(5, [NAME + STAFF.encode()]) + self.get(7, [NAME + STUDENT.encode()]))
        assert self.done(f, {5, 7}) == {5, 7}
        who = [s.get(b"remote-user") for s in self.origin.seen if b"/open/x" in s.line]
        assert who == [b"staff@example.edu"], who
        f.sock.close()
        self.front.command("restore student@example.edu")

    def test_gone_from_the_map(self):
        rows, f = self.conf["identities"], self.frames(self.get(1, [NAME + STUDENT.encode()]))
        assert self.done(f, {1}) == {1} and len(self.origin.seen) == 1
        self.conf["identities"] = [r for r in rows if r["cookie"] != STUDENT]
        try:
            self.front.write()
            self.front.command("reload")
            f.send(self.get(3, [NAME + STUDENT.encode()]))
            assert self.done(f, {3}) == {3} and len(self.origin.seen) == 1
        finally:
            self.conf["identities"] = rows
            f.sock.close()

    # ---- what only streams can do ----

    def test_many_people_on_one_connection(self):
        """A hundred streams of two people and of nobody, all at once: each is who its cookie says."""
        f = self.frames(b"".join(
            self.get(1 + 2 * i, ([NAME + (STAFF, STUDENT)[i % 3].encode()] if i % 3 < 2 else []), path=b"/open/%d" % i)
            for i in range(99)))
        assert len(self.done(f, {1 + 2 * i for i in range(99)})) == 99
        for s in self.origin.seen:
            i = int(s.line.split()[1].rpartition(b"/")[2])
            assert i % 3 < 2 and s.get(b"remote-user") == (b"staff@example.edu", b"student@example.edu")[i % 3], s.head
        assert len(self.origin.seen) == 66

    def test_crumbs_that_lie(self):
        """Twice is not at all, however it is cut; nor is one cut in the middle a cookie."""
        ours, other = NAME + STAFF.encode(), NAME + OTHER.encode()
        cases = ([ours, ours], [ours, other], [ours + b"; " + other], [ours[:20], ours[20:]], [b"a=1; " + ours, ours],
                 [NAME, STAFF.encode()], [b"x" + ours], [ours + b"x"], [b""], [b";" * 100])
        f = self.frames(b"".join(self.get(1 + 2 * i, c) for i, c in enumerate(cases)))
        n = {1 + 2 * i for i in range(len(cases))}
        assert self.done(f, n) == n and self.origin.seen == [], self.origin.seen

    def test_cookie_in_trailers(self):
        """It is no trailer: who asks is settled by then, and the application does not see it."""
        f = self.frames(self.get(1, [], end=False, method=b"POST") + frame(DATA, 0, 1, b"abc") +
                        frame(HEADERS, 5, 1, literal(b"cookie", NAME + STAFF.encode())))
        self.done(f, {1})
        assert self.origin.seen == []
        f.send(self.get(3, [NAME + STAFF.encode()], end=False, method=b"POST") + frame(DATA, 0, 3, b"abc") +
               frame(HEADERS, 5, 3, literal(b"cookie", NAME + STAFF.encode()) + literal(b"x-sum", b"1")))
        assert self.done(f, {3}) == {3}
        s = self.origin.seen[-1]
        assert s.trailers == [b"x-sum: 1\r\n"] and STAFF.encode() not in s.head, (s.head, s.trailers)

    def test_a_socket_by_its_cookie(self):
        def echo(c, m):
            c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")
            while True:
                d = c.recv(65536)
                if not d:
                    return False
                c.sendall(d)
        self.origin.reply = echo
        f = self.frames(self.get(1, [NAME + STUDENT.encode()], end=False, method=b"CONNECT", protocol=b"websocket"))
        assert f.until(DATA)[3] == b"hello"
        self.front.command("revoke student@example.edu")
        while True:
            kind, flags, n, _ = f.until(DATA, RST)
            if kind == RST or flags & 1:
                break
        assert n == 1
        self.front.command("restore student@example.edu")
        f.sock.close()
        wait(lambda: self.front.stats()["upgrades"] == 0, self.front.stats)


if __name__ == "__main__":
    main(BrowserH2, tools=("node",))
