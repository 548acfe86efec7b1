#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules of hostile.py on the wire: nothing ambiguous is passed on, nothing
ordinary is refused, and whatever reaches the application is framed once."""
import collections
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hostile
from frames import CONTINUATION, DATA, GOAWAY, HEADERS, RST, Frames, frame, literal
from wire import OK, STAFF, Ended, Front, Origin, Reader, Tests, free_port, main

WAIT = 30


class Application:
    """Sends one answer, as it is, to every request, and sees whether its connection is kept."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(64)
        self.url = "http://127.0.0.1:%d" % self.sock.getsockname()[1]
        self.answer, self.cut, self.lock = OK, False, threading.Condition()
        self.conns = self.ended = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            c, _ = self.sock.accept()
            with self.lock:
                self.conns += 1
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        r = Reader(c)
        try:
            while True:
                r.until(b"\r\n\r\n")
                c.sendall(self.answer)
                if self.cut:
                    c.shutdown(socket.SHUT_WR)
        except (Ended, OSError):
            pass
        c.close()
        with self.lock:
            self.ended += 1
            self.lock.notify_all()

    def all_ended(self):
        with self.lock:
            return self.lock.wait_for(lambda: self.ended == self.conns, timeout=WAIT)


class Hostile(Tests):
    def begin(self):
        self.origin, self.app = Origin(), Application()
        self.port = free_port()
        at = ["127.0.0.1:%d" % self.port]
        self.front = Front({
            "policy": {"grants": [{"src": ["staff@example.edu"], "dst": ["*"], "ip": ["*"]}]},
            "identities": [{"address": "127.0.0.0/8", "login": "staff@example.edu"}],
            "services": {"wiki": {"listen": at, "hosts": ["wiki"], "upstream": [self.origin.url],
                "profiles": ["remote-user"]},
                         "app": {"listen": at, "hosts": ["app"], "upstream": [self.app.url]}}})

    def before(self):
        self.origin.reset()
        self.origin.reply = self.reply

    def reply(self, c, m):
        m.whole = True
        c.sendall(OK)

    def end(self):
        self.front.stop()

    def address(self):
        """Each case calls from its own: what reaches the application, however late, says whose it is."""
        self.count = getattr(self, "count", 0) + 1
        return "127.%d.%d.%d" % (1 + self.count // 62500, self.count // 250 % 250, self.count % 250 + 1)

    def reached(self, src):
        return [m for m in self.origin.seen if m.get(b"x-forwarded-for") == src.encode()]

    def exchange(self, raw, src, at=0):
        """All that the front says to these bytes, sent in two parts if at is given, until it closes."""
        s = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT, source_address=(src, 0))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        out = b""
        try:
            s.sendall(raw[:at])
            if at:
                self.front.stats()      # it has had its turn with the first part
            s.sendall(raw[at:])
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass                        # refused before it was all there
        try:
            while True:
                d = s.recv(65536)
                if not d:
                    break
                out += d
        except ConnectionError:
            pass
        s.close()
        return out

    def framed_once(self):
        for m in self.origin.seen:
            te, cl = m.all(b"transfer-encoding"), m.all(b"content-length")
            assert len(te) + len(cl) <= 1 and te in ([], [b"chunked"]), m.head
            assert len(m.all(b"host")) == 1 and m.all(b"remote-user") == [b"staff@example.edu"], m.head
        assert not self.origin.errors, self.origin.errors

    def judged(self, cases):
        """(rule, bytes, want, where to cut): all of them, then what became of each."""
        rows = []
        for rule, raw, want, at in cases:
            src = self.address()
            rows.append((rule, raw, want, src, self.exchange(raw, src, at)))
        self.framed_once()
        by = collections.defaultdict(list)
        for m in self.origin.seen:
            by[m.get(b"x-forwarded-for").decode()].append(m)
            assert b"/smuggled" not in m.line, m.head
        wrong = []
        for rule, raw, want, src, answer in rows:
            whole = [m for m in by[src] if hasattr(m, "whole")]
            status = answer[9:12]
            if want == hostile.SERVED:
                good = len(whole) == 1 and status == b"200"
            else:
                # a good head may be with the application before its chunks turn out bad; never all of it
                head_is_good = raw.startswith(hostile.chunked(b""))
                good = not whole and (not by[src] or head_is_good) and (not answer or status[:1] in b"45")
            if not good:
                wrong.append((want, rule, raw[:200], status, [m.head for m in by[src]]))
        for w in wrong[:20]:
            print("# wrong: %r" % (w,))
        assert not wrong, "%d of %d are judged wrongly" % (len(wrong), len(rows))
        return collections.Counter(r[2] for r in rows)

    def test_requests(self):
        count = self.judged((rule, raw, want, 0) for rule, raw, want in hostile.requests())
        assert count[hostile.REFUSED] > 2500 and count[hostile.SERVED] > 250, count
        print("# %d refused, %d served" % (count[hostile.REFUSED], count[hostile.SERVED]))

    def test_cut_anywhere(self):
        """Where the bytes are cut does not matter to the verdict."""
        self.judged((rule, raw, want, at) for i, (rule, raw, want) in enumerate(hostile.requests())
                    if i % 31 == 0 and len(raw) < 400 for at in (1, len(raw) // 2, len(raw) - 1))

    def test_mutations(self):
        """However careless the sender: each request that the application gets is one that the front judged."""
        allowed = {}
        for raw in hostile.mutations(7, int(os.environ.get("REEVE_HOSTILE", "1500"))):
            src, before = self.address(), self.front.stats()["requests"]
            answer = self.exchange(raw, src)
            allowed[src] = (self.front.stats()["requests"] - before, raw, answer)
        self.framed_once()
        assert len(self.origin.seen) > 100
        for src, (n, raw, answer) in allowed.items():
            got = self.reached(src)
            assert len(got) <= n, (raw, answer, [m.head for m in got])

    def test_what_is_passed_on(self):
        """Odd forms of good requests reach the application in the plain one."""
        for raw, line, host in (
                (hostile.get(b"http://wiki", method=b"OPTIONS"), b"OPTIONS * HTTP/1.1", b"wiki"),
                (hostile.get(b"http://wiki/", method=b"OPTIONS"), b"OPTIONS / HTTP/1.1", b"wiki"),
                (hostile.get(b"*", method=b"OPTIONS"), b"OPTIONS * HTTP/1.1", b"wiki"),
                (hostile.get(host=b"Host: WIKI.:\r\n"), b"GET / HTTP/1.1", b"wiki"),
                (hostile.get(b"HTTP://wiki:80?a", version=b"HTTP/1.0"), b"GET /?a HTTP/1.1", b"wiki"),
                (hostile.get(b"", host=b"Host:wiki:0080\r\n"), b"GET / HTTP/1.1", b"wiki:80")):
            src = self.address()
            assert self.exchange(raw, src)[9:12] == b"200", raw
            m, = self.reached(src)
            assert m.line == line and m.all(b"host") == [host], (raw, m.head)

    # ---- answers ----

    def test_answers(self):
        """A malformed answer is 502 where its head is bad, cut off where its body is, and its connection is never used again."""
        raw = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"
        count, wrong = collections.Counter(), []
        self.app.cut = True
        for rule, answer, want in hostile.answers():
            self.app.answer = answer
            count[want] += 1
            s = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT, source_address=(STAFF, 0))
            s.sendall(raw)
            r, m = Reader(s), None
            try:
                while True:
                    m = r.message()
                    if m.status >= 200:
                        break
            except Ended:
                m = None        # cut off
            s.close()
            if want == hostile.SERVED:
                good = m and (m.status, m.body) == (int(answer.split(b"HTTP/1.")[-1][2:5]), b"ok")
            else:
                good = not m or m.status == 502
            if not good:
                wrong.append((want, rule, answer[:120], m and (m.head, m.body)))
        for w in wrong[:20]:
            print("# wrong: %r" % (w,))
        assert not wrong, "%d of %d are judged wrongly" % (len(wrong), sum(count.values()))
        assert count[hostile.REFUSED] > 200 and count[hostile.SERVED] > 20, count
        print("# %d refused, %d served" % (count[hostile.REFUSED], count[hostile.SERVED]))

    def test_bad_answers_close_the_connection(self):
        """The same without the application's own end: the front ends it, and the next request gets its own answer."""
        raw = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"
        self.app.cut = False
        for n, (rule, answer, want) in enumerate(hostile.answers()):
            # those that only the end makes bad would be waited for; n keeps the time short
            if want != hostile.REFUSED or n % 3 or rule.startswith(("cut", "chunks", "interim",
                    "line end")) or b"\r\n\r\n" not in answer:
                continue
            self.app.answer = answer
            s = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT, source_address=(STAFF, 0))
            s.sendall(raw)
            m = Reader(s).message()
            s.close()
            assert m.status == 502, (rule, answer[:100], m.head)
            assert self.app.all_ended(), (rule, answer[:100])
        for surplus in (b"x", OK, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", b"\r\n", b"\0"):
            self.app.answer = OK + surplus
            for _ in range(2):
                s = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT, source_address=(STAFF,
                        0))
                s.sendall(raw)
                assert Reader(s).message().body == b"ok", surplus
                s.close()
            assert self.app.all_ended(), surplus

    # ---- HTTP/2 ----

    GOOD = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"wiki"), (b":path", b"/")]
    POST = [(b":method", b"POST")] + GOOD[1:]

    def h2_cases(self):
        good = self.GOOD

        def but(name, value):
            return [(n, value if n == name else v) for n, v in good]

        def without(name):
            return [f for f in good if f[0] != name]
        for name, _ in good:
            yield "%s twice" % name, good + [(name, dict(good)[name])], None
            yield "%s twice, first" % name, [(name, dict(good)[name])] + good, None
            yield "%s behind a field" % name, without(name) + [(b"x", b"y"), (name, dict(good)[name])], None
            yield "no %s" % name, without(name), None
            yield "%s empty" % name, but(name, b""), None
            for b in hostile.CONTROLS + [b" ", b"\t"]:
                yield "%r in %s" % (b, name), but(name, dict(good)[name] + b), None
                yield "%r before %s" % (b, name), but(name, b + dict(good)[name]), None
        for name in (b":x", b":", b":Path", b":PATH", b":path ", b" :path", b":status", b":reason",
                b":version", b":host", b":remote-user", b"::path", b":path:", b":method-override",
                b":protocol"):
            yield "pseudo field %r" % name, good + [(name, b"200")], None
            yield "pseudo field %r, first" % name, [(name, b"200")] + good, None
        for name in (b"", b"X", b"x y", b"x:", b"x:y", b"\xe4", b"x\xff", b"x\"", b"x(", b"x,", b"x/", b"x;",
                b"x=", b"x@", b"x[", b"x\\", b"Content-Length", b"x{", b"remote-User") + tuple(b"x" + c +
                b"y" for c in hostile.CONTROLS):
            yield "name %r" % name, good + [(name, b"v")], None
        for b in hostile.CONTROLS:
            yield "%r in a value" % b, good + [(b"x", b"a" + b + b"b")], None
            yield "%r in a cookie" % b, good + [(b"cookie", b"a=" + b)], None
        for name, value in ((b"connection", b"close"), (b"connection", b"x"), (b"keep-alive", b"5"),
                (b"proxy-connection", b"x"), (b"transfer-encoding", b"chunked"), (b"upgrade", b"websocket"),
                            (b"te", b"gzip"), (b"te", b"trailers, gzip"), (b"host", b"other"), (b"host", b""),
                            (b"host", b"wiki:81"), (b"content_length", b"0"), (b"transfer_encoding",
                            b"chunked"),
                            (b"http2-settings", b"AA"), (b"expect", b"x"), (b"x",
                            b"a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: wiki\r\n\r\n"), (b"x",
                            b"a\r\nTransfer-Encoding: chunked")):
            yield "%r: %r" % (name, value[:20]), good + [(name, value)], None
        for v in (b"+0", b"-0", b"", b"0,0", b"0x0", b"a", b"0 0", b"5", b"18446744073709551616"):
            yield "length %r and no body" % v, good + [(b"content-length", v)], None
        yield "two lengths", good + [(b"content-length", b"0"), (b"content-length", b"0")], None
        for v in (b"a", b"*", b"http://wiki/", b"//", b"?a", b"#", b"/#a", b"/..", b"/a b", b"/%00", b"/%zz",
                b"/\xff", b"/a\\b", b"/a%2fb", b"/ HTTP/1.1\r\nHost: other\r\n\r\n", b"/" + b"a" * 60 +
                b" HTTP/1.1"):
            if v != b"//" and v != b"http://wiki/":
                yield "path %r" % v, but(b":path", v), None
        for v in (b"other", b"u@wiki", b"wiki:x", b"wiki/", b"wiki,wiki", b"wiki\\", b"http://wiki", b"[::1",
                b"wiki#", b"wiki?a"):
            yield "authority %r" % v, but(b":authority", v), None
        for v in (b"CONNECT", b"TRACE", b"G T", b"GET /", b"GET\0", b"G\xe4T", b"(", b"\"GET\""):
            yield "method %r" % v, but(b":method", v), None
        yield "fields without end", good + [(b"x%d" % i, b"y" * 100) for i in range(120)] + [(b"z%d" % i,
                b"y" * 120) for i in range(120)], None
        for fields in (good, but(b":path", b"/a?b=c"), but(b":method", b"PROPFIND"), but(b":method", b"get"),
                but(b":authority", b"WIKI:80"), good + [(b"te", b"trailers")],
                       good + [(b"cookie", b"a=b"), (b"cookie", b"c=d")], good + [(b"host", b"wiki")],
                       without(b":authority") + [(b"host", b"wiki")], good + [(b"x", b"")], good + [(b"x",
                       b"\xe4\xff")],
                       good + [(b"x", b"a\tb")], good + [(b"content-length", b"0")], good + [(b"x-a.b_c!",
                       b"d")], good + [(b"remote-user", b"root"), (b"x-forwarded-for", b"::1")],
                       [good[3], good[2], good[1], good[0]], but(b":path", b"/\xc3\xa4"), but(b":path",
                       b"//"), [(b":method", b"OPTIONS"), good[1], good[2], (b":path", b"*")]):
            yield "good %r" % (fields[-1],), fields, 200

    def h2_status(self, payload):
        """Of a response whose :status is in nghttp2's static table, as those of this front are."""
        while payload and payload[0] >> 5 == 1:         # a change of the table's size
            payload = payload[1:]
        return {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}.get(payload[0] & 0x7f,
                0) if payload and payload[0] & 0x80 else 0

    def stream(self, frames):
        """(what came first, the status, whose) of stream 1."""
        src = self.address()
        f = Frames(self.port, src)
        f.sock.settimeout(WAIT)
        kind, status = None, 0
        try:
            f.send(frames)
            kind, _, _, payload = f.until(HEADERS, RST, GOAWAY)
            if kind == HEADERS:
                status = self.h2_status(payload)
        except (Ended, OSError):
            pass
        f.sock.close()
        return kind, status, src

    def test_http2(self):
        rows = []
        for rule, fields, want in self.h2_cases():
            block = b"".join(literal(n, v) for n, v in fields)
            parts = [block[i:i + 16000] for i in range(0, len(block), 16000)] or [b""]
            frames = b"".join(frame(HEADERS if i == 0 else CONTINUATION,
                                    (1 if i == 0 else 0) | (4 if i == len(parts) - 1 else 0), 1, p)
                              for i, p in enumerate(parts))
            rows.append((rule, want) + self.stream(frames))
        self.framed_once()
        for rule, want, kind, status, src in rows:
            got = self.reached(src)
            if want:
                assert kind == HEADERS and status == want and len(got) == 1, (rule, kind, status, got)
            else:
                assert not got and status != 200, (rule, kind, status, [m.head for m in got])
        assert len(rows) > 300, len(rows)

    def test_http2_bodies(self):
        """What Content-Length says is what the DATA frames bring, or nobody gets it; pseudo fields in trailers too."""
        fields = b"".join(literal(n, v) for n, v in self.POST)
        head, long = frame(HEADERS, 4, 1, fields), frame(HEADERS, 4, 1, fields + literal(b"content-length",
                b"3"))
        body = head + frame(DATA, 0, 1, b"abc")
        bad = [("too long", long + frame(DATA, 1, 1, b"abcd")),
               ("too long, in two", long + frame(DATA, 0, 1, b"abc") + frame(DATA, 1, 1, b"d")),
               ("too short", long + frame(DATA, 1, 1, b"ab")),
               ("none", frame(HEADERS, 4 | 1, 1, fields + literal(b"content-length", b"3"))),
               ("none, and an end", long + frame(DATA, 1, 1)),
               ("trailers without an end", body + frame(HEADERS, 4, 1, literal(b"x", b"y")))]
        for n, v in ((b":path", b"/x"), (b":remote-user", b"x"), (b":status", b"200"), (b"x", b"y\r\nz: a"),
                (b"connection", b"close"),
                     (b"content-length", b"3"), (b"transfer-encoding", b"chunked"), (b"host", b"other"),
                     (b"upgrade", b"x"), (b"X", b"y"),
                     (b"", b"y"), (b"x y", b"z")):
            bad.append(("trailer %r" % n, body + frame(HEADERS, 5, 1, literal(n, v))))
        for rule, frames in bad:
            kind, status, src = self.stream(frames)
            assert status != 200, (rule, kind)
            whole = [m for m in self.reached(src) if hasattr(m, "whole")]
            assert not whole, (rule, whole[0].head, whole[0].body)
        for frames, trailers in (
                (long + frame(DATA, 1, 1, b"abc"), []),
                (long + frame(DATA, 0, 1, b"a") + frame(DATA, 0, 1) + frame(DATA, 1, 1, b"bc"), []),
                (body + frame(HEADERS, 5, 1, literal(b"x-sum", b"7") + literal(b"remote-user", b"root")),
                [b"x-sum: 7\r\n"])):
            kind, status, src = self.stream(frames)
            assert kind == HEADERS and status == 200, (kind, status)
            m, = self.reached(src)
            assert m.body == b"abc" and m.trailers == trailers, (m.body, m.trailers)


main(Hostile)
