#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""People with only a browser, at the front: the cookie, the way to the login and back, and what
others may try with either. The coordinator's part is played by the test server."""
import base64
import hashlib
import json
import os
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import Client, Front, Origin, Tests, free_port, main

LOGIN = "https://hub.example.edu/browser?node=n3&service=%s&bind="
NAME, PRE = b"__Host-reeve", b"__Host-reeve-begin"


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def secret(n):
    """A cookie or verifier as ours are: 32 bytes."""
    return b64(hashlib.sha256(b"%d" % n).digest())


STAFF, STUDENT, OTHER, NEW = secret(1), secret(2), secret(3), secret(4)


class Browser(Tests):
    def begin(self):
        self.origin = Origin()
        self.port = free_port()

        def service(name, **more):
            return dict({"listen": ["127.0.0.1:%d" % self.port], "hosts": [name + ".example"], "browser-url": LOGIN % name,
                         "upstream": [self.origin.url], "profiles": ["remote-user"]}, **more)

        def person(login, cookie, at, name="wiki", **more):
            return dict({"address": at, "login": login, "cookie": cookie, "service": name, "node": "n" + at[-4], "user": "u" + at[-4]}, **more)
        self.conf = {
            "policy": {"grants": [
                {"src": ["staff@example.edu"], "dst": ["*"], "ip": ["*"]},
                {"src": ["student@example.edu"], "dst": ["svc:wiki"], "ip": ["*"],
                 "http": [{"methods": ["GET"], "paths": ["/open/**"]}]}]},
            "identities": [person("staff@example.edu", STAFF, "192.0.2.1/32"),
                           person("student@example.edu", STUDENT, "192.0.2.2/32"),
                           person("staff@example.edu", OTHER, "192.0.2.3/32", "lab"),
                           person("staff@example.edu", NEW, "192.0.2.4/32")],
            "services": {"wiki": service("wiki"), "lab": service("lab"),
                         "open": {"listen": ["127.0.0.1:%d" % self.port], "hosts": ["open.example"], "public": True,
                                  "upstream": [self.origin.url]}},
            "codes": {}}
        self.front = Front(self.conf)

    def before(self):
        self.origin.reset()
        self.conf["codes"] = {}
        self.front.write()
        self.front.command("reload")

    def end(self):
        self.front.stop()

    def client(self):
        return Client(self.port, "127.0.0.1", timeout=20)

    def ask(self, path="/", host="wiki", cookie=None, method="GET", on=None, html=True, **more):
        """One request; cookie: the session's, or a whole Cookie value."""
        c = on or self.client()
        lines = ["%s %s HTTP/1.1" % (method, path), "Host: %s.example" % host]
        if cookie:
            lines.append("Cookie: " + (cookie if "=" in cookie else "__Host-reeve=" + cookie))
        if html:
            lines += ["Accept: text/html", "Sec-Fetch-Mode: navigate"]
        lines += ["%s: %s" % (k.replace("_", "-"), v) for k, v in more.items()]
        if method == "POST":
            lines.append("Content-Length: 0")
        c.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        return c.message()

    def begins(self, m, name="wiki"):
        """The login that an answer begins: its secret and the page to return to."""
        assert m.status == 303, m.head
        where = m.get(b"location").decode()
        assert where.startswith(LOGIN % name), where
        cookie = m.get(b"set-cookie").decode()
        value, _, more = cookie.partition(";")
        value = value.partition("=")[2]
        assert cookie.startswith("__Host-reeve-begin=") and more == " Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600", cookie
        own, _, back = value.partition(".")
        bind = b64(hashlib.sha256(b"reeve browser v1\0" + own.encode()).digest())
        assert where == LOGIN % name + bind, where
        return own, base64.urlsafe_b64decode(back + "==").decode(), value

    def codes(self, **codes):
        self.conf["codes"] = codes
        self.front.write()
        self.front.command("reload")

    def returns(self, value, code="code1", host="wiki", **more):
        return self.ask("/.well-known/reeve/session?code=" + code, host, "__Host-reeve-begin=" + value, **more)

    def nobody(self, m):
        """It counted as nobody: sent to log in, and nothing reached the application."""
        assert m.status == 303 and m.get(b"location").startswith(b"https://hub.example.edu/browser?"), m.head
        assert self.origin.seen == []

    # ---- the way in ----

    def test_a_page_leads_to_the_login_and_back(self):
        own, back, value = self.begins(self.ask("/notes/1?x=a%20b&y=%2f"))
        assert back == "/notes/1?x=a%20b&y=%2f", back
        self.codes(code1={"service": "wiki", "verifier": own, "cookie": NEW})
        m = self.returns(value)
        assert m.status == 303 and m.get(b"location") == b"/notes/1?x=a%20b&y=%2f", m.head
        assert m.all(b"set-cookie") == [NAME + b"=" + NEW.encode() + b"; Path=/; Secure; HttpOnly; SameSite=Lax",
                                        PRE + b"=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"], m.head
        assert m.get(b"cache-control") == b"no-store" and m.get(b"referrer-policy") == b"no-referrer"
        m = self.ask("/notes/1", cookie=NEW)
        assert m.status == 200 and self.origin.seen[-1].get(b"remote-user") == b"staff@example.edu"

    def test_programs_are_told(self):
        m = self.ask("/api", html=False)
        assert m.status == 401 and json.loads(m.body)["reason"] == "no-session", m.head + m.body
        assert json.loads(m.body)["login_url"] == "/.well-known/reeve/login?back=%2Fapi", m.body
        assert self.ask("/form", method="POST").status == 401
        assert self.origin.seen == []

    def test_two_tabs_share_a_secret(self):
        own, _, value = self.begins(self.ask("/one"))
        again, back, _ = self.begins(self.ask("/two", cookie="__Host-reeve-begin=" + value))
        assert own == again and back == "/two"
        # what is no secret of ours is not taken for one
        assert self.begins(self.ask("/", cookie="__Host-reeve-begin=abc.Lw"))[0] != "abc"

    # ---- cookies ----

    def test_the_application_never_sees_it(self):
        for cookie, want in (("a=1; __Host-reeve=%s; b=2", b"a=1; b=2"), ("__Host-reeve=%s", None),
                             ("__Host-reeve=%s;a=1", b"a=1"), ("a=1;b=2;__Host-reeve=%s", b"a=1; b=2"),
                             ("__Host-reeve-begin=x.y; __HOST-Reeve=1; __Host-reeve=%s; c=__Host-d; __Host-reeve-login=k", b"c=__Host-d; __Host-reeve-login=k")):
            assert self.ask(cookie=cookie % STAFF).status == 200, cookie
            assert self.origin.seen[-1].get(b"cookie") == want, (cookie, self.origin.seen[-1].head)
            assert STAFF.encode() not in self.origin.seen[-1].head
        # where it is not asked for, either
        assert self.ask(host="open", cookie="__Host-reeve=%s; a=1" % STAFF).status == 200
        assert self.origin.seen[-1].get(b"cookie") == b"a=1" and not self.origin.seen[-1].get(b"remote-user")

    def test_several_cookie_fields(self):
        c = self.client().send(b"GET / HTTP/1.1\r\nHost: wiki.example\r\nCookie: a=1\r\ncookie: __Host-reeve=%s\r\nCookie: b=2\r\n\r\n" % STAFF.encode())
        assert c.message().status == 200 and self.origin.seen[-1].all(b"cookie") == [b"a=1", b"b=2"]

    def test_the_application_cannot_set_it(self):
        """Session fixation by whoever controls a page of the application."""
        def reply(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nSet-Cookie: mine=1\r\nSet-Cookie: __Host-reeve=%s; Path=/; Secure\r\n"
                      b"set-cookie:  __host-Reeve-begin=x\r\nSet-Cookie: __Host-reeve-login=2\r\nContent-Length: 0\r\n\r\n" % OTHER.encode())
        self.origin.reply = reply
        m = self.ask(cookie=STAFF)
        assert m.all(b"set-cookie") == [b"mine=1", b"__Host-reeve-login=2"], m.head

    def test_a_cookie_that_nobody_gave_is_not_adopted(self):
        """Session fixation: what was there before the login is not what counts after it."""
        chosen = secret(99)
        own, _, value = self.begins(self.ask(cookie=chosen))
        self.codes(code1={"service": "wiki", "verifier": own, "cookie": NEW})
        m = self.returns("%s; __Host-reeve=%s" % (value, chosen))
        assert m.status == 303 and m.all(b"set-cookie")[0].startswith(NAME + b"=" + NEW.encode())
        self.nobody(self.ask(cookie=chosen))

    def test_one_service_alone(self):
        """A cookie of one service, taken to another one."""
        assert self.ask(cookie=STAFF).status == 200 and self.ask(host="lab", cookie=OTHER).status == 200
        self.origin.reset()
        self.nobody(self.ask(host="lab", cookie=STAFF))
        self.nobody(self.ask(cookie=OTHER))
        assert self.ask(host="lab", cookie=STAFF, html=False).status == 401

    def test_what_is_no_cookie(self):
        for cookie in (STAFF[:-1], STAFF + "A", STAFF.lower(), "__Host-reeve=%s; __Host-reeve=%s" % (STAFF, STAFF),
                       "__host-reeve=" + STAFF, "reeve=" + STAFF, "__Host-reeve=\"%s\"" % STAFF, "x__Host-reeve=" + STAFF):
            self.nobody(self.ask(cookie=cookie))

    def test_each_request_for_itself(self):
        """One connection, as a proxy before us would share it between people."""
        c = self.client()
        for cookie, want in ((STAFF, b"staff@example.edu"), (STUDENT, b"student@example.edu"), (STAFF, b"staff@example.edu")):
            assert self.ask("/open/x", cookie=cookie, on=c).status == 200
            assert self.origin.seen[-1].get(b"remote-user") == want
        assert self.ask("/closed", cookie=STUDENT, on=c).status == 403
        n = len(self.origin.seen)
        assert self.ask("/open/x", on=c).status == 303 and len(self.origin.seen) == n
        assert self.ask("/", host="open", on=c).status == 200 and not self.origin.seen[-1].get(b"remote-user")

    # ---- codes ----

    def test_a_code_counts_once(self):
        own, _, value = self.begins(self.ask("/"))
        self.codes(code1={"service": "wiki", "verifier": own, "cookie": NEW})
        assert self.returns(value).status == 303
        m = self.returns(value)
        assert m.status == 403 and not m.all(b"set-cookie"), m.head

    def test_somebody_elses_code(self):
        """Login CSRF: an attacker's own login, brought to its end in the victim's browser."""
        attacker, _, _ = self.begins(self.ask("/"))
        victim, _, value = self.begins(self.ask("/"))
        assert attacker != victim
        row = {"service": "wiki", "verifier": attacker, "cookie": NEW}
        self.codes(code1=row, code2=row, code3=row)
        for m in (self.returns(value), self.ask("/.well-known/reeve/session?code=code2"),
                  self.returns("%s; __Host-reeve-begin=%s.Lw" % (value, attacker), "code3")):
            assert m.status == 403 and not m.all(b"set-cookie"), m.head
        # nor does it end the session that the victim has
        m = self.returns("%s; __Host-reeve=%s" % (value, STAFF), "code3")
        assert m.status == 403 and self.ask(cookie=STAFF).status == 200

    def test_a_code_of_another_service(self):
        own, _, value = self.begins(self.ask("/"))
        self.codes(code1={"service": "lab", "verifier": own, "cookie": OTHER})
        assert self.returns(value).status == 403

    def test_codes_that_are_none(self):
        own, _, value = self.begins(self.ask("/"))
        row = {"service": "wiki", "verifier": own, "cookie": NEW}
        self.codes(code1=row)
        for code in ("", "code1&code=code1", "code1%00", "c" * 129, "code1/../x"):
            assert self.returns(value, code).status in (400, 403), code
        assert self.returns(value).status == 303

    # ---- where it leads ----

    def test_it_leads_nowhere_else(self):
        """Open redirects: through the link of a refusal, the cookie, or the path itself."""
        for back in ("//evil.example/", "/\\evil.example", "https://evil.example/", "evil.example", "javascript:alert(1)",
                     "/%0d%0aX: y", "/a b", "///evil.example", "/\t/evil.example", "", "/" + "x" * 1100,
                     "/.well-known/reeve/logout", "\\\\evil.example"):
            raw = urllib.parse.quote(back, safe="%" if "%0d" in back else "")
            _, got, value = self.begins(self.ask("/.well-known/reeve/login?back=" + raw))
            assert got == "/", (back, got)
            own = value.partition(".")[0]
            forged = own + "." + b64(back.encode())
            self.codes(code1={"service": "wiki", "verifier": own, "cookie": NEW})
            m = self.returns(forged)

            assert m.status == 303 and m.get(b"location") == b"/" and b"\nX" not in m.head, (back, m.head)
        for path, want in (("//evil.example/x", "/evil.example/x"), ("/%2e%2e//evil.example", "/")):
            m = self.ask(path)
            if m.status == 303:
                back = self.begins(m)[1]
                assert back.startswith("/") and not back.startswith("//"), back
        assert self.begins(self.ask("/.well-known/reeve/login?back=%2Fnotes%3Fa%3D1"))[1] == "/notes?a=1"

    def test_rebinding(self):
        for host in ("evil", "wiki.example.evil"):
            assert self.ask(host=host, cookie=STAFF).status == 421
        assert self.origin.seen == []

    # ---- cross-site ----

    def test_cross_site(self):
        for more in ({"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Origin": "https://evil.example"},
                     {"Origin": "null"}, {"Origin": "http://wiki.example"}):
            m = self.ask("/form", cookie=STAFF, method="POST", **more)
            assert m.status == 403 and self.origin.seen == [], (more, m.head)
            m = self.ask("/.well-known/reeve/logout", cookie=STAFF, method="POST", **more)
            assert m.status == 403, (more, m.head)
        assert self.ask(cookie=STAFF).status == 200
        for more in ({"Sec_Fetch_Site": "same-origin"}, {"Origin": "https://wiki.example"}):
            assert self.ask("/form", cookie=STAFF, method="POST", **more).status == 200
        assert self.origin.seen[-1].get(b"x-forwarded-proto") == b"https"

    def test_a_socket(self):
        more = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec_WebSocket_Version": "13"}
        assert self.ask("/ws", cookie=STAFF, Origin="https://evil.example", html=False, **more).status == 403
        assert self.ask("/ws", Origin="https://wiki.example", html=False, **more).status == 401
        assert self.origin.seen == []

    # ---- its end ----

    def test_logout(self):
        m = self.ask("/.well-known/reeve/logout", cookie=NEW)
        assert m.status == 200 and b"<form method=\"post\">" in m.body and self.ask(cookie=NEW).status == 200
        m = self.ask("/.well-known/reeve/logout", cookie=NEW, method="POST", Sec_Fetch_Site="same-origin")
        assert m.status == 200, m.head
        self.origin.reset()
        m = self.ask(cookie=NEW, html=False)
        assert m.status == 401 and self.origin.seen == []

    def nothing_on(self, quiet):
        assert quiet.ended(60)

    def test_logout_ends_what_is_open(self):
        """Of that session, on every connection; another person's goes on."""
        def reply(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegin")
            return True
        self.origin.reply = reply
        open_ones = []
        for cookie in (STUDENT, STAFF):
            c = self.client()
            c.send(("GET /open/x HTTP/1.1\r\nHost: wiki.example\r\nCookie: __Host-reeve=%s\r\n\r\n" % cookie).encode())
            assert c.r.until(b"begin").startswith(b"HTTP/1.1 200")
            open_ones.append(c)
        self.origin.reply = None
        quiet, other = self.client(), self.client()
        assert self.ask("/open/x", cookie=STUDENT, on=quiet).status == 200
        assert self.ask("/open/x", cookie=STAFF, on=other).status == 200
        m = self.ask("/.well-known/reeve/logout", cookie=STUDENT, method="POST", Sec_Fetch_Site="same-origin")
        assert m.status == 200, m.head
        assert open_ones[0].ended(60)
        self.nothing_on(quiet)
        assert self.ask("/open/x", cookie=STAFF, on=other).status == 200

    def test_a_form_without_a_session(self):
        """Is refused where it stands: a redirect would lose what was written."""
        for cookie in (None, OTHER, secret(9)):
            m = self.ask("/form", cookie=cookie, method="POST", Sec_Fetch_Site="same-origin")
            assert m.status == 401 and m.get(b"location") is None and self.origin.seen == [], m.head
            assert b"/.well-known/reeve/login" in m.body, m.body

    def test_a_new_login_ends_the_old_one(self):
        own, _, value = self.begins(self.ask("/"))
        self.codes(code1={"service": "lab", "verifier": own, "cookie": NEW})
        m = self.returns("%s; __Host-reeve=%s" % (value, STUDENT))
        assert m.status == 403 and self.ask("/open/x", cookie=STUDENT).status == 200
        self.codes(code1={"service": "wiki", "verifier": own, "cookie": NEW})
        assert self.returns("%s; __Host-reeve=%s" % (value, STUDENT)).status == 303
        assert self.ask("/open/x", cookie=STUDENT, html=False).status == 401
        assert self.ask(cookie=NEW).status == 200

    def test_revocation_cuts(self):
        """As for everybody else: what is open ends."""
        def reply(c, m):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegin")
            return True
        self.origin.reply = reply
        c = self.client()
        c.send(("GET /open/x HTTP/1.1\r\nHost: wiki.example\r\nCookie: __Host-reeve=%s\r\n\r\n" % STUDENT).encode())
        assert c.r.until(b"begin").startswith(b"HTTP/1.1 200")
        idle = self.client()
        self.origin.reply = None
        assert self.ask("/open/x", cookie=STUDENT, on=idle).status == 200
        other = self.client()
        assert self.ask(cookie=STAFF, on=other).status == 200
        self.front.command("revoke student@example.edu")
        assert c.ended(20) and idle.ended(20)
        assert self.ask("/open/x", cookie=STUDENT, html=False).status == 401
        assert self.ask(cookie=STAFF, on=other).status == 200

    def test_gone_from_the_map(self):
        c = self.client()
        assert self.ask("/open/x", cookie=STUDENT, on=c).status == 200
        rows = self.conf["identities"]
        self.conf["identities"] = [r for r in rows if r["cookie"] != STUDENT]
        try:
            self.front.write()
            self.front.command("reload")
            assert c.ended(20)
            self.origin.reset()
            self.nobody(self.ask("/open/x", cookie=STUDENT))
        finally:
            self.conf["identities"] = rows

    def test_expiry(self):
        rows = self.conf["identities"]
        self.conf["identities"] = [dict(r, **{"expires-ms": 1}) if r["cookie"] == STUDENT else r for r in rows]
        try:
            self.front.write()
            self.front.command("reload")
            m = self.ask("/open/x", cookie=STUDENT, html=False)
            while m.status == 200:
                m = self.ask("/open/x", cookie=STUDENT, html=False)
            assert m.status == 401 and json.loads(m.body)["reason"] == "session-expired", m.body
            assert self.ask("/open/x", cookie=STUDENT).status == 303
        finally:
            self.conf["identities"] = rows

    def test_nothing_leaks(self):
        assert self.ask("/last", cookie=STAFF).status == 200
        end, log = time.monotonic() + 30, ""
        while '"/last"' not in log and time.monotonic() < end:
            time.sleep(0.05)
            with open(self.front.log, encoding="utf-8") as f:
                log = f.read()
        assert '"/last"' in log and "staff@example.edu" in log
        assert not any(s in log for s in (STAFF, STUDENT, OTHER, NEW)), "a cookie is in the log"


if __name__ == "__main__":
    main(Browser)
