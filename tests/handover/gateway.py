#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""FastCGI, SCGI and uwsgi upstreams: the real php-fpm, a Perl CGI through
fcgiwrap, and uWSGI (its own protocol and SCGI) learn REMOTE_USER as a variable.
A student and forged fields first.
"""
import glob
import hashlib
import json
import os
import socket
import struct
import threading
import time

from harness import STAFF, STUDENT, accepting, begin, check, configure, listening, program, read_file, reeved, run, skip, start, \
    until, whole, write

TMP = begin("gateway")

PHP = """<?php
if (isset($_GET['upload'])) { echo hash('sha256', file_get_contents('php://input')); return; }
if (isset($_GET['big'])) { for ($i = 0; $i < 4096; $i++) echo str_repeat(chr(65 + $i % 26), 1024); return; }
if (isset($_GET['err'])) { error_log("a word from the application"); http_response_code(418); }
header('Content-Type: application/json');
header('X-App: php');
echo json_encode(array_map('strval', array_filter($_SERVER, 'is_scalar')));
"""
PERL = """#!/usr/bin/perl
if (($ENV{QUERY_STRING} // '') eq 'redirect') { print "Location: /elsewhere\\n\\n"; exit; }
if (($ENV{QUERY_STRING} // '') eq 'status') { print "Status: 404 Not Found\\nContent-Type: text/plain\\n\\nno\\n"; exit; }
if (($ENV{QUERY_STRING} // '') eq 'split') { print "Transfer-Encoding: chunked\\nContent-Type: text/plain\\n\\n0\\n\\n"; exit; }
print "Content-Type: text/plain\\n\\n";
print "$_=$ENV{$_}\\n" for sort keys %ENV;
"""
PYTHON = """
import hashlib, json
def application(env, start_response):
    body = env['wsgi.input'].read(int(env.get('CONTENT_LENGTH') or 0))
    start_response('200 OK', [('Content-Type', 'application/json')])
    env = {k: v for k, v in env.items() if isinstance(v, str)}
    env['body'] = hashlib.sha256(body).hexdigest()
    return [json.dumps(env).encode()]
"""

SPOOFS = ["Remote-User: admin", "Remote_User: admin", "REMOTE-USER: admin", "X-Remote-User: admin", "Auth-Type: x",
          "Proxy: http://10.0.0.1/", "Redirect-Remote-User: admin", "Http-Remote-User: admin"]


def ask(port, target="/", source="127.0.0.1", headers=(), body=None, host="app", method=None):
    """(status, fields, body) over a socket of our own: urllib would tidy up."""
    s = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0))
    lines = [f"{method or ('POST' if body is not None else 'GET')} {target} HTTP/1.1", f"Host: {host}", "Connection: close",
             *headers]
    if body is not None and not any(h.lower().startswith("transfer-encoding") for h in headers):
        lines.append(f"Content-Length: {len(body)}")
    s.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
    answer = b""
    if any(h.lower().startswith("expect:") for h in headers):
        while b"\r\n\r\n" not in answer:
            answer += s.recv(4096)
        first, _, answer = answer.partition(b"\r\n\r\n")
        check("an Expect is answered before the body is sent", first.startswith(b"HTTP/1.1 100"), first)
    if body:
        if len(body) < 100:
            time.sleep(0.05)    # an answer that did not wait for the body must survive its arrival
        try:
            s.sendall(body)
        except OSError:
            pass
    while data := s.recv(1 << 16):
        answer += data
    s.close()
    head, _, rest = answer.partition(b"\r\n\r\n")
    head = head.decode("latin-1").split("\r\n")
    fields = {h.split(":")[0].lower(): h.split(":", 1)[1].strip() for h in head[1:] if ":" in h}
    if fields.get("transfer-encoding") == "chunked":
        rest = whole(rest)
    return int(head[0].split(" ")[1]) if head[0] else 0, fields, rest


def variables(what, env, method="GET"):
    check(f"{what}: REMOTE_USER is the person", env.get("REMOTE_USER") == "staff@example.edu", env.get("REMOTE_USER"))
    spoofed = {k: v for k, v in env.items() if v == "admin" or k == "HTTP_PROXY"}
    check(f"{what}: of {len(SPOOFS)} forged fields none arrives", not spoofed, spoofed)
    check(f"{what}: method, query and address", (env.get("REQUEST_METHOD"), env.get("QUERY_STRING"), env.get("REMOTE_ADDR"))
          == (method, "a=1&b=%20", "127.0.0.1"), env)
    check(f"{what}: fields of one name are one variable, and cookies", env.get("HTTP_X_LIST") == "one, two"
          and env.get("HTTP_COOKIE") == "a=1; b=2", (env.get("HTTP_X_LIST"), env.get("HTTP_COOKIE")))


FIELDS = SPOOFS + ["X-List: one", "X-List: two", "Cookie: a=1", "Cookie: b=2", "X_List: three"]
BODY = os.urandom(3 << 20)
DIGEST = hashlib.sha256(BODY).hexdigest()


def test_php():
    fpm = next(iter(sorted(glob.glob("/usr/sbin/php-fpm*"))), None)
    if not fpm:
        return skip("php-fpm", "php-fpm is not installed")
    os.makedirs(f"{TMP}/www", exist_ok=True)
    write("www/index.php", PHP)
    write("www/other.php", PHP)
    conf = write("fpm.conf", f"""
[global]
error_log = {TMP}/fpm.err
daemonize = no
[www]
user = nobody
group = nogroup
listen = 127.0.0.1:3001
pm = static
pm.max_children = 2
php_admin_flag[log_errors] = on
""")
    start(fpm, "-y", conf, name="fpm")
    if not until(30, lambda: listening(3001)):
        return check("php-fpm starts", False, read_file("fpm.log"))
    check("PHP: a student is refused", ask(1101, source="127.0.0.2")[0] == 403)
    check("PHP: nobody is refused", ask(1101, source="127.0.0.3")[0] == 403)
    status, fields, body = ask(1101, "/other.php/extra%20path?a=1&b=%20", headers=FIELDS)
    check("PHP: answers, with its own fields", status == 200 and fields.get("x-app") == "php", (status, fields, body[:200]))
    env = json.loads(body)
    variables("PHP", env)
    check("PHP: script and rest of the path", (env.get("SCRIPT_NAME"), env.get("PATH_INFO"))
          == ("/other.php", "/extra path"), (env.get("SCRIPT_NAME"), env.get("PATH_INFO")))
    env = json.loads(ask(1101, "/some/page?a=1&b=%20")[2])
    check("PHP: what names no script goes to the front controller", (env.get("SCRIPT_FILENAME"), env.get("REQUEST_URI"))
          == (f"{TMP}/www/index.php", "/some/page?a=1&b=%20"), env)
    check("PHP: 3 MiB arrive unharmed", ask(1101, "/?upload", body=BODY)[2].decode() == DIGEST)
    check("PHP: an empty body is one", ask(1101, "/?upload", body=b"")[2].decode() == hashlib.sha256(b"").hexdigest())
    check("PHP: a body after 100", ask(1101, "/?upload", body=b"x", headers=["Expect: 100-continue"])[2].decode()
          == hashlib.sha256(b"x").hexdigest())
    big = ask(1101, "/?big")[2]
    check("PHP: 4 MiB come back", len(big) == 4 << 20 and big[:2] == b"AA", len(big))
    check("PHP: HEAD has no body", ask(1101, "/", method="HEAD")[2] == b"")
    status, _, _ = ask(1101, "/?err")
    check("PHP: its status", status == 418, status)
    check("PHP: its error text is in the log", until(30, lambda: "a word from the application" in read_file("reeved.log")))
    status, _, body = ask(1101, "/?upload", headers=["Transfer-Encoding: chunked"], body=b"1\r\nx\r\n0\r\n\r\n")
    check("PHP: a body without a length is refused with its reason", status == 411 and b"length" in body, (status, body))


def test_perl():
    wrap = program("fcgiwrap")
    if not wrap or not program("perl"):
        return skip("fcgiwrap", "fcgiwrap or perl is not installed")
    script = write("app.pl", PERL, 0o755)
    start(wrap, "-s", f"unix:{TMP}/fcgiwrap.sock", name="fcgiwrap")
    if not until(30, lambda: accepting(f"{TMP}/fcgiwrap.sock")):
        return check("fcgiwrap starts", False, read_file("fcgiwrap.log"))
    check("Perl: a student is refused", ask(1102, source="127.0.0.2")[0] == 403)
    env = dict(line.split("=", 1) for line in ask(1102, "/x?a=1&b=%20", headers=FIELDS)[2].decode().splitlines())
    variables("Perl", env)
    check("Perl: the script that was configured", env.get("SCRIPT_FILENAME") == script, env)
    status, fields, _ = ask(1102, "/?redirect")
    check("Perl: Location alone is a redirect", (status, fields.get("location")) == (302, "/elsewhere"), (status, fields))
    check("Perl: Status", ask(1102, "/?status")[0] == 404)
    check("Perl: an application does not choose the framing", ask(1102, "/?split")[0] == 502)


def test_uwsgi():
    uwsgi = program("uwsgi")
    if not uwsgi:
        return skip("uWSGI", "uwsgi-core is not installed")
    write("app.py", PYTHON)
    start(uwsgi, "--plugin", "python3", "--need-app", "--master", "--die-on-term", "--socket", "127.0.0.1:3003",
          "--scgi-socket", "127.0.0.1:3004", "--chdir", TMP, "--module", "app", "--processes", "2", "--buffer-size", "32768",
          name="uwsgi")
    if not until(30, lambda: listening(3003) and listening(3004)):
        return check("uWSGI starts", False, read_file("uwsgi.log"))
    for name, port in (("uwsgi", 1103), ("SCGI", 1104)):
        check(f"{name}: a student is refused", ask(port, source="127.0.0.2")[0] == 403)
        status, _, body = ask(port, "/a%20b?a=1&b=%20", headers=FIELDS, body=BODY)
        check(f"{name}: answers", status == 200, (status, body[:300]))
        env = json.loads(body) if status == 200 else {}
        variables(name, env, "POST")
        check(f"{name}: 3 MiB arrive unharmed, the path decoded", (env.get("body"), env.get("PATH_INFO")) == (DIGEST, "/a b"), env)


def record(kind, data=b"", request=1, pad=0):
    return struct.pack(">BBHHBB", 1, kind, request, len(data), pad, 0) + data + b"\0" * pad


END = record(3, struct.pack(">IB3x", 0, 0))
HEAD = b"Content-Type: text/plain\r\n\r\n"
# What a broken application sends, and what the person sees.
BROKEN = [
    ("nothing at all", b"", 502),
    ("no record", b"HTTP/1.1 200 OK\r\n\r\nhello", 502),
    ("another version", b"\2" + record(6, HEAD + b"hi")[1:] + END, 502),
    ("another request's record", record(6, HEAD + b"hi", request=2) + END, 502),
    ("an end before the head", record(6, b"Content-Type: te") + END, 502),
    ("no head", record(6, b"\r\nhello") + END, 502),
    ("an end that says overloaded", record(3, struct.pack(">IB3x", 0, 2)), 502),
    ("an end of the wrong size", record(3, b"\0" * 7) + record(6, HEAD + b"hi"), 502),
    ("a second Status", record(6, b"Status: 200\nStatus: 500\n\n") + END, 502),
    ("a Status that is none", record(6, b"Status: ok\n\n") + END, 502),
    ("a control in a field", record(6, b"X: a\0b\n\n") + END, 502),
    ("whole, byte by byte", record(7, b"oops", pad=3) + record(6, HEAD[:5], pad=7) + record(6, HEAD[5:] + b"hel") + record(6)
     + record(6, b"lo", pad=1) + END + b"surplus", 200),
]


def test_broken():
    server = socket.create_server(("127.0.0.1", 3005))
    answers = []

    def serve():
        while True:
            c, _ = server.accept()
            c.recv(65536)
            for i in range(len(answers[0])):
                try:
                    c.sendall(answers[0][i:i + 1])
                except OSError:
                    break
            c.close()

    threading.Thread(target=serve, daemon=True).start()
    for what, answer, want in BROKEN:
        answers[:] = [answer]
        status, _, body = ask(1105)
        check(f"FastCGI: {what}", status == want and (want != 200 or body == b"hello"), (status, body[:200]))


def main():
    services = {
        "php": {"listen": ["127.0.0.1:1101"], "upstream": ["fastcgi://127.0.0.1:3001"], "root": f"{TMP}/www",
                "script": f"{TMP}/www/index.php", "hosts": ["app"]},
        "perl": {"listen": ["127.0.0.1:1102"], "upstream": [f"fastcgi+unix:{TMP}/fcgiwrap.sock"], "script": f"{TMP}/app.pl",
                 "hosts": ["app"]},
        "uwsgi": {"listen": ["127.0.0.1:1103"], "upstream": ["uwsgi://127.0.0.1:3003"], "hosts": ["app"]},
        "scgi": {"listen": ["127.0.0.1:1104"], "upstream": ["scgi://127.0.0.1:3004"], "hosts": ["app"]},
        "broken": {"listen": ["127.0.0.1:1105"], "upstream": ["fastcgi://127.0.0.1:3005"], "hosts": ["app"]},
    }
    grants = [{"src": ["staff@example.edu"], "dst": [f"svc:{n}" for n in services], "ip": ["*"]}]
    if not reeved(configure([STAFF, STUDENT], services, grants), 1101):
        return
    test_php()
    test_perl()
    test_uwsgi()
    test_broken()


run(main)
