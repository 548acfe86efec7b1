#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""TLS on both sides of the front."""
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import warnings

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import ADMIN, STAFF, Client, Ended, Front, Origin, Tests, free_port, main, wait

GET = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n"


class TLS(Tests):
    def make(self, name, *names):
        """A certificate for these names by a CA of the test's own."""
        base = "%s/%s" % (self.dir, name)
        run = lambda *a: subprocess.run(a, check=True, capture_output=True)
        if not os.path.exists(self.dir + "/ca.pem"):
            run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", "/CN=test", "-keyout", self.dir + "/ca.key", "-out", self.dir + "/ca.pem")
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" + name,
            "-keyout", base + ".key", "-out", base + ".csr")
        with open(base + ".ext", "w") as f:
            f.write("subjectAltName=" + ",".join(names))
        run("openssl", "x509", "-req", "-in", base + ".csr", "-CA", self.dir + "/ca.pem", "-CAkey", self.dir + "/ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", base + ".ext", "-out", base + ".pem")
        return {"certificate": base + ".pem", "key": base + ".key"}

    def begin(self):
        self.dir = tempfile.mkdtemp(prefix="reeve-tls.")
        self.certs = [self.make("first", "DNS:wiki.example", "DNS:*.wild.example"), self.make("second", "DNS:lab.example"),
                      self.make("third", "DNS:wiki.example")]
        up = self.make("up", "DNS:app.example", "IP:127.0.0.1")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(up["certificate"], up["key"])
        self.origin, self.secure = Origin(), Origin(tls=server)
        self.port = free_port()

        def service(host, **more):
            return dict({"listen": ["127.0.0.1:%d" % self.port], "tls": True, "hosts": [host],
                         "upstream": [self.origin.url]}, **more)
        self.front = Front({
            "policy": {"grants": [{"src": ["staff@example.edu"], "dst": ["*"], "ip": ["*"]}]},
            "identities": [{"address": STAFF + "/32", "login": "staff@example.edu"}],
            "certificates": self.certs[:2], "roots": self.dir + "/ca.pem",
            "services": {
                "wiki": service("wiki.example"), "lab": service("lab.example"),
                "good": service("good", upstream=[self.secure.url], **{"upstream-name": "app.example"}),
                "byip": service("byip", upstream=[self.secure.url], **{"upstream-name": "127.0.0.1"}),
                "wrong": service("wrong", upstream=[self.secure.url], **{"upstream-name": "other.example"}),
                "lax": service("lax", upstream=[self.secure.url], lax=True),
                "plain": service("plain", upstream=["https://" + self.origin.url.split("//")[1]],
                                 **{"upstream-name": "app.example", "connect-ms": 500}),
            }})

    def before(self):
        self.origin.reset()
        self.secure.reset()
        self.front.command("restore staff@example.edu")

    def end(self):
        self.front.stop()

    def context(self, **more):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.load_verify_locations(self.dir + "/ca.pem")
        for k, v in more.items():
            setattr(c, k, v)
        return c

    def client(self, name="wiki.example", src=STAFF, context=None, timeout=60):
        return Client(self.port, src, tls=context or self.context(), name=name, timeout=timeout)

    def names(self, c):
        return sorted(v for k, v in c.sock.getpeercert()["subjectAltName"])

    def test_both_versions(self):
        for v, want in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            c = self.client(context=self.context(minimum_version=v, maximum_version=v))
            assert c.sock.version() == want
            c.send(GET % b"wiki.example")
            assert c.message().status == 200
            assert self.origin.seen[-1].get(b"x-forwarded-proto") == b"https"

    def test_old_versions_are_refused(self):
        warnings.simplefilter("ignore")
        c = self.context()
        c.minimum_version = ssl.TLSVersion.TLSv1
        c.maximum_version = ssl.TLSVersion.TLSv1_1
        c.set_ciphers("ALL:@SECLEVEL=0")
        try:
            self.client(context=c)
            assert False
        except (ssl.SSLError, ConnectionError):
            pass

    def test_names(self):
        assert self.names(self.client()) == ["*.wild.example", "wiki.example"]
        assert self.names(self.client("lab.example")) == ["lab.example"]
        assert self.names(self.client("x.wild.example")) == ["*.wild.example", "wiki.example"]
        c = self.context(check_hostname=False)
        assert self.names(self.client("nobody.example", context=c)) == ["*.wild.example", "wiki.example"]

    def test_name_and_host_are_two_things(self):
        c = self.client("wiki.example").send(GET % b"lab.example")
        assert c.message().status == 200
        c = self.client().send(GET % b"evil.example")
        assert c.message().status == 421

    def test_resumption(self):
        for v in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            ctx = self.context(minimum_version=v, maximum_version=v)
            c = self.client(context=ctx).send(GET % b"wiki.example")
            c.message()
            again = socket.create_connection(("127.0.0.1", self.port), source_address=(STAFF, 0))
            s = ctx.wrap_socket(again, server_hostname="wiki.example", session=c.sock.session)
            assert s.session_reused, v
            s.close()

    def test_alpn(self):
        ctx = self.context()
        for offer, want in ((["spdy/1", "http/1.1"], "http/1.1"), (["http/1.1", "h2"], "h2")):
            ctx.set_alpn_protocols(offer)
            assert self.client(context=ctx).sock.selected_alpn_protocol() == want
        ctx = self.context()
        ctx.set_alpn_protocols(["spdy/1"])
        try:
            self.client(context=ctx)
            assert False
        except (ssl.SSLError, ConnectionError):
            pass

    def test_large_bodies(self):
        data = os.urandom(5 << 20)
        self.origin.reply = lambda c, m: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(m.body) + m.body)
        c = self.client()
        c.send(b"POST / HTTP/1.1\r\nHost: wiki.example\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        assert c.message().body == data

    def test_slow_reader(self):
        data = b"x" * (16 << 20)
        self.origin.reply = lambda c, m: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        c = self.client().send(GET % b"wiki.example")
        time.sleep(0.5)
        assert self.front.rss() < 64 << 20
        assert len(c.message().body) == len(data)

    def test_cross_site_knows_the_scheme(self):
        post = b"POST / HTTP/1.1\r\nHost: wiki.example\r\nContent-Length: 0\r\nOrigin: %s\r\n\r\n"
        for origin, want in ((b"https://wiki.example", 200), (b"https://wiki.example:443", 200),
                             (b"http://wiki.example", 403), (b"https://wiki.example:8443", 403)):
            assert self.client().send(post % origin).message().status == want, origin

    def test_plain_http_is_no_tls(self):
        c = Client(self.port).send(b"GET / HTTP/1.1\r\nHost: wiki.example\r\n\r\n")
        try:
            c.r.more()
            assert not c.r.buf.startswith(b"HTTP/")
        except Ended:
            pass

    def test_revocation(self):
        c = self.client().send(GET % b"wiki.example")
        c.message()
        self.front.command("revoke staff@example.edu")
        assert c.ended()

    def test_reload_keeps_connections(self):
        c = self.client().send(GET % b"wiki.example")
        c.message()
        self.front.conf["certificates"] = [self.certs[2]]
        self.front.write()
        self.front.command("reload")
        assert self.names(self.client()) == ["wiki.example"]
        c.send(GET % b"wiki.example")
        assert c.message().status == 200
        self.front.conf["certificates"] = self.certs[:2]
        self.front.write()
        self.front.command("reload")

    def test_upstream(self):
        for host, want in ((b"good", 200), (b"byip", 200), (b"lax", 200), (b"wrong", 502), (b"plain", 504)):
            self.secure.reset()
            c = self.client().send(GET % host)
            assert c.message().status == want, host
            assert bool(self.secure.seen) == (want == 200), host

    def test_upstream_is_kept(self):
        c = self.client()
        for _ in range(5):
            c.send(GET % b"good")
            assert c.message().status == 200
        assert self.secure.conns <= 1, self.secure.conns

    def test_upstream_large(self):
        data = os.urandom(3 << 20)
        self.secure.reply = lambda c, m: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(m.body) + m.body)
        c = self.client()
        for _ in range(3):
            c.send(b"POST / HTTP/1.1\r\nHost: good\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            assert c.message().body == data

    def test_killed_handshakes(self):
        before = self.front.fds()
        for n in range(0, 200, 7):
            c = Client(self.port)
            c.send(bytes.fromhex("16030100c8010000c40303") + b"\0" * n)
            c.close()
        wait(lambda: self.front.fds() <= before, lambda: "%d descriptors, before %d" % (self.front.fds(), before))


main(TLS, tools=("openssl",))
