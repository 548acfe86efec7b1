#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Large bodies both ways through curl, by HTTP/1.1 and HTTP/2, plain and TLS, with
checksums; downloads that break off and are resumed, uploads of a part.
REEVE_BODY=1073741824 makes them of that many bytes; else they are of 24 MiB."""
import hashlib
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import Front, Origin, Tests, free_port, main, wait

SIZE = int(os.environ.get("REEVE_BODY", 24 << 20))
STEP = 1 << 20
BLOCK = random.Random(5).randbytes(STEP - 8)
PATIENCE = 600                  # of a curl; nothing waits for it to pass
WAYS = {
    "1.1": ["--http1.1", "http://wiki:%(plain)d"],
    "1.1-tls": ["--http1.1", "https://wiki:%(tls)d"],
    "2-tls": ["--http2", "https://wiki:%(tls)d"],
    "2-plain": ["--http2-prior-knowledge", "http://wiki:%(plain)d"],
}


def pieces(start, end):
    """The body's bytes from start to end: each MiB begins with its number."""
    while start < end:
        i, off = divmod(start, STEP)
        data = (struct.pack(">Q", i) + BLOCK)[off:off + end - start]
        yield data
        start += len(data)


def checksum(start, end):
    h = hashlib.sha256()
    for p in pieces(start, end):
        h.update(p)
    return h.hexdigest()


class Curl(Tests):
    def begin(self):
        self.dir = tempfile.mkdtemp(prefix="reeve-curl.")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=wiki", "-addext", "subjectAltName=DNS:wiki", "-keyout",
                        self.dir + "/key", "-out", self.dir + "/cert"], check=True, capture_output=True)
        self.origin = Origin()
        self.ports = {"plain": free_port(), "tls": free_port()}
        self.whole = checksum(0, SIZE)

        def service(port, **more):
            return dict({"listen": ["127.0.0.1:%d" % self.ports[port]], "hosts": ["wiki"], "upstream": [self.origin.url]}, **more)
        self.front = Front({
            "policy": {"grants": [{"src": ["staff@example.edu"], "dst": ["*"], "ip": ["*"]}]},
            "identities": [{"address": "127.0.0.1/32", "login": "staff@example.edu"}],
            "certificates": [{"certificate": self.dir + "/cert", "key": self.dir + "/key"}],
            "services": {"wiki": service("plain"), "secure": service("tls", tls=True)}})

    def before(self):
        self.origin.reset()
        self.cut = 0
        self.uploads = []

        def reply(c, m):
            return self.reply(c, m)
        reply.early = True      # bodies are read here, not kept
        self.origin.reply = reply
        wait(lambda: self.front.stats()["conns"] == 0, self.front.stats)

    def end(self):
        self.front.stop()
        shutil.rmtree(self.dir)

    # ---- the application ----

    def reply(self, c, m):
        if m.line.startswith(b"GET"):
            r = re.fullmatch(rb"bytes=(\d+)-", m.get(b"range") or b"")
            start = int(r.group(1)) if r else 0
            head = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d" % (start, SIZE - 1, SIZE) if r \
                else b"HTTP/1.1 200 OK"
            c.sendall(head + b"\r\nContent-Length: %d\r\n\r\n" % (SIZE - start))
            cut, self.cut = self.cut, 0
            for p in pieces(start, cut or SIZE):
                c.sendall(p)
            return False if cut else None
        return self.take(c, m)

    def take(self, c, m):
        """An upload: its checksum is the answer."""
        if m.get(b"expect"):
            c.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        h, n = hashlib.sha256(), 0
        f = c.makefile("rb", 1 << 20)
        ahead = m.early

        def read(k):
            nonlocal ahead
            if ahead:
                d, ahead = ahead[:k], ahead[k:]
                return d
            return f.read1(k)

        def line():
            out = b""
            while not out.endswith(b"\r\n"):
                d = read(1)
                assert d
                out += d
            return out

        def body(k):
            nonlocal n
            while k:
                d = read(min(k, 1 << 20))
                assert d, "the body is not whole"
                h.update(d)
                n += len(d)
                k -= len(d)
        if m.get(b"transfer-encoding"):
            while True:
                k = int(line(), 16)
                if not k:
                    break
                body(k)
                assert line() == b"\r\n"
            while line() != b"\r\n":
                pass
        else:
            body(int(m.get(b"content-length")))
        self.uploads.append((n, h.hexdigest(), m.get(b"content-range")))
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + h.hexdigest().encode())

    # ---- curl ----

    def curl(self, way, *args, **more):
        flag, url = WAYS[way]
        return subprocess.Popen(
            ["curl", "-sS", "--noproxy", "*", "--max-time", str(PATIENCE), "--cacert", self.dir + "/cert", flag,
             "--resolve", "wiki:%d:127.0.0.1" % self.ports["plain"], "--resolve", "wiki:%d:127.0.0.1" % self.ports["tls"],
             *args, url % self.ports + "/"], stderr=subprocess.PIPE, **more)

    def said(self, p, codes=(0,)):
        err = p.stderr.read().decode()
        assert p.wait(PATIENCE) in codes, (p.returncode, err)

    def down(self, way):
        p = self.curl(way, stdout=subprocess.PIPE)
        h, n = hashlib.sha256(), 0
        for d in iter(lambda: p.stdout.read1(1 << 20), b""):
            h.update(d)
            n += len(d)
        self.said(p)
        assert n == SIZE and h.hexdigest() == self.whole, n

    def up(self, way):
        """From a pipe, so its length is not known before: in chunks, or in frames."""
        p = self.curl(way, "-T", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def feed():
            try:
                for d in pieces(0, SIZE):
                    p.stdin.write(d)
            except BrokenPipeError:
                pass
            p.stdin.close()
        t = threading.Thread(target=feed)
        t.start()
        got = p.stdout.read().decode()
        t.join()
        self.said(p)
        assert got == self.whole and self.uploads == [(SIZE, self.whole, None)], (got, self.uploads)

    def write(self, end):
        path = self.dir + "/body"
        with open(path, "wb") as f:
            for d in pieces(0, end):
                f.write(d)
        return path

    def resume(self, way):
        """The application breaks off in the middle, and curl with it; then the rest."""
        path, cut = self.dir + "/down", SIZE // 3 + 12345
        self.cut = cut
        p = self.curl(way, "-o", path, stdout=subprocess.DEVNULL)
        self.said(p, range(1, 100))
        got = os.path.getsize(path)
        assert got <= cut, (got, cut)
        p = self.curl(way, "-C", "-", "-o", path, stdout=subprocess.DEVNULL)
        self.said(p)
        h = hashlib.sha256()
        with open(path, "rb") as f:
            for d in iter(lambda: f.read(1 << 20), b""):
                h.update(d)
        os.unlink(path)
        assert h.hexdigest() == self.whole
        last = self.origin.seen[-1].get(b"range")
        assert last == b"bytes=%d-" % got or not got, last

    def upload_the_rest(self, way):
        path, start = self.write(SIZE), SIZE // 2 + 777
        for at, want in ((0, None), (start, b"bytes %d-%d/%d" % (start, SIZE - 1, SIZE))):
            p = self.curl(way, "-T", path, *(["-C", str(at)] if at else []), stdout=subprocess.PIPE)
            got = p.stdout.read().decode()
            self.said(p)
            assert got == checksum(at, SIZE), got
            assert self.uploads[-1] == (SIZE - at, got, want), self.uploads[-1]
        os.unlink(path)


def every(what, ways):
    for way in ways:
        setattr(Curl, "test_%s_%s" % (what, re.sub(r"\W", "_", way)), lambda self, way=way: getattr(self, what)(way))


every("down", WAYS)
every("up", WAYS)
every("resume", ("1.1", "2-tls"))
every("upload_the_rest", ("1.1", "2-tls"))

if __name__ == "__main__":
    if shutil.which("curl") and "HTTP2" not in subprocess.run(["curl", "-V"], capture_output=True, text=True).stdout:
        WAYS = {k: v for k, v in WAYS.items() if k[0] == "1"}
        for name in [x for x in dir(Curl) if x.startswith("test_") and "_2_" in x]:
            delattr(Curl, name)
        print("# this curl speaks no HTTP/2")
    main(Curl, tools=("curl", "openssl"))
