# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real reeve-coordinator on its two unix sockets, and what fronts, devices and
endpoints would say to it: for the tests beside this file. Needs root, since the
sockets believe the local user that reeved's net process runs as."""

import base64
import hashlib
import hmac
import http.client
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.environ.get("top_srcdir") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BUILD = os.environ.get("top_builddir") or TOP


def _load(name, path):
    spec = importlib.util.spec_from_file_location(name, os.path.join(TOP, path))
    mod = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mod)
    return mod


enrol = _load("enrol", "tests/apps/enrol.py")   # a second implementation of the protocol
PIN = hashlib.sha256(b"a pin of the tests").digest()


class Test:
    """Counts, and prints lines that contrib/check adds up."""

    def __init__(self):
        self.n = self.bad = 0

    def ok(self, good, what, detail=""):
        self.n += 1
        if not good:
            self.bad += 1
        print("%s %d - %s" % ("ok" if good else "not ok", self.n, what), flush=True)
        if not good and detail != "":
            print("# " + str(detail)[:2000], flush=True)
        return good

    def is_(self, got, want, what):
        return self.ok(got == want, what, "got %r, want %r" % (got, want))

    def end(self):
        print("1..%d" % self.n, flush=True)
        sys.exit(1 if self.bad else 0)


def skip(why):
    print("1..0 # SKIP " + why)
    sys.exit(77)


class Unix(http.client.HTTPConnection):
    def __init__(self, path, timeout=60):
        super().__init__("hub", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return "HTTP %d %r" % (self.status, self.body[:500])


class Hub:
    def __init__(self, policy=None, **conf):
        if os.geteuid() != 0:
            skip("not root")
        self.dir = tempfile.mkdtemp(prefix="reeve-coord-")
        os.chmod(self.dir, 0o755)
        self.conf = {"state-dir": self.dir + "/state", "run-dir": self.dir + "/run",
                     "url": "https://hub.example.edu", "pins": [enrol.b64url(PIN)], "hub-user": "",
                     "mesh-name": "example", "admins": ["admin@example.edu"],
                     "attempts-per-minute": 100000, "log-level": "info"}
        self.conf.update(conf)
        self.write_conf()
        self.proc = None
        args = ["init", "-c", self.dir + "/conf", "--endpoint-state", self.dir + "/endpoint"]
        if policy is not None:
            with open(self.dir + "/policy", "w") as f:
                f.write(policy)
            args += ["--policy", self.dir + "/policy"]
        self.said = self.tool(*args)

    def write_conf(self):
        with open(self.dir + "/conf", "w") as f:
            json.dump(self.conf, f)

    def tool(self, *args, good=True):
        p = subprocess.run([BUILD + "/reeve-coordinator"] + list(args), capture_output=True, text=True, timeout=60)
        if good and p.returncode != 0:
            raise RuntimeError("%s: %s" % (args, p.stderr))
        return p.stdout if good else p

    def start(self):
        self.log = open(self.dir + "/log", "a")
        self.proc = subprocess.Popen([BUILD + "/reeve-coordinator", "run", "-c", self.dir + "/conf"],
                                     stderr=self.log, stdin=subprocess.DEVNULL)
        self.wait()

    def wait(self):
        limit = time.monotonic() + 60
        while True:
            try:
                if self.public("GET", "/v1/enrol").status == 200:
                    return
            except OSError:
                pass
            if self.proc.poll() is not None or time.monotonic() > limit:
                raise RuntimeError("the coordinator does not start: " + open(self.dir + "/log").read()[-2000:])
            time.sleep(0.01)

    def kill(self, sig=signal.SIGKILL):
        self.proc.send_signal(sig)
        return self.proc.wait(timeout=60)

    def close(self):
        if self.proc and self.proc.poll() is None:
            self.kill(signal.SIGTERM)
        if not os.environ.get("KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def request(self, sock, method, path, body=None, headers=None, timeout=60):
        c = Unix(self.dir + "/run/" + sock, timeout)
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            c.request(method, path, body, headers or {})
            r = c.getresponse()
            return Reply(r.status, r.headers, r.read())
        finally:
            c.close()

    def public(self, method, path, body=None, headers=None, timeout=60):
        return self.request("public.sock", method, path, body, headers, timeout)

    def mesh(self, method, path, body=None, node=None, user=None, session=None, headers=None, timeout=60):
        h = dict(headers or {})
        for name, value in (("Reeve-Node", node), ("Reeve-User", user), ("Reeve-Session", session)):
            if value:
                h[name] = value
        return self.request("mesh.sock", method, path, body, h, timeout)

    def root(self, method, path, body=None):
        return self.mesh(method, "/api/v1/" + path, body)

    def key(self, tag="tag:server", uses=1, expires=3600):
        r = self.root("POST", "keys", {"tags": [tag], "uses": uses, "expires": expires})
        if r.status != 200:
            raise RuntimeError(repr(r))
        return enrol.Key(r.json["key"])

    def audit(self):
        """Its lines; what was told anywhere before this was asked is among them."""
        if self.proc and self.proc.poll() is None:
            self.root("GET", "status")      # behind whatever it was in the middle of
        with open(self.dir + "/state/audit.json") as f:
            return [json.loads(l) for l in f]


class Device:
    """A device key, and its enrolment."""

    def __init__(self, hub, name="dev"):
        self.hub, self.name = hub, name
        self.private = os.urandom(32)
        self.public = enrol.x25519(self.private, enrol.BASE)

    def start(self, key=None, loopback=None, pin=PIN, **more):
        msg = {"v": 1, "key": enrol.b64(self.public), "name": self.name, "os": "test", "pin": enrol.b64url(pin)}
        if key:
            msg["enrol_key"] = key.secret
        if loopback:
            msg["loopback"] = loopback
        msg.update(more)
        self.body = json.dumps(msg).encode()
        self.pin = pin
        return self.hub.public("POST", "/v1/enrol/start", self.body, {"X-Forwarded-For": "192.0.2.7"})

    def proof(self, ask, shared=None):
        challenge, ephemeral = enrol.unb64url(ask["challenge"]), base64.b64decode(ask["ephemeral"])
        shared = shared or enrol.x25519(self.private, ephemeral)
        return hmac.digest(shared, b"reeve enrol v1\0" + challenge + self.pin + self.public + ephemeral +
                           hashlib.sha256(self.body).digest(), "sha256")

    def prove(self, ask, proof=None):
        return self.hub.public("POST", "/v1/enrol/prove",
                               {"attempt": ask["attempt"], "proof": enrol.b64url(proof or self.proof(ask))})

    def enrol(self, key):
        r = self.start(key)
        if r.status == 200:
            r = self.prove(r.json)
        if r.status == 200:
            self.node = r.json["node"]
        return r


class Stream:
    """A map stream, line by line."""

    def __init__(self, hub, node, have=None, timeout=60):
        self.c = Unix(hub.dir + "/run/mesh.sock", timeout)
        self.c.request("GET", "/v1/map" + ("?have=" + have if have else ""), headers={"Reeve-Node": node})
        self.r = self.c.getresponse()
        self.hub, self.node, self.status = hub, node, self.r.status
        self.nodes, self.policy, self.epoch, self.seq = {}, None, None, None

    def line(self):
        l = self.r.readline()
        return json.loads(l) if l else None

    def batch(self):
        """The lines up to an end, applied; None: the stream ended."""
        lines = []
        while True:
            m = self.line()
            if m is None:
                return None
            if m["op"] == "beat":
                continue
            lines.append(m)
            if m["op"] == "end":
                break
        for m in lines:
            if m["op"] == "full":
                self.nodes, self.policy, self.epoch, self.full = {}, None, m["epoch"], m
            elif m["op"] == "node":
                self.nodes[m["node"]["id"]] = m["node"]
            elif m["op"] == "gone":
                self.nodes.pop(m["id"], None)
            elif m["op"] == "policy":
                self.policy = m["text"]
        self.seq = lines[-1]["seq"]
        return lines

    def ack(self, seq=None, epoch=None):
        return self.hub.mesh("POST", "/v1/map/ack", {"epoch": epoch or self.epoch, "seq": seq or self.seq},
                             node=self.node)

    def close(self):
        self.c.close()
