#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Recipes of doc/recipes, as they stand there, before Debian's programs: Django and
Mercurial (uwsgi), Fossil (SCGI), DokuWiki (a password), CUPS (paths), Subversion (inside
Apache, which asks). For each: nobody, another person and a forgery first; then the end of
staff's session.

  staff calls 127.0.1.1 and comes from 127.0.0.1, a student 127.0.1.2 from .2, nobody .3
"""
import os
import shutil
import struct
import subprocess

import recipe
import recipe_run
from harness import STUDENT, accepting, begin, check, listening, program, read_file, run, skip, start, until, write
from recipe import FORGED, put
from recipe_run import AT, Connection, apache, apache_missing, ask, made, refusals, tool

TMP = begin("recipes_apps")
ROOT = recipe.root()
ENV = recipe_run.environment()


def hosts(name, at):
    """Where programs that take a URL alone find name from now on."""
    with open("/etc/hosts", "w", encoding="utf-8") as f:
        f.write(f"127.0.0.1 localhost\n{at} {name}\n")


def uwsgi(ini, socket):
    start(program("uwsgi"), "--ini", ini, "--die-on-term", "--need-app", name=os.path.basename(ini), cwd=TMP, env=ENV)
    return lambda: accepting(socket)


def django(files):
    if not program("django-admin") or not program("uwsgi"):
        return skip("Django", "python3-django or uwsgi-core is not installed")
    os.makedirs(f"{ROOT}/srv/portal")
    if not made("django-admin", "startproject", "portal", f"{ROOT}/srv/portal"):
        return None
    put(files)
    put({f"{ROOT}/srv/portal/portal/urls.py": "from django.http import HttpResponse\nfrom django.urls import path\n"
         "urlpatterns = [path('', lambda r: HttpResponse('you are ' + (r.user.username or 'nobody')))]\n"})
    if not made("/usr/bin/python3", "manage.py", "migrate", "-v", "0", cwd=f"{ROOT}/srv/portal", DJANGO_SETTINGS_MODULE="portal.reeve"):
        return None
    return uwsgi(f"{ROOT}/etc/uwsgi/apps-enabled/portal.ini", f"{ROOT}/run/uwsgi/portal.socket"), django_told


def django_told():
    host = "portal.example.edu"
    refusals("Django", host)
    refusals("Django", host, source="127.0.0.2")
    for headers in ([], FORGED):
        a = ask(host, headers=headers)
        check(f"Django: staff is staff, with {len(headers)} forged fields", a == (200, "you are staff@example.edu"), a)


def mercurial(files):
    if not program("hg") or not program("uwsgi"):
        return skip("Mercurial", "mercurial or uwsgi-core is not installed")
    put(files)
    if not made("hg", "init", f"{ROOT}/srv/hg/repos/lab"):
        return None
    return uwsgi(f"{ROOT}/etc/uwsgi/apps-enabled/hg.ini", f"{ROOT}/run/uwsgi/hg.socket"), mercurial_told


def hg(*argv, cwd=None):
    return tool("hg", "--config", "ui.username=somebody else", "--config", "ui.interactive=no", *argv, cwd=cwd)


def mercurial_told():
    host = "hg.example.edu"
    url, work, pushes = f"http://{host}/lab", f"{TMP}/hg", f"{ROOT}/srv/hg/repos/lab/pushes"
    refusals("Mercurial", host, "/lab?cmd=capabilities")
    hosts(host, AT["127.0.0.2"])
    r = hg("clone", "-q", url, work)
    check("Mercurial: a student clones", r.returncode == 0, r)
    put({f"{work}/page": "one\n"})
    hg("commit", "-q", "-A", "-m", "one", cwd=work)
    r = hg("push", "-q", cwd=work)
    check("Mercurial: and does not push", r.returncode != 0 and not os.path.exists(pushes), r)
    a = ask(host, "/lab?cmd=unbundle", "127.0.0.2", method="POST", headers=FORGED[:5])
    check("Mercurial: nor with a forgery", a[0] in (401, 403), a)
    hosts(host, AT["127.0.0.1"])
    r = hg("push", "-q", cwd=work)
    check("Mercurial: staff pushes", r.returncode == 0, r)
    # the hook has run when the push is answered
    said = read_file(os.path.relpath(pushes, TMP)) if os.path.exists(pushes) else ""
    check("Mercurial: the hook knows who", said.startswith("remote:http:") and said.endswith(":staff%40example.edu\n"), said)


def fossil(files):
    if not program("fossil"):
        return skip("Fossil", "fossil is not installed")
    put(files)
    repository = f"{ROOT}/srv/fossil/lab.fossil"
    if not made(f"{ROOT}/srv/fossil/new.sh", repository, "admin@example.edu"):
        return None
    start(program("fossil"), "server", "--scgi", "--localhost", "--port", "9000", repository, name="fossil", env=ENV)
    return lambda: listening(9000), fossil_told


def fossil_told():
    host = "fossil.example.edu"
    refusals("Fossil", host, "/timeline")
    a = ask(host, "/setup_ulist", "127.0.0.2", headers=FORGED)
    check("Fossil: whom it does not know sees nothing", "staff@example.edu" not in a[1], a)
    a = ask(host, "/timeline", "127.0.0.2", headers=FORGED)
    check("Fossil: a student, without an account, no timeline", "initial empty check-in" not in a[1], a)
    for headers in ([], FORGED):
        a = ask(host, "/timeline", headers=headers)
        check(f"Fossil: staff sees the timeline, with {len(headers)} forged fields", a[0] == 200 and "initial empty check-in" in a[1], a)
        check("Fossil: as staff", "staff@example.edu" in a[1] and "admin" not in a[1].split("initial empty")[0].lower()
              .replace("admin@example.edu", ""), a)
    a = ask(host, "/setup_ulist", headers=FORGED)
    check("Fossil: and is no administrator", "Login List" not in a[1], a)


def dokuwiki(files):
    if not os.path.exists("/usr/share/dokuwiki/doku.php") or not program("php"):
        return skip("DokuWiki", "dokuwiki or php-cli is not installed")
    # in a view of its folders that is ours alone, and before anything is written there: its
    # files are links from one to the other
    for d in ("/etc/dokuwiki", "/var/lib/dokuwiki"):
        shutil.copytree(d, ROOT + d, symlinks=True)
        subprocess.run(["mount", "--bind", ROOT + d, d], check=True)
    put(files)
    word = tool("php", "-r", "echo password_hash('0123456789abcdef', PASSWORD_BCRYPT, ['cost' => 4]);").stdout
    put({f"{ROOT}/etc/dokuwiki/users.auth.php": f"staff:{word}:Member of Staff:staff@example.edu:user\n"
         f"student:{word}:A Student:student@example.edu:user\n"
         f"admin:{word}:An Administrator:admin@example.edu:admin,user\n",
         f"{ROOT}/etc/dokuwiki/acl.auth.php": "*\t@ALL\t0\n*\t@user\t8\n"})
    start(program("php"), "-S", "127.0.0.1:8082", "-t", "/usr/share/dokuwiki", name="dokuwiki", env=ENV)
    return lambda: listening(8082), dokuwiki_told


def dokuwiki_told():
    host = "wiki.example.edu"
    refusals("DokuWiki", host, "/doku.php")
    refusals("DokuWiki", host, "/doku.php", source="127.0.0.2")
    for headers in ([], FORGED):
        a = ask(host, "/doku.php?id=start", headers=headers)
        check(f"DokuWiki: staff is logged in, with {len(headers)} forged fields", a[0] == 200 and "Member of Staff" in a[1]
              and "An Administrator" not in a[1], a)
    a = recipe.ask(host, "/doku.php?id=start", port=8082)
    check("DokuWiki: a local process is nobody there", "Member of Staff" not in a[1] and "An Administrator" not in a[1], a)


def cups(files):
    if not program("cupsd"):
        return skip("CUPS", "cups-daemon is not installed")
    put(files)
    for d in ("run/cups", "var/spool/cups", "var/cache/cups", "var/log/cups"):
        os.makedirs(f"{ROOT}/{d}", exist_ok=True)
    subprocess.run(["ip", "address", "add", "192.0.2.10/32", "dev", "lo"], check=True)
    where = put_cups()
    start(program("cupsd"), "-f", "-c", f"{ROOT}/etc/cups/cupsd.conf", "-s", where, name="cupsd", env=ENV)
    return lambda: listening(631, "192.0.2.10"), cups_told


def put_cups():
    return write("cups-files.conf", f"""ServerRoot {ROOT}/etc/cups
StateDir {ROOT}/run/cups
RequestRoot {ROOT}/var/spool/cups
CacheDir {ROOT}/var/cache/cups
TempDir {ROOT}/var/spool/cups
AccessLog {ROOT}/var/log/cups/access_log
ErrorLog {ROOT}/var/log/cups/error_log
PageLog {ROOT}/var/log/cups/page_log
User nobody
Group nogroup
SystemGroup root
""")


def ipp(operation, printer=False):
    """A request of RFC 8011, with what every one must have."""
    def attribute(tag, name, value):
        return struct.pack(">BH", tag, len(name)) + name + struct.pack(">H", len(value)) + value
    text = struct.pack(">BBHI", 1, 1, operation, 1) + b"\1" + attribute(0x47, b"attributes-charset", b"utf-8") \
        + attribute(0x48, b"attributes-natural-language", b"en")
    if printer:
        text += attribute(0x45, b"printer-uri", b"ipp://localhost/printers/laser")
    return text + b"\3"


def cups_told():
    host, kind = "print.example.edu", ["Content-Type: application/ipp"]
    printers, add = 0x4002, 0x4003
    refusals("CUPS", host, port=631)
    a = ask(host, "/", "127.0.0.2", method="POST", headers=kind, body=ipp(printers), port=631)
    check("CUPS: a student may ask for printers, and is answered in IPP", a[0] == 200 and "attributes-charset" in a[1], a)
    for target in ("/admin/", "/admin", "//admin/", "/printers/../admin/"):
        a = ask(host, target, "127.0.0.2", method="POST", headers=kind, body=ipp(add, True), port=631)
        check(f"CUPS: and not for {target}", a[0] in (400, 403) and "attributes-charset" not in a[1], a)
    a = ask(host, "/admin/", method="POST", headers=kind, body=ipp(printers), port=631)
    check("CUPS: staff does", a[0] == 200 and "attributes-charset" in a[1], a)
    a = ask("other.example.edu", "/", method="POST", headers=kind, body=ipp(printers), port=631)
    check("CUPS: and by no other name", a[0] == 421, a)


def subversion(files):
    why = apache_missing("dav", "dav_svn", "lua")
    if why or not program("svn"):
        return skip("Subversion", why or "subversion is not installed")
    put(files)
    os.makedirs(f"{ROOT}/srv/svn")
    if not made("svnadmin", "create", f"{ROOT}/srv/svn/lab"):
        return None
    subprocess.run(["chown", "-R", "www-data:www-data", f"{ROOT}/srv/svn"], check=True)
    for i in (2, 3):
        subprocess.run(["ip", "route", "replace", "local", f"127.0.2.{i}", "dev", "lo", "table", "local"], check=True)
    apache("apache", ("dav", "dav_svn", "lua"), ["sites-enabled/svn.conf"])
    return lambda: os.path.exists(f"{TMP}/apache.pid"), subversion_told


def svn(*argv, source="127.0.0.1"):
    """From this source: Apache sees where connections come from."""
    subprocess.run(["ip", "route", "replace", "local", "127.0.2.1", "dev", "lo", "src", source, "table", "local"], check=True)
    return tool("svn", "--non-interactive", "--no-auth-cache", "--username", "admin", "--password", "x", *argv)


def subversion_told():
    url, work = "http://svn.example.edu/svn/lab", f"{TMP}/svn"
    hosts("svn.example.edu", "127.0.2.1")
    for headers in ([], FORGED):
        a = recipe.ask("svn.example.edu", "/svn/lab/", "127.0.0.3", headers=headers, at="127.0.2.1")
        check(f"Subversion: nobody is refused, with {len(headers)} forged fields", a[0] == 403, a)
    r = svn("info", url, source="127.0.0.3")
    check("Subversion: nor does nobody's program get in", r.returncode != 0, r)
    r = svn("checkout", "-q", url, work, source="127.0.0.2")
    check("Subversion: a student checks out", r.returncode == 0, r)
    put({f"{work}/page": "one\n"})
    tool("svn", "add", "-q", f"{work}/page")
    r = svn("commit", "-q", "-m", "one", work, source="127.0.0.2")
    check("Subversion: and does not commit", r.returncode != 0, r)
    r = svn("commit", "-q", "-m", "one", work)
    check("Subversion: staff commits", r.returncode == 0, (r, read_file("apache.err")[-800:]))
    r = tool("svnlook", "author", f"{ROOT}/srv/svn/lab")
    check("Subversion: the revision is staff's, whoever the program says it is", r.stdout == "staff@example.edu\n", r)


APPS = {"django": django, "mercurial": mercurial, "fossil": fossil, "dokuwiki": dokuwiki, "cups": cups, "subversion": subversion}


# name: a page, where, what in it says that staff is served, and what that the student is
PAGES = {"django": ("portal.example.edu", "/", {}, "you are staff@", "you are student@"),
         "mercurial": ("hg.example.edu", "/lab?cmd=capabilities", {}, "unbundle", None),
         "fossil": ("fossil.example.edu", "/timeline", {}, "staff", None),
         "dokuwiki": ("wiki.example.edu", "/doku.php?id=start", {}, "Member of Staff", "A Student"),
         "cups": ("print.example.edu", "/", {"port": 631}, "CUPS v", None),       # which has no such page
         "subversion": ("svn.example.edu", "/svn/lab/", {"at": "127.0.2.1"}, "Revision", None)}


def ends(there):
    """Staff's session ends while a connection to each is open; the student comes to the same device, with
    what the browser kept."""
    kept = {name: Connection(PAGES[name][0], **PAGES[name][2]) for name in there}
    for name, c in kept.items():
        a = c.ask(PAGES[name][1])
        check(f"{name}: on a connection that stays open staff is served", a[0] in (200, 404) and PAGES[name][3] in a[2], (a[0], a[2][:500]))
    recipe_run.people(STUDENT)
    for name, c in kept.items():
        check(f"{name}: it serves staff no more when the session has ended",
              until(60, lambda c=c, target=PAGES[name][1]: c.ask(target)[0] in (0, 401, 403)))
        c.close()
    recipe_run.changed_hands()
    for name, c in kept.items():
        host, target, more, staffs, theirs = PAGES[name]
        seen = []

        def again():
            d = Connection(host, cookies=dict(c.cookies), **more)
            seen.append(d.ask(target)[2])
            d.close()
            return theirs in seen[-1]
        if theirs:
            check(f"{name}: who has the device then is themselves, whatever the browser kept",
                  until(60, again) and not any(staffs in text for text in seen), seen[-1][:3000])


def main():
    subprocess.run(["mount", "--bind", write("hosts", ""), "/etc/hosts"], check=True)
    os.makedirs(f"{ROOT}/run/uwsgi")
    there = []

    def noted(name, prepare):
        def prepared(files):
            if told := prepare(files):
                there.append(name)
            return told
        return prepared
    recipe_run.serve({name: noted(name, prepare) for name, prepare in APPS.items()})
    ends(there)


run(main)
