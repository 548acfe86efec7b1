#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Recipes of doc/recipes, as they stand there, for what Debian runs inside an Apache that
asks Reeve: Nagios with its daemon, BackupPC with its server, shared files over WebDAV. For
each: nobody, another person and a forgery first; then whom the application itself says that
it is told; then a person whose session ends while their connection is open.
"""
import os
import re
import shutil
import subprocess
import urllib.parse

import harness
import recipe
import recipe_run
from harness import STAFF, STUDENT, begin, check, program, read_file, run, skip, start, until
from recipe import End, put
from recipe_run import APACHE, Connection, apache, apache_missing, ask, forged, over, people, refusals, said, serve

TMP = begin("recipes_apache")
ROOT = recipe.root()
PID = f"{TMP}/front.pid"
SITES = {}
BACKUPS = "/var/lib/backuppc/log/LOG"


def ends(name, host, target):
    """Staff goes while their connection is open; a student is still served, and staff again later."""
    kept = Connection(host, at=APACHE)
    check(f"{name}: on a connection that stays open", kept.ask(target)[0] == 200)
    people(STUDENT)
    check(f"{name}: the next request on it is refused when staff's session has ended",
          until(60, lambda: kept.ask(target)[0] == 403), kept.ask(target))
    check(f"{name}: and every other", ask(host, target, at=APACHE)[0] == 403)
    check(f"{name}: a student's session goes on", ask(host, target, "127.0.0.2", at=APACHE)[0] == 200)
    kept.close()
    people(STAFF, STUDENT)
    check(f"{name}: staff is back", until(60, lambda: ask(host, target, at=APACHE)[0] == 200))


def nagios(files):
    why = apache_missing("lua", "cgid", "alias", "dir")
    if not why and not (program("nagios4") and os.path.exists("/usr/lib/cgi-bin/nagios4/status.cgi")):
        why = "nagios4-core or nagios4-cgi is not installed"
    if why:
        return skip("Nagios", why)
    over("/etc/nagios4", "/var/lib/nagios4", "/var/log/nagios4")
    # a host that nobody asks, in place of the package's examples
    put({"/etc/nagios4/nagios.cfg": """cfg_file=/etc/nagios4/lab.cfg
log_file=/var/log/nagios4/nagios.log
object_cache_file=/var/lib/nagios4/objects.cache
status_file=/var/lib/nagios4/status.dat
state_retention_file=/var/lib/nagios4/retention.dat
temp_file=/var/lib/nagios4/nagios.tmp
check_result_path=/var/lib/nagios4/spool/checkresults
command_file=/var/lib/nagios4/rw/nagios.cmd
lock_file=/var/lib/nagios4/nagios.pid
query_socket=/var/lib/nagios4/rw/nagios.qh
nagios_user=nagios
nagios_group=nagios
check_external_commands=1
log_external_commands=1
use_syslog=0
status_update_interval=1
check_for_updates=0
""", "/etc/nagios4/lab.cfg": """define timeperiod {
  timeperiod_name always
  alias Always
}
define command {
  command_name none
  command_line /bin/true
}
define contact {
  contact_name nobody
  host_notifications_enabled 0
  service_notifications_enabled 0
  host_notification_period always
  service_notification_period always
  host_notification_commands none
  service_notification_commands none
}
define host {
  host_name spectrometer
  alias spectrometer
  address 192.0.2.7
  max_check_attempts 1
  check_period always
  contacts nobody
  notification_period always
  active_checks_enabled 0
}
define service {
  host_name spectrometer
  service_description voltage
  check_command none
  max_check_attempts 1
  check_interval 1
  retry_interval 1
  check_period always
  contacts nobody
  notification_period always
  active_checks_enabled 0
}
"""})
    put(files)
    SITES["sites-available/nagios.conf"] = ("lua", "cgid", "alias", "dir")
    start(program("nagios4"), "/etc/nagios4/nagios.cfg", name="nagios4", env=recipe_run.environment())
    return lambda: os.path.exists("/var/lib/nagios4/status.dat") and os.path.exists("/var/lib/nagios4/rw/nagios.cmd") \
        and os.path.exists(PID), nagios_told


def nagios_told():
    host, status, command = "nagios.example.edu", "/cgi-bin/nagios4/status.cgi?host=all", "/cgi-bin/nagios4/cmd.cgi"
    for target in (status, command, "/nagios4/main.php", "/nagios4/stylesheets/common.css"):
        refusals("Nagios", host, target, at=APACHE)
    said("Nagios", host, status, r"Logged in as <i>([^<]*)</i>",
         {"127.0.0.1": ["staff@example.edu"], "127.0.0.2": ["student@example.edu"]}, at=APACHE)
    # a comment on the host, in the two steps of the page: its cookie first
    log = "/var/log/nagios4/nagios.log"
    for who, source, may in (("a student", "127.0.0.2", False), ("staff", "127.0.0.1", True)):
        c = Connection(host, source, at=APACHE)
        page = c.ask(f"{command}?cmd_typ=1&host=spectrometer")[2]
        form = dict(re.findall(r"name=['\"]?(\w+)['\"]? +value=['\"]([^'\"]*)['\"]", page, re.I))
        form |= {"cmd_typ": "1", "cmd_mod": "2", "host": "spectrometer", "com_author": "admin", "com_data": f"by {who}",
                 "persistent": "on", "btnSubmit": "Commit"}
        a = c.ask(command, "POST", ["Content-Type: application/x-www-form-urlencoded"], urllib.parse.urlencode(form).encode())
        c.close()
        check(f"Nagios: {who} {'commands' if may else 'does not command'}",
              a[0] == 200 and ("successfully submitted" in a[2]) == may and ("not authorized" in a[2]) != may, a)
    check("Nagios: its log names who did, whoever the form says it is",
          until(60, lambda: "EXTERNAL COMMAND: ADD_HOST_COMMENT;spectrometer;1;staff@example.edu;by staff" in read_file(log)),
          read_file(log)[-800:])
    check("Nagios: and nobody else", "by a student" not in read_file(log) and "admin" not in read_file(log))
    ends("Nagios", host, status)


def backuppc(files):
    why = apache_missing("lua", "cgid", "alias", "dir", "mime")
    if not why and not os.path.exists("/usr/share/backuppc/bin/BackupPC"):
        why = "backuppc is not installed"
    if why:
        return skip("BackupPC", why)
    over("/etc/backuppc", "/var/lib/backuppc")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"], check=True)
    os.mkdir("/run/backuppc")
    shutil.chown("/run/backuppc", "backuppc", "backuppc")
    put(files)
    # not on every host, and without it the server does not start
    put({"/etc/backuppc/config.pl": End("".join(f"$Conf{{{p}}} = '';\n" for p in ("SmbClientPath", "NmbLookupPath")))})
    SITES["sites-available/backuppc.conf"] = ("lua", "cgid", "alias", "dir", "mime")
    start("setpriv", "--reuid=backuppc", "--regid=backuppc", "--clear-groups", "/usr/share/backuppc/bin/BackupPC",
          name="backuppc-server", env=recipe_run.environment())
    # not by connecting: the server ends when somebody connects and leaves
    return lambda: os.path.exists(PID) and os.path.exists(BACKUPS) and "started, pid" in read_file(BACKUPS) \
        and os.path.exists("/run/backuppc/BackupPC.sock"), backuppc_told


def backuppc_told():
    host, page = "backup.example.edu", "/backuppc/index.cgi"
    if not until(60, lambda: "Unable to connect" not in ask(host, page, at=APACHE)[1]):
        return check("BackupPC's server answers", False, read_file(BACKUPS))
    for target in (page, page + "?action=summary", "/backuppc/image/BackupPC_stnd.css"):
        refusals("BackupPC", host, target, at=APACHE)
    said("BackupPC", host, page, r'<option value="\?host=(\w+)"', {"127.0.0.1": ["laptop", "localhost"], "127.0.0.2": ["laptop"]},
         at=APACHE)
    form = ["Content-Type: application/x-www-form-urlencoded"]
    for source, login, machine, may in (("127.0.0.2", "student@example.edu", "localhost", False),
                                        ("127.0.0.2", "student@example.edu", "laptop", True),
                                        ("127.0.0.1", "staff@example.edu", "localhost", True)):
        a = ask(host, page, source, method="POST", headers=form, at=APACHE,
                body=f"action=Stop_Dequeue_Backup&host={machine}&doit=1&user=admin".encode())
        check(f"BackupPC: {login} {'stops' if may else 'does not stop'} backups of {machine}", a[0] == 200 and
              (f"Backup stopped/dequeued on {machine} by {login}<" if may else "Only privileged users") in a[1], a[1][-800:])
        known = f"{machine}, request by {login} "
        check(f"BackupPC: its log {'knows' if may else 'has nothing of it'}", until(60, lambda w=known: w in read_file(BACKUPS)) if may
              else known not in read_file(BACKUPS), read_file(BACKUPS))
    ends("BackupPC", host, page)


def webdav(files):
    why = apache_missing("lua", "dav", "dav_fs")
    if why:
        return skip("WebDAV", why)
    put(files)
    for d in ("srv/files/lab", "srv/files/home/staff@example.edu", "srv/files/home/student@example.edu", "var/lock/apache2"):
        os.makedirs(f"{ROOT}/{d}")
    put({f"{ROOT}/srv/files/lab/rules": "rules of the lab\n"})
    subprocess.run(["chown", "-R", "www-data:www-data", f"{ROOT}/srv/files", f"{ROOT}/var/lock/apache2"], check=True)
    SITES["sites-available/files.conf"] = ("lua", "dav", "dav_fs")
    return lambda: os.path.exists(PID), webdav_told


def webdav_told():
    host = "files.example.edu"
    staff, student = "/home/staff@example.edu", "/home/student@example.edu"

    def dav(method, target, source="127.0.0.1", body=b"", headers=()):
        return ask(host, target, source, method=method, body=body, headers=headers, at=APACHE)

    def there(path):
        return os.path.exists(f"{ROOT}/srv/files{path}")
    for target in ("/", "/lab/rules", "/home/", staff + "/"):
        refusals("WebDAV", host, target, at=APACHE)
    a = dav("GET", "/lab/rules", "127.0.0.2")
    check("WebDAV: a student reads what is for all", a == (200, "rules of the lab\n"), a)
    for method in ("PUT", "DELETE", "LOCK", "PROPPATCH"):
        a = dav(method, "/lab/rules", "127.0.0.2", b"none")
        check(f"WebDAV: and does not {method} it", a[0] == 403 and "none" not in read_file("root/srv/files/lab/rules"), a)
    a = dav("PUT", f"{student}/thesis", "127.0.0.2", b"chapter 1")
    check("WebDAV: and writes in the folder of their own", a[0] == 201 and there(f"{student}/thesis"), a)
    a = dav("PUT", f"{staff}/marks", body=b"1.0")
    check("WebDAV: so does staff", a[0] == 201 and there(f"{staff}/marks"), a)
    for headers in [[]] + [[line] for line in forged("staff@example.edu")]:
        for method, target in (("GET", f"{staff}/marks"), ("PUT", f"{staff}/marks"), ("PROPFIND", f"{staff}/"), ("DELETE", staff),
                               ("MKCOL", f"{staff}/new"), ("GET", f"/home/{student[6:]}/../staff@example.edu/marks"),
                               ("GET", "/home/staff%40example.edu/marks"), ("GET", "/home//staff@example.edu/marks")):
            a = dav(method, target, "127.0.0.2", headers=headers)
            check(f"WebDAV: a student has no {method} {target} with {headers}", a[0] in (400, 403) and "1.0" not in a[1], a)
    for source in ("127.0.0.1", "127.0.0.2"):
        a = dav("MKCOL", "/home/other@example.edu", source)
        check(f"WebDAV: nobody makes a folder of another's, from {source}", a[0] == 403 and not there("/home/other@example.edu"), a)
        a = dav("PROPFIND", "/home/", source)
        check(f"WebDAV: or sees whose there are, from {source}", a[0] == 403, a)
    for method in ("COPY", "MOVE"):
        for to in (f"{staff}/thesis", "/lab/thesis", "/home/other@example.edu"):
            a = dav(method, f"{student}/thesis", "127.0.0.2", headers=[f"Destination: http://{host}{to}"])
            check(f"WebDAV: nor a {method} of theirs to {to}", a[0] >= 400 and not there(to) and there(f"{student}/thesis"), a)
        a = dav(method, f"{staff}/marks", "127.0.0.2", headers=[f"Destination: http://{host}{student}/marks"])
        check(f"WebDAV: or {method} of another's to theirs", a[0] == 403 and not there(f"{student}/marks") and there(f"{staff}/marks"), a)
    a = dav("MOVE", f"{student}/thesis", "127.0.0.2", headers=[f"Destination: http://{host}{student}/final"])
    check("WebDAV: within one's own it works", a[0] == 201 and there(f"{student}/final"), a)
    a = dav("COPY", f"{staff}/marks", headers=[f"Destination: http://{host}/lab/marks"])
    check("WebDAV: and where the policy says so", a[0] == 201 and there("/lab/marks"), a)
    ends("WebDAV", host, "/lab/rules")


APPS = {"nagios": nagios, "backuppc": backuppc, "webdav": webdav}


run(lambda: serve(APPS, lambda: SITES and apache("front", {m for modules in SITES.values() for m in modules}, SITES)))
