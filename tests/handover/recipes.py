#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""The recipes of doc/recipes, read from the text: every SERVICE and GRANTS of
them in one reeved, and those that Debian has and that are light run with the FILEs as
they stand there: radicale, git, gitweb, cgit behind Apache, Dovecot; more are run by
recipes_apps.py and postgresql.py. For each: nobody, another person and a forgery first.
"""
import glob
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess

import harness
import recipe
from harness import STAFF, STUDENT, accepting, begin, check, listening, program, read_file, run, skip, start, until, write
from recipe import DOC, FORGED, ask, put, refusals
from recipe_run import Connection, forged, kept_out

TMP = begin("recipes")
ROOT = recipe.root()
FCGIWRAP = f"{ROOT}/run/fcgiwrap.socket"
STUDENT_AT = "127.0.0.9"        # who connects there comes from 127.0.0.2


def radicale(files):
    if subprocess.run(["/usr/bin/python3", "-c", "import radicale"], stderr=subprocess.DEVNULL, check=False).returncode:
        return skip("radicale", "python3-radicale is not installed")
    put(files)
    start("/usr/bin/python3", "-m", "radicale", "--config", f"{ROOT}/etc/radicale/config", name="radicale")
    if not until(30, lambda: listening(5232)):
        return check("radicale starts", False, read_file("radicale.log"))
    host = "calendar.example.edu"
    who = b'<propfind xmlns="DAV:"><prop><current-user-principal/></prop></propfind>'
    refusals("radicale", host)
    check("radicale: a student has no grant", ask(host, source="127.0.0.2")[0] == 403)
    for headers in ([], FORGED[:5], FORGED):
        a = ask(host, headers=["Depth: 0", *headers], method="PROPFIND", body=who)
        check(f"radicale: staff is staff with {len(headers)} forged fields", a[0] == 207 and "staff" in a[1] and "admin" not in a[1], a)
    a = ask(host, "/staff@example.edu/work/", method="MKCALENDAR")
    check("radicale: staff makes a calendar of their own", a[0] == 201 and glob.glob(
        f"{ROOT}/var/lib/radicale/collections/*/staff@example.edu/work"), a)
    a = ask(host, "/admin/work/", method="MKCALENDAR", headers=FORGED)
    check("radicale: and none of another's", a[0] in (401, 403), a)
    return None


def repositories():
    """lab.git and secret.git in /srv/git."""
    for name in ("lab", "secret"):
        path = f"{ROOT}/srv/git/{name}.git"
        os.makedirs(path, exist_ok=True)
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", path], check=True)
        with open(f"{path}/description", "w", encoding="utf-8") as f:
            f.write(f"the {name}\n")


def fcgiwrap(files):
    """As Debian's units start it, with what the recipes add to them: the socket is made before, and
    handed over."""
    env = dict(os.environ, GITWEB_CONFIG=f"{ROOT}/etc/gitweb.conf")
    unit = {"SocketMode": "0666", "SocketUser": "root", "SocketGroup": "root"}
    texts = [open(p, encoding="utf-8").read() for p in ("/lib/systemd/system/fcgiwrap.socket",) if os.path.exists(p)]
    for path, text in files.items():
        if path.endswith("/fcgiwrap.service.d/git.conf"):
            env.update(line.split("=", 2)[1:] for line in text.splitlines() if line.startswith("Environment="))
        if path.endswith("/fcgiwrap.socket.d/git.conf"):
            texts.append(text)
    for text in texts:
        unit.update(line.split("=", 1) for line in text.splitlines() if line.startswith("Socket"))
    os.makedirs(f"{ROOT}/run", exist_ok=True)
    s = socket.socket(socket.AF_UNIX)
    s.bind(FCGIWRAP)
    os.chmod(FCGIWRAP, int(unit["SocketMode"], 8))
    shutil.chown(FCGIWRAP, unit["SocketUser"], unit["SocketGroup"])
    s.listen(64)
    with open(f"{TMP}/fcgiwrap.log", "wb") as log:
        p = subprocess.Popen(["setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups", program("fcgiwrap")],
                             stdin=s, stdout=log, stderr=log, env=env)
    s.close()
    harness.children.append(p)
    kept_out("git", FCGIWRAP, "nobody", "www-data")
    return True


def git(*argv, at="127.0.0.1", cwd=None):
    env = {**os.environ, "HOME": TMP, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_AUTHOR_NAME": "x",
           "GIT_AUTHOR_EMAIL": "x@example.edu", "GIT_COMMITTER_NAME": "x", "GIT_COMMITTER_EMAIL": "x@example.edu",
           "no_proxy": "*"}
    return subprocess.run(["git", "-c", f"http.curloptResolve=git.example.edu:80:{at}", *argv], cwd=cwd, env=env,
                          capture_output=True, text=True, timeout=60, check=False)


def git_http():
    url = "http://git.example.edu/lab.git"
    refusals("git", "git.example.edu", "/lab.git/info/refs?service=git-upload-pack")
    work, pushes = f"{TMP}/work", f"{ROOT}/srv/git/lab.git/pushes"
    r = git("clone", "-q", url, work)
    check("git: staff clones", r.returncode == 0, r)
    write("work/page", "one\n")
    git("checkout", "-q", "-b", "main", cwd=work)
    git("add", "page", cwd=work)
    git("commit", "-q", "-m", "one", cwd=work)
    r = git("push", "-q", "origin", "main", at=STUDENT_AT, cwd=work)
    check("git: a student does not push", r.returncode != 0 and not os.path.exists(pushes), r)
    r = git("-c", "http.extraHeader=Remote-User: admin", "push", "-q", "origin", "main", cwd=work)
    check("git: staff pushes", r.returncode == 0, r)
    check("git: the hook knows who, whatever the client says", until(30, lambda: os.path.exists(pushes)
          and read_file("root/srv/git/lab.git/pushes") == "pushed by staff@example.edu\n"), r)
    r = git("clone", "-q", url, f"{TMP}/copy", at=STUDENT_AT)
    check("git: a student fetches it", r.returncode == 0 and os.path.exists(f"{TMP}/copy/page"), r)
    r = git("clone", "-q", "http://git.example.edu/none.git", f"{TMP}/none")
    check("git: what is not there is not", r.returncode != 0)


def gitweb(files):
    if not os.path.exists("/usr/lib/cgi-bin/gitweb.cgi"):
        return skip("gitweb", "gitweb is not installed")
    put(files)
    host = "gitweb.example.edu"
    refusals("gitweb", host)
    a = ask(host, source="127.0.0.2", headers=forged("staff@example.edu"))
    check("gitweb: a student sees one of two, whoever they say that they are", a[0] == 200 and "lab.git" in a[1] and "secret.git" not in a[1], a)
    a = ask(host, "/?p=secret.git", source="127.0.0.2")
    check("gitweb: and does not reach the other", a[0] in (403, 404), a)
    a = ask(host, headers=FORGED)
    check("gitweb: staff sees both", a[0] == 200 and "lab.git" in a[1] and "secret.git" in a[1], a)
    a = ask(host, "/?p=secret.git")
    check("gitweb: and reaches it", a[0] == 200 and "the secret" in a[1], a)
    return None


def cgit(files):
    binary, modules = program("apache2"), "/usr/lib/apache2/modules"
    if not binary or not os.path.exists("/usr/lib/cgit/cgit.cgi"):
        return skip("cgit", "cgit or apache2-bin is not installed")
    put(files)
    os.makedirs(f"{ROOT}/var/log/apache2")
    load = "\n".join(f"LoadModule {m}_module {modules}/mod_{m}.so" for m in
                     ("mpm_event", "authz_core", "alias", "env", "setenvif", "cgid"))
    conf = write("apache.conf", f"{load}\nServerRoot {TMP}\nPidFile {TMP}/apache.pid\nServerName localhost\n"
                 f"ErrorLog {TMP}/apache.err\nScriptSock {TMP}/cgid.sock\nUser www-data\nGroup www-data\n"
                 f"Include {ROOT}/etc/apache2/sites-enabled/cgit.conf\n")
    start(binary, "-f", conf, "-D", "FOREGROUND", name="apache")
    host = "cgit.example.edu"
    if not until(30, lambda: listening(8081)):
        return check("Apache starts", False, read_file("apache.log") + read_file("apache.err"))
    refusals("cgit", host)
    for target, status in (("/", 403), ("/secret.git/", 403), ("/lab.git/../secret.git/", 403), ("/lab.git/", 200)):
        a = ask(host, target, source="127.0.0.2", headers=FORGED)
        check(f"cgit: a student at {target}", a[0] == status, a)
    a = ask(host, headers=FORGED)
    check("cgit: staff sees both", a[0] == 200 and "lab.git" in a[1] and "secret.git" in a[1], a)
    # a server logs a request after it has answered
    want = ("staff@example.edu GET / 200", "student@example.edu GET /lab.git/ 200")
    ok = until(30, lambda: all(w in read_file("root/var/log/apache2/cgit.log") for w in want))
    log = read_file("root/var/log/apache2/cgit.log")
    check("cgit: Apache's log names them, and nobody who was forged", ok and "admin" not in log, log)
    return None


def dovecot(files):
    binary = program("dovecot")
    if not binary:
        return skip("Dovecot", "dovecot-imapd is not installed")
    put(files)
    nobody = pwd.getpwnam("nobody")
    os.makedirs(f"{TMP}/mail")
    os.chmod(f"{TMP}/mail", 0o777)
    # what Debian's own files say before conf.d: where things are
    conf = write("dovecot.conf", f"""
base_dir = {TMP}/dovecot
state_dir = {TMP}/dovecot
log_path = {TMP}/dovecot.err
first_valid_uid = 1
auth_failure_delay = 0
mail_location = maildir:{TMP}/mail/%u
userdb {{
  driver = static
  args = uid={nobody.pw_uid} gid={nobody.pw_gid} home={TMP}/mail/%u
}}
service imap-login {{
  inet_listener imaps {{
    port = 0
  }}
}}
!include {ROOT}/etc/dovecot/conf.d/99-reeve.conf
""")
    start(binary, "-F", "-c", conf, name="dovecot")
    if not until(30, lambda: listening(10143)):
        return check("Dovecot starts", False, read_file("dovecot.err") if os.path.exists(f"{TMP}/dovecot.err") else "")

    def dial(source):
        s = socket.create_connection(("127.0.0.1", 143), timeout=60, source_address=(source, 0))
        return s, s.makefile("rb")
    for what, source in (("nobody", "127.0.0.3"), ("a student", "127.0.0.2")):
        s, f = dial(source)
        try:
            banner = f.readline()
        except OSError:
            banner = b""
        check(f"Dovecot: {what} gets no banner", banner == b"", banner)
        s.close()
    s, f = dial("127.0.0.1")
    f.readline()
    s.sendall(b"a AUTHENTICATE EXTERNAL =\r\n")
    answer = f.readline()
    check("Dovecot: logged in without a password", answer.startswith(b"a OK"), answer)
    s.sendall(b"b CREATE lab\r\nc LOGOUT\r\n")
    while (line := f.readline()) and not line.startswith(b"c "):
        pass
    f.close()
    s.close()
    s, f = dial("127.0.0.1")
    check("Dovecot: staff does", f.readline().startswith(b"* OK"))
    s.sendall(b"a AUTHENTICATE EXTERNAL YWRtaW4=\r\n")
    answer = f.readline()
    check("Dovecot: and is nobody else", not answer.startswith(b"a OK"), answer)
    f.close()
    s.close()
    check("Dovecot: as the login that Reeve said", os.path.isdir(f"{TMP}/mail/staff@example.edu"), os.listdir(f"{TMP}/mail"))
    return None


def ends(daemon):
    """Staff's session ends while connections to each are open."""
    pages = [("radicale", "calendar.example.edu", "/.web/"), ("git", "git.example.edu", "/lab.git/info/refs?service=git-upload-pack"),
             ("gitweb", "gitweb.example.edu", "/"), ("cgit", "cgit.example.edu", "/")]
    kept = [(name, page, Connection(host, at="127.0.0.1")) for name, host, page in pages]
    kept = [(name, page, c) for name, page, c in kept if c.ask(page)[0] == 200]
    harness.write("identities.hujson", json.dumps([STUDENT]))
    daemon.send_signal(signal.SIGHUP)
    for name, page, c in kept:
        check(f"{name}: an open connection serves staff no more when the session has ended", until(60, lambda c=c, page=page:
              c.ask(page)[0] in (0, 401, 403)))
    a = ask("gitweb.example.edu", source="127.0.0.2")
    check("a student is served on", a[0] == 200 or not kept, a)


def main():
    subprocess.run(["ip", "route", "replace", "local", STUDENT_AT, "dev", "lo", "src", "127.0.0.2", "table", "local"], check=True)
    recipes = {name: recipe.recipe(name) for name in sorted(os.listdir(DOC)) if name != "README"}
    index = open(f"{DOC}/README", encoding="utf-8").read()
    check("every recipe is in the index", all(re.search(rf"^  {n} ", index, re.M) for n in recipes), list(recipes))
    check("there are at least ten", len(recipes) >= 10, len(recipes))
    reeve = pwd.getpwnam("reeve")
    services, grants = {}, []
    for name, (service, more, _) in recipes.items():
        check(f"{name}: one service, in at most five lines of configuration",
              len(service) == 1 and 1 <= recipe.service_lines(name) <= 5, service)
        for row in service.values():
            # alone there are no overlay addresses that a bare port could mean
            row["listen"] = [f"{a}:{p}" for p in row["listen"] for a in ("127.0.0.1", STUDENT_AT)] \
                if row["listen"][0].isdigit() else row["listen"]
            if secret := row.get("basic-secret"):
                put({secret: "0123456789abcdef\n"})
                os.chmod(secret, 0o600)
                os.chown(secret, reeve.pw_uid, reeve.pw_gid)
        services |= service
        grants += more
    check("no two recipes have one name", len(services) == len(recipes), list(services))
    # one front, or what the first knows of a reload says nothing of what the second does
    conf = harness.configure([STAFF, STUDENT], services, grants, fronts=1)
    repositories()
    for name in ("git", "gitweb"):
        put(recipes[name][2])
    subprocess.run(["chown", "-R", "www-data:www-data", f"{ROOT}/srv/git"], check=True)
    wrapped = program("fcgiwrap") and program("git") and fcgiwrap(recipes["git"][2])
    daemon = harness.reeved(conf, 80)
    if not daemon or not until(30, lambda: ask("calendar.example.edu", source="127.0.0.3")[0] == 403):
        return check("one reeved takes all of them", False, read_file("reeved.log"))
    check("one reeved takes all of them", True)
    radicale(recipes["radicale"][2])
    if wrapped:
        git_http()
        gitweb(recipes["gitweb"][2])
    else:
        skip("git and gitweb", "fcgiwrap or git is not installed")
    cgit(recipes["cgit"][2])
    dovecot(recipes["dovecot"][2])
    ends(daemon)
    return None


run(main)
