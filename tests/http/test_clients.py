#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real clients through the front: curl, nghttp, h2load and Node's HTTP/2 with
large bodies both ways, WebSocket by npm's ws over HTTP/1.1 and HTTP/2.

REEVE_SLOW=1: 1 GiB instead of 16 MiB by curl, 64 MiB by the others."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import ADMIN, STAFF, STUDENT, Front, Tests, free_port, main, wait

HERE = os.path.dirname(os.path.abspath(__file__))
SLOW = bool(os.environ.get("REEVE_SLOW"))
SIZE = (64 if SLOW else 16) << 20
CURL_SIZE = (1024 if SLOW else 16) << 20


class Clients(Tests):
    def begin(self):
        self.dir = tempfile.mkdtemp(prefix="reeve-clients.")
        self.app = subprocess.Popen(["node", HERE + "/clients.mjs", "server"], stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, text=True)
        up = "http://127.0.0.1:" + self.app.stdout.readline().strip()
        self.port = free_port()
        self.front = Front({
            "policy": {"grants": [{"src": ["staff@example.edu", "admin@example.edu"], "dst": ["svc:wiki"], "ip": ["*"]}]},
            "identities": [{"address": STAFF + "/32", "login": "staff@example.edu"},
                           {"address": STUDENT + "/32", "login": "student@example.edu"},
                           {"address": ADMIN + "/32", "login": "nobody@example.edu"},
                           {"address": "127.0.0.1/32", "login": "admin@example.edu"}],
            "services": {"wiki": {"listen": ["127.0.0.1:%d" % self.port], "hosts": ["wiki", "127.0.0.1"], "upstream": [up],
                                  "profiles": ["remote-user"]}}})
        self.url = "http://127.0.0.1:%d" % self.port
        self.data = self.dir + "/data"
        with open(self.data, "wb") as f:
            h = hashlib.sha256()
            for i in range(CURL_SIZE >> 20):
                block = i.to_bytes(4, "big") * (1 << 18)
                f.write(block)
                h.update(block)
        self.data_sum = h.hexdigest()

    def before(self):
        self.front.command("restore staff@example.edu")

    def end(self):
        self.front.stop()
        self.app.stdin.close()
        self.app.wait(timeout=30)
        shutil.rmtree(self.dir)

    def wanted(self, name):
        tool = {"test_nghttp": "nghttp", "test_h2load": "h2load"}.get(name)
        if tool and not shutil.which(tool):
            print("# without %s: it is not installed" % name[5:])
            return False
        return True

    def node(self, *args):
        r = subprocess.run(["node", HERE + "/clients.mjs", args[0], str(self.port), STAFF, *args[1:]], capture_output=True,
                           text=True, timeout=300)
        assert r.returncode == 0 and "ok " in r.stdout and "not ok" not in r.stdout, r.stdout + r.stderr
        return r.stdout

    def curl(self, *args):
        r = subprocess.run(["curl", "-sS", "--max-time", "300", "--interface", STAFF, "-H", "Host: wiki", "-D",
                            self.dir + "/head", *args], capture_output=True)
        assert r.returncode == 0, r.stderr
        with open(self.dir + "/head") as f:
            return f.read().lower(), r.stdout

    def bodies(self, version, line):
        out = self.dir + "/out"
        head, _ = self.curl(version, "-o", out, "%s/blob?n=%d" % (self.url, CURL_SIZE))
        with open(out, "rb") as f:
            got = hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else \
                hashlib.sha256(f.read()).hexdigest()
        assert head.startswith(line) and os.path.getsize(out) == CURL_SIZE, head
        assert re.search(r"x-sha256: (\S+)", head).group(1) == got and "x-user: staff@example.edu" in head, head
        os.unlink(out)
        for framing, args in (("length", ["-T", self.data]), ("chunked", ["-T", "-", "-H", "Expect:"])):
            with open(self.data, "rb") as f:
                r = subprocess.run(["curl", "-sS", version, "--max-time", "300", "--interface", STAFF, "-H", "Host: wiki", *args,
                                    self.url + "/sum"], stdin=f, capture_output=True, text=True)
            assert r.returncode == 0, r.stderr
            assert json.loads(r.stdout) == {"bytes": CURL_SIZE, "sha256": self.data_sum, "framing": framing}, r.stdout

    def test_curl_http1(self):
        self.bodies("--http1.1", "http/1.1 200")

    def test_curl_http2(self):
        self.bodies("--http2-prior-knowledge", "http/2 200")

    def test_nghttp(self):
        r = subprocess.run(["nghttp", "-t", "300", "%s/blob?n=%d" % (self.url, SIZE)], capture_output=True)
        assert r.returncode == 0 and len(r.stdout) == SIZE, (r.returncode, len(r.stdout), r.stderr)
        head, _ = self.curl("-I", "%s/blob?n=%d" % (self.url, SIZE))
        assert re.search(r"x-sha256: (\S+)", head).group(1) == hashlib.sha256(r.stdout).hexdigest()
        r = subprocess.run(["nghttp", "-t", "300", "-d", self.data, self.url + "/sum"], capture_output=True, text=True)
        assert r.returncode == 0 and json.loads(r.stdout)["sha256"] == self.data_sum, r
        # priorities of RFC 7540, PING and padding, as it offers them
        r = subprocess.run(["nghttp", "-t", "300", "-p", "200", "-b", "255", "-m", "8", "-n", "-s", self.url + "/sum"],
                           capture_output=True, text=True)
        assert r.returncode == 0 and len(re.findall(r" 200 ", r.stdout)) == 8, r

    def test_h2load(self):
        for more in ([], ["-d", self.dir + "/small"], ["-w", "20", "-W", "22"]):
            with open(self.dir + "/small", "w") as f:
                f.write("x" * 3000)
            r = subprocess.run(["h2load", "-n", "2000", "-c", "4", "-m", "50", *more, self.url + "/sum"], capture_output=True,
                               text=True, timeout=300)
            assert "status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx" in r.stdout, r.stdout + r.stderr

    def test_node_http2(self):
        self.node("h2", str(SIZE))

    def test_websocket(self):
        self.node("ws")

    def test_websocket_over_http2(self):
        self.node("ws2")

    def test_websockets_end_with_the_session(self):
        p = subprocess.Popen(["node", HERE + "/clients.mjs", "hold", str(self.port), STAFF], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
        try:
            line = p.stdout.readline()
            assert line == "open\n", line + p.stdout.read()
            assert self.front.stats()["upgrades"] == 2
            self.front.command("revoke staff@example.edu")
            out, _ = p.communicate(timeout=60)
            assert out == "closed 1006 1006\n", out
        finally:
            p.kill()
            p.wait()
        wait(lambda: self.front.stats()["conns"] == 0, self.front.stats)


if __name__ == "__main__":
    main(Clients, tools=("node", "curl"), package="ws")
