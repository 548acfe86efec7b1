#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""`reeve watch` tells that a login ends before it does, once, and what came of it. The local API is
played; who waits for what is told here, never how fast."""
import json
import os
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
BUILD = os.environ.get("top_builddir") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
where = tempfile.mkdtemp(prefix="reeve-watch-")
expires = None          # what its session ends at, whenever it is asked; 0: nobody is logged in
n = bad = 0


def ok(good, what, detail=""):
    global n, bad
    n, bad = n + 1, bad + (not good)
    print("%s %d - %s%s" % ("ok" if good else "not ok", n, what, "" if good else "\n# %r" % (detail,)), flush=True)


class Api(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        end = expires()
        session = {"expires": end} if end else None
        body = json.dumps({"self": {"session": session}}).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                         b"Connection: close\r\n\r\n%s" % (len(body), body))


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


server = Server(where + "/api.sock", Api)
threading.Thread(target=server.serve_forever, daemon=True).start()
with open(where + "/hook", "w") as f:
    f.write('#!/bin/sh\necho "$REEVE_EVENT $# $1: $2" >> "%s/told"\n' % where)
os.chmod(where + "/hook", 0o755)


def watch(*more):
    p = subprocess.Popen([BUILD + "/reeve", "--socket", where + "/api.sock", "watch", *more], stdout=subprocess.PIPE,
                         text=True)
    killer = threading.Timer(90, p.kill)
    killer.start()
    return p, killer


def end(p, killer):
    killer.cancel()
    p.kill()
    p.wait()
    p.stdout.close()


try:
    bad_use = subprocess.run([BUILD + "/reeve", "watch", "--before", "soon"], capture_output=True, text=True, timeout=60)
    ok(bad_use.returncode == 2, "a time that is none is refused", bad_use)
    expires = lambda: int(time.time()) + 4      # noqa: E731
    p, killer = watch("--before", "1m", "--hook", where + "/hook")
    line = p.stdout.readline()
    ok("ends in" in line and "reeve login" in line, "it tells ahead", line)
    expires = lambda: int(time.time()) + 3600   # noqa: E731
    line = p.stdout.readline()
    ok("renewed" in line and "lasts" in line, "and that it was renewed", line)
    end(p, killer)
    once = iter([3])
    expires = lambda: int(time.time()) + n if (n := next(once, 0)) else 0   # noqa: E731
    p, killer = watch("--before", "1m", "--hook", where + "/hook")
    lines = [p.stdout.readline(), p.stdout.readline()]
    ok("ends in" in lines[0] and "has ended" in lines[1], "or that it has ended", lines)
    end(p, killer)
    end_at = int(time.time()) + 50
    expires = lambda: end_at        # noqa: E731
    p, killer = watch("--json", "--before", "1m")
    line = json.loads(p.stdout.readline())
    ok(line == {"event": "ending", "expires": end_at}, "as JSON, for programs", line)
    end(p, killer)
    told = [l.split(":")[0] for l in open(where + "/told").read().splitlines()]
    ok(told[:3] == ["ending 2 Reeve", "renewed 2 Reeve", "ending 2 Reeve"], "the hook is told the same, once each", told)
finally:
    server.shutdown()
    shutil.rmtree(where, ignore_errors=True)
print("1..%d" % n)
sys.exit(1 if bad else 0)
