#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""The renewal of a browser's session at the front: which request may go by way of it, that its page is shown
whatever happens, and that what is open goes on. Core and the coordinator are played by the test server."""
import base64
import hashlib
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_browser import NAME, NEW, OTHER, PRE, STAFF, STUDENT, Browser, b64, secret
from wire import Front

RENEW = "https://hub.example.edu/login/renewal?bind="
PAGE = {"Sec_Fetch_Dest": "document"}


class Renew(Browser):
    """The student has five minutes left, staff an hour."""

    def wanted(self, name):
        return name in Renew.__dict__ and super().wanted(name)

    def begin(self):
        super().begin()
        self.rows = self.conf["identities"]
        for r in self.rows:
            if r["cookie"] in (STAFF, STUDENT):
                r["expires-ms"] = 300000 if r["cookie"] == STUDENT else 3600000

    def before(self):
        """A new front each: one whose core was late asks nobody for a minute."""
        self.origin.reset()
        self.conf.update(identities=self.rows, codes={})
        self.say(None)
        self.front.stop()
        self.front = Front(self.conf)

    def say(self, renew):
        self.conf.pop("renew", None)
        if renew:
            self.conf["renew"] = renew

    def load(self, renew=None, rows=None):
        self.say(renew)
        self.conf["identities"] = rows or self.rows
        self.front.write()
        self.front.command("reload")

    def asked(self):
        return self.front.stats()["renewals"]

    def page(self, path="/open/x", cookie=STUDENT, **more):
        return self.ask(path, cookie=cookie, **dict(PAGE, **more))

    def sent(self, m):
        """The renewal that an answer begins: its secret, the page, the login's cookie."""
        assert m.status == 303 and m.get(b"location").startswith(RENEW.encode()), m.head
        cookie = m.get(b"set-cookie").decode()
        value = cookie.partition(";")[0].partition("=")[2]
        assert cookie.startswith("__Host-reeve-begin=") and cookie.endswith("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600"), cookie
        own, _, back = value.partition(".")
        bind = b64(hashlib.sha256(b"reeve browser v1\0" + own.encode()).digest())
        assert m.get(b"location").decode() == RENEW + bind, m.head
        return own, base64.urlsafe_b64decode(back + "==").decode(), value

    def served(self, m, who=b"student@example.edu"):
        assert m.status == 200 and self.origin.seen and self.origin.seen[-1].get(b"remote-user") == who, m.head

    # ---- who is sent ----

    def test_long_before_the_end_nobody_is(self):
        self.load(RENEW)
        self.served(self.page(cookie=STAFF), b"staff@example.edu")
        assert self.asked() == 0

    def test_shortly_before_it_a_page_is(self):
        self.load(RENEW)
        own, back, _ = self.sent(self.page("/open/x?a=%20b&y=%2f"))
        assert back == "/open/x?a=%20b&y=%2f" and self.origin.seen == [], back
        # core says so once for a session
        self.served(self.page())
        assert self.asked() == 2

    def test_a_browser_without_metadata_is(self):
        self.load(RENEW)
        c = self.client()
        c.send(("GET /open/x HTTP/1.1\r\nHost: wiki.example\r\nCookie: __Host-reeve=%s\r\nAccept: text/html,*/*\r\n\r\n" % STUDENT).encode())
        self.sent(c.message())

    def test_what_is_no_page_is_not(self):
        """A form, a script's request, a frame, a socket, a guess: they are served with the session there is."""
        self.load(RENEW)
        more = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec_WebSocket_Version": "13"}
        self.served(self.page(Sec_Fetch_Dest="iframe"))
        self.served(self.page(Sec_Fetch_Dest="empty"))
        self.served(self.page(Sec_Purpose="prefetch"))
        self.served(self.page(Purpose="prefetch"))
        self.served(self.page(html=False, Accept="application/json"))
        self.served(self.page(html=False, Accept="text/html", Sec_Fetch_Mode="cors"))
        self.served(self.page(Content_Length="0", html=False))
        c = self.client()
        c.send(("HEAD /open/x HTTP/1.1\r\nHost: wiki.example\r\nCookie: __Host-reeve=%s\r\nAccept: text/html\r\n\r\n" % STUDENT).encode())
        m = c.message(no_body=True)
        assert m.status in (200, 403) and m.get(b"location") is None, m.head
        for m in (self.page("/form", method="POST", Sec_Fetch_Site="same-origin"),
                  self.page("/open/ws", html=False, Origin="https://wiki.example", **more)):
            assert m.get(b"location") is None and not m.all(b"set-cookie"), m.head
        assert self.asked() == 0

    def test_a_page_that_could_not_be_returned_to_is_not(self):
        self.load(RENEW)
        self.served(self.page("/open/" + "x" * 1100))
        assert self.asked() == 0

    def test_nobody_else_is(self):
        """A cookie that is no session's leads to the ordinary login, one of a session that has ended, too."""
        self.load(RENEW)
        self.nobody(self.page(cookie=secret(99)))
        self.load(RENEW, [dict(r, **{"expires-ms": 1}) if r["cookie"] == STUDENT else r for r in self.rows])
        end = time.monotonic() + 60
        m = self.ask("/open/x", cookie=STUDENT, html=False)
        while m.status == 200 and time.monotonic() < end:
            m = self.ask("/open/x", cookie=STUDENT, html=False)
        self.origin.reset()
        self.nobody(self.page())
        assert self.asked() == 0

    # ---- core says no, or nothing ----

    def test_core_says_no(self):
        self.load()
        self.served(self.page())
        assert self.asked() == 1

    def test_core_says_nothing(self):
        """The page waits two seconds and is shown; for a while no other one waits."""
        self.load("late")
        self.served(self.page())
        assert self.asked() == 1
        self.load(RENEW)
        self.served(self.page())
        assert self.asked() == 1, "asked again"

    def test_a_url_that_is_none(self):
        self.load("https://hub.example.edu/\r\nSet-Cookie: x=y")
        m = self.page()
        self.served(m)
        assert not m.all(b"set-cookie"), m.head

    # ---- the way back, with nothing ----

    def test_kept(self):
        self.load(RENEW)
        _, _, value = self.sent(self.page("/open/x?a=1"))
        m = self.ask("/.well-known/reeve/session?kept=1", cookie="__Host-reeve-begin=%s; __Host-reeve=%s" % (value, STUDENT))
        assert m.status == 303 and m.get(b"location") == b"/open/x?a=1" and not m.all(b"set-cookie"), m.head
        self.served(self.page("/open/x?a=1"))

    def test_kept_leads_nowhere_else(self):
        for value in (None, "x", secret(7), secret(7) + "." + b64(b"https://evil.example/"), secret(7) + "." + b64(b"//evil.example"),
                      secret(7) + "." + b64(b"/.well-known/reeve/session?kept=1")):
            m = self.ask("/.well-known/reeve/session?kept=1", cookie=value and "__Host-reeve-begin=" + value)
            assert m.status == 303 and m.get(b"location") == b"/" and not m.all(b"set-cookie"), (value, m.head)
        m = self.ask("/.well-known/reeve/session?kept=https://evil.example/", cookie=STUDENT)
        assert m.get(b"location") == b"/", m.head

    def test_a_code_that_does_not_count(self):
        """Somebody else's renewal, another service's, none at all: the session is as it was, and so is its cookie."""
        self.load(RENEW)
        own, _, value = self.sent(self.page())
        self.say(None)
        both = "__Host-reeve-begin=%s; __Host-reeve=%s" % (value, STUDENT)
        self.codes(code1={"service": "wiki", "verifier": secret(50), "cookie": NEW, "renews": True},
                   code2={"service": "lab", "verifier": own, "cookie": NEW, "renews": True})
        for code in ("code1", "code2", "code3", ""):
            m = self.ask("/.well-known/reeve/session?renews=1&code=" + code, cookie=both)
            assert m.status == 303 and m.get(b"location") == b"/open/x" and not m.all(b"set-cookie"), (code, m.head)
        m = self.ask("/.well-known/reeve/session?renews=1&code=code4", cookie=STUDENT)
        assert m.status == 303 and m.get(b"location") == b"/" and not m.all(b"set-cookie"), m.head
        self.served(self.page())
        # with no session there is nothing to keep
        for cookie in (value, "%s; __Host-reeve=%s" % (value, secret(9))):
            m = self.ask("/.well-known/reeve/session?renews=1&code=code5", cookie="__Host-reeve-begin=" + cookie)
            assert m.status == 403, m.head

    # ---- the way back, renewed ----

    def renewed(self, row=None):
        """The student's session as it is after: another cookie, the same node, more time."""
        return [dict(r, cookie=secret(60), **{"expires-ms": 3600000}, **(row or {})) if r["cookie"] == STUDENT else r for r in self.rows]

    def open_one(self):
        """A download that the application goes on with when it is told to."""
        held = []

        def reply(c, m):
            held.append(c)
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegin")
            return True
        self.origin.reply = reply
        c = self.client()
        c.send(("GET /open/x HTTP/1.1\r\nHost: wiki.example\r\nCookie: __Host-reeve=%s\r\n\r\n" % STUDENT).encode())
        assert c.r.until(b"begin").startswith(b"HTTP/1.1 200")
        self.origin.reply = None
        return c, held[0]

    def test_renewed(self):
        c, app = self.open_one()
        idle = self.client()
        assert self.ask("/open/x", cookie=STUDENT, on=idle).status == 200
        self.load(RENEW)
        own, _, value = self.sent(self.page("/open/y"))
        self.conf["codes"] = {"code1": {"service": "wiki", "verifier": own, "cookie": secret(60), "renews": True}}
        self.load(None, self.renewed())
        m = self.ask("/.well-known/reeve/session?renews=1&code=code1", cookie="__Host-reeve-begin=%s; __Host-reeve=%s" % (value, STUDENT))
        assert m.status == 303 and m.get(b"location") == b"/open/y", m.head
        assert m.all(b"set-cookie") == [NAME + b"=" + secret(60).encode() + b"; Path=/; Secure; HttpOnly; SameSite=Lax",
                                        PRE + b"=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"], m.head
        # what is open goes on, and ends as it would have
        app.sendall(b"-end!")
        assert c.r.take(5) == b"-end!"
        self.served(self.page(cookie=secret(60)))
        # the old cookie is nobody's, also on a connection that it was good on
        self.origin.reset()
        m = self.ask("/open/x", cookie=STUDENT, html=False, on=idle)
        assert m.status == 401 and self.origin.seen == [], m.head

    def socket(self, cookie):
        """A WebSocket that says everything back."""
        def echo(c, m):
            c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")
            while True:
                d = c.recv(65536)
                if not d:
                    return False
                c.sendall(d)
        self.origin.reply = echo
        c = self.client()
        c.send(("GET /open/ws HTTP/1.1\r\nHost: wiki.example\r\nOrigin: https://wiki.example\r\nConnection: Upgrade\r\n"
                "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                "Cookie: __Host-reeve=%s\r\n\r\n" % cookie).encode())
        m = c.message()
        if m.status == 101:
            assert c.r.take(5) == b"hello"
        self.origin.reply = None
        return c, m

    def test_a_socket_across_a_renewal(self):
        """It goes on, another one wants the cookie after, and both end with the person."""
        c, m = self.socket(STUDENT)
        assert m.status == 101, m.head
        self.load(None, self.renewed())
        c.send(b"across")
        assert c.r.take(6) == b"across"
        assert self.socket(STUDENT)[1].status == 401
        other, m = self.socket(secret(60))
        assert m.status == 101, m.head
        self.front.command("revoke student@example.edu")
        assert c.ended(60) and other.ended(60)

    def test_what_is_open_ends_with_its_person(self):
        """The same renewal, but it is somebody else, or nobody, that has the node's place then."""
        for rows in (self.renewed({"generation": 77}), self.renewed({"node": "n99"}),
                     [r for r in self.rows if r["cookie"] != STUDENT]):
            self.load()
            c, _ = self.open_one()
            self.load(None, rows)
            assert c.ended(60), rows

    def test_what_was_renewed_is_revoked(self):
        c, _ = self.open_one()
        self.load(None, self.renewed())
        self.front.command("revoke student@example.edu")
        assert c.ended(60)


if __name__ == "__main__":
    Renew().run()
