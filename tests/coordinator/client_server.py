#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""What tests/unit/test_client talks to: DIR/sock (unix) and TLS on a free port, which it
prints with the certificate's pin. Ends when its standard input does."""
import base64
import hashlib
import http.server
import os
import socketserver
import ssl
import subprocess
import sys
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "test"

    def log_message(self, *args):
        pass

    def send(self, status, body, **headers):
        self.send_response(status)
        for k, v in headers.items():
            self.send_header(k, v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        what = self.path
        if what == "/hello":
            self.send(200, b"hello")
        elif what == "/headers":
            self.send(200, str(self.headers).encode())
        elif what == "/redirect":
            self.send(302, b"", Location="/hello")
        elif what == "/large":
            self.send(200, b"x" * 100000)
        elif what == "/refused":
            self.send(403, b'{"error":"denied","message":"no"}')
        elif what == "/hang":
            time.sleep(30)
        elif what in ("/stream", "/silent"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for i in range(5):
                self.wfile.write(b"7\r\nline %d\n\r\n" % i)
                self.wfile.flush()
                time.sleep(0.02)
            if what == "/silent":
                time.sleep(30)
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send(404, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send(200, self.headers.get("Content-Type", "").encode() + b" " + body)


class Quiet(socketserver.ThreadingMixIn):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass            # clients that leave are what is tested


class Tcp(Quiet, http.server.HTTPServer):
    pass


class Unix(Quiet, socketserver.UnixStreamServer):
    pass


where = sys.argv[1]
subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                "/CN=hub", "-days", "2", "-keyout", where + "/key", "-out", where + "/crt"], check=True, capture_output=True)
spki = subprocess.run("openssl x509 -in %s/crt -pubkey -noout | openssl pkey -pubin -outform der" % where,
                      shell=True, check=True, capture_output=True).stdout
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(where + "/crt", where + "/key")
tcp = Tcp(("127.0.0.1", 0), Handler)
tcp.socket = tls.wrap_socket(tcp.socket, server_side=True)
unix = Unix(where + "/sock", Handler)
for s in (tcp, unix):
    threading.Thread(target=s.serve_forever, daemon=True).start()
print(tcp.server_address[1], base64.urlsafe_b64encode(hashlib.sha256(spki).digest()).decode().rstrip("="), flush=True)
sys.stdin.read()
os._exit(0)
