#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""The recipe for Request Tracker, as it stands there, before Debian's package with SQLite: its
FastCGI program is handed a socket, as systemd does, and told who calls.
"""
import os
import re
import shutil
import socket
import subprocess

import harness
import recipe
import recipe_run as r
from harness import begin, check, program, read_file, run, skip, until

TMP = begin("recipes_rt")
ROOT = recipe.root()
HOST = "rt.example.edu"
WHO = r'RT\.CurrentUser = {[^}]*"Name":"([^"]*)"'
PASSWORD = "user=root&pass=password"    # what RT's own set-up gives its administrator


def unit(files, name):
    text = next(t for path, t in files.items() if path.endswith("/" + name))
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def request_tracker(files):
    if not os.path.exists("/usr/share/request-tracker5/libexec/rt-server.fcgi") or not program("rt-setup-database-5") \
            or subprocess.run([program("perl"), "-MDBD::SQLite", "-MFCGI", "-e1"], stderr=subprocess.DEVNULL, check=False).returncode:
        return skip("Request Tracker", "request-tracker5, rt5-db-sqlite or rt5-fcgi is not installed")
    r.over("/etc/request-tracker5", "/var/lib/request-tracker5", "/var/cache/request-tracker5")
    recipe.put(files)
    recipe.put({f"{ROOT}/etc/request-tracker5/RT_SiteConfig.d/99-database.pm":
                'Set($DatabaseType, "SQLite"); Set($DatabaseName, "/var/lib/request-tracker5/rt.sqlite"); '
                'Set($LogToSyslog, undef); Set($LogToSTDERR, "info"); 1;\n'})
    if not r.made(program("rt-setup-database-5"), "--action", "init", "--skip-create"):
        return None
    shutil.chown(f"{ROOT}/var/lib/request-tracker5/rt.sqlite", "www-data", "www-data")
    listen, service = unit(files, "rt.socket"), unit(files, "rt@.service")
    os.makedirs(os.path.dirname(listen["ListenStream"]))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(listen["ListenStream"])
        os.chmod(listen["ListenStream"], int(listen["SocketMode"], 8))
        s.listen(64)
        with open(f"{TMP}/rt.log", "wb") as log:
            harness.children.append(subprocess.Popen([service["ExecStart"]], stdin=s, stdout=log, stderr=log, cwd="/",
                                                     user=service["User"], group=service["Group"], extra_groups=[],
                                                     env=r.environment()))
    # it is listened at already: the first request waits for it
    return lambda: True, told


def told():
    for source, what in (("127.0.0.3", "nobody"), ("127.0.0.2", "a student")):
        for target in ("/", f"/?{PASSWORD}", f"/NoAuth/Login.html?{PASSWORD}"):
            for headers in ([], recipe.FORGED):
                a = r.ask(HOST, target, source, headers=headers)
                check(f"RT: {what} is refused {target} with {len(headers)} forged fields", a[0] == 403 and "RT." not in a[1], a)
    c = r.Connection(HOST)
    a = c.ask("/")
    check("RT: who comes for the first time has an account without rights", a[0] in (301, 302) and
          "/SelfService/" in a[1].get("location", ""), (a, read_file("rt.log")[-2000:]))
    r.said("RT", HOST, "/SelfService/", WHO, {"127.0.0.1": ["staff@example.edu"]})
    a = r.ask(HOST, f"/SelfService/?{PASSWORD}")
    check("RT: a password in the query changes nothing", re.findall(WHO, a[1]) == ["staff@example.edu"], (a[0], a[1][:800]))
    for target in ("/NoAuth/Login.html", "//NoAuth/Login.html", "/NoAuth//Login.html", "/NoAuth/css/../Login.html", "/NoAuth/./Login.html",
                   "/NoAuth/css/..%2fLogin.html", "/NoAuth/css/%2e%2e/Login.html", "/%4eoAuth/Login.html", "/NoAuth/Login.html/",
                   "/NoAuth/Login.html;x", "/static/../NoAuth/Login.html", "/REST/1.0/ticket/1", "/REST/2.0/rt"):
        for method in ("GET", "POST"):
            a = r.ask(HOST, f"{target}?{PASSWORD}", method=method, body=PASSWORD.encode() if method == "POST" else b"",
                      headers=["Content-Type: application/x-www-form-urlencoded"])
            check(f"RT: its own passwords are not asked for: {method} {target}", a[0] in (400, 403), a)
    check("RT: nor did anybody log in so", "Successful login" not in read_file("rt.log"), read_file("rt.log")[-2000:])
    r.kept_out("RT", f"{ROOT}/run/rt/rt.sock", "www-data", "nobody")
    check("RT: staff's browser keeps a cookie", any(k.startswith("RT_SID") for k in c.cookies), c.cookies)
    check("RT: which goes on", re.findall(WHO, c.ask("/SelfService/")[2]) == ["staff@example.edu"])
    # and whose browser it is then is the student's, who may do what staff might
    r.changed_hands()
    check("RT: once the session has ended its connection serves staff no more", until(60, lambda: c.ask("/SelfService/")[0] in (0, 403)))
    seen = []
    check("RT: staff's cookie is not staff to another", until(60, lambda: seen.append(re.findall(WHO, r.Connection(
        HOST, cookies=dict(c.cookies)).ask("/SelfService/")[2])) or seen[-1] == ["student@example.edu"])
        and ["staff@example.edu"] not in seen, seen)


run(lambda: r.serve({"request-tracker": request_tracker}))
