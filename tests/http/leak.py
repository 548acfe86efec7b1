#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clients and applications that are killed anywhere, many times: descriptors
and memory stay flat. usage: top_builddir=BUILD tests/http/leak.py [REQUESTS]"""
import os
import random
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import STAFF, Front, Origin, free_port

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
REQUEST = b"POST /k HTTP/1.1\r\nHost: wiki\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n0\r\nX-T: u\r\n\r\n"
RESET = b"\1\0\0\0\0\0\0\0"


def answer(c, m):
    n = random.randrange(len(RESPONSE) + 40)
    c.sendall(RESPONSE[:n])
    if n < len(RESPONSE):
        if n % 2:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return False
    return None


def client(port, count):
    for _ in range(count):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(STAFF, 0)) as s:
                n = random.randrange(2 * len(REQUEST))
                s.sendall(REQUEST[:n])
                if n >= len(REQUEST):
                    s.recv(random.randrange(1, 4096))
                if n % 2:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        except OSError:
            pass


def round_of(port, count):
    threads = [threading.Thread(target=client, args=(port, count // 4)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    time.sleep(1)


origin, port = Origin(), free_port()
origin.reply = answer
front = Front({"policy": {"grants": [{"src": ["staff@example.edu"], "dst": ["*"], "ip": ["*"]}]},
               "identities": [{"address": STAFF + "/32", "login": "staff@example.edu"}],
               "services": {"wiki": {"listen": ["127.0.0.1:%d" % port], "hosts": ["wiki"], "upstream": [origin.url]}}})
rows = []
for i in range(5):
    round_of(port, COUNT // 5)
    stats = front.stats()
    rows.append((front.fds(), front.rss(), stats["requests"], stats["conns"], stats["in_flight"]))
    print("# %d requests: %d descriptors, %d KiB" % (rows[-1][2], rows[-1][0], rows[-1][1] >> 10))
ok = rows[-1][3] == rows[-1][4] == 0 and rows[-1][0] <= rows[0][0] + 3 and rows[-1][1] <= rows[0][1] + (1 << 20)
print("%s 1 - descriptors and memory are flat over %d connections" % ("ok" if ok else "not ok", COUNT))
print("1..1")
sys.stdout.flush()
os._exit(0 if ok else 1)
