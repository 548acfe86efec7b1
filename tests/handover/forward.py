#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forward authentication by script: every style's contract, as the server asks,
over a unix socket and over loopback. Who may not ask, who may not pass and what
cannot be read in one way first. forward_servers.py has the real servers.

  this script, as www-data or somebody else -- unix socket / loopback -- reeved
"""
import json
import os
import pwd
import re
import signal
import socket
import stat
import struct

import harness
from harness import STAFF, STUDENT, begin, check, configure, read_file, reeved, run, until, write

TMP = begin("forward")
USER = "www-data"
SECRET = "0123456789abcdef0123456789abcdefX"

STYLES = {
    "nginx": ("X-Original-Method", "X-Original-URI", "X-Original-Host", "X-Original-Proto", "X-Real-IP"),
    "haproxy": ("X-Original-Method", "X-Original-URI", "X-Original-Host", "X-Original-Proto", "X-Real-IP"),
    "apache": ("X-Original-Method", "X-Original-URI", "X-Original-Host", "X-Original-Proto", "X-Real-IP"),
    "traefik": ("X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For"),
    "caddy": ("X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For"),
    "envoy": (None, None, None, "X-Forwarded-Proto", "X-Forwarded-For"),
}


def question(style, source="127.0.0.1", method="GET", target="/", host="app", proto="http", headers=(), leave=(),
             close=True):
    """The bytes by which a server of this style asks."""
    names = STYLES[style]
    values = (method, target, host, proto, source)
    own = names[0] is None
    lines = [f"{method} {target} HTTP/1.1" if own else "GET /_reeve HTTP/1.1", f"Host: {host if own else 'reeve'}"]
    lines += [f"{n}: {v}" for n, v in zip(names, values) if n and n not in leave]
    lines += list(headers)
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def parse(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    return (int(lines[0].split(" ")[1]) if lines[0] else 0), fields, body


def connect(at):
    s = socket.socket(socket.AF_UNIX if isinstance(at, str) else socket.AF_INET)
    s.settimeout(60)
    s.connect(at if isinstance(at, str) else ("127.0.0.1", at))
    return s


def exchange(at, text, user=USER):
    """Asked by a process of that user: credentials are those of connect(2)."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer = b""
        try:
            if user:
                os.setgroups([])
                os.setgid(pwd.getpwnam(user).pw_gid)
                os.setuid(pwd.getpwnam(user).pw_uid)
            s = connect(at)
            s.sendall(text)
            while data := s.recv(65536):
                answer += data
        except OSError as e:
            answer = b"HTTP/1.1 0 " + str(e).encode() + b"\r\n\r\n"
        with os.fdopen(w, "wb") as out:
            out.write(answer)
        os._exit(0)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        answer = f.read()
    os.waitpid(pid, 0)
    return parse(answer)


def sock(style):
    return f"{TMP}/run/forward/{style}"


def ask(style, **more):
    user = more.pop("user", USER)
    at = more.pop("at", sock(style))
    return exchange(at, question(style, **more), user)


def reason(answer):
    return answer[0], answer[1].get("x-reeve-reason")


REFUSED = 403


def status_of(style, status):
    return status if status == 401 or style != "nginx" else REFUSED


def test_peers(style):
    a = ask(style, user="nobody", at=sock("shared"))
    check(f"{style}: another user's process may not ask", style != "nginx" or reason(a) == (403, "forward-peer"), a)
    a = ask(style, user=None)
    check(f"{style}: nor may root, who is not on the list", reason(a) == (403, "forward-peer"), a)
    a = ask(style, user="nobody")
    check(f"{style}: the socket is its user's alone", a[0] == 0 or reason(a) == (403, "forward-peer"), a)


def test_style(style):
    names = STYLES[style]
    test_peers(style)
    for name in names:
        if not name:
            continue
        a = ask(style, leave=[name])
        check(f"{style}: refused without {name}", reason(a) == (403, "forward-question"), a)
        a = ask(style, headers=[f"{name}: 127.0.0.1"])
        check(f"{style}: refused with two {name}", reason(a) == (403, "forward-question"), a)
    a = ask(style, source="127.0.0.3")
    check(f"{style}: nobody is refused", reason(a) == (403, "unknown-address"), a)
    a = ask(style, source="not an address")
    check(f"{style}: an address that is none", reason(a) == (403, "forward-question"), a)
    a = ask(style, source="127.0.0.2")
    check(f"{style}: another person is refused", reason(a) == (403, "not-granted"), a)
    a = ask(style, source="127.0.0.2", headers=["X-Forwarded-For: 127.0.0.1"] if style not in ("traefik", "caddy", "envoy")
            else ["X-Real-IP: 127.0.0.1", "X-Client-IP: 127.0.0.1"])
    check(f"{style}: addresses in other fields count for nothing", a[0] == 403, a)
    if STYLES[style][4] == "X-Forwarded-For":
        a = ask(style, source="127.0.0.1, 127.0.0.2")
        check(f"{style}: the last address counts, the client's own does not", reason(a) == (403, "not-granted"), a)
        a = ask(style, source="127.0.0.2, 127.0.0.1")
        check(f"{style}: the last address counts", a[0] == 200, a)
    a = ask(style, host="elsewhere")
    check(f"{style}: another host", reason(a) == (status_of(style, 421), "wrong-host"), a)
    a = ask(style)
    check(f"{style}: staff passes, with the profile's headers", a[0] == 200
          and a[1].get("remote-user") == "staff@example.edu" and a[1].get("remote-groups") == "lab" and a[2] == b"", a)
    a = ask(style, method="DELETE", target="/")
    check(f"{style}: a method without a grant", reason(a) == (403, "method"), a)
    a = ask(style, target="/secret/x")
    check(f"{style}: a path without a grant", reason(a) == (403, "path"), a)
    for target in ("/a/../secret/x", "/a/%2e%2e/secret/x", "/a/./b", "//a", "/..;/secret", "/a%00b", "/a\\..\\b", "/a%2fb",
                   "/a%zz", "http://app/", "/a b", "*", ""):
        if style == "envoy" and (" " in target or not target or target.startswith("http:")):
            continue    # the target is the request's own there
        a = ask(style, target=target)
        check(f"{style}: {target!r} is not one thing to everybody", a[0] in (400, 403), a)
    a = ask(style, target="/%61/b%20c?x=/../y%20z")
    check(f"{style}: escapes alone are", a[0] == 200, a)
    a = ask(style, target="/secre%74/x")
    check(f"{style}: and are judged by what they mean", reason(a) == (403, "path"), a)


SPOOFS = ["Remote-User: admin", "Remote_User: admin", "REMOTE-USER: admin", "remote.user: admin", "Remote-Groups: admin",
          "Remote-Name: x", "X-Custom-Who: admin", "X_Custom_Who: admin", "X-WEBAUTH-USER: admin", "Tailscale-User-Login: admin",
          "X-Forwarded-User: admin", "OIDC_CLAIM_sub: admin", "X-Reeve-Assertion: a.b.c", "Reeve-User: u1",
          "X-Auth-Request-User: admin", "X-HTTP-Method-Override: DELETE"]


def test_spoof(style):
    for line in SPOOFS:
        a = ask(style, headers=[line])
        check(f"{style}: {line!r} is refused", reason(a) == (403, "forged-identity"), a)
    a = ask(style, headers=["X-Custom: 1", "Authorization: Basic eDp5", "Cookie: a=b", "X-Forwarded-Port: 80", "X-Request-Id: 12345678"])
    check(f"{style}: what is no identity is no concern", a[0] == 200, a)


def test_cross_site(style):
    for want, headers in (("cross-site", ["Sec-Fetch-Site: cross-site"]), ("cross-site", ["Origin: http://evil.example"]),
                          ("cross-site", ["Origin: https://app"]), ("cross-site", ["Sec-Fetch-Site: same-site"]),
                          (None, ["Sec-Fetch-Site: same-origin"]), (None, ["Origin: http://app"]), (None, [])):
        a = ask(style, method="POST", headers=headers)
        check(f"{style}: POST {headers}", reason(a) == ((403, want) if want else (200, None)), a)
    a = ask(style, method="POST", host="app:8443", proto="https", headers=["Origin: https://app:8443"])
    check(f"{style}: POST of our own page over https at another port: the policy knows the service at 443",
          a[0] == 200, a)
    a = ask(style, headers=["Sec-Fetch-Site: cross-site"])
    check(f"{style}: a link from elsewhere may be followed", a[0] == 200, a)
    a = ask(style, headers=["Origin: http://evil.example", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="])
    check(f"{style}: but no WebSocket opened", reason(a) == (403, "cross-site"), a)
    a = ask(style, headers=["Origin: http://app", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="])
    check(f"{style}: one's own WebSocket is", a[0] == 200, a)


def test_login():
    for style in STYLES:
        a = ask(style, source="127.0.0.4", target="/page?q=1")
        check(f"{style}: a login that is too old is 401 with the way to log in", a[0] == 401
              and a[1].get("x-reeve-login") == "https://hub.example/login?return=http%3A%2F%2Fapp%2Fpage%3Fq%3D1"
              and "location" not in a[1], a)
    a = ask("traefik", source="127.0.0.4", headers=["Accept: text/html"])
    check("a browser is given a page with a link", a[0] == 401 and b'href="https://hub.example/login?return=' in a[2], a)
    a = ask("caddy", source="127.0.0.4", proto="https", target="/x")
    check("which comes back by the scheme it came from", "return=https%3A%2F%2Fapp%2Fx" in a[1].get("x-reeve-login", ""), a)


def test_loopback():
    for what, headers in (("without the secret", []), ("with another", ["X-Reeve-Secret: " + "x" * 33]),
                          ("with a part of it", ["X-Reeve-Secret: " + SECRET[:-1]]),
                          ("with it twice", [f"X-Reeve-Secret: {SECRET}"] * 2), ("with nothing", ["X-Reeve-Secret:"])):
        a = ask("traefik", at=1201, headers=headers)
        check(f"loopback: {what}", reason(a) == (403, "forward-peer"), a)
    a = ask("traefik", at=1201, headers=[f"X-Reeve-Secret: {SECRET}"])
    check("loopback: with it", a[0] == 200 and a[1].get("remote-user") == "staff@example.edu", a)
    a = ask("traefik", at=1201, source="127.0.0.2", headers=[f"X-Reeve-Secret: {SECRET}"])
    check("loopback: another person", a[0] == 403, a)
    a = ask("nginx", at=sock("both"))
    check("socket and secret: the secret is missing", reason(a) == (403, "forward-peer"), a)
    a = ask("nginx", at=sock("both"), user=None, headers=[f"X-Reeve-Secret: {SECRET}"])
    check("socket and secret: the user is another", reason(a) == (403, "forward-peer"), a)
    a = ask("nginx", at=sock("both"), headers=[f"X-Reeve-Secret: {SECRET}"])
    check("socket and secret: both", a[0] == 200, a)


def test_keys():
    a = exchange(sock("nginx"), b"GET /.well-known/reeve/jwks.json HTTP/1.1\r\nHost: reeve\r\nConnection: close\r\n\r\n")
    keys = json.loads(a[2]).get("keys") if a[0] == 200 else None
    check("the keys of assertions are on the socket", bool(keys), a)
    a = ask("nginx", host="signed", target="/x")
    check("an assertion is made for a question", a[0] == 200 and a[1].get("x-reeve-assertion", "").count(".") == 2, a)
    a = ask("nginx", target="/.well-known/reeve/jwks.json", source="127.0.0.3")
    check("a question about that path is one about the application", a[0] == 403, a)


def answers(s):
    data = b""
    while b"\r\n\r\n" not in data:
        more = s.recv(65536)
        if not more:
            break
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    status, fields, _ = parse(head + b"\r\n\r\n")
    while len(rest) < int(fields.get("content-length", 0)):
        rest += s.recv(65536)
    return status, fields


def kept(style, source, **more):
    return question(style, source, close=False, **more)


def as_user(fn):
    """fn() in a process of the allowed user; true if it says so."""
    pid = os.fork()
    if pid == 0:
        ok = 1
        try:
            os.setgroups([])
            os.setgid(pwd.getpwnam(USER).pw_gid)
            os.setuid(pwd.getpwnam(USER).pw_uid)
            ok = 0 if fn() else 1
        finally:
            os._exit(ok)
    return os.waitpid(pid, 0)[1] == 0


def one_connection():
    """Persons alternate on one connection, as they do on a server's own."""
    s = connect(sock("caddy"))
    want = [("127.0.0.1", 200), ("127.0.0.2", 403), ("127.0.0.3", 403), ("127.0.0.4", 401), ("127.0.0.1", 200)] * 3
    for source, status in want:
        s.sendall(kept("caddy", source))
        got = answers(s)
        if got[0] != status or (status == 200) != (got[1].get("remote-user") == "staff@example.edu"):
            print("# saw", source, got, flush=True)
            return False
    s.sendall(kept("caddy", "127.0.0.1") + kept("caddy", "127.0.0.2"))
    return [answers_pipelined(s), True] == [[200, 403], True]


def answers_pipelined(s):
    data = b""
    while data.count(b"HTTP/1.1 ") < 2:
        more = s.recv(65536)
        if not more:
            break
        data += more
    return [int(p[:3]) for p in data.split(b"HTTP/1.1 ")[1:]]


def reload(proc, people=None, services=None, grants=None):
    configure(people or PEOPLE, services or SERVICES, grants or GRANTS)
    add_login()
    before = read_file("reeved.log").count("is in use") + read_file("reeved.log").count(" stays")
    proc.send_signal(signal.SIGHUP)
    return until(30, lambda: read_file("reeved.log").count("is in use") + read_file("reeved.log").count(" stays") > before)


def frame(kind, flags, stream, data=b""):
    return struct.pack(">I", len(data))[1:] + struct.pack(">BBI", kind, flags, stream) + data


def literals(fields):
    """A header block (RFC 7541 6.2.2): each name and value as it stands, none remembered."""
    return b"".join(b"\0" + bytes([len(n)]) + n.encode() + bytes([len(v)]) + v.encode() for n, v in fields)


def take_frames(s, streams):
    """{stream: (block, data)} once all of them have ended."""
    data, out, ended = b"", {n: [b"", b""] for n in streams}, set()
    while ended != set(streams):
        while len(data) < 9 or len(data) < 9 + int.from_bytes(data[:3], "big"):
            more = s.recv(65536)
            if not more:
                return out
            data += more
        n, kind, flags, stream = int.from_bytes(data[:3], "big"), data[3], data[4], int.from_bytes(data[5:9], "big")
        if kind in (0, 1) and stream in out:
            out[stream][1 - kind] += data[9:9 + n]
            if flags & 1:
                ended.add(stream)
        elif kind in (3, 7):
            return out
        data = data[9 + n:]
    return out


def test_h2():
    """HTTP/2 by prior knowledge, all at once on one connection: each stream is its own question."""
    who = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1", "127.0.0.2"]
    for what, s in (("another user's process", connect(sock("envoy"))), ("Envoy's", connect_as(sock("envoy")))):
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + b"".join(
            frame(1, 5, 2 * i + 1, literals([(":method", "GET"), (":scheme", "http"), (":authority", "app"), (":path", "/page"),
                                             ("x-forwarded-for", source), ("x-forwarded-proto", "http")]))
            for i, source in enumerate(who)))
        got = take_frames(s, [2 * i + 1 for i in range(len(who))])
        # 0x88: ":status: 200" of the static table; what is refused says why in its body
        words = ["ok" if block.startswith(b"\x88") else json.loads(data or b"{}").get("reason") for block, data in got.values()]
        s.close()
        want = ["ok", "not-granted", "unknown-address", "login-too-old", "ok", "not-granted"] if what == "Envoy's" \
            else ["forward-peer"] * len(who)
        check(f"HTTP/2, {what} connection: each stream is judged by its own address", words == want, (words, got))


def test_reload(proc):
    s = connect_as(sock("caddy"))
    s.sendall(kept("caddy", "127.0.0.1"))
    check("a kept connection: staff passes", answers(s)[0] == 200)
    check("reload without staff", reload(proc, people=[STUDENT, STALE]))
    ok = until(30, lambda: (s.sendall(kept("caddy", "127.0.0.1")), answers(s)[0])[1] == 403)
    check("the next question on the same connection is refused", ok)
    check("reload with other sockets", reload(proc, services={**SERVICES, "late": dict(
        SERVICES["caddy"], listen=["unix:late"], hosts=["late"])}))
    check("a new socket is there and answers", until(30, lambda: os.path.exists(sock("late"))
                                                   and ask("caddy", at=sock("late"), host="late")[0] == 200))
    check("reload without them", reload(proc))
    check("the old one is gone", until(30, lambda: not os.path.exists(sock("late"))))
    a = ask("caddy")
    check("the others go on", a[0] == 200, a)
    bad = dict(SERVICES, bad=dict(SERVICES["caddy"], listen=["unix:bad"], hosts=["bad"], **{"forward-users": ["nobody-here"]}))
    check("reload with a user who is not there", reload(proc, services=bad))
    check("it is refused, and leaves no socket", 'no user "nobody-here"' in read_file("reeved.log")
          and not os.path.exists(sock("bad")), read_file("reeved.log")[-500:])
    check("and all goes on", ask("caddy")[0] == 200)


def connect_as(at):
    """A connection made by the allowed user, handed over: its credentials stay that user's."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(pwd.getpwnam(USER).pw_gid)
            os.setuid(pwd.getpwnam(USER).pw_uid)
            s = connect(at)
            socket.send_fds(theirs, [b"x"], [s.fileno()])
        finally:
            os._exit(0)
    theirs.close()
    fd = socket.recv_fds(ours, 1, 1)[1][0]
    os.waitpid(pid, 0)
    s = socket.socket(fileno=fd)
    s.settimeout(60)
    return s


STALE = {"from": "127.0.0.4", "login": "admin@example.edu", "auth_time": 1500000000}
PEOPLE = [STAFF, STUDENT, STALE]
FORWARD = {"forward-users": [USER], "profiles": ["remote-user"], "headers": [{"name": "X-Custom-Who", "value": "{login}"}]}
SERVICES = {name: {"forward-auth": name, "listen": [f"unix:{name}"], "hosts": ["app"], **FORWARD} for name in STYLES}
SERVICES |= {
    "shared": {**SERVICES["nginx"], "listen": ["unix:shared"], "forward-users": ["www-data", "games"]},
    "tcp": {"forward-auth": "traefik", "listen": ["127.0.0.1:1201"], "hosts": ["app"], "profiles": ["remote-user"],
            "forward-secret": "secret"},
    "both": {**SERVICES["nginx"], "listen": ["unix:both"], "forward-secret": "secret"},
    "signed": {"forward-auth": "nginx", "listen": ["unix:nginx"], "hosts": ["signed"], "forward-users": [USER],
               "profiles": ["assertion"]},
}
GRANT = {"dst": [f"svc:{n}" for n in SERVICES] + ["svc:late"], "ip": ["tcp:80", "tcp:443"],
         "http": [{"methods": ["GET", "POST"], "paths": ["/", "/a/**", "/page", "/x"]}]}
GRANTS = [{**GRANT, "src": ["staff@example.edu"]}, {**GRANT, "src": ["admin@example.edu"], "auth": {"maxAge": "8h"}}]


def add_login():
    conf = json.loads(read_file("reeved.hujson"))
    conf["login-url"] = "https://hub.example/login"
    write("reeved.hujson", json.dumps(conf))


def test_deaths():
    """Whoever dies, the sockets stay: they are the parent's, and another front or the next life answers."""
    for kind in ("net", "core", "front"):
        started = re.findall(rf" {kind}\d* started, pid (\d+)", read_file("reeved.log"))
        os.kill(int(started[-1]), signal.SIGKILL)
        check(f"{kind} is killed, and questions are answered", until(30, lambda: ask("caddy")[0] == 200
                                                                     and ask("caddy", source="127.0.0.2")[0] == 403))
        check(f"{kind} is started again", until(30, lambda k=kind, n=len(started): len(
            re.findall(rf" {k}\d* started, pid", read_file("reeved.log"))) == n + 1))
        check("and all is as it was", until(30, lambda: ask("caddy")[0] == 200 and os.path.exists(sock("caddy"))))


def main():
    reeve = pwd.getpwnam("reeve")
    os.chown(write("secret", SECRET + "\n", 0o600), reeve.pw_uid, reeve.pw_gid)
    conf = configure(PEOPLE, SERVICES, GRANTS)
    add_login()
    proc = reeved(conf, 1201)
    if not proc:
        return
    if not until(30, lambda: all(os.path.exists(sock(s)) for s in STYLES) and ask("nginx")[0] == 200):
        check("the sockets answer", False, read_file("reeved.log"))
        return
    st = os.stat(sock("nginx"))
    check("a socket is its user's, and closed to others", (st.st_uid, stat.S_IMODE(st.st_mode))
          == (pwd.getpwnam(USER).pw_uid, 0o660), st)
    check("of several users' sockets the peer is all that counts", stat.S_IMODE(os.stat(sock("shared")).st_mode) == 0o666)
    for style in STYLES:
        test_style(style)
        test_spoof(style)
        test_cross_site(style)
    test_login()
    test_loopback()
    test_keys()
    check("several persons on one connection", as_user(one_connection))
    test_h2()
    test_reload(proc)
    test_deaths()
    proc.send_signal(signal.SIGTERM)
    check("at the end the sockets are gone", until(40, lambda: proc.poll() is not None)
          and os.listdir(f"{TMP}/run/forward") == [], os.listdir(f"{TMP}/run/forward"))
    # now that nobody writes there; a line that was cut off by a death is none
    log = read_file("reeved.log")
    allowed = re.findall(r'^{"time":.*"verdict":"allow".*}$', log, re.M)
    check("the log names the person", bool(allowed) and all('"login":"staff@example.edu"' in x for x in allowed), allowed[:3])
    check("the secret is in no log", SECRET not in log)


run(main)
