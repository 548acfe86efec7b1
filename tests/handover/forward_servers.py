#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forward authentication before the real nginx, Caddy, HAProxy and Apache, each
with the configuration that contrib/forward-auth has for it, word for word. For
each: nobody, another person and every forgery first; then the right one; then
the helper's user who may no longer ask, Reeve away, and a person who goes while
their connection is open.

  127.0.0.1 staff, .2 student, .4 a login too old -- :80 server -- 127.0.0.1:8080 application
                                                         \\-- /run/reeve/forward/wiki -- reeved
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../apps"))
import harness
from harness import STAFF, STUDENT, begin, check, listening, program, read_file, run, skip, start, until, users, write
from told import Application, Threaded

TMP = begin("forward_servers")
TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
CONTRIB = f"{TOP}/contrib/forward-auth"
HOST = "wiki.example.edu"
SOCKET = "/run/reeve/forward/wiki"
PEOPLE = [STAFF, STUDENT, {"from": "127.0.0.4", "login": "admin@example.edu", "auth_time": 1500000000}]
RULE = {"dst": ["svc:wiki"], "ip": ["tcp:80"], "http": [{"methods": ["GET", "HEAD", "POST"], "paths": ["/", "/a/**", "/page"]}]}
GRANTS = [{**RULE, "src": ["staff@example.edu"]}, {**RULE, "src": ["admin@example.edu"], "auth": {"maxAge": "8h"}}]
SPOOFS = ["Remote-User: admin", "Remote_User: admin", "REMOTE-USER: admin", "Remote.User: admin", "Remote-Groups: admin",
          "Remote-Name: admin", "Remote_Groups: admin", "remote-email: admin", "X-Reeve-Reason: admin"]
CLAIMS = ["X-Real-IP: 127.0.0.1", "X-Forwarded-For: 127.0.0.1", "X-Original-URI: /", "X-Forwarded-Uri: /",
          "X-Forwarded-Host: " + HOST, "X-Original-Method: GET", "X-Forwarded-Method: GET", "X-Client-IP: 127.0.0.1",
          "Forwarded: for=127.0.0.1", "X_Real_IP: 127.0.0.1", "X-Original-Host: " + HOST]


def call(source):
    s = socket.create_connection(("127.0.0.1", 80), timeout=60, source_address=(source, 0))
    return s, s.makefile("rb")


def talk(conn, target="/", headers=(), method="GET", body=None, host=HOST, close=False):
    """(status, fields, body) of one request on an open connection."""
    s, f = conn
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    if close:
        lines.append("Connection: close")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    s.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
    first = f.readline()
    if not first:
        return 0, {}, b""
    fields = {}
    while (line := f.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        fields[name.lower()] = value.strip()
    if method == "HEAD":
        rest = b""
    elif fields.get("transfer-encoding") == "chunked":
        rest = b""
        while n := int(f.readline().split(b";")[0], 16):
            rest += f.read(n)
            f.readline()
        f.readline()
    else:
        rest = f.read(int(fields["content-length"])) if "content-length" in fields else f.read()
    return int(first.split(b" ")[1]), fields, rest


def ask(target="/", source="127.0.0.1", **more):
    s, f = call(source)
    try:
        return talk((s, f), target, close=True, **more)
    except OSError as e:
        return 0, {}, str(e).encode()
    finally:
        f.close()
        s.close()


def told(answer):
    """What the application was told, or None if it was not reached."""
    return json.loads(answer[2]) if answer[1].get("x-app") else None


def values(answer):
    t = told(answer)
    return [v for k, v in t["fields"]] if t else []


def field(answer, name):
    t = told(answer)
    return [v for k, v in t["fields"] if k == name] if t else None


def websocket(source, origin):
    """(status, fields, what comes back of "ping")"""
    s, f = call(source)
    s.sendall("\r\n".join(["GET /a/ws HTTP/1.1", f"Host: {HOST}", "Upgrade: websocket", "Connection: Upgrade", f"Origin: {origin}",
                           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "", ""]).encode())
    first = f.readline()
    fields = {}
    while (line := f.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        fields[name.lower()] = value.strip()
    status = int(first.split(b" ")[1]) if first else 0
    back = b""
    if status == 101:
        s.sendall(b"ping")
        back = f.read(4)
    f.close()
    s.close()
    return status, fields, back


def configure(style, user, listen="unix:wiki"):
    write("identities.hujson", json.dumps(PEOPLE))
    write("policy.hujson", json.dumps({"grants": GRANTS}))
    return write("reeved.hujson", json.dumps({
        "identities": "identities.hujson", "policy": "policy.hujson", "unprivileged": True, "run-dir": "/run/reeve",
        # one, or what the first knows of a reload says nothing of what the second does
        "state-dir": "state", "fronts": 1, "login-url": "https://hub.example/login", "services": {"wiki": {
            "forward-auth": style, "listen": [listen], "forward-users": [user], "hosts": [HOST],
            "profiles": ["remote-user"]}}}))


def reload(reeved):
    before = read_file("reeved.log").count("is in use")
    reeved.send_signal(signal.SIGHUP)
    return until(30, lambda: read_file("reeved.log").count("is in use") > before)


def battery(name):
    a = ask(source="127.0.0.3")
    check(f"{name}: nobody is refused", a[0] == 403 and not told(a), a)
    a = ask(source="127.0.0.2")
    check(f"{name}: another person is refused", a[0] == 403 and not told(a), a)
    a = ask(source="127.0.0.4", target="/page", headers=["Accept: text/html"])
    check(f"{name}: whose login is too old sees where to log in, and is not redirected", a[0] == 401
          and b'href="https://hub.example/login?return=http%3A%2F%2Fwiki.example.edu%2Fpage"' in a[2]
          and "location" not in a[1], a)
    for line in CLAIMS:
        a = ask(source="127.0.0.2", headers=[line])
        check(f"{name}: {line!r} makes nobody staff", a[0] >= 400 and not told(a), a)
        a = ask("/secret", headers=[line])
        check(f"{name}: {line!r} opens no other page", a[0] >= 400 and not told(a), a)
    a = ask(source="127.0.0.2", headers=CLAIMS)
    check(f"{name}: nor do all of them", a[0] >= 400 and not told(a), a)
    a = ask("/secret", method="DELETE")
    check(f"{name}: a method without a grant", a[0] == 403 and not told(a), a)
    for target in ("/a/../secret", "/a/%2e%2e/secret", "/a/..;/secret", "//secret", "/a/%2fsecret", "/secre%74", "/_reeve",
                   "/.well-known/reeve/jwks.json"):
        a = ask(target)
        check(f"{name}: {target} is refused", a[0] >= 400 and not told(a), a)
    a = ask(host="other.example.edu")
    check(f"{name}: another host", not told(a), a)
    for line in SPOOFS:
        a = ask(headers=[line])
        check(f"{name}: {line!r} does not arrive", (a[0] == 200 or a[0] == 403) and "admin" not in values(a), a)
        if told(a):
            check(f"{name}: and staff stays staff", field(a, "remote-user") == ["staff@example.edu"], a)
    for headers in (["Sec-Fetch-Site: cross-site"], ["Origin: http://evil.example"]):
        a = ask(method="POST", body=b"x", headers=headers)
        check(f"{name}: POST with {headers} is refused", a[0] == 403 and not told(a), a)
    a = ask("/a/b%20c?x=1&y=%2F", headers=["X-Other: kept", "Cookie: a=1", "Accept: text/html"])
    t = told(a)
    check(f"{name}: staff passes", a[0] == 200 and t and t["path"] == "/a/b%20c?x=1&y=%2F", a)
    check(f"{name}: the application is told who it is", t and [field(a, f"remote-{n}") for n in ("user", "name", "groups")]
          == [["staff@example.edu"], ["Staff"], ["lab"]], a)
    check(f"{name}: and what is not known is not said", "remote-email" not in a[1] and field(a, "remote-email") in ([], [""]), a)
    check(f"{name}: the rest of the request is as it was", t and field(a, "x-other") == ["kept"] and field(a, "cookie")
          == ["a=1"], a)
    a = ask(method="POST", body=b"hello", headers=["Origin: http://" + HOST])
    t = told(a)
    check(f"{name}: a body arrives", t and t["method"] == "POST" and t["body"] == "hello", a)
    a = ask(method="HEAD")
    check(f"{name}: HEAD", a[0] == 200 and a[1].get("x-app") == "yes", a)
    a = websocket("127.0.0.1", "http://evil.example")
    check(f"{name}: a page of another site opens no WebSocket", a[0] == 403, a)
    a = websocket("127.0.0.2", "http://" + HOST)
    check(f"{name}: nor does a student", a[0] == 403, a)
    a = websocket("127.0.0.1", "http://" + HOST)
    check(f"{name}: staff does, and it works", a[0] == 101 and a[2] == b"ping" and a[1].get("x-who") == "staff@example.edu", a)
    c = call("127.0.0.1")
    check(f"{name}: many requests on one connection", all(talk(c)[0] == 200 for _ in range(20)))
    return c


def changes(name, style, user, kept, reeved):
    global PEOPLE
    configure(style, "games")
    check(f"{name}: reload, its user may no longer ask", reload(reeved))
    ok = until(30, lambda: ask()[0] >= 400)
    check(f"{name}: then nobody passes", ok and all(ask()[0] >= 400 for _ in range(5)), ask())
    configure(style, user, "unix:elsewhere")
    check(f"{name}: reload, Reeve is not where it is asked", reload(reeved))
    ok = until(30, lambda: not os.path.exists(SOCKET) and ask()[0] >= 400)
    check(f"{name}: then nobody passes either", ok and all(not told(ask()) for _ in range(5)), ask())
    configure(style, user)
    check(f"{name}: reload, as it was", reload(reeved))
    check(f"{name}: staff passes again", until(30, lambda: ask()[0] == 200), ask())
    kept = call("127.0.0.1")
    check(f"{name}: on a connection that stays open", talk(kept)[0] == 200)
    everybody = PEOPLE
    PEOPLE = PEOPLE[1:]
    configure(style, user)
    check(f"{name}: reload without staff", reload(reeved))

    def refused():
        a = talk(kept)
        return a[0] == 403 and not told(a)
    check(f"{name}: the next request on it is refused", until(30, refused))
    PEOPLE = everybody


def serve(name, style, user, argv, **more):
    conf = configure(style, user)
    reeved = start(f"{harness.BUILD}/reeved", "-c", conf, "-f", name="reeved")
    server = start(*argv, name=style, **more)
    try:
        if not until(30, lambda: os.path.exists(SOCKET) and listening(80)):
            return check(f"{name} and reeved start", False, read_file("reeved.log") + read_file(f"{style}.log"))
        if not until(30, lambda: ask()[0] == 200):
            return check(f"{name}: staff passes at all", False, (ask(), read_file(f"{style}.log")[-1500:]))
        changes(name, style, user, battery(name), reeved)
    finally:
        for p in (server, reeved):
            p.terminate()
        for p in (server, reeved):
            try:
                p.wait(40)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        until(30, lambda: not listening(80))
    return None


def nginx():
    binary = program("nginx")
    if not binary:
        return skip("nginx", "nginx-light is not installed")
    conf = write("nginx.conf", f"""
daemon off;
user www-data;
pid {TMP}/nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {TMP}/b; proxy_temp_path {TMP}/p; fastcgi_temp_path {TMP}/f; uwsgi_temp_path {TMP}/u; scgi_temp_path {TMP}/s;
  include {CONTRIB}/nginx/wiki.conf;
}}
""")
    return serve("nginx", "nginx", "www-data", [binary, "-c", conf])


def caddy():
    binary = program("caddy")
    if not binary:
        return skip("Caddy", "caddy is not installed")
    home = f"{TMP}/caddy"
    os.makedirs(home)
    shutil.chown(home, "caddy", "caddy")
    file = write("Caddyfile", open(f"{CONTRIB}/caddy/Caddyfile", encoding="utf-8").read())
    # to listen at 80 as its own user, as its unit lets it
    return serve("Caddy", "caddy", "caddy",
                 ["setpriv", "--reuid", "caddy", "--regid", "caddy", "--clear-groups", "--inh-caps=+net_bind_service",
                  "--ambient-caps=+net_bind_service", binary, "run", "--config", file, "--adapter", "caddyfile"],
                 env={**os.environ, "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home})


def haproxy():
    binary = program("haproxy")
    if not binary:
        return skip("HAProxy", "haproxy is not installed")
    text = open(f"{CONTRIB}/haproxy/haproxy.cfg", encoding="utf-8").read()
    conf = write("haproxy.cfg", text.replace("/etc/haproxy/reeve.lua", f"{CONTRIB}/haproxy/reeve.lua"))
    return serve("HAProxy", "haproxy", "haproxy", [binary, "-db", "-f", conf])


def apache():
    binary = program("apache2")
    modules = "/usr/lib/apache2/modules"
    if not binary or not os.path.exists(f"{modules}/mod_lua.so"):
        return skip("Apache", "apache2-bin is not installed")
    if not os.path.exists("/usr/share/lua/5.3/socket.lua"):
        return skip("Apache", "lua-socket is not installed")
    load = "\n".join(f"LoadModule {m}_module {modules}/mod_{m}.so" for m in
                     ("mpm_event", "authz_core", "setenvif", "lua", "proxy", "proxy_http"))
    site = open(f"{CONTRIB}/apache/wiki.conf", encoding="utf-8").read()
    site = write("wiki.conf", site.replace("/etc/apache2/reeve.lua", f"{CONTRIB}/apache/reeve.lua"))
    conf = write("apache.conf", f"""
{load}
ServerRoot {TMP}
PidFile {TMP}/apache.pid
ServerName localhost
User www-data
Group www-data
ErrorLog {TMP}/apache.err
Listen 80
<VirtualHost *:80>
  ServerName nothing.example.edu
  Redirect 404 /
</VirtualHost>
Include {site}
""".replace("  Redirect 404 /\n", "  <Location />\n    Require all denied\n  </Location>\n"))
    return serve("Apache", "apache", "www-data", [binary, "-f", conf, "-D", "FOREGROUND"])


def main():
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"], check=True)
    users(["caddy", "haproxy"], 3980)
    app = Threaded(("127.0.0.1", 8080), Application)
    threading.Thread(target=app.serve_forever, daemon=True).start()
    nginx()
    caddy()
    haproxy()
    apache()


run(main)
