#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""`reeve up` and `reeve login` on a machine without a browser say what to do instead. The local API is
played."""
import json
import os
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
BUILD = os.environ.get("top_builddir") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
where = tempfile.mkdtemp(prefix="reeve-headless-")
asked = []
answer = (200, {})
n = bad = 0
PENDING = {"state": "login", "url": "https://hub.example.edu/login/abcdefghijklmnopqrstuv", "code": "BCDF-GHJK",
           "attempt": "abcdefghijklmnopqrstuv", "expires": 0}
REFUSED = {"type": "about:blank", "status": 403, "error": "denied",
           "detail": "approval on another one (\"cross-device\") is off here; a server enrols with a key: reeve up --key-file FILE"}


def ok(good, what, detail=""):
    global n, bad
    n, bad = n + 1, bad + (not good)
    print("%s %d - %s%s" % ("ok" if good else "not ok", n, what, "" if good else "\n# %r" % (detail,)), flush=True)


class Api(socketserver.StreamRequestHandler):
    def handle(self):
        line, size = self.rfile.readline().split(), 0
        while True:
            h = self.rfile.readline().decode().lower().strip()
            if not h:
                break
            if h.startswith("content-length:"):
                size = int(h.split(":")[1])
        asked.append((line[1].decode(), json.loads(self.rfile.read(size) or b"null")))
        body = json.dumps(answer[1]).encode()
        self.wfile.write(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                         b"Connection: close\r\n\r\n%s" % (answer[0], len(body), body))


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def start(*args, **env):
    keep = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")}
    p = subprocess.Popen([BUILD + "/reeve", "--socket", where + "/api.sock", *args], stderr=subprocess.PIPE,
                         stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True, env=dict(keep, **env))
    killer = threading.Timer(60, p.kill)
    killer.start()
    return p, killer


def says(*args, until, **env):
    """What it says on stderr, up to a line with that; then it is ended."""
    p, killer = start(*args, **env)
    text = ""
    for line in p.stderr:
        text += line
        if until in line:
            break
    killer.cancel()
    p.kill()
    p.wait()
    p.stderr.close()
    return text, p.returncode


server = Server(where + "/api.sock", Api)
threading.Thread(target=server.serve_forever, daemon=True).start()
UP = ("up", "https://hub.example.edu", "--pin", "A" * 43)
try:
    answer = (200, PENDING)
    for args in (UP, ("login",)):
        text, _ = says(*args, until="cross-device")
        ok(PENDING["url"] in text and "BCDF-GHJK" in text, args[0] + ": the page is named all the same", text)
        ok("--key-file" in text and "--elsewhere" in text and "cross-device" in text,
           args[0] + ": an enrolment key, or the switch", text)
        ok(asked[-1][1]["loopback"] > 0, args[0] + ": the login is for a browser on this device", asked[-1])
    text, _ = says(*UP, until="opened in your browser", BROWSER="/bin/true")
    ok("opened in your browser" in text and "--key-file" not in text, "with a browser it says nothing of that", text)
    answer = (403, REFUSED)
    text, code = says(*UP, "--elsewhere", until="nothing: it ends")
    ok(asked[-1][1]["loopback"] == 0, "elsewhere: no browser on this device is promised", asked[-1])
    ok("cross-device" in text and "--key-file" in text and code != 0, "the coordinator's refusal is said as it is", (text, code))
finally:
    server.shutdown()
    shutil.rmtree(where, ignore_errors=True)
print("1..%d" % n)
sys.exit(1 if bad else 0)
