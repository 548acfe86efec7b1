#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""The recipe for MediaWiki, as it stands there, before Debian's package with SQLite: php-fpm is
told who calls. Nobody, another person and forgeries first; then staff, and the end of a session.
"""
import glob
import json
import os
import re
import subprocess

import recipe
import recipe_run
from harness import accepting, begin, check, program, run, skip, start, until
from recipe import FORGED, put
from recipe_run import Connection, ask, made, refusals, said

TMP = begin("recipes_mediawiki")
ROOT = recipe.root()
HOST = "encyclopedia.example.edu"
FPM = next(iter(sorted(glob.glob("/usr/sbin/php-fpm*"))), None)
WHO = "/api.php?action=query&meta=userinfo&uiprop=groups&format=json"
NAME = r'"userinfo":{"id":[1-9]\d*,"name":"([^"]*)"'


def mediawiki(files):
    php = program("php")
    if not os.path.exists("/usr/share/mediawiki/api.php") or not FPM or not php \
            or subprocess.run([php, "-r", "exit((int)!extension_loaded('pdo_sqlite'));"], check=False).returncode:
        return skip("MediaWiki", "mediawiki, php-fpm, php-cli or php-sqlite3 is not installed")
    recipe_run.over("/etc/mediawiki", "/var/lib/mediawiki")
    data = f"{ROOT}/var/lib/mediawiki/data"
    # the installer writes LocalSettings.php, to which the recipe adds a line
    if not made(php, "/usr/share/mediawiki/maintenance/install.php", "--dbtype", "sqlite", "--dbpath", data, "--dbname", "wiki",
                "--confpath", "/etc/mediawiki", "--server", f"http://{HOST}", "--scriptpath", "", "--pass", "0123456789abcdef",
                "Encyclopedia", "Owner"):
        return None
    put(files)
    subprocess.run(["chown", "-R", "www-data:www-data", data], check=True)
    os.makedirs(f"{ROOT}/run/php")
    pool = next(path for path in files if "/pool.d/" in path)
    put({f"{TMP}/fpm.conf": f"[global]\nerror_log = {TMP}/fpm.err\ndaemonize = no\ninclude = {pool}\n"})
    start(FPM, "-y", f"{TMP}/fpm.conf", name="fpm", env=recipe_run.environment())
    return lambda: accepting(f"{ROOT}/run/php/encyclopedia.sock"), told


def told():
    for target in (WHO, "/", "/index.php?title=Special:UserLogin", "/load.php"):
        refusals("MediaWiki", HOST, target)
        refusals("MediaWiki", HOST, target, source="127.0.0.2")
    said("MediaWiki", HOST, WHO, NAME, {"127.0.0.1": ["Staff@example.edu"]})
    a = ask(HOST, WHO)
    check("MediaWiki: an account without an administrator's rights", '"user"' in a[1] and "sysop" not in a[1], a)
    a = ask(HOST, "/index.php?title=Special:Preferences")
    check("MediaWiki: its pages know them", a[0] == 200 and "Staff@example.edu" in a[1] and "Owner" not in a[1], a)
    edit()
    recipe_run.kept_out("MediaWiki", f"{ROOT}/run/php/encyclopedia.sock", "www-data", "nobody")
    kept = Connection(HOST)
    check("MediaWiki: a browser of staff's", re.findall(NAME, kept.ask(WHO)[2]) == ["Staff@example.edu"])
    recipe_run.changed_hands()
    check("MediaWiki: once the session has ended its connection serves staff no more", until(60, lambda: kept.ask(WHO)[0] in (0, 403)))
    seen = []
    check("MediaWiki: who has the device then is themselves, with all that the browser kept", until(60, lambda: seen.append(
        re.findall(NAME, Connection(HOST, cookies=dict(kept.cookies)).ask(WHO)[2])) or seen[-1] == ["Student@example.edu"])
        and ["Staff@example.edu"] not in seen, seen)


def edit():
    """A page is staff's, whoever the request says it is; and cookies are nobody's key."""
    a = ask(HOST, "/api.php?action=query&meta=tokens&format=json")
    token = json.loads(re.search(r"{.*}", a[1], re.S).group())["query"]["tokens"]["csrftoken"]
    body = f"action=edit&title=Lab&text=one&format=json&token={token.replace('+', '%2B')}".encode()
    a = ask(HOST, "/api.php", headers=["Content-Type: application/x-www-form-urlencoded", *FORGED], method="POST", body=body)
    check("MediaWiki: staff writes a page", '"result":"Success"' in a[1], a)
    a = ask(HOST, "/api.php?action=query&prop=revisions&titles=Lab&rvprop=user&format=json")
    check("MediaWiki: it has staff's name", re.findall(r'"user":"([^"]*)"', a[1]) == ["Staff@example.edu"], a)
    a = ask(HOST, WHO, headers=["Cookie: wiki_session=0123456789abcdef0123456789abcdef; wikiUserID=1; wikiUserName=Owner; wikiToken=x"])
    check("MediaWiki: a cookie makes nobody of them", re.findall(NAME, a[1]) == ["Staff@example.edu"], a)


run(lambda: recipe_run.serve({"mediawiki": mediawiki}))
