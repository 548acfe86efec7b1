#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Holds streams open and says when their last bytes came.

usage: watch.py FILE KIND=TARGET...
   tcp=HOST:PORT   an instrument's STREAM
   udp=HOST:PORT   its PUSH of 100000
   http=URL        a download;  http4=URL: over IPv4
   ws=URL          an upgrade, as browsers ask for a WebSocket; a byte is sent for each read

FILE is rewritten every 20 ms, a line a stream: KIND TARGET BYTES LAST STATE, where LAST
is the time of the last byte (seconds since 1970, same clock as `date`) and STATE is
open, closed or failed. It ends when every stream has ended, or when told to.
"""
import os
import selectors
import signal
import socket
import sys
import time
import urllib.parse

CONNECT_S = 30


def split(target):
    host, _, port = target.rpartition(":")
    return host.strip("[]"), int(port)


class Stream:
    def __init__(self, spec):
        self.kind, _, self.target = spec.partition("=")
        self.bytes, self.last, self.state, self.sock = 0, 0.0, "failed", None
        try:
            self.open()
            self.state = "open"
        except OSError as e:
            print(spec, e, file=sys.stderr)

    def open(self):
        if self.kind == "udp":
            host, port = split(self.target)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.sock = socket.socket(family, socket.SOCK_DGRAM)
            self.sock.connect((host, port))
            self.sock.send(b"PUSH 100000\n")
        elif self.kind == "tcp":
            self.sock = socket.create_connection(split(self.target), CONNECT_S)
            self.sock.sendall(b"STREAM\n")
        else:
            url = urllib.parse.urlsplit(self.target)
            host = socket.gethostbyname(url.hostname) if self.kind == "http4" else url.hostname
            self.sock = socket.create_connection((host, url.port or 80), CONNECT_S)
            upgrade = (f"Origin: http://{url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                       if self.kind == "ws" else "")
            self.sock.sendall(f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\n"
                              f"User-Agent: watch\r\n{upgrade}\r\n".encode())
        self.sock.setblocking(False)

    def read(self):
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            data = None if self.kind != "udp" else b""
            if self.kind == "udp":          # an ICMP error: nothing came, nothing ends
                return True
        if not data:
            self.state = "closed"
            return False
        self.bytes += len(data)
        self.last = time.time()
        if self.kind == "ws":
            try:
                self.sock.send(b"x")
            except OSError:
                pass        # full: nothing of it matters but that some comes
        return True


def main():
    path, specs = sys.argv[1], sys.argv[2:]
    signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))
    sel = selectors.DefaultSelector()
    streams = [Stream(s) for s in specs]
    for s in streams:
        if s.state == "open":
            sel.register(s.sock, selectors.EVENT_READ, s)
    written = 0.0
    while True:
        for key, _ in sel.select(0.02):
            if not key.data.read():
                sel.unregister(key.data.sock)
        if time.time() - written > 0.02:
            written = time.time()
            with open(path + ".new", "w") as f:
                for s in streams:
                    f.write(f"{s.kind} {s.target} {s.bytes} {s.last:.4f} {s.state}\n")
            os.rename(path + ".new", path)
            if not sel.get_map():
                return


main()
