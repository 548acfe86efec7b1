#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""HTTP/2 towards applications: Node's own server behind the front, applications
that lie in frames written here, and peers of gRPC from npm."""
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from frames import DATA, GOAWAY, HEADERS, RST, SETTINGS, WINDOW, frame, literal
from wire import STAFF, STUDENT, Client, Ended, Front, Reader, Tests, free_port, main, wait


class NodeOrigin:
    """h2_origin.mjs; what it tells is in self.said."""

    def __init__(self, *args, **env):
        self.proc = subprocess.Popen(["node", HERE + "/h2_origin.mjs", *args], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True, env=dict(os.environ, **env))
        self.said = []
        self.port = json.loads(self.proc.stdout.readline())["port"]
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.proc.stdout:
            self.said.append(json.loads(line))

    def asked(self, path):
        return [s for s in list(self.said) if s.get("path") == path]

    def closed(self, path):
        return wait(lambda: [s for s in list(self.said) if s.get("closed") == path])

    def stop(self):
        self.proc.stdin.close()
        self.proc.wait(timeout=20)


class Liar:
    """Accepts HTTP/2, and answers each HEADERS by self.reply(sock, stream); what it reads beyond that it drops."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(64)
        self.url = "h2c://127.0.0.1:%d" % self.sock.getsockname()[1]
        self.reset()
        threading.Thread(target=self.accept, daemon=True).start()

    def reset(self):
        self.reply, self.hello, self.conns, self.frames = None, frame(SETTINGS, 0, 0), 0, []

    def accept(self):
        while True:
            c, _ = self.sock.accept()
            self.conns += 1
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        r, streams = Reader(c), set()
        try:
            r.take(24)
            c.sendall(self.hello)
            while True:
                head = r.take(9)
                body = r.take(int.from_bytes(head[:3], "big"))
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7fffffff
                self.frames.append((kind, flags, stream, body))
                if kind == SETTINGS and not flags & 1:
                    c.sendall(frame(SETTINGS, 1, 0))
                if kind == HEADERS and stream not in streams:
                    streams.add(stream)
                    if self.reply and self.reply(c, stream) is False:
                        return
        except (Ended, OSError):
            pass
        finally:
            c.close()


def answer(stream, *fields, status=b"200", end=True):
    """HEADERS of a response; a field is (name, value)."""
    block = literal(b":status", status) if status else b""
    return frame(HEADERS, 4 | (1 if end else 0), stream, block + b"".join(literal(n, v) for n, v in fields))


class H2Up(Tests):
    def begin(self):
        self.dir = tempfile.mkdtemp(prefix="reeve-h2up.")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                        "2", "-subj", "/CN=app", "-addext", "subjectAltName=DNS:app", "-keyout", self.dir + "/key",
                        "-out", self.dir + "/cert"], check=True, capture_output=True)
        self.origin, self.few = NodeOrigin(), NodeOrigin(STREAMS="2")
        self.tls, self.plain_tls = NodeOrigin(self.dir + "/key", self.dir + "/cert"), None
        self.liar = Liar()
        self.old = socket.socket()      # speaks HTTP/1.1 alone
        self.old.bind(("127.0.0.1", 0))
        self.old.listen(8)
        threading.Thread(target=self.serve_old, daemon=True).start()
        self.grpc, grpc_port = None, 1
        if os.path.exists(HERE + "/node_modules/@grpc/grpc-js"):
            self.grpc = subprocess.Popen(["node", HERE + "/grpc_peers.mjs", "server"], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)
            grpc_port = int(self.grpc.stdout.readline())
        else:
            print("# without gRPC: @grpc/grpc-js is not installed (npm ci in tests/http)")
        self.port, self.dead = free_port(), free_port()

        def service(host, *ups, **more):
            return dict({"listen": ["127.0.0.1:%d" % self.port], "hosts": [host], "upstream": list(ups),
                         "profiles": ["remote-user"]}, **more)
        self.front = Front({
            "policy": {"grants": [{"src": ["staff@example.edu", "student@example.edu", "admin@example.edu"], "dst": ["*"], "ip": ["*"]}]},
            "roots": self.dir + "/cert",
            "identities": [{"address": "127.0.0.1/32", "login": "admin@example.edu"}, {"address": STAFF + "/32", "login": "staff@example.edu", "groups": ["lab"]},
                           {"address": STUDENT + "/32", "login": "student@example.edu"}],
            "services": {"wiki": service("wiki", "h2c://127.0.0.1:%d" % self.origin.port),
                         "few": service("few", "h2c://127.0.0.1:%d" % self.few.port),
                         "tls": service("tls", "h2://127.0.0.1:%d" % self.tls.port, **{"upstream-name": "app"}),
                         "name": service("name", "h2://127.0.0.1:%d" % self.tls.port, **{"upstream-name": "other"}),
                         "liar": service("liar", self.liar.url, **{"first-byte-ms": 10000}),
                         "old": service("old", "h2c://127.0.0.1:%d" % self.old.getsockname()[1], **{"connect-ms": 2000}),
                         "pair": service("pair", "h2c://127.0.0.1:%d" % self.dead, "h2c://127.0.0.1:%d" % self.origin.port),
                         "grpc": service("grpc", "h2c://127.0.0.1:%d" % grpc_port),
                         "dead": service("dead", "h2c://127.0.0.1:%d" % self.dead)}})

    def serve_old(self):
        while True:
            c, _ = self.old.accept()
            c.recv(100)
            try:
                c.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            except OSError:
                pass
            c.close()

    def before(self):
        self.liar.reset()
        self.front.command("restore staff@example.edu")
        self.front.command("restore student@example.edu")

    def end(self):
        assert self.front.stats()["in_flight"] == 0
        self.front.stop()
        self.origin.stop()
        self.few.stop()
        self.tls.stop()
        if self.grpc:
            self.grpc.stdin.close()
            self.grpc.wait(timeout=20)

    def get(self, path="/", host="wiki", src=STAFF, head=b"", method=b"GET", body=b""):
        c = Client(self.port, src, timeout=30)
        c.send(b"%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n%s" % (method, path.encode(), host.encode(), head, body))
        m = c.message(method == b"HEAD")
        while m.status < 200:
            m = c.message(method == b"HEAD")
        c.close()
        return m

    # ---- what the application is told ----

    def test_request(self):
        m = self.get("/a/../b?x=1", head=b"Remote-User: evil\r\nremote_user: evil\r\nTE: trailers\r\nX-Mine: y\r\n"
                                         b"Connection: x-gone\r\nX-Gone: 1\r\n")
        o = json.loads(m.body)
        f = o["fields"]
        assert m.status == 200 and m.line.startswith(b"HTTP/1.1 200"), m.head
        assert (o["method"], o["path"]) == ("GET", "/b?x=1"), o
        assert (f[":authority"], f[":scheme"], f["remote-user"], f["x-mine"]) == ("wiki", "http", "staff@example.edu", "y"), f
        assert "evil" not in m.body.decode() and "x-gone" not in f and "connection" not in f and "host" not in f, f
        assert f["te"] == "trailers" and f["x-forwarded-for"] == STAFF and len(f["x-request-id"]) == 32, f
        assert "te" not in json.loads(self.get("/b").body)["fields"]

    def test_head_and_empty(self):
        m = self.get("/", method=b"HEAD")
        assert m.status == 200 and int(m.get(b"content-length")) > 10, m.head
        m = self.get("/empty")
        assert m.status == 204 and m.get(b"content-length") is None, m.head
        m = self.get("/trailers-only")
        assert m.status == 200 and m.get(b"grpc-status") == b"12" and m.body == b"", m.head

    def test_bodies(self):
        data = os.urandom(3000000)
        m = self.get("/echo", method=b"POST", head=b"Content-Length: %d\r\n" % len(data), body=data)
        assert m.body == data and m.trailers == [b"x-sum: 1\r\n", b"remote-user: trailer\r\n"], m.trailers
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (data[i:i + 70001] for i in range(0, len(data), 70001)))
        m = self.get("/echo", method=b"POST", head=b"Transfer-Encoding: chunked\r\n",
                     body=chunks + b"0\r\nX-Check: 7\r\nRemote-User: evil\r\n\r\n")
        assert m.body == data
        assert wait(lambda: [s for s in self.origin.said if s.get("trailers") == {"x-check": "7"}]), self.origin.said[-3:]
        m = self.get("/big?n=5000000")
        assert m.get(b"content-length") == b"5000000" and m.body == b"x" * 5000000
        m = self.get("/count", method=b"POST", head=b"Content-Length: 0\r\n")
        assert m.body == b"0"

    def test_interim(self):
        c = Client(self.port)
        c.send(b"GET /interim HTTP/1.1\r\nHost: wiki\r\n\r\n")
        m = c.message()
        assert m.status == 103 and m.get(b"link"), m.head
        assert c.message().body == b"ok"
        c.close()

    # ---- one connection, many streams ----

    def test_one_connection(self):
        self.get("/release")
        clients = [Client(self.port, (STAFF, STUDENT)[i % 2]) for i in range(40)]
        before = len(self.origin.asked("/hold"))
        for c in clients:
            c.send(b"GET /hold HTTP/1.1\r\nHost: wiki\r\n\r\n")
        asked = wait(lambda: len(self.origin.asked("/hold")) == before + 40) and self.origin.asked("/hold")[before:]
        assert asked and len({a["session"] for a in asked}) == 1, asked
        assert sorted(a["fields"]["remote-user"] for a in asked) == ["staff@example.edu"] * 20 + ["student@example.edu"] * 20
        self.get("/release")
        for c in clients:
            assert c.message().body == b"held"
            c.close()

    def test_more_than_it_takes(self):
        clients = [Client(self.port) for _ in range(7)]
        for c in clients:
            c.send(b"GET /hold HTTP/1.1\r\nHost: few\r\n\r\n")
        asked = wait(lambda: len(self.few.asked("/hold")) == 7) and self.few.asked("/hold")
        assert asked and len({a["session"] for a in asked}) >= 4, asked     # two on each
        self.get("/release", host="few")
        for c in clients:
            assert c.message().body == b"held"
            c.close()

    def test_a_slow_client_holds_back_nobody(self):
        slow = Client(self.port)
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.send(b"GET /big?n=50000000 HTTP/1.1\r\nHost: wiki\r\n\r\n")
        slow.r.more()
        for _ in range(5):
            m = self.get("/big?n=1000000", src=STUDENT)
            assert len(m.body) == 1000000
        rss = self.front.rss()
        assert rss < 100 << 20, rss     # not the whole of it is kept
        slow.close()
        assert self.origin.closed("/big?n=50000000")[0]["code"] == 8    # CANCEL

    def test_an_unread_upload_holds_back_nobody(self):
        c = Client(self.port)
        c.sock.settimeout(0.5)
        try:
            c.send(b"POST /unread HTTP/1.1\r\nHost: wiki\r\nContent-Length: 90000000\r\n\r\n" + b"x" * 30000000)
            sent = True
        except TimeoutError:
            sent = False
        assert not sent         # back-pressure reaches the client
        for _ in range(3):
            assert self.get("/count", src=STUDENT, method=b"POST", head=b"Content-Length: 5\r\n", body=b"hello").body == b"5"
        c.close()

    def test_client_goes(self):
        c = Client(self.port)
        c.send(b"GET /hold?gone HTTP/1.1\r\nHost: wiki\r\n\r\n")
        assert wait(lambda: self.origin.asked("/hold?gone"))
        session = self.origin.asked("/hold?gone")[0]["session"]
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()               # with a reset: gone, and not only silent
        assert self.origin.closed("/hold?gone")[0]["code"] == 8
        assert json.loads(self.get("/").body)["session"] == session      # which goes on
        self.get("/release")

    def test_revoked(self):
        c, other = Client(self.port), Client(self.port, STUDENT)
        c.send(b"GET /hold?revoked HTTP/1.1\r\nHost: wiki\r\n\r\n")
        other.send(b"GET /hold?stays HTTP/1.1\r\nHost: wiki\r\n\r\n")
        assert wait(lambda: self.origin.asked("/hold?revoked") and self.origin.asked("/hold?stays"))
        self.front.command("revoke staff@example.edu")
        assert c.ended(30)
        assert self.origin.closed("/hold?revoked")[0]["code"] == 8
        self.get("/release", src=STUDENT)
        assert other.message().body == b"held"
        other.close()

    def test_early_answer(self):
        c = Client(self.port)
        c.send(b"POST /early HTTP/1.1\r\nHost: wiki\r\nContent-Length: 100000\r\n\r\nxx")
        assert c.message().body == b"early"
        c.close()

    def test_websocket_is_not_upgraded(self):
        m = self.get("/ws", head=b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n"
                                 b"Sec-WebSocket-Version: 13\r\nOrigin: http://wiki\r\n")
        assert m.status == 200 and "upgrade" not in json.loads(m.body)["fields"], m.head

    # ---- what goes wrong ----

    def test_resets(self):
        assert self.get("/reset?n=2").status == 502
        assert self.get("/reset?n=8").status == 502
        m = Client(self.port)
        m.send(b"GET /half HTTP/1.1\r\nHost: wiki\r\n\r\n")
        got = m.rest()
        assert got.startswith(b"HTTP/1.1 ") and not got.endswith(b"0\r\n\r\n"), got
        assert self.get("/").status == 200

    def test_refused_is_asked_again(self):
        n = self.front.stats()["retried"]
        m = self.get("/reset?n=7", method=b"POST", head=b"Content-Length: 0\r\n")
        assert m.status == 502 and wait(lambda: len(self.origin.asked("/reset?n=7")) >= 2), m.head
        assert self.front.stats()["retried"] > n
        # what was sent of a body is gone: once
        m = self.get("/reset?n=7&b", method=b"POST", head=b"Content-Length: 3\r\n", body=b"abc")
        assert m.status == 502 and wait(lambda: self.origin.closed("/reset?n=7&b"))
        assert len(self.origin.asked("/reset?n=7&b")) == 1

    def test_goaway(self):
        first = json.loads(self.get("/").body)["session"]
        assert self.get("/goaway").body == b"ok"
        later = json.loads(self.get("/").body)["session"]
        assert later != first, (first, later)

    def test_cut(self):
        """A connection that breaks under a request that may be asked twice is no failure where it was used before."""
        self.get("/")
        assert self.get("/cut", method=b"POST", head=b"Content-Length: 0\r\n").status == 502
        assert self.get("/").status == 200

    def test_dead_and_old(self):
        assert self.get("/", host="dead").status == 502
        assert self.get("/", host="old").status == 502
        for _ in range(4):
            assert self.get("/", host="pair").status == 200

    def test_tls(self):
        m = self.get("/", host="tls")
        assert json.loads(m.body)["fields"][":scheme"] == "https", m.body
        assert self.get("/", host="name").status == 502

    # ---- answers that are none ----

    def lie(self, frames, status=502):
        self.liar.reply = lambda c, n: c.sendall(frames(n))
        m = self.get("/", host="liar")
        assert m.status == status, (m.head, m.body)
        return m

    def test_true_first(self):
        m = self.lie(lambda n: answer(n, (b"content-length", b"2"), end=False) + frame(DATA, 1, n, b"ok"), 200)
        assert m.body == b"ok"
        m = self.lie(lambda n: answer(n, end=False) + frame(DATA, 0, n, b"a") + frame(DATA, 0, n, b"b") +
                     answer(n, (b"x-t", b"1"), status=None), 200)
        assert m.body == b"ab" and m.trailers == [b"x-t: 1\r\n"], m.trailers
        m = self.lie(lambda n: answer(n, (b"content-length", b"2"), (b"trailer", b"x-t"), end=False) +
                     frame(DATA, 0, n, b"ab") + answer(n, (b"x-t", b"1"), status=None), 200)
        assert m.body == b"ab" and m.trailers == [b"x-t: 1\r\n"], m.trailers

    def test_lies(self):
        ok = (b"x-a", b"b")
        for what, frames in {
            "no status": lambda n: answer(n, ok, status=None),
            "status of letters": lambda n: answer(n, status=b"2oo"),
            "status 99": lambda n: answer(n, status=b"099"),
            "status 600": lambda n: answer(n, status=b"600"),
            "switching": lambda n: answer(n, status=b"101", end=False),
            "connection": lambda n: answer(n, (b"connection", b"close")),
            "transfer-encoding": lambda n: answer(n, (b"transfer-encoding", b"chunked"), end=False) + frame(DATA, 1, n, b"0\r\n\r\n"),
            "upper case": lambda n: answer(n, (b"X-A", b"b")),
            "line end": lambda n: answer(n, (b"x-a", b"b\r\nx-c: d")),
            "nul": lambda n: answer(n, (b"x-a", b"b\0")),
            "name with a space": lambda n: answer(n, (b"x a", b"b")),
            "colon in a name": lambda n: answer(n, (b"x:a", b"b")),
            "empty name": lambda n: answer(n, (b"", b"b")),
            "pseudo of a request": lambda n: answer(n, (b":path", b"/")),
            "two lengths": lambda n: answer(n, (b"content-length", b"2"), (b"content-length", b"2"), end=False) + frame(DATA, 1, n, b"ok"),
            "length of letters": lambda n: answer(n, (b"content-length", b"2x"), end=False) + frame(DATA, 1, n, b"ok"),
            "length underscore": lambda n: answer(n, (b"content_length", b"2"), end=False) + frame(DATA, 1, n, b"ok"),
            "push": lambda n: frame(5, 4, n, (n + 1).to_bytes(4, "big") + literal(b":method", b"GET")),
            "window of nothing": lambda n: frame(WINDOW, 0, n, bytes(4)),
            "frame of a stream nobody opened": lambda n: frame(DATA, 1, n + 100, b"ok"),
            "bad compression": lambda n: frame(HEADERS, 5, n, b"\xff\xff\xff\xff\xff\xff"),
            "too many fields": lambda n: answer(n, *[(b"x-a%d" % i, b"b" * 60) for i in range(2000)])
                if False else b"".join([frame(HEADERS, 1, n, literal(b":status", b"200"))] +
                                       [frame(9, 0, n, literal(b"x-a", b"b" * 100) * 100) for _ in range(20)] + [frame(9, 4, n)]),
            "endless interim": lambda n: b"".join(answer(n, ok, status=b"103", end=False) for _ in range(40)),
            "goodbye": lambda n: frame(GOAWAY, 0, 0, bytes(8)),
            "frame size": lambda n: frame(DATA, 0, n, b"x" * 20000),
        }.items():
            try:
                self.lie(frames)
            except AssertionError as e:
                raise AssertionError("%s: %s" % (what, e))

    def test_204_has_no_body(self):
        self.liar.reply = lambda c, n: c.sendall(answer(n, status=b"204", end=False) + frame(DATA, 1, n, b"evil"))
        c = Client(self.port)
        c.send(b"GET / HTTP/1.1\r\nHost: liar\r\n\r\n")
        m = c.message()
        assert m.status in (204, 502) and b"evil" not in m.body, m.head
        c.send(b"HEAD / HTTP/1.1\r\nHost: liar\r\nConnection: close\r\n\r\n")
        assert b"evil" not in c.rest()
        c.close()

    def test_bodies_that_are_not_whole(self):
        for what, frames in {
            "short": lambda n: answer(n, (b"content-length", b"5"), end=False) + frame(DATA, 1, n, b"ok"),
            "long": lambda n: answer(n, (b"content-length", b"1"), end=False) + frame(DATA, 1, n, b"ok"),
            "reset": lambda n: answer(n, end=False) + frame(DATA, 0, n, b"ok") + frame(RST, 0, n, bytes([0, 0, 0, 2])),
            "framing in trailers": lambda n: answer(n, end=False) + frame(DATA, 0, n, b"ok") +
                answer(n, (b"content-length", b"7"), status=None),
        }.items():
            self.liar.reply = lambda c, n: c.sendall(frames(n))
            c = Client(self.port, timeout=30)
            c.send(b"GET / HTTP/1.1\r\nHost: liar\r\n\r\n")
            got = c.rest()
            assert b"HTTP/1.1 502" in got or not (got.endswith(b"0\r\n\r\n") or got.endswith(b"\r\n\r\nok") and b"length: 2" in got), (what, got)
            c.close()

    def test_extra_frames_answer_nobody(self):
        """What follows the end of an answer is not the next one's."""
        self.liar.reply = lambda c, n: c.sendall(answer(n, (b"content-length", b"1"), end=False) + frame(DATA, 1, n, b"1") +
                                                 answer(n + 2, (b"content-length", b"4"), end=False) + frame(DATA, 1, n + 2, b"evil"))
        c = Client(self.port)
        for _ in range(3):
            c.send(b"GET / HTTP/1.1\r\nHost: liar\r\n\r\n")
            m = c.message()
            assert b"evil" not in m.body, m.body
            if m.status != 200 or m.get(b"connection") == b"close":
                c.close()
                c = Client(self.port)

    def test_silent_hello(self):
        """No SETTINGS, no answer."""
        self.liar.hello = b""
        # the connections that are there end first
        self.liar.reply = lambda c, n: False
        for _ in range(3):
            self.get("/", host="liar")
        assert self.get("/", host="liar").status in (502, 504)

    def test_flood_of_pings(self):
        self.liar.reply = lambda c, n: c.sendall(frame(6, 0, 0, bytes(8)) * 2000 + answer(n, (b"content-length", b"0")))
        assert self.get("/", host="liar").status in (200, 502)
        self.liar.reply = lambda c, n: c.sendall(answer(n, (b"content-length", b"0")))
        assert wait(lambda: self.get("/", host="liar").status == 200)

    # ---- through both: HTTP/2 in front ----

    def test_curl(self):
        data = os.urandom(2000000)
        with open(self.dir + "/data", "wb") as f:
            f.write(data)
        r = subprocess.run(["curl", "-s", "--max-time", "60", "--http2-prior-knowledge", "--interface", STAFF, "-H", "Host: wiki",
                            "--data-binary", "@" + self.dir + "/data", "http://127.0.0.1:%d/echo" % self.port], capture_output=True)
        assert r.stdout == data, (r.returncode, len(r.stdout))

    def test_grpc(self):
        """@grpc/grpc-js on both sides: unary, streams each way, both at once, errors, deadlines, cancelling."""
        r = subprocess.run(["node", HERE + "/grpc_peers.mjs", "client", str(self.port)], capture_output=True, text=True, timeout=200)
        sys.stdout.write("".join("# %s\n" % l for l in r.stdout.splitlines()))
        assert r.returncode == 0 and r.stdout.count("ok ") >= 11, r.stdout + r.stderr

    def wanted(self, name):
        return name != "test_grpc" or os.path.exists(HERE + "/node_modules/@grpc/grpc-js")


if __name__ == "__main__":
    main(H2Up, tools=("node",))
