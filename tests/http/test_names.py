#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Upstreams that are host names: all of a name's addresses are used, a change is followed, a
resolver that fails changes nothing, and nothing goes round."""
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from dns import Dns
from test_metrics import ask, parse
from wire import BUILD, STAFF, Client, Origin, Reeved, Tests, free_port, main, wait


class App(Origin):
    """Says its own name, at an address of its own and the port of the others."""

    def __init__(self, name, ip, port=0, tls=None):
        self.name, self.tls = name, tls
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((ip, port))
        self.port = self.sock.getsockname()[1]
        self.sock.listen(512)
        super().reset()
        self.reply = self.answer
        threading.Thread(target=self.accept, daemon=True).start()

    def answer(self, c, m):
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(self.name), self.name))


def apps():
    """Three at one port, and nobody at 127.0.0.5."""
    while True:
        a = App(b"a", "127.0.0.2")
        try:
            return a, App(b"b", "127.0.0.3", a.port), App(b"c", "127.0.0.4", a.port)
        except OSError:
            a.close()


class Names(Tests):
    def make(self, name, *names):
        base = self.dir + "/" + name
        san = ",".join("DNS:" + n for n in names)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", base + ".key", "-out", base + ".pem", "-days", "30", "-subj", "/CN=test",
                        "-addext", "subjectAltName=" + san], check=True, capture_output=True)
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(base + ".pem", base + ".key")
        return ctx

    def begin(self):
        self.dir = tempfile.mkdtemp(prefix="reeve-names.")
        os.chmod(self.dir, 0o755)
        self.a, self.b, self.c = apps()
        self.tls = App(b"tls", "127.0.0.2", tls=self.make("tls", "tls.test"))
        os.chmod(self.dir + "/tls.pem", 0o644)
        self.dns = Dns()
        self.port, self.metrics, self.dead = free_port(), free_port(), free_port()
        p = self.a.port

        def service(host, *ups, **more):
            return dict({"listen": ["127.0.0.1:%d" % self.port], "hosts": [host], "upstream": list(ups)}, **more)
        services = {
            "slow": service("slow", "http://slow.test:%d" % p), "two": service("two", "http://two.test:%d" % p),
            "moves": service("moves", "http://moves.test:%d" % p), "gone": service("gone", "http://gone.test:%d" % p),
            "loop": service("loop", "http://loop.test:%d" % self.port),
            "good": service("good", "https://tls.test:%d" % self.tls.port),
            "evil": service("evil", "https://evil.test:%d" % self.tls.port),
            "well": service("well", "http://well.test:%d" % p, **{"health-interval": 1, "health-fall": 1}),
            "many": service("many", "http://many.test:%d" % p), "mixed": service("mixed", "http://mixed.test:%d" % p),
            "dead": service("dead", "http://127.0.0.1:%d" % self.dead), "plain": service("plain", "http://127.0.0.2:%d" % p)}
        self.dns.names = {
            "slow.test": "silent", "two.test": (["127.0.0.2", "127.0.0.3"], 1), "moves.test": (["127.0.0.2"], 1),
            "gone.test": (["127.0.0.2"], 1), "loop.test": (["127.0.0.1"], 1), "tls.test": (["127.0.0.2"], 1),
            "evil.test": (["127.0.0.2"], 1), "well.test": (["127.0.0.5", "127.0.0.4"], 1),
            "many.test": (["127.0.1.%d" % i for i in range(1, 25)], 600),
            "mixed.test": (["0.0.0.0", "224.0.0.1", "255.255.255.255", "127.0.0.3", "::", "ff02::1", "fe80::1"], 1)}
        self.reeved = Reeved({
            "policy": {"grants": [{"src": ["staff@example.edu"], "dst": ["*"], "ip": ["*"]}]},
            "identities": [{"address": STAFF + "/32", "login": "staff@example.edu"}],
            "services": {"plain": services["plain"]},
            "more": {"services": services, "resolvers": [self.dns.at], "resolve-min": 1, "resolve-max": 2,
                     "upstream-roots": self.dir + "/tls.pem", "metrics": "127.0.0.1:%d" % self.metrics}})

    def end(self):
        self.reeved.stop()

    def get(self, host):
        c = Client(self.port, STAFF, timeout=30)
        c.send(b"GET /x HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode())
        m = c.message()
        c.close()
        return m

    def status_of(self, service):
        r = subprocess.run([BUILD + "/reeve", "--socket", self.reeved.dir + "/run/api.sock", "--json", "status"],
                           check=True, capture_output=True)
        return [s for s in json.loads(r.stdout)["services"] if s["name"] == service][0]["upstreams"]

    def status(self, service, good):
        wait(lambda: good(self.status_of(service)), lambda: "%r\n%s" % (self.status_of(service), self.reeved.said()))

    def says(self, host, body):
        wait(lambda: self.get(host).body == body, self.reeved.said)

    def said(self, words):
        wait(lambda: words in self.reeved.said(), self.reeved.said)

    def asked(self, name, more):
        """So often more."""
        n = self.dns.asked.get(name, 0)
        wait(lambda: self.dns.asked.get(name, 0) >= n + more, self.reeved.said)

    def test_all_addresses(self):
        wait(lambda: self.get("two").status == 200, self.reeved.said)
        assert {self.get("two").body for _ in range(20)} == {b"a", b"b"}

    def test_change(self):
        self.says("moves", b"a")
        self.dns.names["moves.test"] = (["127.0.0.3"], 1)
        self.says("moves", b"b")
        assert {self.get("moves").body for _ in range(10)} == {b"b"}

    def test_slow_resolver(self):
        """Everybody else is served meanwhile, by name or not; its own callers are told."""
        self.status("slow", lambda u: [r["state"] for r in u] == ["unknown"])
        m = self.get("slow")
        assert m.status == 502 and b"no-upstream" in m.body, m.head
        self.says("plain", b"a")
        self.says("two", b"a")
        self.dns.names["slow.test"] = (["127.0.0.4"], 1)
        self.says("slow", b"c")

    def test_resolver_gone(self):
        """The last good answer stays, after a reload too; "no such name" ends it, if it is said again."""
        self.says("gone", b"a")
        self.dns.names["gone.test"] = "broken"
        self.said("upstream name gone.test: no name server gives an answer; its last answer stays in use")
        assert self.get("gone").body == b"a"
        self.reeved.command("reload")
        self.asked("gone.test", 1)
        assert self.get("gone").body == b"a"
        self.status("gone", lambda u: [r["state"] for r in u] == ["old", "well"] and u[0]["why"] == "no name server gives an answer")
        self.dns.names["gone.test"] = "none"
        self.said("upstream name gone.test: there is no such name, or it has no address; its last answer stays in use")
        wait(lambda: self.get("gone").status == 502, self.reeved.said)
        self.dns.names["gone.test"] = (["127.0.0.3"], 1)
        self.says("gone", b"b")

    def test_nothing_goes_round(self):
        """Its own listener is no upstream, whatever a name server says."""
        def known():
            assert self.get("loop").status == 502
            return "upstream name loop.test is 127.0.0.1:%d, where this host itself listens" % self.port in self.reeved.said()
        wait(known, self.reeved.said)

    def test_certificate_is_the_name_s(self):
        self.says("good", b"tls")
        wait(lambda: b"upstream-connect" in self.get("evil").body, self.reeved.said)

    def test_health_of_each_address(self):
        def up():
            v = parse(ask("127.0.0.1:%d" % self.metrics).body.decode()).get("reeve_upstream_up", {})
            return {k.split('upstream="')[1].rstrip('"'): n for k, n in v.items() if 'service="well"' in k}
        name = "http://well.test:%d (127.0.0." % self.a.port
        try:
            wait(lambda: up() == {name + "5)": 0, name + "4)": 1})
        except AssertionError:
            raise AssertionError("%r\n%s" % (up(), self.reeved.said()))
        assert {self.get("well").body for _ in range(10)} == {b"c"}
        self.status("well", lambda u: [(r["name"], r["state"], r.get("fronts"), bool(r.get("why"))) for r in u] == [
            (name + "5)", "down", 1, True), (name + "4)", "well", None, False)])
        text = subprocess.run([BUILD + "/reeve", "--socket", self.reeved.dir + "/run/api.sock", "status"], capture_output=True, text=True)
        assert "\n             %s5) is down: the application " % name in text.stdout, text
        assert name + "4)" not in text.stdout, text

    def test_rest_after_failures(self):
        """What fails without any check rests, and status says so."""
        at = "http://127.0.0.1:%d" % self.dead
        def fails():
            assert self.get("dead").status == 502
            return self.status_of("dead") == [{"name": at, "state": "resting", "fronts": 1, "why": "it failed several times in a row"}]
        wait(fails, self.reeved.said)

    def test_bounds(self):
        self.said("upstream name many.test has more than 16 addresses: 8 are left out")
        self.says("mixed", b"b")
        assert {self.get("mixed").body for _ in range(10)} == {b"b"}
        self.said("upstream name mixed.test: 127.0.0.3\n")


if __name__ == "__main__":
    main(Names, reeved=True)
