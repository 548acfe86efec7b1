#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""HTTP/2 by clients that mean harm (RFC 9113 10.5): each is ended, counted and
logged, and somebody who downloads beside it is not disturbed."""
import os
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames import CONTINUATION, DATA, GOAWAY, HEADERS, PING, RST, SETTINGS, WINDOW, Frames, frame, literal, request
from wire import OK, STAFF, STUDENT, Ended, Front, Origin, Tests, free_port, main, wait

PRIORITY, UNKNOWN = 2, 0x42
CALM, PROTOCOL, CANCEL = 0xb, 1, 8
INITIAL_WINDOW = 4
NOISE = "too many HTTP/2 frames that carry nothing"


def window(stream, n):
    return frame(WINDOW, 0, stream, struct.pack(">I", n))


def settings(key, value):
    return frame(SETTINGS, 0, 0, struct.pack(">HI", key, value))


class Abuse(Tests):
    def begin(self):
        self.origin, self.port = Origin(), free_port()
        listen = ["127.0.0.1:%d" % self.port]
        conf = {
            "policy": {"grants": [{"src": ["staff@example.edu", "student@example.edu"], "dst": ["*"], "ip": ["*"]}]},
            "identities": [{"address": STAFF + "/32", "login": "staff@example.edu"},
                           {"address": STUDENT + "/32", "login": "student@example.edu"}],
            "services": {"wiki": {"listen": listen, "hosts": ["wiki"], "upstream": [self.origin.url],
                                  "profiles": ["remote-user"]},
                         "slow": {"listen": listen, "hosts": ["slow"], "upstream": [self.origin.url], "idle-ms": 500}}}
        self.front = Front(conf)
        # half a head, sent now, since it has so long: test_block_without_end()
        late = free_port()
        self.late = Front(dict(conf, **{"header-ms": 3000, "services": {"wiki": dict(
            conf["services"]["wiki"], listen=["127.0.0.1:%d" % late])}}))
        self.waits, self.half = Frames(late), Frames(late)
        self.waits.send(request(1, [], end=False, method=b"POST"))
        self.half.send(frame(HEADERS, 0, 1, literal(b":method", b"GET")))

    def end(self):
        self.front.stop()
        self.late.stop()

    def before(self):
        """Somebody else is in the middle of an answer."""
        self.go = threading.Event()
        self.origin.reset()

        def half(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
            assert self.go.wait(60)
            c.sendall(b"def")
        self.origin.reply = half
        self.bystander = Frames(self.port, src=STUDENT)
        self.bystander.sock.settimeout(60)
        self.bystander.send(request(1, [], path=b"/other"))
        assert self.bystander.until(DATA)[3] == b"abc"
        self.origin.reply = None
        self.bad = self.front.stats()["bad"]
        with open(self.front.log) as f:
            self.read = len(f.readlines())

    def caught(self, detail):
        """It is counted, and logged with the one who did it; the other one has his answer."""
        wait(lambda: self.front.stats()["bad"] > self.bad, self.front.stats)
        wait(lambda: [l for l in self.log() if l.get("reason") == "bad-request" and detail in l.get("detail", "") and
                      l["login"] == "staff@example.edu"], lambda: (detail, self.log()))
        self.go.set()
        while True:
            kind, flags, _, data = self.bystander.until(DATA, RST, GOAWAY)
            assert kind == DATA, (kind, data)
            if data:
                assert data == b"def", data
            if flags & 1:
                break
        self.bystander.sock.close()
        assert all(b" /other " in s.line or b"evil" not in s.head for s in self.origin.seen)

    def log(self):
        import json
        with open(self.front.log) as f:
            return [json.loads(l) for l in f.readlines()[self.read:] if l.endswith("\n")]

    def frames(self, first=b""):
        f = Frames(self.port)
        f.sock.settimeout(60)
        return f.send(first) if first else f

    def gone(self, f):
        """Codes of GOAWAY until the connection has ended."""
        codes = []
        try:
            while True:
                kind, _, _, data = f.next()
                if kind == GOAWAY:
                    codes.append(struct.unpack(">I", data[4:8])[0])
        except (Ended, ConnectionError):
            return codes

    def answered(self, f, stream):
        while True:
            kind, flags, n, data = f.until(DATA, RST, GOAWAY)
            assert kind == DATA, (kind, n, data)
            if n == stream and flags & 1:
                return

    def flood(self, data, detail, codes=(CALM,), f=None):
        """The end of it may reach us as a reset, with what was said before it lost."""
        f = f or self.frames()
        try:
            for i in range(0, len(data), 65536):
                f.send(data[i:i + 65536])
        except OSError:
            pass
        got = self.gone(f)
        assert set(got) <= set(codes), got
        self.caught(detail)
        assert self.front.rss() < 128 << 20

    def test_pings(self):
        self.flood(frame(PING, 0, 0, b"12345678") * 50000, "")    # either bound: what comes, what is to be answered

    def behind_the_end(self, data):
        """Of streams that are gone, or were passed over: 5 was asked and answered."""
        f = self.frames(request(5, []))
        self.answered(f, 5)
        seen = len(self.origin.seen)
        self.flood(data * 20000, NOISE, f=f)
        assert len(self.origin.seen) == seen

    def test_heads_behind_the_end(self):
        self.behind_the_end(request(5, [], path=b"/evil"))

    def test_heads_of_streams_passed_over(self):
        self.behind_the_end(request(3, [], path=b"/evil"))

    def test_what_is_on_its_way_to_a_stream_that_ended(self):
        """An answer came before the body was all there: the rest of a window is no abuse."""
        f = self.frames(request(5, []))
        self.answered(f, 5)
        f.send(frame(DATA, 0, 5, b"x" * 100) * 2500 + request(7, []))
        self.answered(f, 7)
        f.sock.close()
        self.go.set()

    def test_settings(self):
        self.flood(frame(SETTINGS, 0, 0) * 50000, "")

    def test_settings_of_many_entries(self):
        self.flood(frame(SETTINGS, 0, 0, struct.pack(">HI", 0x99, 1) * 1000) * 10, "")

    def test_priorities(self):
        self.flood(frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 1)) * 50000, NOISE)

    def test_unknown_frames(self):
        self.flood(frame(UNKNOWN, 0, 0) * 50000, NOISE)

    def test_window_updates(self):
        self.flood(window(0, 1) * 50000, NOISE)

    def test_empty_data(self):
        self.flood(request(1, [], end=False, method=b"POST", path=b"/up") + frame(DATA, 0, 1) * 50000, NOISE)

    def test_window_overflow(self):
        self.flood(window(0, 0x7fffffff) * 2, "FLOW_CONTROL_ERROR", (3,))

    def test_garbage(self):
        self.flood(b"\xff" * 100000, "", (1, 6))

    def test_rapid_reset(self):
        """Streams that are taken back as soon as they are asked for (CVE-2023-44487)."""
        self.origin.reply = lambda c, m: time.sleep(0.05)
        f = self.frames()
        try:
            for i in range(0, 3000, 50):
                f.send(b"".join(request(1 + 2 * k, [], path=b"/r") + frame(RST, 0, 1 + 2 * k, struct.pack(">I", CANCEL))
                                for k in range(i, i + 50)))
        except OSError:
            pass
        self.gone(f)
        self.caught("")

    def test_continuations(self):
        """A header block that never ends (CVE-2024-27316)."""
        self.flood(frame(HEADERS, 0, 1, literal(b"a", b"b")) + frame(CONTINUATION, 0, 1, literal(b"a", b"b")) * 20000,
                   "", (CALM, PROTOCOL, 2))

    def test_header_list_too_large(self):
        """A little too large is answered, in words; the next request is served."""
        block = b"".join(literal(n, v) for n, v in ((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"wiki"),
                                                    (b":path", b"/large"))) + literal(b"x-evil", b"y" * 120) * 300
        parts = [block[i:i + 16000] for i in range(0, len(block), 16000)]
        f = self.frames(frame(HEADERS, 1, 1, parts[0]) +
                        b"".join(frame(CONTINUATION, 4 if p is parts[-1] else 0, 1, p) for p in parts[1:]))
        got = f.until(HEADERS, RST, GOAWAY)
        assert got[0] == HEADERS and b"431" in got[3], got
        f.send(request(3, [], path=b"/next"))
        while f.until(DATA)[2] != 3:
            pass
        self.caught("too large")
        f.sock.close()

    def test_header_bomb(self):
        """One field of 4000 bytes, said again in one byte each."""
        entry = b"\x40\x06x-evil" + b"\x7f" + bytes([(3900 - 127) & 0x7f | 0x80, (3900 - 127) >> 7]) + b"y" * 3900
        pseudo = b"".join(literal(n, v) for n, v in ((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"wiki"),
                                                     (b":path", b"/bomb")))
        f = self.frames(frame(HEADERS, 5, 1, pseudo + entry + b"\xbe" * 12000))
        assert f.until(RST, GOAWAY)[0] == RST
        f.send(request(3, [], path=b"/next"))
        f.until(DATA)
        self.caught("a header block that is malformed or without end")
        f.sock.close()

    def test_window_never_opens(self):
        """The answer that nobody takes is given up; another one on that connection is not."""
        self.origin.reply = lambda c, m: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + b"x" * 3000)
        f = self.frames(settings(INITIAL_WINDOW, 0) + request(1, [], authority=b"slow") +
                        request(3, [], authority=b"slow") + window(3, 5000))
        left, kinds = {1: 3000, 3: 3000}, {}
        while 1 not in kinds or 3 not in kinds:
            kind, flags, stream, data = f.until(DATA, RST, GOAWAY)
            if kind == DATA:
                left[stream] -= len(data)
            if kind != DATA or flags & 1:
                kinds[stream] = (kind, data if kind != DATA else b"")
        assert left == {1: 3000, 3: 0} and kinds[3][0] == DATA, (left, kinds)
        assert kinds[1] == (RST, struct.pack(">I", CANCEL)), kinds
        self.caught("did not take the answer")
        f.sock.close()

    def test_long_answer_untaken(self):
        """The application is let go as well."""
        ended = threading.Event()

        def endless(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
            try:
                while True:
                    c.sendall(b"x" * 65536)
            except OSError:
                ended.set()
                return False
        self.origin.reply = endless
        f = self.frames(request(1, [], authority=b"slow"))      # and never a WINDOW_UPDATE
        while f.until(DATA, RST)[0] == DATA:
            pass
        assert ended.wait(60)
        self.caught("did not take the answer")
        f.sock.close()

    def test_socket_never_read(self):
        def endless(c, m):
            try:
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
                while True:
                    c.sendall(b"x" * 65536)
            except OSError:
                return False
        self.origin.reply = endless
        f = self.frames()
        f.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        f.send(settings(INITIAL_WINDOW, 0x7fffffff) + window(0, 0x7ffeffff) + request(1, [], authority=b"slow"))
        self.caught("did not take the answer")
        wait(lambda: self.front.stats()["conns"] == 0, self.front.stats)
        f.sock.close()

    def test_drip(self):
        """A byte of window at a time is no way to take an answer, slowly"""
        self.origin.reply = lambda c, m: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + b"x" * 30000)
        f = self.frames(settings(INITIAL_WINDOW, 0) + request(1, [], authority=b"slow"))
        f.sock.settimeout(0.02)
        end, got = time.monotonic() + 60, b""
        while time.monotonic() < end:
            f.send(window(1, 1))
            time.sleep(0.02)
            try:
                got += f.sock.recv(65536)
            except TimeoutError:
                pass
            if frame(RST, 0, 1, struct.pack(">I", CANCEL)) in got:
                break
        else:
            raise AssertionError("still dripping")
        self.caught("did not take the answer")
        f.sock.close()

    def test_drip_fast(self):
        """... nor quickly."""
        self.origin.reply = lambda c, m: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300000)
        f = self.frames(settings(INITIAL_WINDOW, 0) + request(1, []))
        f.until(HEADERS)
        reader = threading.Thread(target=lambda: setattr(self, "codes", self.gone(f)))
        reader.start()
        try:
            for _ in range(500):
                f.send(window(1, 1) * 100)
        except OSError:
            pass
        reader.join(60)
        assert not reader.is_alive() and set(self.codes) <= {CALM}, self.codes
        self.caught(NOISE)

    def test_who_reads_slowly_is_served(self):
        """As slowly as may be: a kilobyte at a time, over more than the idle time."""
        self.origin.reply = lambda c, m: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20000)
        f = self.frames(settings(INITIAL_WINDOW, 0) + request(1, []))
        f.until(HEADERS)
        got = 0
        while got < 20000:
            f.send(window(1, 1000))
            kind, _, _, data = f.until(DATA, RST, GOAWAY)
            assert kind == DATA, (kind, data)
            got += len(data)
        f.sock.close()
        self.go.set()
        assert self.front.stats()["bad"] == self.bad

    def test_trailers_with_our_names(self):
        """They are dropped; what is fine passes; what is no trailer at all ends the stream."""
        names = [b"remote-user", b"remote_user", b"x-forwarded-user", b"x.remote.user", b"reeve-node", b"forwarded",
                 b"cookie", b"authorization", b"x-http-method-override"]
        block = b"".join(literal(n, b"evil") for n in names) + literal(b"x-sum", b"7")
        f = self.frames(request(1, [], end=False, method=b"POST", path=b"/trailers") + frame(DATA, 0, 1, b"abc") +
                        frame(HEADERS, 5, 1, block))
        self.answered(f, 1)
        s = [s for s in self.origin.seen if b"/trailers" in s.line]
        assert s[0].body == b"abc" and s[0].trailers == [b"x-sum: 7\r\n"], s[0].trailers
        f.send(request(3, [], end=False, method=b"POST", path=b"/fine") + frame(DATA, 0, 3, b"abc") +
               frame(HEADERS, 5, 3, literal(b"x-sum", b"7") + literal(b"remote-user", b"evil")))
        self.answered(f, 3)
        s = [s for s in self.origin.seen if b"/fine" in s.line]
        assert s[0].body == b"abc" and s[0].trailers == [b"x-sum: 7\r\n"], s[0].trailers
        for n, bad in ((5, b":path"), (7, b"host"), (9, b"connection"), (11, b"X-Upper"), (13, b"transfer-encoding")):
            f.send(request(n, [], end=False, method=b"POST", path=b"/bad") + frame(DATA, 0, n, b"abc") +
                   frame(HEADERS, 5, n, literal(bad, b"evil")))
            while True:
                kind, _, stream, data = f.until(DATA, RST, GOAWAY)
                if stream == n:
                    break
            assert kind == RST, (bad, kind, data)
        self.caught("malformed")
        f.sock.close()

    def test_block_without_end(self):
        """The head of a request has its time in HTTP/2, too; whoever has said it is not hurried."""
        for f in (self.half, self.waits):
            f.sock.settimeout(60)
        self.gone(self.half)
        self.late.lines(lambda l: "did not come in time" in l.get("detail", "") and l["login"] == "staff@example.edu")
        assert self.late.stats()["bad"] == 1
        self.waits.send(frame(DATA, 1, 1))
        self.waits.until(DATA)
        self.waits.sock.close()


if __name__ == "__main__":
    main(Abuse)
