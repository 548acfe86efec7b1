#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""The recipe for JupyterHub, as it stands there: Debian's, with its proxy in front and a notebook's
server for the person, run as the local user. Nobody and forgeries first; a process of the
same host that says who it is to JupyterHub itself; a browser that another person has now, with
the first one's cookies; and a terminal that is open while the session ends.
"""
import base64
import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse

import harness
import recipe
import recipe_run
from harness import STAFF, STUDENT, begin, check, listening, program, read_file, run, skip, start, until, write
from recipe import put
from recipe_run import AT, Connection, ask, changed_hands, forged, people, refusals, serve

TMP = begin("recipes_jupyterhub")
ROOT = recipe.root()
HOST = "jupyter.example.edu"


def jupyterhub(files):
    if subprocess.run(["/usr/bin/python3", "-c", "import jupyterhub, notebook, terminado, cryptography"],
                      stderr=subprocess.DEVNULL, check=False).returncode or not program("configurable-http-proxy"):
        return skip("JupyterHub", "jupyterhub is not installed")
    put(files)
    shutil.copy(f"{recipe_run.TOP}/contrib/verify/verify.py", f"{ROOT}/etc/jupyterhub/verify.py")
    put({"/etc/hosts": f"127.0.0.1 localhost\n{AT['127.0.0.1']} {HOST}\n"})
    os.makedirs(f"{ROOT}/var/lib/jupyterhub")
    unit = next(text for path, text in files.items() if path.endswith("/reeve.conf"))
    command = re.findall(r"^ExecStart=(.+)$", unit, re.M)[-1].split()
    start(*command, name="jupyterhub", cwd=f"{ROOT}/var/lib/jupyterhub",
          # Debian's own node looks there by itself
          env=recipe_run.environment(PYTHONDONTWRITEBYTECODE="1", NODE_PATH="/usr/share/nodejs"))
    # its proxy listens before it knows where to go
    return lambda: listening(8081) and listening(8000) and ask(HOST, "/hub/login", at="127.0.0.1", port=8000)[0] == 403, told


def follow(c, target, turns=12):
    """Where the redirects of a browser end: (status, fields, text, path)."""
    for _ in range(turns):
        a = c.ask(target)
        if a[0] not in (301, 302, 303, 307):
            break
        target = urllib.parse.urljoin(target, a[1]["location"])
        target = urllib.parse.urlsplit(target)._replace(scheme="", netloc="").geturl()
    return *a, target


def home(c):
    """Whom JupyterHub's page says that it is for."""
    a = follow(c, "/hub/home")
    return a[0], set(re.findall(r'<span id="login_widget">\s*<p class="navbar-text">([^<]*)</p>', a[2])), a[2][-800:]


def logged_in(source="127.0.0.1", cookies=None, headers=(), at=None, port=80):
    c = Connection(HOST, source, at=at, port=port, cookies=cookies, headers=headers)
    a = home(c)
    c.close()
    return a


def notebook(c):
    """Their own server, which is started when they come."""
    def there():
        a = follow(c, "/")
        # each of these is work for the hub, which has enough to do
        return (a[0] == 200 and a[3].startswith("/user/")) or time.sleep(0.2)
    return until(60, there)


def local_processes():
    """Whoever has an account on the host connects to JupyterHub itself."""
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    claims = base64.urlsafe_b64encode(json.dumps({"login": "staff@example.edu", "aud": "hub", "iss": "https://host.example.edu",
                                                  "iat": 1, "exp": 300}).encode()).rstrip(b"=").decode()
    for headers in ([], forged("staff"), [f"X-Reeve-Assertion: {header}.{claims}."], ["X-Reeve-Assertion: x", *forged("staff")]):
        for port in (8000, 8081):
            status, names, _ = logged_in(at="127.0.0.1", port=port, headers=headers)
            check(f"JupyterHub: at {port} a process with {headers or 'nothing'} is nobody", status == 403 and not names, (status, names))


def others(cookies):
    """A browser with staff's cookies, with another person at it."""
    c = Connection(HOST, "127.0.0.2", cookies=dict(cookies))
    for target in ("/user/staff/tree", "/user/staff/api/contents", "/user/staff/api/terminals"):
        a = c.ask(target)
        check(f"JupyterHub: with staff's cookies a student has no {target}", a[0] in (302, 403) and "secret.txt" not in a[2], a)
    a = follow(c, "/user/staff/tree")
    check("JupyterHub: nor where that leads to", a[0] in (403, 404) or not a[3].startswith("/user/staff"), (a[0], a[3]))
    c.close()
    a = logged_in("127.0.0.2", dict(cookies))
    check("JupyterHub: and is who they are", a[0] == 200 and a[1] == {"student"}, a)


def terminal(c):
    """A shell in the browser: (socket, what it says)."""
    c.ask("/user/staff/tree")
    a = c.ask("/user/staff/api/terminals", "POST", [f"X-XSRFToken: {c.cookies.get('_xsrf')}", "Origin: http://" + HOST])
    name = json.loads(a[2])["name"] if a[0] == 200 else check("JupyterHub: staff opens a terminal", False, a)
    s = Connection(HOST, cookies=c.cookies)
    a = s.ask(f"/user/staff/terminals/websocket/{name}", headers=[
        "Upgrade: websocket", "Connection: Upgrade", "Origin: http://" + HOST, "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="])
    check("JupyterHub: and a WebSocket to it", a[0] == 101, a)
    line = json.dumps(["stdin", "echo I am $(id -un).\r"]).encode()
    s.s.sendall(bytes([0x81, 0x80 | len(line), 0, 0, 0, 0]) + line)
    return s


def told():
    for target in ("/", "/hub/login", "/hub/home", "/user/staff/tree"):
        refusals("JupyterHub", HOST, target)
    local_processes()
    for headers in [[], *([line] for line in forged("student")), forged("student")]:
        status, names, text = logged_in(headers=headers)
        check(f"JupyterHub: staff is staff with {headers or 'nothing forged'}",
              (status == 200 and names == {"staff"}) or (headers and status == 403 and not names), (status, names, text))
    put({f"{TMP}/home/staff/secret.txt": "secret\n"})
    c = Connection(HOST)
    check("JupyterHub: staff comes to a server of their own", notebook(c), read_file("jupyterhub.log")[-2000:])
    a = c.ask("/user/staff/api/contents")
    check("JupyterHub: with their files", a[0] == 200 and "secret.txt" in a[2], a)
    others(c.cookies)
    check("JupyterHub: staff still is staff", home(c)[1] == {"staff"})
    shell = terminal(c)
    said = b""
    while b"I am staff." not in said and (more := shell.f.read1(65536)):
        said += more
    check("JupyterHub: it runs as the local user", b"I am staff." in said, said)
    people(STUDENT)
    check("JupyterHub: when staff's session has ended the open page is refused", until(60, lambda: c.ask("/hub/home")[0] in (0, 401, 403)))
    ended = False
    try:
        while shell.f.read1(65536):
            pass
        ended = True
    except TimeoutError:
        pass
    check("JupyterHub: and the terminal's connection ends", ended)
    a = logged_in(cookies=dict(c.cookies))
    check("JupyterHub: their cookies are worth nothing", a[0] in (401, 403) and not a[1], a)
    changed_hands()
    check("JupyterHub: nor to the student at that device", until(60, lambda: logged_in(cookies=dict(c.cookies))[1] == {"student"})
          and ask(HOST, "/user/staff/api/contents", headers=[
              "Cookie: " + "; ".join(f"{k}={v}" for k, v in c.cookies.items())])[0] in (302, 403))
    people(STAFF, STUDENT)


def main():
    subprocess.run(["mount", "--bind", write("hosts", ""), "/etc/hosts"], check=True)
    harness.users(["staff", "student"], 3970, f"{TMP}/home")
    serve({"jupyterhub": jupyterhub}, name="host.example.edu")


run(main)
