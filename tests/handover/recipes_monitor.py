#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Recipes of doc/recipes, as they stand there, for what watches machines: Munin, whose pages are
made here from a node's numbers as its cron does, and Icinga Web in php-fpm behind an Apache that
asks Reeve. For each: nobody, another person and a forgery first.
"""
import glob
import os
import re
import socketserver
import subprocess
import threading

import recipe
import recipe_run
from harness import STAFF, STUDENT, accepting, begin, check, listening, run, skip, start, until, write
from recipe import put
from recipe_run import APACHE, Connection, apache, apache_missing, ask, forged, kept_out, made, people, refusals, said, serve

TMP = begin("recipes_monitor")
ROOT = recipe.root()


class Node(socketserver.StreamRequestHandler):
    """A munin-node with one plugin."""
    answers = {"list": "voltage", "nodes": "lab\n.", "version": "munins node on lab version: 2.0.73",
               "cap": "cap multigraph", "config": "graph_title Voltage\ngraph_category lab\nv.label volts\n.", "fetch": "v.value 3\n."}

    def handle(self):
        self.wfile.write(b"# munin node at lab\n")
        while line := self.rfile.readline(200).decode().split():
            if line[0] == "quit":
                break
            self.wfile.write(self.answers.get(line[0], "# no").encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


def munin(files):
    why = apache_missing("dir")
    if not why and not os.path.exists("/usr/share/munin/munin-html"):
        why = "munin is not installed"
    if why:
        return skip("Munin", why)
    put(files)
    folders = {"dbdir": "var/lib/munin", "htmldir": "var/cache/munin/www", "logdir": "var/log/munin", "rundir": "run/munin"}
    for d in folders.values():
        os.makedirs(f"{ROOT}/{d}")
    subprocess.run(["chown", "munin:munin", *(f"{ROOT}/{d}" for d in folders.values())], check=True)
    # fork: its workers would say what they found at a socket, whose path is longer than a socket's may be
    conf = write("munin.conf", "fork no\n" + "".join(f"{k} {ROOT}/{d}\n" for k, d in folders.items()) + "".join(
        f"[{name}]\n  address 127.0.0.1\n  use_node_name no\n" for name in ("lab.example.edu;spectrometer", "office.example.edu;door")))
    threading.Thread(target=Server(("127.0.0.1", 4949), Node).serve_forever, daemon=True).start()
    for step in (["update"], ["limits", "--force"], ["html"], ["graph", "--cron"]):
        if not made("setpriv", "--reuid=munin", "--regid=munin", "--clear-groups", f"/usr/share/munin/munin-{step[0]}",
                    "--config", conf, *step[1:]):
            return None
    apache("munin", ("dir",), ["sites-available/munin.conf"], listen=None)
    return lambda: listening(8083), munin_told


def munin_told():
    host, page, graph = "munin.example.edu", "/lab.example.edu/spectrometer/index.html", "/lab.example.edu/spectrometer/voltage-day.png"
    pages = ["/", "/index.html", "/static/style.css"]
    for group, machine in (("lab", "spectrometer"), ("office", "door")):
        pages += [f"/{group}.example.edu/", f"/{group}.example.edu/{machine}/index.html", f"/{group}.example.edu/{machine}/voltage-day.png"]
    for target in pages:
        refusals("Munin", host, target)
    for target in pages:
        may = target.startswith(("/lab", "/static"))
        for headers in ([], forged("staff@example.edu")):
            a = ask(host, target, "127.0.0.2", headers=headers)
            check(f"Munin: a student {'sees' if may else 'does not see'} {target}", a[0] == (200 if may else 403), a)
        a = ask(host, target)
        check(f"Munin: staff sees {target}", a[0] == 200, a)
    for target in ("/static/../office.example.edu/", "/lab.example.edu/%2e%2e/index.html", "//office.example.edu/", "/lab.example.edu/..;/",
                   "/lab.example.edu/%2foffice.example.edu/", "/LAB.example.edu/../"):
        a = ask(host, target, "127.0.0.2")
        check(f"Munin: nor does a student by {target}", a[0] >= 400, a)
    check("Munin: it is the lab's page", "Voltage" in ask(host, page, "127.0.0.2")[1] and "PNG" in ask(host, graph, "127.0.0.2")[1][:8])
    check("Munin: a student sends it nothing", ask(host, page, "127.0.0.2", method="POST")[0] == 403)
    ends("Munin", host, page)


def ends(name, host, target, at=None):
    """Staff goes while their connection is open; a student's is served on."""
    kept, other = Connection(host, at=at), Connection(host, "127.0.0.2", at=at)
    check(f"{name}: on connections that stay open", kept.ask(target)[0] == other.ask(target)[0] == 200)
    people(STUDENT)
    check(f"{name}: staff's serves nothing when the session has ended", until(60, lambda: kept.ask(target)[0] in (0, 401, 403)))
    check(f"{name}: a student's does", other.ask(target)[0] == 200)
    people(STAFF, STUDENT)
    check(f"{name}: staff is back", until(60, lambda: ask(host, target, at=at)[0] == 200))


def icingaweb2(files):
    why = apache_missing("lua", "alias", "dir", "proxy", "proxy_fcgi")
    fpm = next(iter(sorted(glob.glob("/usr/sbin/php-fpm*"))), None)
    if not why and not (fpm and os.path.exists("/usr/share/icingaweb2/public/index.php")):
        why = "icingaweb2 or php-fpm is not installed"
    if why:
        return skip("Icinga Web", why)
    put(files)
    os.makedirs(f"{ROOT}/run/php")
    os.makedirs(f"{TMP}/sessions")
    os.chmod(f"{TMP}/sessions", 0o1733)
    socket = f"{ROOT}/run/php/php-fpm.sock"
    start(fpm, "-y", write("fpm.conf", f"""[global]
error_log = {TMP}/fpm.err
daemonize = no
[www]
user = www-data
group = www-data
listen = {socket}
listen.owner = www-data
listen.group = www-data
pm = static
pm.max_children = 2
php_value[session.save_path] = {TMP}/sessions
"""), name="fpm", env=recipe_run.environment())
    apache("icinga", ("lua", "alias", "dir", "env", "proxy", "proxy_fcgi"), ["sites-available/icinga.conf"])
    return lambda: accepting(socket) and os.path.exists(f"{TMP}/icinga.pid"), icingaweb2_told


def icingaweb2_told():
    host, page = "icinga.example.edu", "/icingaweb2/account"
    who = r'<i class="user-ball">.</i>([^<]+)</a>'
    for target in ("/", page, "/icingaweb2/authentication/login", "/icingaweb2/img/icinga-logo.svg"):
        refusals("Icinga Web", host, target, at=APACHE)
    said("Icinga Web", host, page, who, {"127.0.0.1": ["staff@example.edu"], "127.0.0.2": ["student@example.edu"]}, at=APACHE)
    for target in ("/icingaweb2/config/general", "/icingaweb2/role/list"):
        for headers in ([], *([line] for line in forged("staff@example.edu"))):
            a = ask(host, target, "127.0.0.2", headers=headers, at=APACHE)
            check(f"Icinga Web: a student, who has no role, has no {target} with {headers}", a[0] == 403, a)
        a = ask(host, target, at=APACHE)
        check(f"Icinga Web: staff has {target}", a[0] == 200 and re.findall(who, a[1]) == ["staff@example.edu"], a)
    check("Icinga Web: what is no page is a file", ask(host, "/icingaweb2/img/icinga-logo.svg", at=APACHE)[0] == 200)
    kept = Connection(host, at=APACHE)
    check("Icinga Web: a browser of staff's", re.findall(who, kept.ask(page)[2]) == ["staff@example.edu"] and kept.cookies, kept.cookies)
    other = Connection(host, "127.0.0.2", at=APACHE, cookies=dict(kept.cookies))
    for _ in range(2):
        a = other.ask(page)
        check("Icinga Web: its cookies do not make staff of a student", "staff@example.edu" not in a[2], a)
        a = other.ask("/icingaweb2/config/general")
        check("Icinga Web: nor give what staff may", a[0] != 200 or "staff@example.edu" not in a[2], a)
    check("Icinga Web: and staff is still logged in", re.findall(who, kept.ask(page)[2]) == ["staff@example.edu"])
    kept_out("Icinga Web", f"{ROOT}/run/php/php-fpm.sock", "nobody")
    ends("Icinga Web", host, page, APACHE)


run(lambda: serve({"munin": munin, "icingaweb2": icingaweb2}))
