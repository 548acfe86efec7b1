# SPDX-License-Identifier: AGPL-3.0-or-later
"""What stands before the coordinator in the tests beside this file, and a device's loopback."""

import http.server
import ssl
import threading
import urllib.parse


def listener(where, port, hub, door=None, who=None):
    """In front of public.sock with TLS as reeved's public front is; or, with door, in front
    of mesh.sock as a mesh front, which says who calls."""
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {k: v for k, v in self.headers.items()
                       if k.lower() not in ("connection", "content-length", "host", "accept-encoding")}
            if door:
                headers.update(who)
            else:
                headers["X-Forwarded-For"] = "192.0.2.7"
            r = hub.request(door or "public.sock", self.command, self.path, body or None, headers, 30)
            self.send_response_only(r.status)
            for k, v in r.headers.items():
                if k.lower() not in ("connection", "transfer-encoding", "content-length", "keep-alive"):
                    self.send_header(k, v)
            self.send_header("Content-Length", str(len(r.body)))
            self.end_headers()
            self.wfile.write(r.body)

        do_GET = do_POST = pass_on

        def log_message(self, *args):
            pass

    s = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if where:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(where + "/cert.pem", where + "/key.pem")
        s.socket = tls.wrap_socket(s.socket, server_side=True)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    return s


class Loopback:
    """The device's own listener, where the browser is sent at the end."""

    def __init__(self):
        self.got = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                what, _, query = self.path.partition("?")
                text = "<!DOCTYPE html><title>done</title><p id=done>back on the device"
                if what == "/done":
                    outer.got.append(dict(urllib.parse.parse_qsl(query)))
                elif what == "/frame":
                    text = "<!DOCTYPE html><iframe src='%s'></iframe>" % urllib.parse.unquote(query)
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
