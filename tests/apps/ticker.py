#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""An application with WebSockets' upgrade: 50 lines a second, of who it was told calls.

usage: ticker.py PORT FILE

FILE is rewritten with each line: how many bytes came over what was upgraded. Other
requests are answered with the same name.
"""
import os
import socketserver
import sys
import threading

FILE = sys.argv[2]
came = 0


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            fields = {}
            if not self.rfile.readline():
                return
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = line.decode("latin-1").partition(":")
                fields[name.lower()] = value.strip()
            who = fields.get("remote-user", "-").encode()
            if fields.get("upgrade") == "websocket":
                return self.ticks(who)
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(who), who))

    def ticks(self, who):
        # the key is always the one of RFC 6455's example
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
        gone = threading.Event()
        threading.Thread(target=self.listen, args=(gone,), daemon=True).start()
        while not gone.wait(0.02):
            try:
                self.wfile.write(who + b"\n")
            except OSError:
                return
            with open(FILE + ".new", "w", encoding="ascii") as f:
                f.write(f"{came}\n")
            os.rename(FILE + ".new", FILE)

    def listen(self, gone):
        global came
        try:
            while data := self.connection.recv(4096):
                came += len(data)
        except OSError:
            pass
        gone.set()


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


Server(("127.0.0.1", int(sys.argv[1])), Connection).serve_forever()
