#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""HTTP/2 towards clients: by curl, and by frames written here."""
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames import CONTINUATION, DATA, GOAWAY, HEADERS, PING, RST, SETTINGS, Frames, frame, literal, request
from wire import (NOBODY, OK, STAFF, STUDENT, Front, Origin, Tests, comes_to_rest, free_port, main,
                  wait)


class H2(Tests):
    def begin(self):
        self.dir = tempfile.mkdtemp(prefix="reeve-h2.")
        self.origin = Origin()
        self.port, self.dead, self.tls = free_port(), free_port(), free_port()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                        "2", "-subj", "/CN=wiki", "-addext", "subjectAltName=DNS:wiki", "-keyout", self.dir + "/key",
                        "-out", self.dir + "/cert"], check=True, capture_output=True)

        def service(host, port, **more):
            return dict({"listen": ["127.0.0.1:%d" % port], "hosts": [host], "upstream": [self.origin.url],
                         "profiles": ["remote-user"]}, **more)
        self.front = Front({
            "policy": {"grants": [
                {"src": ["staff@example.edu"], "dst": ["*"], "ip": ["*"]},
                {"src": ["student@example.edu"], "dst": ["svc:wiki"], "ip": ["*"], "http": [{"paths": ["/public/**"]}]}]},
            "identities": [{"address": STAFF + "/32", "login": "staff@example.edu", "groups": ["lab"]},
                           {"address": STUDENT + "/32", "login": "student@example.edu"}],
            "certificates": [{"certificate": self.dir + "/cert", "key": self.dir + "/key"}],
            "services": {"wiki": service("wiki", self.port), "small": service("small", self.port, **{"body-max": 10}),
                         "dead": service("dead", self.port, upstream=["http://127.0.0.1:%d" % self.dead]),
                         "secure": service("secure", self.tls, tls=True)}})

    def before(self):
        self.origin.reset()
        self.front.command("restore staff@example.edu")

    def end(self):
        self.front.stop()

    def quiet(self):
        """Nothing is open any more."""
        def look():
            s = self.front.stats()
            return s["in_flight"] == 0 and s["conns"] == 0
        wait(look, self.front.stats)

    def curl(self, *args, src=STAFF, path="/", host="wiki", data=None):
        out = self.dir + "/out"
        r = subprocess.run(["curl", "-s", "--max-time", "60", "--http2-prior-knowledge", "--interface", src, "-H",
                            "Host: " + host, "-o", out, "-w", "%{http_version} %{http_code}", *args,
                            "http://127.0.0.1:%d%s" % (self.port, path)], input=data, capture_output=True)
        version, code = r.stdout.decode().split()
        body = b""
        if os.path.exists(out):
            with open(out, "rb") as f:
                body = f.read()
            os.unlink(out)
        return r.returncode, version, int(code), body

    def test_get(self):
        assert self.curl(path="/a/../b?x") == (0, "2", 200, b"ok")
        s = self.origin.seen[0]
        assert s.line == b"GET /b?x HTTP/1.1" and s.all(b"remote-user") == [b"staff@example.edu"], s.head

    def test_spoofing(self):
        names = ["Remote-User", "remote_user", "X-Forwarded-User", "x.webauth.user", "OIDC_CLAIM_sub", "Reeve-Node",
                 "X-HTTP-Method-Override", "Forwarded"]
        self.curl(*[x for n in names for x in ("-H", n + ": evil")], "-H", "X-Fine: fine")
        s = self.origin.seen[0]
        assert b"evil" not in s.head and b"fine" in s.head, s.head

    def test_policy_and_host(self):
        assert self.curl(src=STUDENT, path="/private")[2] == 403
        assert self.curl(src=STUDENT, path="/public/../private")[2] == 403
        assert self.curl(src=STUDENT, path="/public/a")[2] == 200
        assert self.curl(src=NOBODY, path="/nobody")[2] == 403
        assert self.curl(host="evil", path="/host")[2] == 421
        assert self.curl("-X", "POST", "-H", "Origin: http://evil.example", "-d", "a", path="/post")[2] == 403
        assert self.curl("--path-as-is", path="/../x")[2] == 400
        # the application may still hear of requests for "/" that a case before this gave up
        came = [s.line for s in self.origin.seen if s.line != b"GET / HTTP/1.1"]
        assert came == [b"GET /public/a HTTP/1.1"], came

    def test_bodies(self):
        def echo(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(m.body) + m.body)
        self.origin.reply = echo
        for n in (0, 1, 70000, 5000000):
            data = os.urandom(n)
            with open(self.dir + "/data", "wb") as f:
                f.write(data)
            assert self.curl("--data-binary", "@" + self.dir + "/data") == (0, "2", 200, data), n
            assert self.curl("-T", "-", data=data) == (0, "2", 200, data), n
            assert self.origin.seen[-1].get(b"transfer-encoding") == b"chunked"

    def test_response_framings(self):
        data = os.urandom(2000000)

        def chunked(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
                      b"".join(b"%x\r\n" % len(data[i:i + 7001]) + data[i:i + 7001] + b"\r\n" for i in range(0, len(data), 7001)) +
                      b"0\r\nX-T: 1\r\n\r\n")

        def close(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + data)
            return False
        for reply in (chunked, close):
            self.origin.reply = reply
            got = self.curl()
            assert got == (0, "2", 200, data), (got[:3], len(got[3]))
        self.origin.reply = lambda c, m: c.sendall(b"HTTP/1.1 204 No\r\n\r\n")
        assert self.curl() == (0, "2", 204, b"")
        self.origin.reply = lambda c, m: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
        assert self.curl("-I")[1:3] == ("2", 200)

    def test_failures(self):
        assert self.curl(host="dead")[2] == 502
        assert self.curl("-d", "x" * 11, host="small")[2] == 413
        assert self.curl("-d", "x" * 10, host="small")[2] == 200

        def cut(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
            return False
        self.origin.reply = cut
        assert self.curl()[0] != 0
        self.origin.reply = None
        assert self.curl()[2] == 200

    def test_early_answer(self):
        def reply(c, m):
            c.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnope")
            heard.wait(90)
            return False
        heard = threading.Event()
        reply.early = True
        self.origin.reply = reply
        code = self.curl("-T", "-", data=os.urandom(50000))
        assert code[2] == 403, code
        f = Frames(self.port).send(request(1, [], end=False, method=b"POST"))
        while f.until(HEADERS, DATA)[1] & 1 == 0:
            pass
        f.send(frame(DATA, 0, 1, b"x" * 16000) * 10)
        heard.set()
        assert f.until(RST)[3] == b"\0\0\0\0"

    def test_tls(self):
        r = subprocess.run(["curl", "-s", "--interface", STAFF, "--cacert", self.dir + "/cert", "--resolve",
                            "wiki:%d:127.0.0.1" % self.tls, "-H", "Host: secure", "-o", "/dev/null", "-w",
                            "%{http_version} %{http_code}", "https://wiki:%d/" % self.tls], capture_output=True)
        assert r.stdout == b"2 200", r
        assert self.origin.seen[0].get(b"x-forwarded-proto") == b"https"

    def test_many_streams(self):
        f = Frames(self.port)
        f.send(b"".join(request(1 + 2 * i, [], path=b"/%d" % i) for i in range(100)))
        done = set()
        while len(done) < 100:
            kind, flags, stream, _ = f.until(HEADERS, DATA)
            if flags & 1:
                done.add(stream)
        assert sorted(s.line.split()[1] for s in self.origin.seen) == sorted(b"/%d" % i for i in range(100))

    def test_more_streams_than_allowed(self):
        gate = threading.Event()
        self.origin.reply = lambda c, m: (gate.wait(90), c.sendall(OK))[1]
        f = Frames(self.port).send(b"".join(request(1 + 2 * i, []) for i in range(150)))
        refused = 0
        for _ in range(50):
            kind, _, _, payload = f.until(RST)
            refused += payload == struct.pack(">I", 7)
        assert refused == 50
        gate.set()
        f.sock.close()
        self.quiet()

    def test_slow_reader_holds_back(self):
        sent = [0]

        def reply(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (128 << 20))
            while sent[0] < 128 << 20:
                c.sendall(b"x" * 65536)
                sent[0] += 65536
        self.origin.reply = reply
        f = Frames(self.port).send(request(1, []))      # and never a WINDOW_UPDATE
        f.until(DATA)
        wait(lambda: comes_to_rest(sent))
        assert sent[0] < 128 << 20 and self.front.rss() < 64 << 20, (sent, self.front.rss())
        f.sock.close()

    def test_revocation(self):
        def drip(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            for _ in range(100):
                c.sendall(b"x")
                time.sleep(0.02)
        self.origin.reply = drip
        f = Frames(self.port).send(request(1, []) + request(3, []))
        f.until(DATA)
        t = time.time()
        self.front.command("revoke staff@example.edu")
        assert f.ended() and time.time() - t < 10
        self.quiet()

    def test_websocket(self):
        def echo(c, m):
            if m.get(b"upgrade") != b"websocket" or not m.get(b"sec-websocket-key"):
                return False
            c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      b"Sec-WebSocket-Accept: x\r\n\r\nhello")
            while True:
                d = c.recv(65536)
                if not d:
                    return False
                c.sendall(d)
        self.origin.reply = echo
        f = Frames(self.port)
        f.send(request(1, [(b"sec-websocket-version", b"13")], end=False, method=b"CONNECT", protocol=b"websocket", path=b"/ws"))
        f.until(HEADERS)
        got = f.until(DATA)[3]
        assert got == b"hello", got
        f.send(frame(DATA, 0, 1, b"abcdef"))
        assert f.until(DATA)[3] == b"abcdef"
        self.front.command("revoke staff@example.edu")
        assert f.ended()

    def test_malformed(self):
        """What RFC 9113 8 calls malformed, and what HTTP/1.1 could be tricked with: nothing reaches the application."""
        for i, (fields, pseudo) in enumerate((
                ([(b"connection", b"close")], {}), ([(b"transfer-encoding", b"chunked")], {}), ([(b"upgrade", b"x")], {}),
                ([(b"x y", b"z")], {}), ([(b"X-Upper", b"z")], {}), ([(b"x", b"a\r\nb: c")], {}), ([(b"x", b"a\nb")], {}),
                ([(b"x\r\ny", b"z")], {}), ([(b":status", b"200")], {}), ([(b"host", b"other")], {}),
                ([], {"path": b"/a b"}), ([], {"path": b"/a\r\nX: y"}), ([], {"path": b""}), ([], {"path": None}),
                ([], {"authority": b"a b"}), ([], {"authority": b"wiki\r\nX: y"}), ([], {"method": b"GET /x HTTP/1.1"}),
                ([], {"method": None}), ([], {"authority": None}), ([(b"content-length", b"1"), (b"content-length", b"2")], {}),
                ([(b"content_length", b"1")], {}), ([], {"protocol": b"websocket"}))):
            f = Frames(self.port).send(request(1, fields, **pseudo))
            kind = f.until(HEADERS, RST, GOAWAY)[0]
            time.sleep(0.02)
            assert not self.origin.seen, (i, fields, pseudo, self.origin.seen[0].head)
            f.sock.close()

    def test_length_that_lies(self):
        f = Frames(self.port)
        f.send(request(1, [(b"content-length", b"3")], end=False, method=b"POST") + frame(DATA, 1, 1, b"abcdef"))
        assert f.until(RST, GOAWAY)[0] in (RST, GOAWAY)
        time.sleep(0.1)
        assert not [s for s in self.origin.seen if s.body]

    def test_rapid_reset(self):
        self.origin.reply = lambda c, m: time.sleep(0.2)
        f = Frames(self.port)
        try:
            for i in range(3000):
                f.send(request(1 + 2 * i, []) + frame(RST, 0, 1 + 2 * i, struct.pack(">I", 8)))
        except OSError:
            pass
        assert f.ended()
        self.quiet()
        self.origin.reply = None
        assert self.curl()[2] == 200

    def test_floods(self):
        for flood in (frame(PING, 0, 0, b"12345678") * 100000, frame(SETTINGS, 0, 0) * 100000,
                      frame(HEADERS, 0, 1, literal(b"a", b"b")) + frame(CONTINUATION, 0, 1, literal(b"a", b"b")) * 10000,
                      frame(HEADERS, 0, 1, literal(b"a", b"x" * 100) * 2) + frame(CONTINUATION, 0, 1, literal(b"a", b"x" * 100) * 100) * 100,
                      b"\xff" * 1000):
            f = Frames(self.port)
            try:
                f.sock.settimeout(2)
                f.send(flood)
            except OSError:
                pass
            f.ended()
            f.sock.close()
            assert self.front.rss() < 128 << 20
        assert self.curl()[2] == 200

    def test_killed(self):
        self.curl()
        before = self.front.fds()
        whole = request(1, [(b"content-length", b"3")], end=False, method=b"POST") + frame(DATA, 1, 1, b"abc")
        for n in range(0, len(whole), 3):
            f = Frames(self.port).send(whole[:n])
            f.sock.close()
        self.quiet()
        wait(lambda: self.front.fds() <= before + 2, lambda: "%d descriptors, before %d" % (self.front.fds(), before))


if __name__ == "__main__":
    main(H2, tools=("curl", "openssl"))
