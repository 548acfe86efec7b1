#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""People with only a browser, before web servers that ask Reeve: run by tests/netns/forward.sh on a host
without Reeve. Each server's application says what it was told (tests/apps/told.py).

usage: web_servers.py IDP-FOLDER SERVER ANOTHER-SERVER COMMAND-ON-THE-HUB...
"""
import json
import os
import socket
import ssl
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../idp"))
import idp          # noqa: E402

OURS, PATIENCE = "/.well-known/reeve/", 60
LOGIN = "https://hub.example.edu/login/service?"
UPGRADE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
PAGE = ["Accept: text/html", "Sec-Fetch-Mode: navigate"]
where, server, other, hub = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
accounts = json.load(open(where + "/accounts.json", encoding="utf-8"))
passed = failed = 0


def check(what, holds, saw=""):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    what = "%s: %s" % (server, what)
    print("ok - " + what if holds else "not ok - %s: saw %r" % (what, saw), flush=True)
    return holds


def until(ask):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        got = ask()
        if got:
            return got
        time.sleep(0.05)
    return None


def admin(method, path):
    """As root on the hub."""
    out = subprocess.run(hub + ["-X", method, "http://hub/api/v1/" + path], check=True, capture_output=True, text=True,
                         timeout=PATIENCE).stdout
    return json.loads(out) if out.strip() else None


def origin(name=None):
    return "https://%s.example.edu" % (name or server)


def script():
    return idp.Browser(insecure=True)


def newest(account="staff@example.edu"):
    """The session that was made last at this server's service."""
    here = {n["id"] for n in admin("GET", "nodes")["nodes"] if n.get("browser") == server}
    return max((x["id"] for x in admin("GET", "sessions")["sessions"] if x["login"] == account and x["node"] in here),
               key=lambda n: int(n[1:]))


def login(account="staff@example.edu", path="/page", b=None, stop=()):
    """As a person's browser would, through the provider; the browser, and what is shown in the end."""
    a, b = accounts[account], b or script()
    at, answer, text = b.go("GET", origin() + path, stop=stop)
    if answer is not None and answer.status == 200 and "password" in text:
        at = idp.login(at, list(stop) + [origin() + OURS + "session"], account, a["password"], a["totp"], b)
        at, answer, text = b.go("GET", at, stop=stop)
    return b, at, answer, text


def cookie_of(b):
    return next((c.value for c in b.jar if c.name == "__Host-reeve" and c.domain.startswith(server + ".example.edu")), None)


def connect(at=None):
    at = (at or server) + ".example.edu"
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    s = tls.wrap_socket(socket.create_connection((at, 443), timeout=PATIENCE), server_hostname=at)
    return s, s.makefile("rb")


def talk(conn, target="/page", headers=(), method="GET", body=None, host=None, cookie=None):
    """(status, fields, body) of one request on an open connection."""
    s, f = conn
    lines = ["%s %s HTTP/1.1" % (method, target), "Host: " + (host or server + ".example.edu"), *headers]
    if cookie:
        lines.append("Cookie: theirs=1; __Host-reeve=%s; more=2" % cookie)
    if body is not None:
        lines.append("Content-Length: %d" % len(body))
    s.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
    first = f.readline()
    if not first:
        return 0, {}, b""
    fields = {}
    while (line := f.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        fields[name.lower()] = value.strip()
    rest = b""
    if fields.get("transfer-encoding") == "chunked":
        while n := int(f.readline().split(b";")[0], 16):
            rest += f.read(n)
            f.readline()
        f.readline()
    elif not first.split(b" ")[1].startswith(b"1"):
        rest = f.read(int(fields["content-length"])) if "content-length" in fields else f.read()
    return int(first.split(b" ")[1]), fields, rest


def ask(target="/page", at=None, **more):
    try:
        s, f = connect(at)
    except OSError as e:
        return 0, {}, str(e).encode()
    try:
        return talk((s, f), target, **more)
    except OSError as e:
        return 0, {}, str(e).encode()
    finally:
        f.close()
        s.close()


def told(a):
    """What the application was told, or None if it was not reached."""
    return json.loads(a[2]) if a[1].get("x-app") else None


def fields(a, name):
    return [v for k, v in told(a)["fields"] if k == name] if told(a) else None


def nobody():
    a = ask(headers=PAGE)
    check("nobody is sent to log in", a[0] == 303 and a[1]["location"].startswith(LOGIN) and
          a[1]["set-cookie"].startswith("__Host-reeve-begin=") and "HttpOnly" in a[1]["set-cookie"], a)
    a = ask()
    check("a program is told that there is no session", a[0] == 401 and not told(a) and "location" not in a[1], a)
    a = ask(method="POST", body=b"x=1", headers=PAGE)
    check("a form without a session is not sent anywhere", a[0] == 401 and not told(a), a)
    for line in ("Remote-User: admin@example.edu", "Remote_User: admin@example.edu", "X-Reeve-Assertion: a.b.c", "Cookie: __Host-reeve=" + "A" * 43,
                 "X-Forwarded-Uri: " + OURS + "logout", "X-Original-URI: " + OURS + "logout", "X-Reeve-Secret: x"):
        a = ask(headers=[line] + PAGE)
        check("nobody with %r" % line, a[0] in (303, 400, 403) and not told(a), a)
    # addresses that are devices of the mesh: the hub and this application's own host are
    for line in ["X-Real-IP: ", "X-Forwarded-For: ", "X-Client-IP: ", "Forwarded: for="]:
        for ip in addresses:
            a = ask(headers=[line + ip] + PAGE)
            check("nobody with %s%s" % (line, ip), a[0] in (303, 400, 403) and not told(a), a)
    for target in (OURS + "../../page", OURS + "..%2f..%2fpage", "/page/..;/.well-known/reeve/x", "/%2e%2e/page", "//page",
                   "/x/..//page", OURS + "%2e%2e/%2e%2e/page", OURS + "x", OURS, "/_reeve", "/_reeve/ask", "/_reeve/page",
                   "/.well-known/reeve", "/.WELL-KNOWN/reeve/x"):
        a = ask(target, headers=PAGE)
        check("nobody at %s" % target, not told(a), a)
    a = ask("/page", headers=UPGRADE + ["Origin: " + origin()])
    check("nobody opens a WebSocket", a[0] == 401 and not told(a), a)


def somebody():
    b, at, answer, text = login(path="/page?a=1")
    value, session = cookie_of(b), newest()
    check("a person is led through the login and back to the page", at == origin() + "/page?a=1" and value and
          ["remote-user", "staff@example.edu"] in json.loads(text)["fields"], (at, text))
    check("with one cookie, for this host alone", [c.name for c in b.jar if c.domain.startswith(server)] == ["__Host-reeve"], list(b.jar))
    a = ask("/page", cookie=value)
    check("the application is told the person, and their other cookies", fields(a, "remote-user") == ["staff@example.edu"] and
          fields(a, "cookie") == ["theirs=1; more=2"] and value not in a[2].decode(), a)
    s = connect()
    check("on one connection each request is its own", [told(talk(s, cookie=c)) is not None for c in (value, None, value, "A" * 43, value)] ==
          [True, False, True, False, True])
    a = ask("/other", cookie=value, headers=PAGE)
    check("where no rule is, there is a page that says so, and no redirect", a[0] == 403 and b"staff@example.edu" in a[2] and not told(a), a)
    for line in ("Remote-User: admin", "REMOTE-USER: admin", "Remote_User: admin", "Remote.User: admin", "Remote-Groups: admin",
                 "Remote_Groups: admin", "Reeve-User: u1", "X-Forwarded-User: admin"):
        a = ask(cookie=value, headers=[line])
        check("%r of a person who is logged in" % line, (a[0] in (400, 403) and not told(a)) or
              "admin" not in [v for _, v in told(a)["fields"]], a)
    a = ask(cookie=value, method="POST", body=b"hello", headers=["Origin: " + origin()])
    check("their own form arrives, whole", told(a) and told(a)["body"] == "hello" and told(a)["method"] == "POST", a)
    for headers in (["Origin: https://evil.example"], ["Sec-Fetch-Site: cross-site"], ["Origin: null"], ["Sec-Fetch-Site: same-site"]):
        a = ask(cookie=value, method="POST", body=b"x", headers=headers)
        check("another site's form does not: %s" % headers[0], a[0] == 403 and not told(a), a)
        a = ask("/page", cookie=value, headers=UPGRADE + headers)
        check("nor another site's WebSocket: %s" % headers[0], a[0] == 403 and not told(a), a)
    a = ask(cookie=value, method="DELETE", headers=["Origin: " + origin()])
    check("a method without a grant", a[0] == 403 and not told(a), a)
    a = ask("/page?" + "x" * 3000, cookie=value, headers=["Cookie: big=" + "y" * 3000])
    check("large cookies pass", a[0] in (200, 403) and (a[0] == 403 or value not in a[2].decode()), a)
    return b, value, session


def another():
    b, at, answer, text = login("student@example.edu")
    check("who is not granted is told so, as who they are", answer.status == 403 and "student@example.edu" in text, (at, text))
    a = ask("/all/x", cookie=cookie_of(b))
    check("and is served where they are", fields(a, "remote-user") == ["student@example.edu"], a)


def codes():
    one, at, _, _ = login(stop=[origin() + OURS + "session"])
    answer, _ = script().once("GET", at)
    check("a code in a browser that began nothing (login CSRF)", answer.status == 403 and not answer.headers.get("Set-Cookie"), answer.headers)
    one, at, _, _ = login(path=OURS + "login?back=%2F%2Fevil.example%2F", stop=[origin() + OURS + "session"])
    answer, text = one.once("GET", at)
    check("a code in its own browser, which leads to no other place (open redirect)", answer.status == 303 and
          answer.headers["Location"] == "/" and cookie_of(one), (answer.status, text))
    one.jar.clear()
    answer, _ = one.once("GET", at)
    check("is good once (replay)", answer.status == 403 and not cookie_of(one), answer.headers)
    for headers in (["X-Forwarded-Host: evil.example"], ["X-Original-Host: evil.example"], ["Forwarded: host=evil.example"]):
        a = ask(headers=PAGE + headers)
        check("nor by %s" % headers[0], a[0] in (303, 400, 403) and "evil" not in json.dumps(a[1]), a)
    a = ask(headers=PAGE, host="evil.example")
    check("under another name it is not there (rebinding)", not told(a) and "evil" not in a[1].get("location", ""), a)


def elsewhere(value):
    """At a service that is another's, by its own name and by this one's."""
    for host in {other, server}:
        a = ask(at=other, host=host + ".example.edu", cookie=value, headers=PAGE)
        check("the cookie is nobody's at another service", not told(a) and
              (a[0] == 303 and "service=" + other in a[1]["location"] or host != other), a)


def the_end(b, value, session):
    """A session that ends while a connection is open, and a WebSocket is."""
    s = connect()
    check("a connection is kept", told(talk(s, cookie=value)) is not None)
    ws = connect()

    def echo(text):
        ws[0].sendall(text)
        return ws[1].read(len(text)) == text

    a = talk(ws, "/page", headers=UPGRADE + ["Origin: " + origin()], cookie=value)
    check("their own WebSocket opens, as them", a[0] == 101 and a[1].get("x-who") == "staff@example.edu", a)
    check("and carries", echo(b"one"))
    admin("DELETE", "sessions/" + session)

    def refused():
        nonlocal s
        try:
            a = talk(s, cookie=value)
        except OSError:
            a = (0,)
        if a[0] == 0:
            s = connect()
        return echo(b"still") and a[0] == 401 and not told(a)
    check("the session ends: the next request on it is refused", until(refused))
    a = ask(cookie=value, headers=PAGE)
    check("and a page leads to the login again", a[0] == 303 and a[1]["location"].startswith(LOGIN), a)
    # as doc/http 7 says: a server that only asks does not ask about this again
    check("what was upgraded before goes on, as is said", echo(b"two"))
    b, _, answer, _ = login(b=b)
    check("the provider knows them still: logged in again", answer.status == 200, answer.status)
    answer, text = b.once("GET", origin() + OURS + "logout")
    check("there is a page to log out", answer.status == 200 and "<form method=\"post\">" in text, text)
    value = cookie_of(b)
    a = ask(OURS + "logout", cookie=value, method="POST", body=b"", headers=["Origin: https://evil.example"])
    check("which another site's page does not press", a[0] == 403, a)
    answer, text = b.once("POST", origin() + OURS + "logout", b"")
    check("it logs out", answer.status == 200 and "not logged in here any more" in text, text)
    check("and the cookie is nobody's", until(lambda: ask(cookie=value)[0] == 401))


addresses = [n[k] for n in admin("GET", "nodes")["nodes"] for k in ("v4", "v6") if n.get(k)][:4]
check("it is there", until(lambda: ask(headers=PAGE)[0] == 303))
nobody()
kept = somebody()
if other != server:
    until(lambda: ask(at=other, host=other + ".example.edu", headers=PAGE)[0] == 303)
    elsewhere(kept[1])
another()
codes()
the_end(*kept)
print("# %d passed, %d failed" % (passed, failed))
sys.exit(1 if failed else 0)
