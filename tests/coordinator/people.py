# SPDX-License-Identifier: AGPL-3.0-or-later
"""A coordinator with a real identity provider, and people who log in there: for the tests of
sessions. hub.py has the coordinator, ../idp/idp.py the provider."""

import os
import socket
import ssl
import sys
import threading
import urllib.parse

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(1, os.path.join(HERE, "../idp"))
from hub import *   # noqa: E402,F403
import idp          # noqa: E402
from idp import free_port   # noqa: E402

LOOPBACK = "http://127.0.0.1:54321/"
PATIENCE = 60       # seconds that anything may take on a machine that is busy


class Front:
    """TLS before the public socket (without a certificate: none): reeved's public front has its own tests."""

    def __init__(self, port, cert, key, path):
        self.path, self.seen = path, []
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if cert else None
        if cert:
            self.tls.load_cert_chain(cert, key)
        self.sock = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            c, _ = self.sock.accept()
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        try:
            if self.tls:
                c = self.tls.wrap_socket(c, server_side=True)
            up = socket.socket(socket.AF_UNIX)
            up.connect(self.path)
            threading.Thread(target=self.pump, args=(up, c), daemon=True).start()
            self.seen.append(b"")
            self.pump(c, up, len(self.seen) - 1)
        except OSError:
            c.close()

    def bodies(self, path):
        """Of the requests that came for a path, as they were sent."""
        out = []
        for s in list(self.seen):
            head, _, body = s.partition(b"\r\n\r\n")
            if head.startswith(b"POST " + path.encode() + b" "):
                out.append(body.decode())
        return out

    def pump(self, a, b, keep=None):
        try:
            while True:
                data = a.recv(65536)
                if not data:
                    break
                if keep is not None:
                    self.seen[keep] += data
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def until(fn, what="it"):
    """The first value of fn that counts; waits for it."""
    limit = time.monotonic() + PATIENCE
    while True:
        got = fn()
        if got:
            return got
        if time.monotonic() > limit:
            raise RuntimeError("waited %d s for %s" % (PATIENCE, what))
        time.sleep(0.05)


class World:
    """One provider ("uni"), one hub, TLS before both."""

    def __init__(self, policy, row=None, **conf):
        if os.geteuid() != 0:
            skip("not root")
        if idp.node_dir() is None:
            skip(idp.why())
        self.dir = tempfile.mkdtemp(prefix="reeve-people-")
        iport, hport = free_port(), free_port()
        self.url = "https://127.0.0.1:%d" % hport
        self.issuer = idp.new(self.dir, "127.0.0.1:%d" % iport, "127.0.0.1", [self.url + "/login/callback"],
                              logout_uri=self.url + "/login/logout/uni", back_to=[self.url + "/login/bye"])
        self.cert("hub")
        self.row = {"issuer": self.issuer, "client-id": "reeve", "client-secret-file": self.dir + "/client-secret",
                    "ca": self.dir + "/cert.pem", "scopes": ["profile", "email", "groups"],
                    "domains": ["example.edu"], "mfa-amr": ["pwd+otp"], "timeout": "30s"}
        self.row.update(row or {})
        self.hub = Hub(policy=policy, url=self.url, **dict({"issuers": {"uni": self.row}}, **conf))
        self.start_idp()
        self.hub.start()
        self.front = Front(hport, self.dir + "/hub.crt", self.dir + "/hub.key", self.hub.dir + "/run/public.sock")
        self.accounts = json.load(open(self.dir + "/accounts.json"))
        self.streams, self.pages = [], []

    def cert(self, name):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=" + name, "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
                        "-keyout", "%s/%s.key" % (self.dir, name), "-out", "%s/%s.crt" % (self.dir, name)],
                       check=True, capture_output=True)

    def start_idp(self):
        # it trusts the hub's certificate, for back-channel logout
        os.environ["NODE_EXTRA_CA_CERTS"] = self.dir + "/hub.crt"
        self.idp = idp.start(self.dir)

    def stop_idp(self):
        self.idp.kill()
        self.idp.wait()

    def reload(self, **conf):
        """Returns when it counts."""
        starts = self.log().count("was read again")
        self.hub.conf.update(conf)
        self.hub.write_conf()
        self.hub.proc.send_signal(signal.SIGHUP)
        until(lambda: self.log().count("was read again") > starts, "the configuration")

    def log(self):
        return open(self.hub.dir + "/log").read()

    def browser(self):
        return idp.Browser([self.dir + "/cert.pem", self.dir + "/hub.crt"])

    def go(self, ask, account="staff@example.edu", b=None, want=None):
        a = self.accounts[account]
        end = idp.login(ask["url"], [LOOPBACK], account, a["password"], a["totp"], b or self.browser(), want=want,
                        seen=lambda at, text: self.pages.append((at, text)))
        return self.ticket(end)

    @staticmethod
    def ticket(end):
        q = urllib.parse.parse_qs(urllib.parse.urlsplit(end).query)
        return {"attempt": q["attempt"][0], "ticket": q["ticket"][0]}

    def refused(self, fn):
        try:
            return None if fn() else ""
        except RuntimeError as e:
            return str(e)

    def enrol(self, name, account="staff@example.edu", b=None):
        """A device of somebody: the reply's node."""
        d = Device(self.hub, name)
        ask = d.prove(d.start(loopback=54321).json).json
        r = self.hub.public("POST", "/v1/enrol/finish", self.go(ask, account, b))
        if r.status != 200:
            raise RuntimeError(repr(r))
        d.node = r.json["node"]
        return d

    def ask(self, node, **more):
        return self.hub.mesh("POST", "/v1/login/start", dict({"v": 1, "loopback": 54321}, **more), node=node)

    def login(self, node, account="staff@example.edu", b=None, **more):
        """A login on a device that is enrolled: the reply."""
        ask = self.ask(node, **more).json
        return self.hub.mesh("POST", "/v1/login/finish", self.go(ask, account, b), node=node)

    def server(self, name, tag):
        """A server that watches: its stream, with the first map."""
        d = Device(self.hub, name)
        d.enrol(self.hub.key(tag))
        s = Stream(self.hub, d.node["id"], timeout=PATIENCE)
        self.streams.append(s)
        s.batch()
        s.device = d
        return s

    def cli(self, *args):
        """`reeve` of root on the hub."""
        return subprocess.run([BUILD + "/reeve", "--control", self.hub.dir + "/run/mesh.sock"] + list(args),
                              capture_output=True, text=True, timeout=60)

    def sessions(self):
        return {s["id"]: s for s in self.hub.root("GET", "sessions").json["sessions"]}

    def close(self):
        for s in self.streams:
            s.close()
        self.stop_idp()
        self.hub.close()
        if not os.environ.get("KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)


POLICY = """{
	"grants": [{ "src": ["autogroup:member"], "dst": ["tag:web"], "ip": ["tcp:80"] }],
	"tagOwners": { "tag:web": [], "tag:job": [] },
}
"""
