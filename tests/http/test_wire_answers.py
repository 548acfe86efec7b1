#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the front does with an application's answers, good and bad, on the wire."""
import fcntl
import os
import socket
import sys
import termios
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from services import GET, H, Services
from wire import ADMIN, OK, STAFF, Ended, comes_to_rest, main, wait


class Answers(Services):
    def test_early_answer_closes(self):
        def reply(c, m):
            c.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\nx")
            return False
        reply.early = True
        self.origin.reply = reply
        c = self.client()
        c.send(b"POST /" + H + b"Content-Length: 100000\r\n\r\nabc")
        assert c.message().status == 403 and c.ended()

    def test_early_answer_is_the_last_there(self):
        """Answered before the body was all there: whether it is read later or not, nobody else is sent on that connection."""
        used = []

        def reply(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\near")
            n = 5 - len(m.early)
            while n:
                n -= len(c.recv(n))
            used.append(c)
            c.sendall(b"ly")
        reply.early = True
        self.origin.reply = reply
        c = self.client()
        for i in range(3):
            c.send(b"POST /" + H + b"Content-Length: 5\r\n\r\nab")
            assert c.r.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200") and c.r.take(3) == b"ear"
            c.send(b"cde")
            assert c.r.take(2) == b"ly"
        assert len(set(used)) == 3, used
        c.close()

    def test_head_has_no_body(self):
        self.origin.reply = lambda c, m: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
        c = self.client()
        for _ in range(2):
            c.send(b"HEAD /" + H + b"\r\n")
            m = c.message(no_body=True)
            assert m.status == 200 and m.get(b"content-length") == b"500"
        c.close()

    def test_204_and_304(self):
        for head in (b"204 No Content\r\n", b"304 Not Modified\r\nContent-Length: 9\r\nETag: \"a\"\r\n",
                     b"204 No Content\r\nContent-Length: 0\r\n"):
            self.origin.reply = lambda c, m: c.sendall(b"HTTP/1.1 " + head + b"\r\n")
            c = self.client()
            for _ in range(2):
                c.send(GET)
                assert c.message().status in (204, 304)
            c.close()

    def test_interim_answers(self):
        self.origin.reply = lambda c, m: c.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
        c = self.client().send(GET)
        assert c.message().status == 103 and c.message().status == 200
        c = self.client().send(b"GET / HTTP/1.0\r\nHost: wiki\r\n\r\n")
        assert c.message().status == 200

    def test_response_bodies(self):
        data = os.urandom(1 << 20)
        chunked = b"".join(b"%x\r\n" % len(data[i:i + 70001]) + data[i:i + 70001] + b"\r\n"
                           for i in range(0, len(data), 70001)) + b"0\r\nX-T: 1\r\n\r\n"

        def replies(kind):
            def reply(c, m):
                if kind == "length":
                    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
                elif kind == "chunked":
                    c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked)
                else:
                    c.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + data)
                    return False
            return reply
        for kind in ("length", "chunked", "close"):
            self.origin.reply = replies(kind)
            for version in (b"1.1", b"1.0"):
                c = self.client().send(b"GET / HTTP/" + version + b"\r\nHost: wiki\r\n\r\n")
                m = c.message()
                assert m.status == 200 and m.body == data, (kind, version, len(m.body))
                if kind == "chunked" and version == b"1.1":
                    assert m.trailers == [b"X-T: 1\r\n"], m.trailers
                assert (m.get(b"transfer-encoding") == b"chunked") == (version == b"1.1" and kind != "length")

    def test_slow_reader_holds_back_the_application(self):
        size = 128 << 20
        sent = [0]

        def reply(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            block = b"x" * 65536
            while sent[0] < size:
                c.sendall(block)
                sent[0] += len(block)
        self.origin.reply = reply
        c = self.client()
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        c.send(GET)
        wait(lambda: comes_to_rest(sent))       # what the kernel's buffers take is the machine's affair
        assert sent[0] < size, sent
        assert self.front.rss() < 64 << 20
        c.r.until(b"\r\n\r\n")
        got = len(c.r.buf)
        while got < size:
            d = c.sock.recv(1 << 20)
            assert d, got
            got += len(d)
        assert got == size

    # ---- connections ----

    def test_upstream_connections_are_shared(self):
        for src in (STAFF, ADMIN, STAFF):
            assert self.get(src=src).status == 200
        assert self.origin.conns <= 1
        users = [s.get(b"remote-user") for s in self.origin.seen]
        assert users == [b"staff@example.edu", b"admin@example.edu", b"staff@example.edu"], users

    # ---- bad applications ----

    def test_bad_responses(self):
        for raw in (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx", b"HTTP/1.1 99 No\r\n\r\n", b"SSH-2.0-x\r\n",
                    b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", b"HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\nabc",
                    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", b"",
                    b"HTTP/1.1 200 OK\r\nContent-Le"):
            self.origin.reset()

            def reply(c, m):
                c.sendall(raw)
                return False
            self.origin.reply = reply
            c = self.client().send(b"POST /" + H + b"Content-Length: 0\r\n\r\n")
            m = c.message()
            assert m.status == 502, (raw, m.head)
            c.close()

    def test_cut_responses_are_not_whole(self):
        for raw in (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"):
            self.origin.reset()

            def reply(c, m):
                c.sendall(raw)
                return False
            self.origin.reply = reply
            c = self.client().send(GET)
            try:
                m = c.message()
                assert False, m.body
            except Ended:
                pass

    def test_surplus_is_nobodys_answer(self):
        self.origin.reply = lambda c, m: c.sendall(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
        c = self.client()
        for _ in range(5):
            c.send(GET)
            assert c.message().body == b"ok"
        assert self.get(src=ADMIN).body == b"ok"

    def test_late_surplus_is_nobodys_answer(self):
        def reply(c, m):
            c.sendall(OK)
            answered.wait(60)
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
            wait(lambda: arrived(c))
            sent.set()

        def arrived(c):     # or the front has closed, because it has seen it
            established = c.getsockopt(socket.SOL_TCP, socket.TCP_INFO, 1) == b"\1"
            return not established or fcntl.ioctl(c, termios.TIOCOUTQ, b"    ") == b"\0" * 4
        self.origin.reply = reply
        for src in (STAFF, ADMIN) * 3:
            answered, sent = threading.Event(), threading.Event()
            m = self.get(src=src)
            assert m.body == b"ok", (src, m.head, m.body)
            answered.set()
            assert sent.wait(90)

    def test_retry_of_what_was_never_answered(self):
        served = []

        def reply(c, m):
            served.append(m.line)
            if len(served) > 1 and len(served) % 2 == 0:
                return False            # the kept connection ends without an answer
            c.sendall(OK)
        self.origin.reply = reply
        c = self.client()
        for _ in range(3):
            c.send(GET)
            assert c.message().status == 200
        assert len(served) > 3
        served.clear()
        served.append(b"")
        c.send(GET)
        c.message()

    def test_no_retry_of_a_post(self):
        self.get()
        served = []

        def reply(c, m):
            served.append(m.line)
            return False
        self.origin.reply = reply
        m = self.get(method=b"POST", fields=b"Content-Length: 1\r\n", body=b"x")
        assert m.status == 502 and len(served) == 1, (m.status, served)

    def test_refused_and_second_upstream(self):
        assert self.get(host=b"dead").status == 502
        for _ in range(6):
            m = self.get(host=b"two")
            assert m.status == 200, m.head
        assert self.second.seen and not self.origin.seen

    def test_unix_upstream(self):
        assert self.get(b"/u", host=b"unix").status == 200
        assert self.unix.seen[0].line == b"GET /u HTTP/1.1"

    def test_silent_application(self):
        self.origin.reply = lambda c, m: gate.wait(90)
        gate, t = threading.Event(), time.time()
        m = self.get(host=b"slow")
        gate.set()
        assert m.status == 504 and 0.5 < time.time() - t, (m.status, time.time() - t)

    def test_application_that_stops(self):
        def reply(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            gate.wait(90)
        gate = threading.Event()
        self.origin.reply = reply
        c = self.client().send(b"GET / HTTP/1.1\r\nHost: slow\r\n\r\n")
        try:
            c.message()
            assert False
        except Ended:
            gate.set()


main(Answers)
