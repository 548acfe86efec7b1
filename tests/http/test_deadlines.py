#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Each deadline of the front, made short: who is late is told so (or cut, once part of
an answer is out), the log says which one it was, and who is slow but speaks is not
hurt. All cases run beside each other, in one front.

No case fails because this machine is slow: there is no upper bound but PATIENCE, and
a case in which the test itself was too slow to be called punctual is tried again."""
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import STAFF, Client, Ended, Front, Origin, Reader, Tests, free_port, main, wait

PATIENCE = 60
HEAD, KEEP, IDLE, TOTAL = 1.5, 1.0, 1.2, 1.5
GET = b"GET /%s HTTP/1.1\r\nHost: %s\r\n\r\n"
LONG = bytes(range(256)) * (24 << 10)   # 6 MiB: more than kernels keep for a connection


class TooSlow(Exception):
    """The machine, not the front."""


class Pace:
    """Says whether this thread kept its own time."""

    def __init__(self, limit):
        self.limit, self.last = limit, time.monotonic()

    def is_late(self):
        return time.monotonic() - self.last > self.limit

    def step(self, seconds=0.0):
        time.sleep(seconds)
        now = time.monotonic()
        gap, self.last = now - self.last, now
        if gap > self.limit:
            raise TooSlow("%.1f s" % gap)


class Deadlines(Tests):
    def begin(self):
        self.dir = tempfile.mkdtemp(prefix="reeve-deadlines.")
        self.origin, self.gate = Origin(), threading.Event()
        self.origin.reply = self.reply
        self.pace, self.began = {}, {}
        self.port, self.tls_port = free_port(), free_port()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=wiki", "-keyout", self.dir + "/key", "-out", self.dir + "/cert"],
                       check=True, capture_output=True)
        # an application that never takes its connections, and whose queue of them is full
        self.full = socket.socket()
        self.full.bind(("127.0.0.1", 0))
        self.full.listen(0)
        self.crowd = []
        for _ in range(8):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(self.full.getsockname())
            self.crowd.append(s)

        def service(host, url=None, port=None, **more):
            return dict({"listen": ["127.0.0.1:%d" % (port or self.port)], "hosts": [host],
                         "upstream": [url or self.origin.url]}, **{k.replace("_", "-"): v for k, v in more.items()})
        self.front = Front({
            "policy": {"grants": [{"src": ["staff@example.edu"], "dst": ["*"], "ip": ["*"]}]},
            "identities": [{"address": STAFF + "/32", "login": "staff@example.edu"}],
            "certificates": [{"certificate": self.dir + "/cert", "key": self.dir + "/key"}],
            "header-ms": int(HEAD * 1000), "keep-alive-ms": int(KEEP * 1000),
            "services": {
                "wiki": service("wiki"),
                "secure": service("secure", port=self.tls_port, tls=True),
                "connect": service("connect", "http://127.0.0.1:%d" % self.full.getsockname()[1], connect_ms=900),
                "first": service("first", first_byte_ms=900),
                "idle": service("idle", idle_ms=int(IDLE * 1000)),
                "total": service("total", total_ms=int(TOTAL * 1000))}})
        self.jobs = {}
        for name in dir(self):
            if name.startswith("test_"):
                self.jobs[name] = job = {}
                job["thread"] = threading.Thread(target=self.work, args=(getattr(self, "case" + name[4:]), job), daemon=True)
                job["thread"].start()

    def end(self):
        self.gate.set()
        self.front.stop()

    def work(self, case, job):
        for attempt in range(8):
            try:
                case(b"%s.%d" % (case.__name__.encode(), attempt))
                job["done"] = True
                return
            except TooSlow as e:
                job["slow"] = e
            except BaseException as e:
                job["error"] = e
                return

    def result(self, name):
        job = self.jobs[name]
        job["thread"].join(4 * PATIENCE)
        if "error" in job:
            raise job["error"]
        if "done" not in job:
            print("# %s: this machine could not keep time, eight times: %s" % (name, job.get("slow", "no end")))

    # ---- the application ----

    def reply(self, c, m):
        path = m.line.split(b" ")[1]
        self.began[path] = time.monotonic()
        kind = path.split(b".")[0]
        if kind in (b"/case_first_byte", b"/case_total_without_an_answer"):
            self.gate.wait(4 * PATIENCE)
            return False
        if kind == b"/case_application_stops":
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            self.gate.wait(4 * PATIENCE)
            return False
        if kind in (b"/case_total", b"/case_slow_answer"):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (20 if kind == b"/case_slow_answer" else 100000))
            self.pace[path] = Pace(IDLE / 2)
            try:
                for i in range(20 if kind == b"/case_slow_answer" else 100000):
                    c.sendall(b"x")
                    self.pace[path].step(IDLE / 8)
            except TooSlow as e:
                self.pace[path] = e
                return False
            return None
        if kind in (b"/case_stuck_reader", b"/case_slow_reader"):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LONG) + LONG)
            return None
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return None

    # ---- helpers ----

    def client(self, data=b"", narrow=False):
        """A client, and what it says first in the same breath."""
        pace = Pace(HEAD / 2)
        c = Client.__new__(Client)
        c.sock = socket.socket()
        if narrow:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        c.sock.bind((STAFF, 0))
        c.sock.settimeout(PATIENCE)
        c.start = time.monotonic()
        c.sock.connect(("127.0.0.1", self.port))
        c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c.r = Reader(c.sock)
        if data:
            c.sock.sendall(data)
            pace.step()
        return c

    def late(self, c, least, status):
        """It is told, not before its time; then the connection ends."""
        m = c.message()
        took = time.monotonic() - c.start
        assert m.status == status and took >= least, (m.status, took)
        if status == 408:
            assert c.rest() == b""
        c.close()

    def cut(self, c, least, status=200):
        """The answer is no whole one, and its end is the connection's."""
        try:
            m = c.message()
            assert False, (m.status, len(m.body))
        except Ended:
            took = time.monotonic() - c.start
            assert took >= least, took
        c.close()

    def logged(self, path, reason, **more):
        want = dict(more, **({"reason": reason} if reason else {}))
        self.front.lines(lambda l: l.get("path") == "/" + path.decode() and all(l.get(k) == v for k, v in want.items()))

    # ---- who is late ----

    def case_silent_from_the_start(self, path):
        c = self.client()
        assert c.rest() == b""
        assert time.monotonic() - c.start >= HEAD
        c.close()

    def case_silent_handshake(self, path):
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.tls_port), timeout=PATIENCE, source_address=(STAFF, 0)) as s:
            assert s.recv(100) == b"" and time.monotonic() - start >= HEAD

    def case_half_a_head(self, path):
        c = self.client(b"GET /%s HTTP/1.1\r\nHost: wi" % path)
        self.late(c, HEAD, 408)
        self.front.lines(lambda l: l.get("status") == 408 and "in time" in l.get("detail", ""))

    def case_head_by_drops(self, path):
        """Slow-loris: a byte now and then moves nothing."""
        c = self.client(b"GET /%s HTTP/1.1\r\nHost: wiki\r\nX-A: " % path)
        end = time.monotonic() + PATIENCE
        c.sock.settimeout(0.1)
        got = b""
        while time.monotonic() < end:
            try:
                c.sock.sendall(b"a")
            except ConnectionError:
                pass                    # what it said before is still to be read
            try:
                got = c.sock.recv(65536)
                break
            except TimeoutError:
                pass
        took = time.monotonic() - c.start
        assert got.startswith(b"HTTP/1.1 408 ") and took >= HEAD, (got[:100], took)
        c.close()

    def case_no_second_request(self, path):
        c = self.client(GET % (path, b"wiki"))
        assert c.message().status == 200
        assert c.rest() == b"" and time.monotonic() - c.start >= KEEP
        c.close()

    def case_body_stops(self, path):
        c = self.client(b"POST /%s HTTP/1.1\r\nHost: idle\r\nContent-Length: 10\r\n\r\nabc" % path)
        self.late(c, IDLE, 408)
        self.logged(path, "body-timeout", status=408)

    def case_chunks_stop(self, path):
        c = self.client(b"POST /%s HTTP/1.1\r\nHost: idle\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab" % path)
        self.late(c, IDLE, 408)
        self.logged(path, "body-timeout", status=408)

    def case_connect(self, path):
        c = self.client(GET % (path, b"connect"))
        self.late(c, 0.9, 504)
        self.logged(path, "upstream-connect", status=504)

    def case_first_byte(self, path):
        c = self.client(GET % (path, b"first"))
        self.late(c, 0.9, 504)
        self.logged(path, "upstream-silent", status=504)

    def case_application_stops(self, path):
        c = self.client(GET % (path, b"idle"))
        self.cut(c, IDLE)
        self.logged(path, None, status=200, end="timeout", bytes_out=3)

    def case_total(self, path):
        """An application that never stops."""
        c = self.client(GET % (path, b"total"))
        try:
            self.cut(c, TOTAL)
        except AssertionError:
            # it was to begin its answer long before
            if self.began.get(b"/" + path, c.start + TOTAL) - c.start < TOTAL / 2:
                raise
            raise TooSlow("the application") from None
        self.logged(path, None, status=200, end="timeout")

    def case_total_without_an_answer(self, path):
        c = self.client(GET % (path, b"total"))
        self.late(c, TOTAL, 504)
        self.logged(path, "upstream-silent", status=504)

    def case_stuck_reader(self, path):
        """It asks for much and takes nothing."""
        c = self.client(GET % (path, b"idle"), narrow=True)
        self.logged(path, None, status=200, end="timeout")
        assert time.monotonic() - c.start >= IDLE
        assert len(c.rest()) < len(LONG)
        c.close()

    # ---- who is slow, but speaks ----

    def case_slow_body(self, path):
        """Three times as long as it might be silent."""
        c = self.client(b"POST /%s HTTP/1.1\r\nHost: idle\r\nContent-Length: 24\r\n\r\n" % path)
        pace = Pace(IDLE / 2)
        for _ in range(24):
            try:
                c.sock.sendall(b"x")
            except ConnectionError:
                pace.step()
                raise
            pace.step(IDLE / 8)
        m = c.message()
        pace.step()
        assert m.status == 200, m.status
        c.close()

    def case_slow_answer(self, path):
        c = self.client(GET % (path, b"idle"))
        try:
            m = c.message()
        except Ended:
            p = self.pace.get(b"/" + path)
            if isinstance(p, Pace) and not p.is_late():
                raise
            raise TooSlow("the application") from None
        assert m.status == 200 and m.body == b"x" * 20, m.body
        c.close()

    def case_slow_reader(self, path):
        """Over a thin line the kernel takes nothing from the front for longer than anybody may be silent."""
        c = self.client(GET % (path, b"idle"), narrow=True)
        pace, got, end = Pace(IDLE / 3), b"", time.monotonic() + 3 * IDLE
        try:
            while time.monotonic() < end:
                d = c.sock.recv(3000)
                if not d:
                    break
                got += d
                pace.step(0.02)
        except ConnectionError:
            pass
        pace.step()
        assert len(got) < len(LONG) // 2
        try:
            while True:
                d = c.sock.recv(1 << 20)
                if not d:
                    break
                got += d
                pace.step()
                if got[-256:] == LONG[-256:] and len(got) > len(LONG):
                    break
        except ConnectionError:
            pass
        pace.step()
        assert got.endswith(LONG) and got.startswith(b"HTTP/1.1 200 "), (len(got), len(LONG))
        c.close()

    def case_beside_many_who_are_late(self, path):
        """A crowd that never finishes its heads; others are served meanwhile."""
        crowd = [self.client(b"GET /%s HTTP/1.1\r\nHost: wi" % path) for _ in range(100)]
        for _ in range(30):
            c = self.client(GET % (path, b"wiki"))
            assert c.message().status == 200
            c.close()
        for c in crowd:
            c.close()


# what runs beside each other is waited for one by one
for case in [x for x in dir(Deadlines) if x.startswith("case_")]:
    setattr(Deadlines, "test" + case[4:], lambda self, name="test" + case[4:]: self.result(name))

if __name__ == "__main__":
    main(Deadlines)
