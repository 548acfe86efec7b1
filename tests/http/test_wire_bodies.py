#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Long answers, which go from socket to socket through a pipe: every byte, in
order, to clients quick and slow, more of them than there are pipes, and none
of one body in another when somebody leaves in the middle."""
import fcntl
import hashlib
import os
import random
import resource
import socket
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import ADMIN, STAFF, Client, Ended, Front, Origin, Tests, free_port, main, wait

DATA = random.Random(3).randbytes(6 << 20)
PATIENCE = 60
SLOW = 80                       # clients at once: more than the 64 pipes


def body(n, at=0):
    return DATA[at:at + n]


class Bodies(Tests):
    def begin(self):
        # pipes are for those who have descriptors to spare, and who may have them of a good size
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        r, w = os.pipe()
        try:
            self.pipes = hard >= 1024 and fcntl.fcntl(w, fcntl.F_GETPIPE_SZ) >= 64 << 10
        finally:
            os.close(r)
            os.close(w)
        self.origin = Origin()
        self.unix = Origin(path=tempfile.mkdtemp(prefix="reeve-wire.") + "/app")
        self.port = free_port()
        at = ["127.0.0.1:%d" % self.port]
        self.front = Front({
            "policy": {"grants": [{"src": ["staff@example.edu", "admin@example.edu"], "dst": ["*"], "ip": ["*"]}]},
            "identities": [{"address": STAFF + "/32", "login": "staff@example.edu"},
                           {"address": ADMIN + "/32", "login": "admin@example.edu"}],
            "services": {"wiki": {"listen": at, "hosts": ["wiki"], "upstream": [self.origin.url]},
                         "unix": {"listen": at, "hosts": ["unix"], "upstream": [self.unix.url]}}})

    def before(self):
        self.front.command("restore staff@example.edu")
        self.go_on = threading.Event()
        for o in (self.origin, self.unix):
            o.reset()
            o.reply = self.reply
        self.settled()

    def end(self):
        self.front.stop()

    def reply(self, c, m):
        """GET /N/AT: that many bytes from there; /N/AT/CUT: no more than CUT of them, then the end;
        /N/AT/CUT/1: then nothing until the test says so; /chunked/N/AT: in chunks."""
        path = m.line.split(b" ")[1].split(b"/")[1:]
        if path[0] == b"chunked":
            data = body(int(path[1]), int(path[2]))
            c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for i in range(0, len(data), 300000):
                c.sendall(b"%x\r\n" % len(data[i:i + 300000]) + data[i:i + 300000] + b"\r\n")
            c.sendall(b"0\r\n\r\n")
            return None
        words = [int(x) for x in path]
        data = body(words[0], words[1])
        status = b"304 Not Modified" if m.get(b"if-none-match") else b"200 OK"
        c.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(data))
        if m.line.startswith(b"HEAD") or m.get(b"if-none-match"):
            return None
        c.sendall(data[:words[2]] if len(words) > 2 else data)
        if len(words) > 3:
            self.go_on.wait(PATIENCE)
            return False
        return len(words) < 3

    def ask(self, n, at, host=b"wiki", version=b"1.1", more=b"", method=b"GET", fields=b""):
        return method + b" /%d/%d" % (n, at) + more + b" HTTP/" + version + b"\r\nHost: " + host + b"\r\n" + fields + b"\r\n"

    def client(self, src=STAFF):
        return Client(self.port, src, timeout=PATIENCE)

    def narrow(self, request):
        """A client whose kernel keeps little for it."""
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        s.bind((STAFF, 0))
        s.settimeout(PATIENCE)
        s.connect(("127.0.0.1", self.port))
        s.sendall(request)
        return s

    def settled(self):
        """What ended is gone."""
        def look():
            s = self.front.stats()
            return s["conns"] == 0 and s["in_flight"] == 0
        wait(look, self.front.stats, PATIENCE)

    def spliced(self):
        return self.front.stats()["spliced"]

    def pipe_ends(self):
        """Descriptors of pipes, less standard input and output."""
        d, n = "/proc/%d/fd/" % self.front.proc.pid, 0
        for f in os.listdir(d):
            try:
                n += int(f) > 2 and os.readlink(d + f).startswith("pipe:")
            except FileNotFoundError:
                pass
        return n

    def test_every_size_on_one_connection(self):
        for host in (b"wiki", b"unix"):
            before, c = self.spliced(), self.client()
            for n in (0, 1, 65536, 131071, 131072, 131073, 262144, 262145, 1 << 20, 5000001, 3, 200000):
                c.send(self.ask(n, 7, host))
                m = c.message()
                assert m.status == 200 and m.body == body(n, 7), (host, n, len(m.body))
            c.close()
            assert not self.pipes or self.spliced() > before, host

    def test_what_is_not_spliced(self):
        """Chunks pass through the parser; a HEAD's and a 304's length is no body's; what follows is its own."""
        before, c = self.spliced(), self.client()
        c.send(b"GET /chunked/2000000/5 HTTP/1.1\r\nHost: wiki\r\n\r\n")
        assert c.message().body == body(2000000, 5)
        c.send(self.ask(1 << 20, 3, method=b"HEAD"))
        m = c.message(no_body=True)
        assert m.get(b"content-length") == b"1048576" and not c.r.buf
        c.send(self.ask(7, 11))
        assert c.message().body == body(7, 11)
        c.send(self.ask(1 << 20, 3, fields=b'If-None-Match: "a"\r\n'))
        m = c.message()
        assert m.status == 304 and not m.body
        c.send(self.ask(9, 13))
        assert c.message().body == body(9, 13)
        c.close()
        assert self.spliced() == before

    def test_pipelined(self):
        c = self.client()
        rows = [(1 << 20, 0), (5, 1), (300000, 2), (2 << 20, 3), (1, 4), (131072, 5)]
        t = threading.Thread(target=c.send, args=(b"".join(self.ask(n, at) for n, at in rows),))
        t.start()
        for n, at in rows:
            assert c.message().body == body(n, at), (n, at)
        t.join()
        c.close()

    def test_http_1_0(self):
        c = self.client().send(self.ask(3 << 20, 9, version=b"1.0"))
        assert c.message().body == body(3 << 20, 9) and c.ended(PATIENCE)
        c.close()

    def test_its_line_in_the_log(self):
        """It says every byte of the body, as for what is copied."""
        c = self.client().send(self.ask(1234567, 9, more=b""))
        assert len(c.message().body) == 1234567
        c.close()
        self.front.lines(lambda l: l.get("path") == "/1234567/9" and l.get("bytes_out") == 1234567)

    def slow(self, i, out):
        """A client that takes little at a time."""
        n, at = (1 << 20) + i * 1001, i * 13
        got, head = hashlib.sha256(), b""
        with self.narrow(self.ask(n, at)) as s:
            while b"\r\n\r\n" not in head:
                head += s.recv(1)
            left = n
            while left:
                d = s.recv(min(left, 6000 + i))
                if not d:
                    break
                got.update(d)
                left -= len(d)
        out[i] = not left and got.digest() == hashlib.sha256(body(n, at)).digest()

    def test_more_slow_clients_than_pipes(self):
        out = {}
        threads = [threading.Thread(target=self.slow, args=(i, out)) for i in range(SLOW)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(out) == SLOW and all(out.values()), [i for i in range(SLOW) if not out.get(i)]

    def test_those_who_leave(self):
        """Many leave in the middle, more than there are pipes; what the next ones get is theirs alone."""
        ends = self.pipe_ends()
        assert ends or not self.pipes
        for i in range(SLOW):
            s = self.narrow(self.ask(5 << 20, 0))
            s.recv(100 + 997 * i)
            if i % 2:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.close()
        c = self.client(ADMIN)
        for i in range(SLOW):
            c.send(self.ask(400000, 1000 + i))
            assert c.message().body == body(400000, 1000 + i), i
        c.close()
        self.settled()
        assert self.pipe_ends() == ends, (ends, self.pipe_ends())

    def test_an_application_that_breaks_off(self):
        for cut in (0, 1, 100000, 131072, 999999):
            c = self.client().send(self.ask(1 << 20, 0, more=b"/%d" % cut))
            try:
                m = c.message()
                assert False, (cut, len(m.body))
            except Ended:
                assert body(cut).startswith(c.r.buf), (cut, len(c.r.buf))
            c.close()

    def test_killed_at_every_byte(self):
        """The application dies at each byte of a head before a long body, and here and there in that: its end or
        a reset. What the client has is never taken for a whole answer, and is no other bytes."""
        n = 300000
        whole = b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: %d\r\n\r\n" % n + body(n, 77)
        head = whole.index(b"\r\n\r\n") + 4
        ends, rng = self.pipe_ends(), random.Random(9)
        places = list(range(head + 2)) + [head + rng.randrange(n) for _ in range(30)] + [len(whole) - 131072, len(whole) - 1]
        for at in places:
            def reply(c, m, at=at):
                c.sendall(whole[:at])
                if at % 2:
                    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return False
            self.origin.reply = reply
            c = self.client().send(b"GET /%d HTTP/1.1\r\nHost: wiki\r\n\r\n" % at)
            try:
                m = c.message()
                assert m.status in (502, 503), (at, m.head)
            except Ended:
                assert c.r.buf.startswith(b"HTTP/") or body(n, 77).startswith(c.r.buf), at
            c.close()
        self.origin.reply = self.reply
        self.settled()
        assert self.pipe_ends() == ends, (ends, self.pipe_ends())
        # the application rested while it failed
        wait(lambda: self.client().send(self.ask(5, 5)).message().body == body(5, 5), self.front.stats, PATIENCE)

    def test_revocation_in_the_middle(self):
        """The application still speaks, the client waits with a full pipe: both connections end at once."""
        for n in (4 << 20, 300000):
            self.go_on.clear()
            s = self.narrow(self.ask(6 << 20, 0, more=b"/%d/1" % n))
            s.recv(1000)
            self.front.command("revoke staff@example.edu")
            got = 1000
            try:
                while True:
                    d = s.recv(65536)
                    if not d:
                        break
                    got += len(d)
            except ConnectionError:
                pass
            s.close()
            assert got < 6 << 20
            c = self.client(ADMIN).send(self.ask(1 << 20, 5))
            assert c.message().body == body(1 << 20, 5)
            c.close()
            self.settled()
            self.go_on.set()
            self.front.command("restore staff@example.edu")


main(Bodies)
