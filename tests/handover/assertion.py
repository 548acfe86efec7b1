#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Signed assertions: what reeved gives to an application behind it is taken by
each verifier of contrib/verify; what a client or a local process makes up is not.
"""
import base64
import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import threading
import time

from harness import STAFF, STUDENT, begin, check, configure, program, read_file, reeved, run, skip, until, write

TMP = begin("assertion")
SRC = os.path.abspath(os.environ.get("top_srcdir", os.path.join(os.path.dirname(__file__), "../..")))
seen = []


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass                    # a connection that ends is no error


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        seen.append(self.headers)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *args):
        pass


def ask(port, path="/", source="127.0.0.1", method="GET", **headers):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(source, 0))
    try:
        c.request(method, path, headers={"Host": "app", **headers})
        r = c.getresponse()
        return r.status, r.read()
    except OSError as e:        # cut off: its session ended under it
        return 0, str(e).encode()


def claims(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def verifiers():
    out = {"C": [f"{TMP}/verify"]}
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libcrypto", "jansson"], capture_output=True, text=True)
    built = subprocess.run([os.environ.get("CC", "cc"), "-o", f"{TMP}/verify", f"{SRC}/contrib/verify/verify.c",
                            *flags.stdout.split()])
    check("the C verifier builds by itself", built.returncode == 0)
    python = next((p for p in ("/usr/bin/python3", "python3")
                   if subprocess.run([p, "-c", "import cryptography"], stderr=subprocess.DEVNULL).returncode == 0), None)
    for name, cmd, file in (("Python", python, "verify.py"), ("Node", program("node"), "verify.mjs"),
                            ("PHP", program("php"), "verify.php")):
        if cmd:
            out[name] = [cmd, f"{SRC}/contrib/verify/{file}"]
        else:
            skip(name, "not installed")
    return out


def verify(cmd, token, audience="app", request=()):
    return subprocess.run([*cmd, f"{TMP}/jwks", "https://host.example.edu", audience, *request], input=token, text=True,
                          capture_output=True, timeout=60)


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def own_signature(text):
    """ES256 by a key that somebody made for the purpose."""
    if not os.path.exists(f"{TMP}/own.key"):
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{TMP}/own.key"], check=True)
    der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", f"{TMP}/own.key"], input=text.encode(), capture_output=True,
                         check=True).stdout
    n = der[3]
    r, s = der[4:4 + n], der[6 + n:]
    return b64url(b"".join(int.from_bytes(v, "big").to_bytes(32, "big") for v in (r, s)))


def test_direct(tools, ours):
    """A process of the same host that goes to the application itself, with headers of its own making."""
    head, body, signature = ours.split(".")
    admin = b64url(json.dumps({**claims(ours), "login": "admin@example.edu"}).encode())
    none = b64url(b'{"alg":"none"}')
    made = {"nothing": "", "an unsigned one": f"{none}.{admin}.", "one with ours' signature": f"{head}.{admin}.{signature}",
            "one of its own key, under our key's name": f"{head}.{admin}." + own_signature(f"{head}.{admin}"),
            "one whose end is missing": ours[:-4]}
    for what, token in made.items():
        fields = {"Remote-User": "admin@example.edu", "Remote-Groups": "lab"}
        if token:
            fields["X-Reeve-Assertion"] = token
        before = len(seen)
        status = ask(3100, **fields)[0]
        check(f"directly, with {what}: headers alone do not tell", status == 200 and len(seen) == before + 1
              and seen[-1]["Remote-User"] == "admin@example.edu", status)
        for name, cmd in tools.items():
            r = verify(cmd, seen[-1].get("X-Reeve-Assertion", ""))
            check(f"{name}: {what} is told apart", r.returncode == 1 and r.stderr.startswith("refused: "), r)
    status, body = ask(1100, **{"Remote-User": "admin@example.edu"})
    for name, cmd in tools.items():
        r = verify(cmd, seen[-1]["X-Reeve-Assertion"])
        check(f"{name}: and what came through Reeve is staff's", status == 200 and r.returncode == 0
              and json.loads(r.stdout)["login"] == seen[-1]["Remote-User"] == "staff@example.edu", r)


def test_bound(tools, unbound):
    """A service whose assertions are each for one method and path."""
    check("bound: a student gets none", ask(1103, "/a", source="127.0.0.2")[0] == 403)
    tokens = {}
    for method, target in (("GET", "/a"), ("GET", "/a?x=1"), ("POST", "/a"), ("GET", "/b%20c"), ("GET", "/%61/../%62"),
                           ("GET", "/")):
        status, body = ask(1103, target, method=method)
        tokens[method, target] = seen[-1]["X-Reeve-Assertion"]
        check(f"bound: {method} {target} is let in with one", status == 200 and tokens[method, target], (status, body))
    said = {k: (claims(t).get("htm"), claims(t).get("htp")) for k, t in tokens.items()}
    check("bound: each names its method, and the path that the application sees, without the query", said == {
        ("GET", "/a"): ("GET", "/a"), ("GET", "/a?x=1"): ("GET", "/a"), ("POST", "/a"): ("POST", "/a"),
        ("GET", "/b%20c"): ("GET", "/b%20c"), ("GET", "/%61/../%62"): ("GET", "/b"), ("GET", "/"): ("GET", "/")}, said)
    for name, cmd in tools.items():
        token = tokens["GET", "/a"]
        for request in (("POST", "/a"), ("GET", "/b"), ("GET", "/a/"), ("GET", "/A")):
            check(f"{name}: of GET /a it is refused for {request}", verify(cmd, token, "bound", request).returncode == 1)
        check(f"{name}: and taken for GET /a", verify(cmd, token, "bound", ("GET", "/a")).returncode == 0)
        check(f"{name}: one that is bound to nothing is refused for a request",
              verify(cmd, unbound, "app", ("GET", "/a")).returncode == 1)
    long = "/" + "x" * 4100
    check("bound: a path too long to be said is refused", ask(1103, long)[0] == 503)
    check("bound: elsewhere it is no matter", ask(1100, long)[0] == 200)
    results = []
    threads = [threading.Thread(target=lambda i=i: results.append(ask(1103, f"/many/{i % 10}")[0])) for i in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check("bound: forty at once, ten paths", results == [200] * 40, results)


def configure_named(people, services, grants):
    path = configure(people, services, grants)
    conf = json.loads(read_file("reeved.hujson"))
    conf["name"] = "host.example.edu"
    write("reeved.hujson", json.dumps(conf))
    return path


def main():
    threading.Thread(target=Server(("127.0.0.1", 3100), App).serve_forever, daemon=True).start()
    up = {"upstream": ["http://127.0.0.1:3100"], "hosts": ["app"]}
    services = {
        "app": {"listen": ["127.0.0.1:1100"], "profiles": ["assertion", "remote-user"], **up},
        "other": {"listen": ["127.0.0.1:1101"], "profiles": ["pomerium", "cloudflare-access", "google-iap"], **up},
        "bound": {"listen": ["127.0.0.1:1103"], "profiles": ["assertion"], "bind-assertion": True, **up},
        "plain": {"listen": ["127.0.0.1:1102"], "profiles": ["remote-user"], **up},
    }
    grants = [{"src": ["staff@example.edu"], "dst": [f"svc:{n}" for n in services], "ip": ["*"]}]
    people = [{**STAFF, "email": "staff@example.edu"}, STUDENT]
    daemon = reeved(configure_named(people, services, grants), 1100)
    if not daemon:
        return
    status, body = ask(1100, "/.well-known/reeve/jwks.json", source="127.0.0.3")
    check("the keys are public", status == 200 and len(json.loads(body)["keys"]) == 1, (status, body))
    write("jwks", body.decode())
    check("and not served where no assertion is made", ask(1102, "/.well-known/reeve/jwks.json", source="127.0.0.3")[0] == 403)

    check("a student gets none", ask(1100, source="127.0.0.2")[0] == 403 and not seen)
    forged = "eyJhbGciOiJub25lIn0.eyJsb2dpbiI6ImFkbWluIn0."
    status, body = ask(1100, **{"X-Reeve-Assertion": forged, "X_Reeve_Assertion": forged})
    check("the right person is let in", status == 200, (status, body))
    got = seen[-1].get_all("X-Reeve-Assertion")
    check("with one assertion, and not the client's", got is not None and len(got) == 1 and forged not in str(seen[-1]), got)
    if not got:
        return
    c = claims(got[0])
    check("it says who", (c["login"], c["aud"], c["iss"], c["groups"]) ==
          ("staff@example.edu", "app", "https://host.example.edu", ["lab"]), c)
    check("and is short-lived", 0 < c["exp"] - c["iat"] <= 300, c)

    tools = verifiers()
    for name, cmd in tools.items():
        bad = verify(cmd, forged)
        check(f"{name}: what a client made up is refused", bad.returncode == 1, bad.stderr)
        bad = verify(cmd, got[0], audience="other")
        check(f"{name}: for another service it is refused", bad.returncode == 1, bad.stderr)
        good = verify(cmd, got[0])
        check(f"{name}: ours is taken", good.returncode == 0 and json.loads(good.stdout)["login"] == "staff@example.edu",
              good.stderr)

    test_direct(tools, got[0])
    test_bound(tools, got[0])
    for _ in range(20):
        ask(1100)
    kept = {h["X-Reeve-Assertion"] for h in seen[-20:]}
    check("requests share them: at most one a front", 1 <= len(kept) <= 2, len(kept))
    check("other proxies' names carry it too", ask(1101)[0] == 200 and
          all(claims(seen[-1][h])["aud"] == "other" for h in
              ("X-Pomerium-Jwt-Assertion", "Cf-Access-Jwt-Assertion", "X-Goog-IAP-JWT-Assertion")) and
          seen[-1]["Cf-Access-Authenticated-User-Email"] == "staff@example.edu", dict(seen[-1]))

    # Pipelined, and many at once: those that wait for the first assertion are all answered.
    daemon.send_signal(signal.SIGHUP)
    until(30, lambda: "configuration 2 is in use" in read_file("reeved.log"))
    before = len(seen)
    s = socket.create_connection(("127.0.0.1", 1100), timeout=60)
    s.sendall(b"GET /1 HTTP/1.1\r\nHost: app\r\n\r\nGET /2 HTTP/1.1\r\nHost: app\r\n\r\n"
              b"GET /3 HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
    data = b""
    while more := s.recv(65536):
        data += more
    check("pipelined requests wait their turn", data.count(b"HTTP/1.1 200") == 3, data[:300])
    results = []
    threads = [threading.Thread(target=lambda: results.append(ask(1100)[0])) for _ in range(50)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check("fifty at once as well", results == [200] * 50 and len(seen) == before + 53, (results, len(seen) - before))

    # Core is killed: what was signed is used on; a service that has none says so, then recovers.
    core = subprocess.run(["pgrep", "-f", "reeved.*core"], capture_output=True, text=True).stdout.split()
    check("core is found", bool(core), core)
    if core:
        keys = read_file("state/assertion.json")
        os.kill(int(core[0]), signal.SIGKILL)
        check("without core the signed one still serves", ask(1100)[0] == 200)
        check("the next core signs with the same key", until(30, lambda: ask(1100)[0] == 200 and ask(1101)[0] == 200) and
              keys == read_file("state/assertion.json") and verify([f"{TMP}/verify"], seen[-2]["X-Reeve-Assertion"]
                                                                   or "").returncode == 0)

    configure_named([STUDENT], services, grants)
    daemon.send_signal(signal.SIGHUP)
    check("once the session has ended there is none", until(30, lambda: ask(1100)[0] == 403), read_file("reeved.log")[-500:])


run(main)
