#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small HTTP application that says what it was told: method, path, body and fields, as JSON. Every answer has
"X-App: yes", so that nobody takes a server's own page for it. A WebSocket gets back what it sends.

usage: told.py ADDRESS PORT
"""
import http.server
import json
import socketserver
import sys


class Application(http.server.BaseHTTPRequestHandler):
    """Says what it was told."""
    protocol_version = "HTTP/1.1"

    def upgrade(self):
        # the key is always the one of RFC 6455's example
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Who: "
                         + (self.headers.get("Remote-User") or "-").encode() + b"\r\n\r\n")
        self.wfile.flush()
        while data := self.connection.recv(4096):
            self.connection.sendall(data)
        self.close_connection = True

    def answer(self):
        if (self.headers.get("Upgrade") or "").lower() == "websocket":
            self.upgrade()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("latin-1")
        text = json.dumps({"method": self.command, "path": self.path, "body": body,
                           "fields": [[k.lower(), v] for k, v in self.headers.items()]}).encode()
        self.send_response(200)
        self.send_header("X-App", "yes")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, *_):
        pass


class Threaded(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        pass        # servers in front leave connections as they like


if __name__ == "__main__":
    Threaded((sys.argv[1], int(sys.argv[2])), Application).serve_forever()
