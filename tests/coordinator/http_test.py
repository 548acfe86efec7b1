#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bytes that are no requests, on both sockets: none of them ends the coordinator, or is more
than a refusal. What fronts hand on is well-formed; this is for the day one is not."""
import os
import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub import *   # noqa: E402,F403

SEEDS = [
    b'POST /v1/enrol/start HTTP/1.1\r\nHost: hub\r\nContent-Length: 10\r\n\r\n{"v":1}...',
    b"GET /login/AQEBAQEBAQEBAQEBAQEBAQ HTTP/1.1\r\nHost: h\r\nCookie: __Host-hub-login=abc\r\n\r\n",
    b"GET /v1/map?have=0123456789abcdef:1 HTTP/1.1\r\nHost: h\r\nReeve-Node: n1\r\n\r\n",
    b'POST /v1/node HTTP/1.1\r\nHost: h\r\nReeve-Node: n1\r\nTransfer-Encoding: chunked\r\n\r\n'
    b'5\r\n{"a":\r\n3\r\n1}\n\r\n0\r\n\r\n',
    b"GET /api/v1/nodes HTTP/1.1\r\nHost: h\r\nReeve-Node: n1\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: h\r\nReeve-Node: n1\r\n\r\n",
    b"POST /login/x/continue HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\na=b&c",
]


def mutate(seed):
    b = bytearray(seed)
    for _ in range(random.randint(0, 4)):
        k, p = random.randrange(4), random.randrange(len(b) or 1)
        if k == 0 and b:
            b[p] = random.randrange(256)
        elif k == 1:
            b[p:p] = bytes(random.randrange(256) for _ in range(random.randint(1, 20)))
        elif k == 2:
            del b[p:p + random.randint(1, 10)]
        else:
            b = b[:p]
    return bytes(b)


t = Test()
hub = Hub()
try:
    hub.start()
    before = hub.root("GET", "status").json
    strange = set()
    for patience in (0.005, 0.05, 0.5):     # the next where the machine is too slow for the one before
        answered = 0
        random.seed(3)
        for _ in range(1500):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(patience)
            s.connect(hub.dir + "/run/" + random.choice(("public.sock", "mesh.sock")))
            try:
                s.sendall(mutate(random.choice(SEEDS)))
                if random.random() < 0.5:
                    s.shutdown(socket.SHUT_WR)
                text = s.recv(4096)
                if text:
                    answered += 1
                    if not text.startswith(b"HTTP/1.1 ") or text.startswith(b"HTTP/1.1 5"):
                        strange.add(text[:60])
            except OSError:
                pass
            s.close()
        if answered > 300:
            break
    t.ok(answered > 300, "1500 mutated requests, most of them answered", answered)
    t.is_(strange, set(), "none with an error of ours")
    t.is_(hub.public("GET", "/v1/enrol").status, 200, "the public socket answers as before")
    after = hub.root("GET", "status").json
    t.is_([after[k] for k in ("nodes", "users", "policy")], [before[k] for k in ("nodes", "users", "policy")],
          "and nothing has changed")
    t.is_(hub.kill(signal.SIGTERM), 0, "it ends as asked")
finally:
    hub.close()
t.end()
