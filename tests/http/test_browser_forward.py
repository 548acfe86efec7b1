#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""People with only a browser, where a web server stays in front and asks: what test_browser.py tries
at the front is tried again through a server of each style, played here to the letter of its contract.
The real servers are in tests/netns/forward.sh.

  client -- server of that style -- application
                  |
                front (forward-auth)
"""
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_browser import NEW, OTHER, STAFF, STUDENT, Browser as FrontTests, b64, secret
from wire import Client, Ended, Front, Origin, free_port

SECRET = "0123456789abcdef0123456789abcdefX"
ORIGINAL = ("X-Original-Method", "X-Original-URI", "X-Original-Host", "X-Original-Proto", "X-Real-IP")
FORWARDED = ("X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For")
STYLES = {"nginx": ORIGINAL, "haproxy": ORIGINAL, "apache": ORIGINAL, "traefik": FORWARDED, "caddy": FORWARDED,
          "envoy": (None, None, None, "X-Forwarded-Proto", "X-Forwarded-For")}
OURS = "/.well-known/reeve/"
HOP = {"connection", "upgrade", "content-length", "host", "keep-alive", "te", "transfer-encoding"}
IDENTITY = ("remote-user", "remote-name", "remote-email", "remote-groups")


def question(style, target, method="GET", host="wiki.example", source="203.0.113.9", proto="https", at="/_reeve/ask",
             fields=(), leave=(), said=SECRET):
    """What a server of that style sends; at None: it passes on the person's own request."""
    names, own = STYLES[style], STYLES[style][0] is None
    values = dict(zip(names, (method, target, host, proto, source)))
    if at is None:
        line = "%s %s" % (method, target)
        values = {n: v for n, v in values.items() if n not in ("X-Forwarded-Method", "X-Forwarded-Uri")}
    else:
        line = "%s %s%s" % (method if own else "GET", at, target if own else "")
    lines = [line + " HTTP/1.1", "Host: " + (host if own else "reeve"), "X-Reeve-Secret: " + said]
    lines += ["%s: %s" % (n, v) for n, v in values.items() if n and n not in leave]
    return ("\r\n".join(lines + list(fields)) + "\r\n\r\n").encode("latin-1")


class Web(Origin):
    """A web server before the application, as one of that style is configured."""

    def __init__(self, style, app):
        super().__init__()
        self.style, self.app, self.port = style, app, int(self.url.rsplit(":", 1)[1])

    def front(self, at, m):
        """The front's answer."""
        method, target, _ = m.line.decode("latin-1").split(" ", 2)
        own = {n.lower() for n in STYLES[self.style] if n} | HOP
        fields = ["%s: %s" % (n.decode("latin-1"), v.decode("latin-1")) for n, v in m.fields
                  if n.decode("latin-1").lower() not in own]
        c = Client(self.asks, "127.0.0.1")
        try:
            c.send(question(self.style, target, method, m.get(b"host").decode("latin-1"), at=at, fields=fields))
            return c.message()
        finally:
            c.close()

    def pass_on(self, c, m, verdict):
        """To the application, with what the answer says in place of what the client said."""
        copied = [n.encode() for n in IDENTITY + ("cookie",)]
        fields = [(n, v) for n, v in m.fields if n.lower() not in copied]
        fields += [(n, verdict.get(n)) for n in copied if verdict.get(n)] + [(b"X-Forwarded-Proto", b"https")]
        up = Client(int(self.app.url.rsplit(":", 1)[1]), "127.0.0.1")
        up.send(m.line + b"\r\n" + b"".join(b"%s: %s\r\n" % f for f in fields) + b"\r\n" + m.body)
        try:
            while data := up.sock.recv(65536):
                c.sendall(data)
                if data.endswith(b"ok"):
                    return
        finally:
            up.close()

    def reply(self, c, m):
        """Origin's, for each request."""
        if m.line.split(b" ")[1].startswith(OURS.encode()):
            a = self.front(None, m)
        else:
            a = self.front("/_reeve/ask", m)
            if a.status == 200:
                return self.pass_on(c, m, a)
            if self.style == "nginx":
                assert a.status in (401, 403), a.head
                a = self.front("/_reeve/page", m)
        # hop by hop
        head = [l for l in a.head.split(b"\r\n")[:-2] if not l.lower().startswith(b"connection:")]
        c.sendall(b"\r\n".join(head) + b"\r\n\r\n" + a.body)
        return None

    def reset(self):
        self.seen, self.conns, self.errors = [], 0, []


class Forward(FrontTests):
    # what a server that only asks does not do, or does otherwise: below
    OTHERWISE = {"test_the_application_never_sees_it", "test_several_cookie_fields", "test_the_application_cannot_set_it",
                 "test_each_request_for_itself", "test_logout_ends_what_is_open", "test_revocation_cuts",
                 "test_gone_from_the_map"}

    def begin(self):
        super().begin()
        super().end()
        self.fronts, self.confs, self.webs = {}, {}, {}
        whole = self.conf
        for style in STYLES:
            at = free_port()
            conf = dict(whole, services={n: dict({k: v for k, v in s.items() if k != "upstream"}, **{
                "listen": ["127.0.0.1:%d" % at], "forward-auth": style, "forward-secret": SECRET})
                for n, s in whole["services"].items() if n != "open"})
            # somebody whom the mesh knows by address, and a person who asks from a name of a service of ours
            self.confs[style], self.fronts[style], self.webs[style] = conf, Front(conf), Web(style, self.origin)
            self.webs[style].asks = at

    def use(self, style):
        self.style, self.conf, self.front = style, self.confs[style], self.fronts[style]
        self.port, self.asks = self.webs[style].port, self.webs[style].asks

    def before(self):
        self.origin.reset()

    def end(self):
        for style, web in self.webs.items():
            web.close()
            self.fronts[style].stop()
            assert web.errors == [], web.errors

    def raw(self, target="/", on=None, **more):
        c = on or Client(self.asks, "127.0.0.1")
        c.send(question(self.style, target, **more))
        return c.message()

    # ---- the questions themselves ----

    def test_who_may_ask(self):
        for said in ("", "x" * 33, SECRET[:-1]):
            for at in ("/_reeve/ask", "/_reeve/page", None):
                m = self.raw(OURS + "logout" if at is None else "/", at=at, said=said)
                assert m.status == 403 and m.get(b"x-reeve-reason") == b"forward-peer", m.head

    def test_a_yes_is_for_a_question_alone(self):
        """No path and no word of a client's makes of a page a yes, or of a yes a page."""
        cookie = ["Cookie: __Host-reeve=" + STAFF]
        assert self.raw(fields=cookie).status == 200
        for at in ("/_reeve", "/_reeve/asks", "/_reeve/ask/x", "/", "/.well-known/reeve", "/_reeve/%61sk"):
            if at == "/_reeve/ask/x" and self.style == "envoy":
                continue
            m = self.raw(at=at, fields=cookie)
            assert m.status == 403 and m.get(b"x-reeve-reason") == b"forward-question", (at, m.head)
        for path in ("logout", "login", "session?code=code1", "x", ""):
            for at in ("/_reeve/ask", "/_reeve/page"):
                for method in ("GET", "POST"):
                    m = self.raw(OURS + path, at=at, fields=cookie, method=method)
                    assert m.status == 403 and not m.get(b"set-cookie"), (at, path, m.head)
        for target in ("/%2ewell-known/reeve/logout", "/a/../.well-known/reeve/logout", "//.well-known/reeve/logout"):
            assert self.raw(target, fields=cookie).status in (400, 403), target
        if self.style != "envoy":
            m = self.raw("/", at="/_reeve/page", fields=cookie)
            assert m.status == 503 and not m.get(b"remote-user") and not m.get(b"cookie"), m.head
        # the person's own request is never a question about another path
        for target in (OURS + "x", OURS, OURS + "page"):
            m = self.raw(target, at=None, fields=cookie)
            assert m.status == 403 and not m.get(b"remote-user"), (target, m.head)
        assert self.raw(OURS + "logout", at=None, fields=cookie).status == 200
        m = self.raw(OURS + "logout/../../x", at=None, fields=cookie)
        assert m.status in (400, 403) and not m.get(b"remote-user"), m.head
        assert self.raw(fields=cookie).status == 200

    def test_an_address_is_nobody(self):
        """Whatever the server says of where a stranger comes from: no address is a person here."""
        for source in ("192.0.2.1", "127.0.0.1", "100.64.0.3", "203.0.113.9", "fd00::1", "::1"):
            m = self.raw(source=source)
            assert m.status == 401 and m.get(b"remote-user") is None, (source, m.head)
            m = self.raw(source=source, fields=["Accept: text/html"])
            assert m.status == (401 if self.style == "nginx" else 303), (source, m.head)
        # nor is one another: the cookie says who it is
        m = self.raw(source="192.0.2.2", fields=["Cookie: __Host-reeve=" + STAFF])
        assert m.get(b"remote-user") == b"staff@example.edu", m.head

    def test_what_is_asked(self):
        cookie = ["Cookie: __Host-reeve=" + STAFF]
        for name in STYLES[self.style]:
            if not name:
                continue
            for more in ({"leave": [name]}, {"fields": cookie + [name + ": 192.0.2.1"]}):
                m = self.raw(**dict({"fields": cookie}, **more))
                assert m.status == 403 and m.get(b"x-reeve-reason") == b"forward-question", (name, m.head)

    def test_the_login_comes_back_to_one_name(self):
        """Names in the question choose among the configured services, and lead nowhere."""
        for host in ("evil.example", "wiki.example.evil", "evil.example:443", "wiki.example@evil.example", "hub.example.edu"):
            m = self.raw("/x", host=host, fields=["Accept: text/html"])
            assert m.status in (400, 403, 421) and not m.get(b"location"), (host, m.head)
        for line in ("X-Forwarded-Host: evil.example", "X-Original-Host: evil.example", "X-Host: evil.example",
                     "Forwarded: host=evil.example", "X-Original-URI: //evil.example", "X-Forwarded-Uri: //evil.example"):
            if line.partition(":")[0] in STYLES[self.style]:
                continue        # twice there: test_what_is_asked
            m = self.raw("/x", fields=["Accept: text/html", line])
            if self.style == "nginx":
                m = self.raw("/x", fields=["Accept: text/html", line], at="/_reeve/page")
            assert m.status in (303, 403) and b"evil" not in m.head, m.head
            if m.status == 303:
                assert self.begins(m)[1] == "/x"

    def test_spoofed_headers(self):
        for line in ("Remote-User: admin", "Remote_User: admin", "remote.user: x", "X-Forwarded-User: x", "Reeve-User: u1",
                     "X-Reeve-Assertion: a.b.c", "Tailscale-User-Login: x", "X-HTTP-Method-Override: DELETE"):
            m = self.raw(fields=["Cookie: __Host-reeve=" + STAFF, line])
            assert m.status == 403 and m.get(b"x-reeve-reason") == b"forged-identity", (line, m.head)
            assert self.raw(fields=[line]).status in (401, 403)

    def test_one_connection_of_the_servers(self):
        """Which carries everybody's questions, one after another."""
        c = Client(self.asks, "127.0.0.1")
        for cookie, want in ((STAFF, b"staff@example.edu"), (None, None), (STUDENT, b"student@example.edu"), (OTHER, None),
                             (STAFF, b"staff@example.edu"), (secret(9), None)):
            m = self.raw("/open/x", on=c, fields=["Cookie: __Host-reeve=" + cookie] if cookie else [])
            assert m.status == (200 if want else 401) and m.get(b"remote-user") == want, (cookie, m.head)
        # a code that is redeemed, and the next one's question behind it
        own, _, value = self.begins(self.ask("/x"))
        self.codes(code1={"service": "wiki", "verifier": own, "cookie": NEW})
        c = Client(self.asks, "127.0.0.1")
        m = self.raw(OURS + "session?code=code1", at=None, on=c, fields=["Cookie: __Host-reeve-begin=" + value])
        assert m.status == 303 and m.all(b"set-cookie"), m.head
        m = self.raw(on=c)
        assert m.status == 401 and not m.all(b"set-cookie"), m.head
        assert self.raw(on=c, fields=["Cookie: __Host-reeve=" + NEW]).get(b"remote-user") == b"staff@example.edu"
        conns = [self.raw("/open/x", on=c, fields=["Cookie: __Host-reeve=" + STUDENT]).status for _ in range(50)]
        assert conns == [200] * 50

    # ---- as at the front, where it is so ----

    def test_its_cookies(self):
        for cookie, want in (("a=1; __Host-reeve=%s; b=2", b"a=1; b=2"), ("__Host-reeve=%s", None), ("__Host-reeve=%s;a=1", b"a=1"),
                             ("__Host-reeve-begin=x.y; __HOST-Reeve=1; __Host-reeve=%s; c=__Host-d", b"c=__Host-d")):
            assert self.ask(cookie=cookie % STAFF).status == 200, cookie
            assert self.origin.seen[-1].get(b"cookie") == want, (cookie, self.origin.seen[-1].head)
            assert STAFF.encode() not in self.origin.seen[-1].head
        m = self.raw(fields=["Cookie: a=1", "cookie: __Host-reeve=" + STAFF, "Cookie: b=2"])
        assert m.status == 200 and m.all(b"cookie") == [b"a=1; b=2"], m.head
        assert self.raw(fields=["Cookie: __Host-reeve=" + STAFF]).all(b"cookie") == [b""]
        assert self.raw(fields=["Cookie: a=" + "x" * 12000 + "; __Host-reeve=" + STAFF]).get(b"cookie") == b"a=" + b"x" * 12000

    def test_the_next_question_is_refused(self):
        """Revoked, gone from the map, logged out: on connections that were there before as on others."""
        c, quiet = self.client(), Client(self.asks, "127.0.0.1")
        for ends in (lambda: self.front.command("revoke student@example.edu"), self.without_student,
                     lambda: self.ask(OURS + "logout", cookie=STUDENT, method="POST", Sec_Fetch_Site="same-origin")):
            self.front.write()
            self.front.command("reload")
            self.front.command("restore student@example.edu")
            assert self.ask("/open/x", cookie=STUDENT, on=c).status == 200
            ends()
            self.origin.reset()
            assert self.ask("/open/x", cookie=STUDENT, on=c, html=False).status == 401
            m = self.raw("/open/x", on=quiet, fields=["Cookie: __Host-reeve=" + STUDENT])
            assert m.status == 401 and self.origin.seen == [], m.head
            assert self.ask("/open/x", cookie=STAFF, on=c).status == 200
        self.front.write()
        self.front.command("reload")
        self.front.command("restore student@example.edu")

    def without_student(self):
        rows = self.conf["identities"]
        self.conf["identities"] = [r for r in rows if r["cookie"] != STUDENT]
        self.front.write()
        self.front.command("reload")
        self.conf["identities"] = rows

    def test_nothing_stays_counted(self):
        before = self.front.stats()
        own, _, value = self.begins(self.ask("/x"))
        for cookie in (STAFF, STUDENT, OTHER, None) * 5:
            self.ask("/open/x", cookie=cookie)
        self.returns(value)
        assert self.front.stats()["in_flight"] == before["in_flight"] == 0


def each_style():
    """Every test for every style, by its name."""
    for name in [n for n in dir(Forward) if n.startswith("test_")]:
        fn = getattr(Forward, name)
        # what is not to be found any more is the front's own
        setattr(Forward, name, None)
        for style in STYLES if name not in Forward.OTHERWISE else ():
            def one(self, fn=fn, style=style):
                self.use(style)
                self.conf["codes"] = {}
                self.front.write()
                self.front.command("reload")
                fn(self)
            setattr(Forward, "test_%s_%s" % (style, name[5:]), one)


each_style()
Forward.wanted = lambda self, name: getattr(self, name) is not None

if __name__ == "__main__":
    Forward().run()
