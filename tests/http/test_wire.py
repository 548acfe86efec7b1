#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every rule of the front about requests, both ways, on the wire; answers: test_wire_answers.py."""
import base64
import json
import os
import re
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from services import GET, H, REEVED, Services
from wire import ADMIN, NOBODY, OK, SOURCE, STAFF, STUDENT, Ended, main, wait


class Wire(Services):
    # ---- what reaches the application ----

    def test_plain(self):
        m = self.get(b"/a?b=c")
        assert m.status == 200 and m.body == b"ok", m.head
        s = self.last()
        assert s.line == b"GET /a?b=c HTTP/1.1" and s.get(b"host") == b"wiki", s.head

    def test_identity_headers(self):
        self.get()
        s = self.last()
        assert s.all(b"Remote-User") == [b"staff@example.edu"], s.head
        assert s.all(b"Remote-Name") == ["Stäff".encode()], s.head
        assert s.all(b"Remote-Groups") == [b"lab,it"] and s.all(b"X-Who") == [b"staff at staff@example.edu"], s.head

    def test_spoofed_headers_are_stripped(self):
        names = [b"Remote-User", b"remote-user", b"REMOTE_USER", b"Remote.User", b"Remote--User", b"X-Forwarded-User",
                 b"X_Forwarded_User", b"Tailscale-User-Login", b"X-WEBAUTH-USER", b"x-webauth_user", b"OIDC_CLAIM_sub",
                 b"OIDC-CLAIM-email", b"X-Reeve-Assertion", b"Reeve-Node", b"reeve_user", b"X-Who", b"x_who", b"XWho",
                 b"X-Forwarded-For", b"Forwarded", b"X-Real-IP", b"X-HTTP-Method-Override", b"X-Original-URL",
                 b"X-Rewrite-URL", b"X-Method-Override", b"Proxy", b"Remote-Groups", b"X!Remote~User"]
        fields = b"".join(n + b": evil\r\n" for n in names) + b"X-Fine: evil2\r\n"
        assert self.get(fields=fields).status == 200
        s = self.last()
        assert b"evil\r" not in s.head and s.get(b"x-fine") == b"evil2", s.head

    def test_connection_cannot_remove_identity(self):
        self.get(fields=b"Connection: Remote-User, X-Forwarded-For, Host, X-Gone\r\nX-Gone: 1\r\nX-Kept: 2\r\n")
        s = self.last()
        assert s.get(b"remote-user") == b"staff@example.edu" and s.get(b"x-forwarded-for") == STAFF.encode(), s.head
        assert s.get(b"x-gone") is None and s.get(b"x-kept") == b"2" and s.get(b"connection") is None, s.head

    def test_hop_by_hop(self):
        self.get(fields=b"Keep-Alive: 5\r\nProxy-Connection: close\r\nTE: trailers\r\nProxy-Authorization: x\r\n"
                        b"Upgrade: h2c\r\nConnection: upgrade, http2-settings\r\nHTTP2-Settings: AA\r\n")
        s = self.last()
        for n in (b"keep-alive", b"proxy-connection", b"te", b"proxy-authorization", b"upgrade", b"http2-settings",
                  b"connection"):
            assert s.get(n) is None, (n, s.head)

    def test_forwarded(self):
        self.get(fields=b"X-Forwarded-Proto: https\r\n")
        s = self.last()
        assert s.all(b"x-forwarded-proto") == [b"http"] and s.all(b"x-forwarded-host") == [b"wiki"], s.head
        self.get(host=b"listed")
        assert self.last().get(b"x-forwarded-for") is None, self.last().head

    def test_request_id(self):
        self.get(fields=b"X-Request-Id: mine-mine-mine\r\nTraceparent: 00-aa-bb-01\r\n")
        s = self.last()
        assert len(s.get(b"x-request-id")) == 32 and s.get(b"traceparent") == b"00-aa-bb-01", s.head
        self.get(host=b"listed", fields=b"X-Request-Id: mine-mine-mine\r\n")
        assert self.last().all(b"x-request-id") == [b"mine-mine-mine"], self.last().head
        self.get(host=b"listed", fields=b"X-Request-Id: no spaces please\r\n")
        assert len(self.last().get(b"x-request-id")) == 32, self.last().head

    def test_target_is_normal(self):
        for raw, want in ((b"/a/../b", b"/b"), (b"/%7euser", b"/~user"), (b"/a%2eb", b"/a.b"), (b"//x", b"/x"),
                          (b"/\xc3\xa4", b"/%C3%A4"), (b"http://wiki/x?y", b"/x?y"), (b"/a?x#f", b"/a?x"),
                          (b"/a/./b//c", b"/a/b//c")):
            assert self.get(raw).status == 200, raw
            assert self.last().line == b"GET " + want + b" HTTP/1.1", (raw, self.last().line)

    def test_target_is_refused(self):
        n = len(self.origin.seen)
        for raw in (b"/..", b"/a/../../b", b"/%2e%2e/", b"/a/..;/b", b"/a\\b", b"/a%5cb", b"/a%2fb", b"/%00", b"/%zz",
                    b"/a%", b"/a#b", b"/%c0%ae", b"/\xff", b"http://other/x", b"http://u@wiki/", b"https://wiki/",
                    b"wiki:80", b"*", b"/?%00", b"/..%3b/x"):
            m = self.get(raw)
            assert m.status == 400, (raw, m.head)
        assert len(self.origin.seen) == n

    def test_piece_by_piece(self):
        body = b"POST /p" + H + b"Content-Length: 5\r\nX-A: b\r\n\r\nhello"
        for piece in (1, 2, 7):
            m = self.ask(body, piece=piece)
            assert m.status == 200 and self.last().body == b"hello" and self.last().get(b"x-a") == b"b"

    # ---- collections of others ----

    def test_desync_corpus(self):
        path = SOURCE + "/../shared/corpora/http/desync-guardian.json"
        if not os.path.exists(path):
            print("# skip: %s is absent" % path)
            return
        for case in json.load(open(path)):
            raw = re.sub(rb"(?im)^host: ?[a-z0-9.-]+(?=\r$)", b"Host: wiki", base64.b64decode(case["bytes_b64"]))
            self.origin.reset()
            c = self.client()
            try:
                c.send(raw)
                # One of these announces a body that never comes: its sender may not be gone
                # before the application was asked.
                if case["tier"] == "Compliant":
                    wait(lambda: self.origin.seen, lambda: case["id"])
                c.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            try:
                answer = c.rest()
            except (TimeoutError, OSError):
                answer = b""
            c.close()
            if case["tier"] == "Severe":
                assert not self.origin.seen, (case["id"], self.origin.seen[0].head)
                assert answer.startswith(b"HTTP/1.1 4") or answer.startswith(b"HTTP/1.1 5") or not answer, case["id"]
            if case["tier"] == "Compliant":
                assert self.origin.seen and answer[9:10] in (b"2", b""), (case["id"], answer)
            # whatever passes is framed in exactly one way
            for s in self.origin.seen:
                assert len(s.all(b"content-length")) + len(s.all(b"transfer-encoding")) <= 1, s.head
                assert s.all(b"transfer-encoding") in ([], [b"chunked"]), s.head
            assert not self.origin.errors, self.origin.errors

    def test_smuggling_counts(self):
        """However the bytes are cut, the application sees the requests that the front judged."""
        inner = b"GET /inner" + H + b"\r\n"
        for raw, want in (
                (b"POST /o" + H + b"Content-Length: %d\r\n\r\n" % len(inner) + inner, [b"/o"]),
                (b"POST /o" + H + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(inner) + inner + b"\r\n0\r\n\r\n",
                 [b"/o"]),
                (GET.replace(b"/", b"/1", 1) + inner, [b"/1", b"/inner"]),
                (b"GET /o" + H + b"Content-Length: %d\r\n\r\n" % len(inner) + inner, [b"/o"]),
                (b"POST /o" + H + b"Content-Length: 0\r\n\r\n" + inner, [b"/o", b"/inner"]),
                (b"POST /o" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner, [b"/o", b"/inner"]),
                (b"POST /o" + H + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner, []),
                (b"POST /o" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n\r\n" + inner, [b"/o", b"/inner"]),
                (b"POST /o" + H + b"Transfer-Encoding: chunked\r\n\r\n0;a=\nb\r\n\r\n" + inner, [])):
            for piece in (0, 1, 5):
                self.origin.reset()
                c = self.client()
                try:
                    c.send(raw, piece)
                    c.sock.shutdown(socket.SHUT_WR)
                    c.rest()
                except OSError:
                    pass
                c.close()
                # a body that turns out malformed may have its head with the application; nothing of the rest
                got = [s.line.split(b" ")[1] for s in self.origin.seen]
                assert got == want or (not want and got in ([b"/o"], [])), (raw, got, want)
                assert b"/inner" not in got or b"/inner" in want

    # ---- bodies ----

    def test_length_body(self):
        for n in (0, 1, 1000, 300000, 5000000):
            data = os.urandom(n)
            m = self.get(method=b"POST", fields=b"Content-Length: %d\r\n" % n, body=data)
            assert m.status == 200 and self.last().body == data, n

    def test_large_bodies_one_after_another(self):
        c = self.client()
        for n in (3000000, 300000, 5000000, 1):
            data = os.urandom(n)
            c.send(b"POST /" + H + b"Content-Length: %d\r\n\r\n" % n + data)
            assert c.message().status == 200 and self.last().body == data, n

    def test_chunked_body(self):
        data = os.urandom(200000)
        raw = b"".join(b"%x;e=\"v\"\r\n" % len(data[i:i + 777]) + data[i:i + 777] + b"\r\n"
                       for i in range(0, len(data), 777))
        m = self.get(method=b"POST", fields=b"Transfer-Encoding: chunked\r\n", body=raw + b"0\r\n\r\n")
        assert m.status == 200 and self.last().body == data
        assert self.last().get(b"transfer-encoding") == b"chunked" and self.last().get(b"content-length") is None

    def test_request_trailers(self):
        m = self.get(method=b"POST", fields=b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n",
                     body=b"1\r\na\r\n0\r\nX-Sum: 7\r\nRemote-User: root\r\nremote_user: root\r\nCookie: a\r\n\r\n")
        assert m.status == 200 and self.last().trailers == [b"X-Sum: 7\r\n"], self.last().trailers

    def test_broken_chunks_are_no_whole_body(self):
        for raw in (b"3\r\nabcX\r\n0\r\n\r\n", b"zz\r\n", b"3\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\nX : y\r\n\r\n"):
            self.origin.reset()
            c = self.client()
            c.send(b"POST /" + H + b"Transfer-Encoding: chunked\r\n\r\n" + raw)
            assert c.message().status == 400
            assert c.ended()
            time.sleep(0.05)
            assert not [s for s in self.origin.seen if s.body], raw

    def test_transfer_coding_stays_on_the_payload(self):
        m = self.get(method=b"POST", fields=b"Transfer-Encoding: gzip, chunked\r\nContent-Encoding: br\r\n",
                     body=b"1\r\na\r\n0\r\n\r\n")
        s = self.last()
        assert m.status == 200 and s.all(b"transfer-encoding") == [b"chunked"], s.head
        assert s.all(b"content-encoding") == [b"br, gzip"], s.head

    def test_body_max(self):
        assert self.get(host=b"small", method=b"POST", fields=b"Content-Length: 10\r\n", body=b"0123456789").status == 200
        assert self.get(host=b"small", method=b"POST", fields=b"Content-Length: 11\r\n", body=b"x" * 11).status == 413
        m = self.get(host=b"small", method=b"POST", fields=b"Transfer-Encoding: chunked\r\n",
                     body=b"6\r\nabcdef\r\n6\r\nabcdef\r\n0\r\n\r\n")
        assert m.status == 413

    def test_expect_continue(self):
        def reply(c, m):
            if m.get(b"expect"):
                c.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                m.body = m.early or c.recv(100)
            c.sendall(OK)
        reply.early = True
        self.origin.reply = reply
        c = self.client()
        c.send(b"POST /" + H + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert c.message().status == 100
        c.send(b"abc")
        assert c.message().status == 200 and self.last().body == b"abc"
        c.close()

    def test_slow_application_holds_back_the_sender(self):
        def reply(c, m):
            time.sleep(0.5)
            n = int(m.get(b"content-length")) - len(m.early)
            while n > 0:
                n -= len(c.recv(1 << 20))
            c.sendall(OK)
        reply.early = True
        self.origin.reply = reply
        data = os.urandom(32 << 20)
        c = self.client()
        t = threading.Thread(target=c.send, args=(b"POST /" + H + b"Content-Length: %d\r\n\r\n" % len(data) + data,))
        t.start()
        time.sleep(0.3)
        assert self.front.rss() < 64 << 20
        assert c.message().status == 200
        t.join()

    # ---- connections ----

    def test_keep_alive_and_pipelining(self):
        c = self.client()
        c.send(b"".join(b"GET /%d" % i + H + b"\r\n" for i in range(50)))
        for _ in range(50):
            assert c.message().status == 200
        assert [s.line.split(b" ")[1] for s in self.origin.seen] == [b"/%d" % i for i in range(50)]
        assert self.origin.conns <= 1
        c.close()

    def test_close_is_kept(self):
        c = self.client().send(b"GET /" + H + b"Connection: close\r\n\r\n" + GET)
        m = c.message()
        assert m.status == 200 and m.get(b"connection") == b"close" and c.ended()
        assert len(self.origin.seen) == 1

    def test_http_1_0(self):
        c = self.client().send(b"GET / HTTP/1.0\r\nHost: wiki\r\n\r\n")
        assert c.message().status == 200 and c.ended()
        c = self.client()
        for _ in range(2):
            c.send(b"GET / HTTP/1.0\r\nHost: wiki\r\nConnection: keep-alive\r\n\r\n")
            m = c.message()
            assert m.status == 200 and m.get(b"connection") == b"keep-alive"

    def test_connect_and_trace(self):
        assert self.get(b"wiki:80", method=b"CONNECT").status == 405
        assert self.get(method=b"TRACE").status == 405
        assert not self.origin.seen

    def test_half_close(self):
        self.origin.reply = lambda c, m: (time.sleep(0.2), c.sendall(OK))[1]
        c = self.client().send(GET)
        c.sock.shutdown(socket.SHUT_WR)
        assert c.message().status == 200

    # ---- who may what ----

    def test_host(self):
        assert self.get(host=b"evil.example").status == 421
        assert self.get(host=b"WIKI.example.edu.:8080").status == 200
        assert self.last().get(b"host") == b"wiki.example.edu:8080"
        assert self.ask(b"GET / HTTP/1.1\r\n\r\n").status == 400
        assert self.ask(b"GET /" + H + b"Host: wiki\r\n\r\n").status == 400
        assert self.ask(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n").status == 400

    def test_unknown_address(self):
        m = self.get(src=NOBODY)
        assert m.status == 403 and b"unknown-address" in m.body and not self.origin.seen

    def test_no_session_gets_a_login_link(self):
        m = self.get(b"/page?a=b", src="127.0.0.5", fields=b"Accept: text/html\r\n")
        assert m.status == 401 and b"https://hub.example/login?return=http%3A%2F%2Fwiki%2Fpage%3Fa%3Db" in m.body, m.body
        assert b"phone" in m.body and m.get(b"content-type").startswith(b"text/html")
        m = self.get(src="127.0.0.5")
        assert m.status == 401 and m.get(b"content-type") == b"application/problem+json"
        p = json.loads(m.body)
        assert p["reason"] == "no-session" and p["status"] == 401 and p["node"] == "phone", p

    def test_pages_escape(self):
        m = self.get(b"/%3Cscript%3E?<script>alert(1)</script>", src="127.0.0.5", fields=b"Accept: text/html\r\n")
        assert b"<script>" not in m.body

    def test_policy(self):
        for path, method, want in ((b"/public/a", b"GET", 200), (b"/public/", b"GET", 200), (b"/private", b"GET", 403),
                                   (b"/public/a", b"POST", 403), (b"/public/../private", b"GET", 403),
                                   (b"/public/%2e%2e/private", b"GET", 403), (b"/style/a.css", b"GET", 200),
                                   (b"/style/x;.css", b"GET", 403), (b"/admin;/../public/a", b"GET", 200),
                                   (b"/public;x/a", b"GET", 403), (b"/public//a", b"GET", 200),
                                   (b"//public/a", b"GET", 200), (b"/PUBLIC/a", b"GET", 403),
                                   (b"/public/..%252fprivate", b"GET", 400), (b"/public/%252e%252e/private", b"GET", 400),
                                   (b"/style/a%252fb.css", b"GET", 403), (b"/style/a%2500.css", b"GET", 400),
                                   (b"/%2570ublic/a", b"GET", 403),
                                   (b"/public/a%252fb", b"GET", 200), (b"/style/a%2520b.css", b"GET", 200)):
            self.origin.reset()
            m = self.get(path, src=STUDENT, method=method,
                         fields=b"Content-Length: 0\r\n" if method == b"POST" else b"")
            assert m.status == want, (path, method, m.status, m.body)
            assert bool(self.origin.seen) == (want == 200)

    def test_encoded_slash(self):
        assert self.get(b"/a%2fb").status == 400
        assert self.get(b"/a%2fb", host=b"slash").status == 200
        assert self.last().line == b"GET /a%2Fb HTTP/1.1"
        assert self.get(b"/public%2fa", host=b"slash", src=STUDENT).status == 403
        assert self.get(b"/public/a%2fb", host=b"slash", src=STUDENT).status == 200
        assert self.get(b"/public/..%2fb", host=b"slash", src=STUDENT).status == 400

    def test_public_service(self):
        m = self.get(host=b"public", src=NOBODY, fields=b"Remote-User: root\r\nX-Forwarded-User: root\r\n")
        assert m.status == 200 and b"root" not in self.last().head
        assert self.get(host=b"public", fields=b"").status == 200 and b"staff" not in self.last().head

    def test_enrolled_service(self):
        m = self.get(host=b"hub", src="127.0.0.5", fields=b"Reeve-Node: n1\r\nReeve-User: u1\r\nReeve-Session: s1\r\n")
        s = self.last()
        assert m.status == 200 and s.all(b"reeve-node") == [b"n5"] and s.all(b"reeve-user") == [b"u3"], s.head
        assert s.all(b"reeve-session") == [], s.head
        self.get(host=b"hub")
        assert self.last().all(b"reeve-session") == [b"s2"], self.last().head
        assert self.get(host=b"hub", src=NOBODY).status == 403

    def test_identity_that_cannot_be_written(self):
        m = self.get(host=b"groups", src="127.0.0.6")
        assert m.status == 500 and b"comma" in m.body and not self.origin.seen, m.body
        assert self.get(host=b"groups").status == 200

    def test_cross_site(self):
        post = b"Content-Length: 0\r\n"
        rows = [(b"POST", b"", 200), (b"POST", b"Origin: http://wiki\r\n", 200),
                (b"POST", b"Origin: http://wiki:80\r\n", 200), (b"POST", b"Origin: http://evil.example\r\n", 403),
                (b"POST", b"Origin: https://wiki\r\n", 403), (b"POST", b"Origin: null\r\n", 403),
                (b"POST", b"Origin: http://wiki.evil.example\r\n", 403), (b"POST", b"Origin: http://wiki:81\r\n", 403),
                (b"POST", b"Sec-Fetch-Site: same-origin\r\n", 200), (b"POST", b"Sec-Fetch-Site: none\r\n", 200),
                (b"POST", b"Sec-Fetch-Site: cross-site\r\n", 403), (b"POST", b"Sec-Fetch-Site: same-site\r\n", 403),
                (b"POST", b"Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n", 403),
                (b"POST", b"Sec-Fetch-Site: x\r\n", 403), (b"DELETE", b"Sec-Fetch-Site: cross-site\r\n", 403),
                (b"PROPFIND", b"Origin: http://evil.example\r\n", 403), (b"GET", b"Sec-Fetch-Site: cross-site\r\n", 200),
                (b"HEAD", b"Origin: http://evil.example\r\n", 200), (b"OPTIONS", b"Origin: http://evil.example\r\n", 200)]
        for method, fields, want in rows:
            self.origin.reset()
            c = self.client().send(method + b" /" + H + fields + (post if method == b"POST" else b"") + b"\r\n")
            m = c.message(no_body=method == b"HEAD")
            c.close()
            assert m.status == want, (method, fields, m.status)
            assert bool(self.origin.seen) == (want == 200)
        m = self.get(host=b"listed", method=b"POST", fields=post + b"Origin: https://friend.example\r\nSec-Fetch-Site: cross-site\r\n")
        assert m.status == 200
        m = self.get(host=b"listed", method=b"POST", fields=post + b"Origin: https://enemy.example\r\nSec-Fetch-Site: cross-site\r\n")
        assert m.status == 403

    def test_concurrency(self):
        gate = threading.Event()

        def reply(c, m):
            gate.wait(90)
            c.sendall(OK)
        self.origin.reply = reply
        raw = b"GET / HTTP/1.1\r\nHost: busy\r\n\r\n"
        held = [self.client().send(raw) for _ in range(2)]
        wait(lambda: len(self.origin.seen) == 2)
        assert self.ask(raw).status == 429
        held.append(self.client(ADMIN).send(raw))
        wait(lambda: len(self.origin.seen) == 3)
        m = self.ask(raw, src=ADMIN)
        assert m.status == 503 and m.get(b"retry-after"), m.head
        gate.set()
        for c in held:
            assert c.message().status == 200
        self.origin.reply = None
        assert self.ask(raw).status == 200

    # ---- upgrades ----

    def ws(self, src=STAFF, fields=b"", host=b"wiki", protocol=b"websocket"):
        c = self.client(src)
        c.send(b"GET /ws HTTP/1.1\r\nHost: " + host + b"\r\nConnection: keep-alive, Upgrade\r\nUpgrade: " + protocol +
               b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" + fields + b"\r\n")
        return c

    def echo(self, c, m):
        if not m.get(b"upgrade"):
            c.sendall(OK)
            return None
        c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: " + m.get(b"upgrade") + b"\r\nConnection: Upgrade\r\n\r\nhello")
        while True:
            d = c.recv(65536)
            if not d:
                return False
            c.sendall(d)

    def test_websocket(self):
        self.origin.reply = self.echo
        c = self.ws()
        m = c.message()
        assert m.status == 101 and m.get(b"upgrade") == b"websocket" and m.get(b"connection") == b"Upgrade", m.head
        assert c.r.take(5) == b"hello"
        data = os.urandom(3 << 20)
        t = threading.Thread(target=c.send, args=(data,))
        t.start()
        assert c.r.take(len(data)) == data
        t.join()
        c.sock.shutdown(socket.SHUT_WR)
        assert c.ended()
        assert self.last().get(b"remote-user") == b"staff@example.edu"

    def test_upgrade_cross_site(self):
        self.origin.reply = self.echo
        assert self.ws(fields=b"Origin: http://evil.example\r\n").message().status == 403
        assert self.ws(fields=b"Origin: http://wiki\r\n").message().status == 101

    def test_other_upgrades(self):
        self.origin.reply = self.echo
        assert self.ws(protocol=b"chat").message().status == 200        # not passed on
        assert self.last().get(b"upgrade") is None
        assert self.ws(protocol=b"chat", host=b"listed").message().status == 101
        assert self.ws(protocol=b"h2c").message().status == 200

    def test_upgrade_that_is_refused(self):
        c = self.ws()
        assert c.message().status == 200
        c.send(GET)
        assert c.message().status == 200
        def other(c, m):
            c.sendall(b"HTTP/1.1 101 S\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n")
        self.origin.reply = other
        assert self.ws().message().status == 502

    # ---- the end of an identity ----

    def test_revocation_ends_everything(self):
        self.origin.reply = self.echo
        ws = self.ws()
        ws.message()
        ws.r.take(5)
        idle = self.client().send(GET)
        assert idle.message().status == 200
        other = self.client(ADMIN).send(GET)
        assert other.message().status == 200

        def drip(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            for _ in range(1500):
                c.sendall(b"x")
                time.sleep(0.02)
        self.origin.reply = drip
        down = self.client().send(GET)
        down.r.until(b"\r\n\r\n")
        t = time.time()
        self.front.command("revoke staff@example.edu")
        assert ws.ended() and idle.ended()
        try:
            while True:
                down.r.more()
        except Ended:
            pass
        assert time.time() - t < 15
        self.origin.reply = None
        m = self.get()
        assert m.status == 401 and b"session-revoked" in m.body or REEVED and m.status == 403, m.body
        if not REEVED:          # there a row that goes moves those behind it
            other.send(GET)
            assert other.message().status == 200
        assert self.front.lines(lambda l: l.get("end") == "revoked")

    def test_expiry(self):
        ids = self.front.conf["identities"]
        self.origin.reply = self.echo
        for ms in (4900 if REEVED else 1900, 10000, 40000):     # where the first is over before it is used
            ids[0]["expires-ms"] = ms
            self.front.write()
            self.front.command("reload")
            ws = self.ws()
            status = ws.message().status
            if status == 101:
                break
        assert status == 101, status
        ws.r.take(5)
        assert ws.ended()
        m = self.get()
        # standalone reeved forgets whom it served until then
        assert m.status == 401 and b"session-expired" in m.body or REEVED and m.status == 403, m.body
        self.forever()
        assert self.get().status == 200

    def test_lease(self):
        for seconds in (1, 5, 20):      # where the first is over before it is used
            self.front.command("lease %d" % seconds)
            c = self.client().send(GET)
            status = c.message().status
            if status == 200:
                break
        assert status == 200 and c.ended()
        assert self.get().status == 503
        self.front.command("lease 0")
        assert self.get().status == 200

    def test_reload_of_the_same(self):
        idle = self.client(ADMIN).send(GET)
        assert idle.message().status == 200
        for _ in range(3):
            self.front.command("reload")
            idle.send(GET)
            assert idle.message().status == 200

    def test_reload(self):
        """The same identity stays connected; one that changed does not; what the new policy refuses ends."""
        same, changed = self.client(ADMIN).send(GET), self.client(STUDENT).send(GET.replace(b"/", b"/public/a", 1))
        assert same.message().status == 200 and changed.message().status == 200

        def drip(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            for _ in range(1500):
                c.sendall(b"x")
                time.sleep(0.02)
        self.origin.reply = drip
        down = self.client().send(GET)
        down.r.until(b"\r\n\r\n")
        conf, grants = self.front.conf, self.front.conf["policy"]["grants"]
        conf["identities"][1]["generation"] = 77
        grants[0]["src"].remove("staff@example.edu")
        self.front.write()
        self.front.command("reload")
        self.origin.reply = None
        assert changed.ended()
        try:
            while True:
                down.r.more()
        except Ended:
            pass
        assert self.get().status == 403
        same.send(GET)
        assert same.message().status == 200
        grants[0]["src"].append("staff@example.edu")
        self.front.write()
        self.front.command("reload")
        assert self.get().status == 200

    # ---- records ----

    def test_log(self):
        self.get(b"/logged?secret=1")
        self.get(b"/private", src=STUDENT)
        lines = self.front.lines(lambda l: l.get("path") == "/private")
        a = [l for l in lines if l.get("path") == "/logged"][-1]
        assert a["verdict"] == "allow" and a["status"] == 200 and a["login"] == "staff@example.edu", a
        assert a["service"] == "wiki" and a["rule"] and len(a["id"]) == 32 and a["client"] == STAFF, a
        d = [l for l in lines if l.get("path") == "/private"][-1]
        assert d["verdict"] == "deny" and d["reason"] == "path" and d["status"] == 403 and d["rule"], d
        assert "secret" not in json.dumps(a)

    def test_metrics(self):
        self.get()
        text = "\n".join(self.front.command("metrics"))
        assert 'reeve_verdicts_total{front="test",verdict="allow"}' in text
        assert 'reeve_request_duration_seconds_bucket{front="test",service="wiki",le="+Inf"}' in text
        assert 'reeve_upstream_up{front="test",service="wiki"' in text

    # ---- nothing leaks ----

    def test_killed_at_every_byte(self):
        request = b"POST /k" + H + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n0\r\nX-T: u\r\n\r\n"
        self.get()
        before = self.front.fds()
        for n in range(len(request)):
            c = self.client().send(request[:n])
            if n % 2:
                c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            c.close()
        for n in range(len(response)):
            def reply(c, m, n=n):
                c.sendall(response[:n])
                if n % 2:
                    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return False
            self.origin.reply = reply
            c = self.client().send(request)
            try:
                m = c.message()
                assert m.status == 502, (n, m.head)
            except Ended:
                pass
            c.close()
        self.origin.reply = None
        assert self.get().status == 200
        wait(lambda: self.front.stats()["conns"] == 0 == self.front.stats()["in_flight"], self.front.stats)
        wait(lambda: self.front.fds() <= before + 2, lambda: (before, self.front.fds()))


main(Wire)
