#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small HTTP application: what it was sent, and a slow download.

GET /headers   the request's headers, one a line, as the application sees them
GET /stream    chunks of 1 KiB every 5 ms, until the peer leaves
GET /file      10 MiB with a length, at about 1 MiB/s
other methods  the length and SHA-256 of the body

usage: download.py ADDRESS PORT
"""
import hashlib
import http.server
import socket
import sys
import time


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def text(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/stream"):
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
            self.pace(chunk, 0.005, None)
        elif self.path.startswith("/file"):
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(10 << 20))
            self.end_headers()
            self.pace(b"y" * (10 << 10), 0.01, 1 << 10)
        else:
            self.text("".join(f"{k}: {v}\n" for k, v in self.headers.raw_items())
                      .encode("utf-8", "surrogateescape"))

    def pace(self, chunk, period, count):
        try:
            while count is None or count > 0:
                self.wfile.write(chunk)
                time.sleep(period)
                count = None if count is None else count - 1
        except OSError:
            self.close_connection = True

    def pieces(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while n := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(n)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("Content-Length", 0))
        while left and (piece := self.rfile.read(min(65536, left))):
            left -= len(piece)
            yield piece

    def body(self):
        digest, total = hashlib.sha256(), 0
        for piece in self.pieces():
            digest.update(piece)
            total += len(piece)
        self.text(f"{total} {digest.hexdigest()}\n".encode())

    do_POST = do_PUT = do_DELETE = body


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET


print("download on", sys.argv[1], sys.argv[2], flush=True)
Server((sys.argv[1], int(sys.argv[2])), App).serve_forever()
