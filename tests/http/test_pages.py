#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""What people are told when a request goes no further: the way out of it, and the owner's own page."""
import html
import json
import os
import re
import subprocess
import sys
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import (BUILD, NOBODY, STAFF, STUDENT, Client, Front, Origin, Reeved, Tests, free_port,
                  main, wait)
from test_browser import secret

HUB = "https://hub.example.edu/browser?node=n3&service=%s&bind="
ACR = "urn:it's\"$(so)"
WANTS = {"age": {"maxAge": "4h"}, "minutes": {"maxAge": "90m"}, "mfa": {"mfa": True}, "acr": {"acr": [ACR]},
         "all": {"acr": ["a", "b"], "maxAge": "1h"}, "amr": {"amr": ["hwk"], "maxAge": "1h"}}
OWN = ("<!doctype html><style>p{color:red}{x:y}</style><h1 title=\"{title}\">Our own: {title}</h1>{what}|{who}|{todo}|{login}|"
       "{command}|{small}|{status}|{reason}|{service}|{rule}|{host}|{contact}|{request-id}|{ title}|{}|{Title}|{")


class Pages(Tests):
    def begin(self):
        self.origin = Origin()
        self.port, self.port2 = free_port(), free_port()

        def service(name, **more):
            return dict({"listen": ["127.0.0.1:%d" % self.port], "hosts": [name], "upstream": [self.origin.url]}, **more)
        services = {n: service(n) for n in WANTS}
        services.update({"b" + n: service("b" + n, **{"browser-url": HUB % n}) for n in WANTS})
        services["own"] = service("own", **{"error-page": OWN})
        services["dead"] = service("dead", upstream=["http://127.0.0.1:%d" % free_port()], **{"error-page": OWN})
        grants = [{"src": ["*"], "dst": ["svc:" + p + n], "ip": ["*"], "auth": a} for n, a in WANTS.items() for p in ("", "b")]
        grants.append({"src": ["*"], "dst": ["svc:dead"], "ip": ["*"]})
        self.front = Front({
            "policy": {"grants": grants}, "login-url": "https://hub.example.edu/login", "services": services,
            "identities": [
                {"address": STAFF + "/32", "login": "staff@example.edu", "node": "n1", "node-name": "<laptop>"},
                {"address": STUDENT + "/32", "login": "student@example.edu"},
                {"address": "127.0.0.5/32", "login": "", "why": "none", "node": "n5", "user": "u3", "node-name": "phone"}] + [
                {"address": "192.0.2.%d/32" % i, "login": "staff@example.edu", "cookie": secret(i), "service": "b" + n,
                 "node": "n%d" % (100 + i), "user": "u1"} for i, n in enumerate(WANTS)]})

    def end(self):
        self.front.stop()

    def get(self, host, src=STAFF, accept="text/html", cookie="", path="/a?b=c", port=0):
        c = Client(port or self.port, src, timeout=30)
        c.send(("GET %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\n%s\r\n" % (path, host, accept, cookie)).encode())
        m = c.message()
        c.close()
        return m

    def command(self, host, src=STAFF):
        """The page's and the problem's are one."""
        m = self.get(host, src)
        assert m.status == 401, m.head
        on_page = re.search(r"On this device that is: <code>([^<]*)</code>", m.body.decode())
        p = json.loads(self.get(host, src, "application/json").body)
        assert (html.unescape(on_page.group(1)) if on_page else None) == p.get("command"), (m.body, p)
        return p

    def test_command_at_a_device(self):
        for host, want, auth in (
                ("age", "reeve login --max-age 14400", {"mfa": False, "max_age": 14400}),
                ("minutes", "reeve login --max-age 5400", {"mfa": False, "max_age": 5400}),
                ("mfa", "reeve login --max-age 0", {"mfa": True}),
                ("amr", "reeve login --max-age 0", {"mfa": False, "amr": "hwk", "max_age": 3600}),
                ("all", "reeve login --max-age 3600 --acr 'a b'", {"mfa": False, "acr": "a b", "max_age": 3600})):
            p = self.command(host)
            assert p["command"] == want and p["auth"] == auth, p
            assert p["reason"] in ("login-too-old", "login-too-weak"), p

    def test_command_is_one_word_for_a_shell(self):
        p = self.command("acr")
        words = subprocess.run(["sh", "-c", "reeve() { printf '%s\\n' \"$@\"; }; " + p["command"]], check=True, capture_output=True)
        assert words.stdout.decode().splitlines() == ["login", "--acr", ACR], words

    def test_what_it_wants_in_words(self):
        assert b"It wants one of the last 4 h." in self.get("age").body
        assert b"It wants one of the last 90 min." in self.get("minutes").body
        assert b"It wants" not in self.get("mfa").body

    def test_no_command_for_others(self):
        """Who is on no device of the mesh has none, and who is not asked for another login, neither."""
        assert "command" not in self.command("age", STUDENT)
        assert self.command("age", "127.0.0.5")["command"] == "reeve login"
        p = json.loads(self.get("own", accept="*/*").body)
        assert p["status"] == 403 and "command" not in p and "auth" not in p, p

    def test_step_up_in_a_browser(self):
        """The link says what the rule wants, and so does the way to the coordinator that it leads to."""
        for i, (name, want) in enumerate((
                ("age", {"max_age": ["14400"]}), ("minutes", {"max_age": ["5400"]}), ("mfa", {"mfa": ["1"]}), ("acr", {"acr": [ACR]}),
                ("all", {"max_age": ["3600"], "acr": ["a b"]}), ("amr", {"max_age": ["3600"], "mfa": ["1"]}))):
            cookie = "Cookie: __Host-reeve=%s\r\n" % secret(i)
            m = self.get("b" + name, NOBODY, cookie=cookie)
            assert m.status == 401 and b"<code>" not in m.body, m.body
            p = json.loads(self.get("b" + name, NOBODY, "application/json", cookie).body)
            assert "command" not in p, p
            url = p["login_url"]
            assert html.escape(url, False).encode() in m.body, (url, m.body)
            want = dict(want, fresh=["1"])
            q = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
            assert q == dict(want, back=["/a?b=c"]), (q, want)
            m = self.get("b" + name, NOBODY, cookie=cookie, path=url)
            assert m.status == 303, m.head
            q = urllib.parse.parse_qs(urllib.parse.urlsplit(m.get(b"location").decode()).query)
            q.pop("bind")
            assert q == dict(want, node=["n3"], service=[name]), (q, want)

    def test_links_that_somebody_made(self):
        for more, want in (("&fresh=1&max_age=x&acr=%0d%0aX:y", {"fresh": ["1"]}),
                           ("&fresh=1&acr=" + "a" * 257, {"fresh": ["1"]}), ("&acr=a&mfa=1&max_age=1", {}),
                           ("&fresh=1&max_age=1&max_age=2", {"fresh": ["1"]}),
                           ("&fresh=1&acr=a%26node%3Dn9", {"fresh": ["1"], "acr": ["a&node=n9"]})):
            m = self.get("bage", NOBODY, path="/.well-known/reeve/login?back=/" + more)
            assert m.status == 303, (more, m.head)
            q = urllib.parse.parse_qs(urllib.parse.urlsplit(m.get(b"location").decode()).query)
            q.pop("bind")
            assert q == dict(want, node=["n3"], service=["age"]), (more, q)

    # ---- the owner's page ----

    def test_own_page(self):
        m = self.get("own")
        assert m.status == 403 and m.get(b"content-type") == b"text/html; charset=utf-8", m.head
        body = m.body.decode()
        assert body.startswith("<!doctype html><style>p{color:red}{x:y}</style><h1 title=\"No access\">Our own: No access</h1>"), body
        part = body.split("</h1>")[1].split("|")
        assert "staff@example.edu" in part[1] and "&lt;laptop&gt;" in part[1] and "<laptop>" not in body, part
        assert part[3] == part[4] == "" and part[6:10] == ["403", "no-grant", "own", ""], part
        assert part[10:12] == ["host.example", "the helpdesk"] and part[12] == "", part
        assert part[13:] == ["{ title}", "{}", "{Title}", "{"], part
        part = self.get("dead").body.decode().split("</h1>")[1].split("|")
        assert part[6:9] == ["502", "upstream-connect", "dead"] and re.fullmatch("[0-9a-f]{32}", part[12]), part
        csp = m.get(b"content-security-policy")
        assert b"default-src 'none'" in csp and b"script" not in csp, csp
        m = self.get("own", accept="application/json")
        assert m.get(b"content-type") == b"application/problem+json" and b"Our own" not in m.body
        assert b"Our own" not in self.get("age").body

    def test_own_page_of_reeved(self):
        """From files: the endpoint's and a service's; a fault leaves what was there; a reload brings the new one."""
        def files(**texts):
            for name, text in texts.items():
                with open("%s/%s.html" % (r.dir, name), "wb") as f:
                    f.write(text if isinstance(text, bytes) else text.encode())
                os.chmod("%s/%s.html" % (r.dir, name), 0o644)

        def fails(words):
            n = r.said().count("serving, configuration ")
            r.proc.send_signal(1)
            wait(lambda: words in r.said() and r.said().count("serving, configuration ") > n, r.said)

        def service(host, **more):
            return dict({"listen": ["127.0.0.1:%d" % self.port2], "hosts": [host], "upstream": [self.origin.url]}, **more)
        conf = {"policy": {"grants": []}, "identities": [{"address": STAFF + "/32", "login": "staff@example.edu"}],
                "services": {"one": service("one")}, "more": {}}
        r = Reeved(conf)
        try:
            assert b"Our" not in self.get("one", port=self.port2).body
            files(all="<p>All: {title}", two="<p>Two: {who}")
            conf["more"] = {"error-page": "all.html",
                            "services": {"one": service("one"), "two": service("two", **{"error-page": "two.html"})}}
            r.command("reload")
            wait(lambda: self.get("one", port=self.port2).body == b"<p>All: No access")
            assert self.get("two", port=self.port2).body == b"<p>Two: You are staff@example.edu to this host, at 127.0.0.2."
            assert self.get("nobody", port=self.port2).body == b"<p>All: Not here"
            for text, words in (("<p>\n\n{titel}", "/all.html:3: {titel} stands for nothing: there are {title}, "),
                                (b"<p>\n\x00", "/all.html:2: a control character"), (b"\xff", "/all.html: the template is not UTF-8"),
                                ("", "/all.html: the template is empty"), ("x" * 65537, "/all.html is larger than 65536 bytes")):
                files(all=text)
                fails(words)
                c = subprocess.run([BUILD + "/reeved", "-n", "-c", r.dir + "/conf"], capture_output=True)
                assert c.returncode != 0 and words in (c.stdout + c.stderr).decode(), c
                assert self.get("one", port=self.port2).body == b"<p>All: No access"
            os.remove(r.dir + "/all.html")
            fails("/all.html: no such file")
            assert self.get("one", port=self.port2).body == b"<p>All: No access"
            files(all="<p>New")
            r.command("reload")
            wait(lambda: self.get("one", port=self.port2).body == b"<p>New")
        finally:
            r.stop()


if __name__ == "__main__":
    main(Pages, reeved=True)
