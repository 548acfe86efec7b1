#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""The recipes for Dovecot and Roundcube, as they stand there and on one host, before Debian's
packages: one person's mail by IMAP and in the browser. Nobody, another person and forgeries
first; then the end of a session, and what a browser kept of it.
"""
import base64
import glob
import os
import pwd
import re
import socket
import subprocess

import recipe
import recipe_run
from harness import accepting, begin, check, listening, program, read_file, run, skip, start, until, write
from recipe import put
from recipe_run import AT, Connection, ask, forged, over, refusals

TMP = begin("recipes_mail")
ROOT = recipe.root()
HOST = "mail.example.edu"
FPM = next(iter(sorted(glob.glob("/usr/sbin/php-fpm*"))), None)
SECRET = "0123456789abcdef"
PEOPLE = {"127.0.0.1": "staff@example.edu", "127.0.0.2": "student@example.edu"}
LETTER = "/?_task=mail&_mbox=INBOX&_uid=1&_action=show"
SUBJECT = r"letter-to-([a-z]+)"
prepared, waits = [], [lambda: listening(10143)]


def mailboxes():
    """A letter for each, and one for somebody who has no session."""
    nobody = pwd.getpwnam("nobody")
    for login in [*PEOPLE.values(), "admin@example.edu"]:
        name = f"{TMP}/mail/{login}/new/1.lab"
        put({name: f"From: lab@example.edu\nTo: {login}\nSubject: letter-to-{login.split('@')[0]}\n\nHello.\n"})
    for top, _, files in os.walk(f"{TMP}/mail"):
        for path in [top, *(os.path.join(top, f) for f in files)]:
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return nobody


def dovecot(files):
    if not program("dovecot"):
        return skip("Dovecot", "dovecot-imapd is not installed")
    put(files)
    prepared.append("reeve")
    return lambda: all(ready() for ready in waits), dovecot_told


def serve_mail():
    """Dovecot, with what Debian's own files say before conf.d: where things are."""
    if "reeve" not in prepared:
        return
    names = list(prepared)
    nobody = mailboxes()
    conf = write("dovecot.conf", f"""
base_dir = {TMP}/dovecot
state_dir = {TMP}/dovecot
log_path = {TMP}/dovecot.err
first_valid_uid = 1
auth_failure_delay = 0
# who failed waits, the longer the oftener: this is one address that tries much
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
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
""" + "".join(f"!include {ROOT}/etc/dovecot/conf.d/99-{name}.conf\n" for name in names))
    prepared.append(start(program("dovecot"), "-F", "-c", conf, name="dovecot"))


class Imap:
    def __init__(self, source, at=None, port=143):
        self.s = socket.create_connection((at or AT[source], port), timeout=60, source_address=(source, 0))
        self.f = self.s.makefile("rb")
        self.banner = self.line()

    def line(self):
        try:
            return self.f.readline()
        except OSError:
            return b""

    def ask(self, command):
        """What is said up to the tagged answer, b"" where the connection ends."""
        said = b""
        try:
            self.s.sendall(b"x " + command.encode() + b"\r\n")
        except OSError:
            return b""
        while line := self.line():
            said += line
            if line.startswith(b"x "):
                return said
        return b""

    def close(self):
        self.f.close()
        self.s.close()


def plain(login, password):
    return "AUTHENTICATE PLAIN " + base64.b64encode(f"\0{login}\0{password}".encode()).decode()


def external(login=""):
    return "AUTHENTICATE EXTERNAL " + (base64.b64encode(login.encode()).decode() or "=")


def letter(c):
    return re.findall(SUBJECT.encode(), c.ask("FETCH 1 BODY[HEADER.FIELDS (SUBJECT)]"))


def dovecot_told():
    for what, source in (("nobody", "127.0.0.3"), ("a student", "127.0.0.2")):
        c = Imap(source)
        check(f"Dovecot: {what} gets no banner", c.banner == b"", c.banner)
        c.close()
    for what, command in {"another's name": external("admin@example.edu"), "another's password": plain("admin@example.edu", "x"),
                          "no password": plain("admin@example.edu", ""), "a guess": "LOGIN admin@example.edu guess"}.items():
        c = Imap("127.0.0.1")
        answer = c.ask(command)
        check(f"Dovecot: staff is nobody else with {what}", c.banner.startswith(b"* OK") and (b"x NO" in answer or b"x BAD" in answer),
              answer)
        c.close()
    c = Imap("127.0.0.1")
    answer = c.ask(external())
    check("Dovecot: staff is logged in without a password", b"x OK" in answer, answer)
    check("Dovecot: to the mail of the login that Reeve said", b"x OK" in c.ask("SELECT INBOX") and letter(c) == [b"staff"])
    if "roundcube" in prepared:
        for what, command in {"without a password": external("staff@example.edu"), "with a guess": plain("staff@example.edu", "guess"),
                              "with none": plain("staff@example.edu", "")}.items():
            d = Imap("127.0.0.3", "127.0.0.1", 10144)
            answer = d.ask(command)
            check(f"Dovecot: a local process is nobody where Roundcube asks, {what}", b"x NO" in answer or b"x BAD" in answer, answer)
            d.close()
        roundcube_told()
    recipe_run.changed_hands()
    check("Dovecot: when the session ends so does the connection", until(60, lambda: not c.ask("NOOP")))
    c.close()
    seen = []

    def again():
        d = Imap("127.0.0.1")
        if b"x OK" in d.ask(external()) and b"x OK" in d.ask("SELECT INBOX"):
            seen.append(letter(d))
        d.close()
        return bool(seen)
    check("Dovecot: who has the device then gets their own mail", until(60, again) and seen == [[b"student"]], seen)
    if "roundcube" in prepared:
        handed_on()
    # asked to end it waits five seconds for a login process that has just begun
    prepared[-1].kill()


# ---- in the browser ----

def roundcube(files):
    if not os.path.isdir("/usr/share/roundcube/plugins/http_authentication") or not FPM or not program("nginx") \
            or not os.path.exists("/etc/nginx/fastcgi_params") or subprocess.run(
                [program("php") or "false", "-r", "exit((int)!extension_loaded('pdo_sqlite'));"], check=False).returncode:
        return skip("Roundcube", "roundcube-core, -sqlite3 or -plugins, php-fpm, php-cli or nginx is not installed")
    if "reeve" not in prepared:
        return skip("Roundcube", "dovecot-imapd is not installed")
    over("/etc/roundcube", "/var/lib/roundcube")
    put(files)
    put({path: text.replace("THE-SECRET", SECRET) for path, text in files.items() if "THE-SECRET" in text})
    put({f"{ROOT}/etc/roundcube/debian-db.php":
         f"<?php\n$dbtype = 'sqlite3';\n$basepath = '{ROOT}/var/lib/roundcube/temp';\n$dbname = 'roundcube';\n"})
    with open(f"{ROOT}/etc/roundcube/config.inc.php", "a", encoding="utf-8") as f:
        f.write(f"$config['log_dir'] = '{ROOT}/var/lib/roundcube/temp';\n")
    os.makedirs(f"{ROOT}/run/php", exist_ok=True)
    write("fpm.conf", f"[global]\nerror_log = {TMP}/fpm.err\ndaemonize = no\ninclude = {ROOT}/etc/php/8.2/fpm/pool.d/roundcube.conf\n")
    start(FPM, "-y", f"{TMP}/fpm.conf", name="fpm", env=recipe_run.environment())
    os.symlink("/etc/nginx/fastcgi_params", f"{TMP}/fastcgi_params")
    paths = "".join(f"{p}_temp_path {TMP}/nginx.{p};\n" for p in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    write("nginx.conf", f"daemon off;\nuser www-data;\npid {TMP}/nginx.pid;\nerror_log {TMP}/nginx.err;\nevents {{}}\n"
          f"http {{\naccess_log off;\ninclude /etc/nginx/mime.types;\n{paths}include {ROOT}/etc/nginx/sites-enabled/roundcube;\n}}\n")
    start(program("nginx"), "-c", f"{TMP}/nginx.conf", "-e", f"{TMP}/nginx.err", name="nginx")
    prepared.append("roundcube")
    # told in the middle of Dovecot's part: their sessions end together
    waits.append(lambda: listening(8084) and listening(10144) and accepting(f"{ROOT}/run/php/roundcube.sock"))
    return None


def opened(cookies, headers=(), source="127.0.0.1"):
    """The first letter as a browser with these cookies is shown it: (status, names in it)."""
    for _ in range(4):
        c = Connection(HOST, source, cookies=cookies)
        status, fields, text = c.ask(LETTER, headers=headers)
        c.close()
        if status not in (301, 302, 303, 307):
            break
    return status, set(re.findall(SUBJECT, text)), text


def roundcube_told():
    for target in ("/", LETTER, "/skins/elastic/styles/styles.min.css", "/index.php", "/config/config.inc.php"):
        refusals("Roundcube", HOST, target)
        refusals("Roundcube", HOST, target, source="127.0.0.2")
    for headers in [[]] + [[line] for line in forged("admin@example.edu")] + [forged("admin@example.edu")]:
        a = opened({}, headers)
        check(f"Roundcube: staff reads staff's mail with {headers or 'nothing forged'}", a[:2] == (200, {"staff"}),
              (a[:2], a[2][-300:], read_file("nginx.err")[:1500]))
    a = ask(HOST, "/skins/elastic/styles/styles.min.css")
    check("Roundcube: with its styles", a[0] == 200 and len(a[1]) > 1000, a[0])
    for target in ("/plugins/http_authentication/config.inc.php", "/plugins/reeve/reeve.php", "/config/config.inc.php", "/temp/roundcube",
                   "/../config/config.inc.php", "/skins/../../config/config.inc.php", "/SQL/sqlite.initial.sql"):
        a = ask(HOST, target)
        check(f"Roundcube: and nothing of {target}", a[0] in (400, 403, 404) and "rcube" not in a[1], a)
    cookies = {}
    opened(cookies)
    token = re.search(r'"request_token":"([^"]*)"', opened(cookies)[2]).group(1)
    for login, word in (("admin@example.edu", "guess"), ("admin@example.edu", "")):
        kept = dict(cookies)
        c = Connection(HOST, cookies=kept)
        c.ask("/?_task=login", method="POST", headers=["Content-Type: application/x-www-form-urlencoded"],
              body=f"_task=login&_action=login&_token={token}&_user={login.replace('@', '%40')}&_pass={word}".encode())
        c.close()
        a = opened(kept)
        check(f"Roundcube: its form lets nobody be another, with {word or 'no password'}", a[0] == 200 and a[1] == {"staff"}, a)
    guess = "Authorization: Basic " + base64.b64encode(b"staff@example.edu:guess").decode()
    for headers in ([], [guess], forged("staff@example.edu")[:10]):
        a = recipe.ask(HOST, LETTER, "127.0.0.3", headers=headers, port=8084)
        check(f"Roundcube: a local process that goes to it is nobody, with {headers or 'nothing'}", "letter-to" not in a[1], a)
    staff.update(cookies)
    check("Roundcube: staff's browser goes on", opened(staff)[:2] == (200, {"staff"}))


staff = {}


def handed_on():
    """The student has staff's device, and all that the browser kept."""
    check("Roundcube: the browser has cookies of staff's", len(staff) >= 2, staff)
    a = opened(dict(staff))
    check("Roundcube: and does not show staff's mail to the next", a[0] == 200 and a[1] == {"student"}, a)


run(lambda: recipe_run.serve({"dovecot": dovecot, "roundcube": roundcube}, serve_mail))
