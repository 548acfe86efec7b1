#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Basic authentication for applications that know passwords alone: the person's
login with one secret of the service, in place of what the client says. A student,
forgeries and what cannot be said first; nginx's auth_basic is the application.
"""
import base64
import http.server
import json
import os
import pwd
import re
import signal
import socket
import threading

from harness import STAFF, STUDENT, begin, check, configure, listening, program, read_file, reeved, run, skip, start, \
    until, write

TMP = begin("basic")
SECRETS = {"echo": "echo-secret-0123456789", "short": "short-secret-0123456789", "web": "nginx-secret-0123456789"}
FORGED = ["Authorization: Basic " + base64.b64encode(b"admin:x").decode(), "authorization: Bearer admin",
          "AUTHORIZATION: Basic x", "Author-ization: Basic admin", "Author_ization: Basic admin"]
PEOPLE = [STAFF, STUDENT, {"from": "127.0.0.5", "tags": ["tag:server"]}, {"from": "127.0.0.6", "login": "a:b@example.edu"}]


class Application(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = json.dumps([[k, v] for k, v in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def ask(port, source="127.0.0.1", headers=(), host="app"):
    s = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0))
    s.sendall("\r\n".join(["GET / HTTP/1.1", f"Host: {host}", *headers, "Connection: close"]).encode() + b"\r\n\r\n")
    data = b""
    while more := s.recv(65536):
        data += more
    s.close()
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def authorizations(answer):
    return [v for k, v in json.loads(answer[1]) if re.sub("[^a-z]", "", k.lower()) == "authorization"] \
        if answer[0] == 200 else answer


def basic(user, secret):
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


def put_secret(name, text, mode=0o600):
    reeve = pwd.getpwnam("reeve")
    os.chown(write(f"{name}.secret", text + "\n", mode), reeve.pw_uid, reeve.pw_gid)


def reload(proc, word):
    before = read_file("reeved.log").count(word)
    proc.send_signal(signal.SIGHUP)
    return until(30, lambda: read_file("reeved.log").count(word) > before)


def test_nginx():
    nginx = program("nginx")
    if not nginx:
        return skip("nginx", "nginx-light is not installed")
    write("htpasswd", f"staff@example.edu:{{PLAIN}}{SECRETS['web']}\nother@example.edu:{{PLAIN}}x\n")
    conf = write("nginx.conf", f"""
daemon off;
pid {TMP}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {TMP}/b; proxy_temp_path {TMP}/p; fastcgi_temp_path {TMP}/f; uwsgi_temp_path {TMP}/u; scgi_temp_path {TMP}/s;
  server {{ listen 127.0.0.1:1405; auth_basic "pages"; auth_basic_user_file {TMP}/htpasswd;
    location / {{ try_files /nothing @hello; }} location @hello {{ add_header X-User $remote_user; return 200 "hello $remote_user"; }} }}
}}
""")
    start(nginx, "-c", conf, name="nginx")
    if not until(30, lambda: listening(1405)):
        return check("nginx starts", False, read_file("nginx.log"))
    check("nginx by itself wants a password", ask(1405)[0] == 401)
    check("nginx: a student has a login, and no password there", ask(1404, "127.0.0.2")[0] == 401, ask(1404, "127.0.0.2"))
    a = ask(1404)
    check("nginx: staff is in without one", a[0] == 200 and a[1] == b"hello staff@example.edu", a)
    a = ask(1404, headers=["Authorization: " + basic("other@example.edu", "x")])
    check("nginx: and stays staff with another's password", a[0] == 200 and a[1] == b"hello staff@example.edu", a)
    return None


def main():
    app = http.server.ThreadingHTTPServer(("127.0.0.1", 1402), Application)
    threading.Thread(target=app.serve_forever, daemon=True).start()
    for name, secret in SECRETS.items():
        put_secret(name, secret)
    up = {"upstream": ["http://127.0.0.1:1402"], "hosts": ["app"]}
    services = {
        "echo": {"listen": ["127.0.0.1:1401"], **up, "basic-secret": "echo.secret"},
        "short": {"listen": ["127.0.0.1:1403"], **up, "basic-secret": "short.secret", "basic-user": "short-login"},
        "web": {"listen": ["127.0.0.1:1404"], "upstream": ["http://127.0.0.1:1405"], "hosts": ["app"],
                "basic-secret": "web.secret"},
        "without": {"listen": ["127.0.0.1:1406"], **up},
    }
    grants = [{"src": ["staff@example.edu", "a:b@example.edu", "127.0.0.5"], "dst": [f"svc:{n}" for n in services], "ip": ["*"]},
              {"src": ["student@example.edu"], "dst": ["svc:web"], "ip": ["*"]}]
    proc = reeved(configure(PEOPLE, services, grants), 1401)
    if not proc or not until(30, lambda: ask(1401)[0] == 200):
        return check("reeved serves", False, read_file("reeved.log"))
    check("a student is refused", ask(1401, "127.0.0.2")[0] == 403)
    check("nobody is refused", ask(1401, "127.0.0.3")[0] == 403)
    a = ask(1401, "127.0.0.6")
    check("a login with a colon would be another's: refused with its reason", a[0] == 500 and b"user name" in a[1], a)
    for line in FORGED:
        seen = authorizations(ask(1401, "127.0.0.5", headers=[line]))
        check(f"a server has no login, and {line!r} does not arrive", seen == [], seen)
        seen = authorizations(ask(1401, headers=[line]))
        check(f"staff is staff, whatever {line!r} says", seen == [basic("staff@example.edu", SECRETS["echo"])], seen)
    seen = authorizations(ask(1401, headers=FORGED))
    check("nor do all of them", seen == [basic("staff@example.edu", SECRETS["echo"])], seen)
    seen = authorizations(ask(1401, headers=["Connection: Authorization"]))
    check("nor can it be taken away", seen == [basic("staff@example.edu", SECRETS["echo"])], seen)
    seen = authorizations(ask(1403))
    check("each service has its own secret; the name may be the short one", seen == [basic("staff", SECRETS["short"])], seen)
    seen = authorizations(ask(1406, headers=FORGED[:1]))
    check("where it is not asked for, the client's own passes", seen == [FORGED[0].split(": ")[1]], seen)
    test_nginx()

    for what, text, mode in (("that others may read", "x" * 20, 0o644), ("that is too short", "x" * 15, 0o600),
                             ("with a space", "x" * 20 + " y", 0o600)):
        put_secret("echo", text, mode)
        check(f"a secret {what} is refused", reload(proc, " stays"), read_file("reeved.log")[-300:])
        check("and the old one goes on", authorizations(ask(1401)) == [basic("staff@example.edu", SECRETS["echo"])])
    put_secret("echo", "another-secret-0123456789")
    check("a new one is taken", reload(proc, "is in use"))
    check("and used", until(30, lambda: authorizations(ask(1401)) == [basic("staff@example.edu", "another-secret-0123456789")]))
    logs = read_file("reeved.log")
    words = [*SECRETS.values(), "another-secret-0123456789"]
    words += [basic(u, s)[10:40] for s in words for u in ("staff@example.edu", "staff")]
    check("no secret is in a log, in either form", not [w for w in words if w in logs])
    return None


run(main)
