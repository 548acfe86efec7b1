#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""PostgreSQL behind a hop that reads the PROXY protocol: doc/recipes/postgresql, as it
stands there, before Debian's PostgreSQL and HAProxy.

  127.0.0.1 staff, .2 student, .4 admin, .3 nobody
     psql -- 127.0.1.x:5432 reeved -- unix, v2 -- HAProxy -- from 127.77.0.x -- 127.0.0.1:5432 PostgreSQL
     psql from 100.64.0.x ---------------------------------------------------- 100.64.0.9:5432 the same, pam_reeve
"""
import glob
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess

import harness
import recipe
from harness import STAFF, STUDENT, begin, check, listening, program, read_file, run, skip, start, until, write

TMP = begin("postgresql")
ROOT = recipe.root()
ADMIN = {"from": "127.0.0.4", "login": "admin@example.edu"}
PEOPLE = [STAFF, STUDENT, ADMIN, {**STAFF, "from": "100.64.0.1"}, {**STUDENT, "from": "100.64.0.2"}]
DIRECT_AT = "100.64.0.9"
STAFF_AT, STUDENT_AT, NOBODY_AT, ADMIN_AT = (f"127.0.1.{i}" for i in (1, 2, 3, 4))
WHO = "select session_user, inet_client_addr()"


def as_user(user):
    return ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups"]


def psql(*argv, user="postgres", background=False):
    command = [*as_user(user), PSQL, "-X", "-At", "-v", "ON_ERROR_STOP=1", *argv]
    env = {"PATH": harness.PATH, "HOME": TMP, "PGCONNECT_TIMEOUT": "30", "PGPASSWORD": "guessed", "LC_ALL": "C.UTF-8"}
    if background:
        return start(*command, name="psql", env=env)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)


def person(at, role, sql=WHO):
    return psql("-h", at, "-U", role, "-d", "lab", "-c", sql)


def owner(sql, database="lab"):
    return psql("-h", f"{TMP}/socket", "-U", "postgres", "-d", database, "-c", sql)


def startup(at, *pairs):
    """What the server says to a first packet of our own making."""
    body = struct.pack(">I", 196608) + b"".join(k.encode() + b"\0" + v.encode() + b"\0" for k, v in pairs) + b"\0"
    with socket.create_connection((at, 5432), timeout=60) as s:
        s.sendall(struct.pack(">I", len(body) + 4) + body)
        data = b""
        try:
            while not data.endswith(b"\0\0") and b"Z\0\0\0\5" not in data and (more := s.recv(65536)):
                data += more
        except ConnectionResetError:
            pass
    return data


class Journal:
    """What a host's journal takes from HAProxy."""

    def __init__(self, path):
        os.makedirs(os.path.dirname(path))
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        os.chmod(path, 0o666)
        self.socket.setblocking(False)
        self.text = ""

    def has(self, what):
        try:
            while True:
                self.text += self.socket.recv(65536).decode() + "\n"
        except BlockingIOError:
            return what in self.text


def database():
    """A cluster of its own, with the recipe's files; True when it serves."""
    for d in ("data", "socket"):
        os.mkdir(f"{TMP}/{d}", 0o700)
        os.chown(f"{TMP}/{d}", pwd.getpwnam("postgres").pw_uid, pwd.getpwnam("postgres").pw_gid)
    os.chmod(f"{TMP}/socket", 0o755)
    r = subprocess.run([*as_user("postgres"), f"{BIN}/initdb", "-D", f"{TMP}/data", "-U", "postgres", "-A", "peer", "--no-sync",
                        "--no-locale", "-E", "UTF8"], cwd=TMP, capture_output=True, text=True, timeout=120, check=False)
    if r.returncode:
        return check("initdb", False, r)
    etc = f"{ROOT}/etc/postgresql/15/main"
    start(*as_user("postgres"), f"{BIN}/postgres", "-D", f"{TMP}/data", "-c", f"unix_socket_directories={TMP}/socket",
          "-c", f"hba_file={etc}/pg_hba.conf", "-c", "fsync=off", *settings(f"{etc}/conf.d/reeve.conf"),
          "-c", f"listen_addresses=127.0.0.1,{DIRECT_AT}", name="postgresql", cwd=TMP)
    if not until(60, lambda: owner("select 1", "postgres").stdout == "1\n"):
        return check("PostgreSQL starts", False, read_file("postgresql.log"))
    for sql, where in (("create database lab", "postgres"), ("create role staff login", "lab"), ("create role reader login", "lab"),
                       ("create table sample (name text)", "lab"), ("insert into sample values ('quartz')", "lab"),
                       ("grant select on sample to reader; grant select, insert on sample to staff", "lab")):
        r = owner(sql, where)
        if r.returncode:
            return check(sql, False, r)
    return True


def settings(path):
    with open(path, encoding="utf-8") as f:
        for line in f:
            name, eq, value = line.partition("=")
            if eq and not line.startswith("#"):
                yield "-c"
                yield f"{name.strip()}={value.strip().strip(chr(39))}"


def configure(people, grants):
    return harness.configure(people, SERVICES, grants)


def refused():
    for what, at in (("nobody", NOBODY_AT), ("a person without a grant", ADMIN_AT)):
        r = person(at, "staff")
        check(f"{what} reaches no database", r.returncode != 0 and not r.stdout, r)
    check("neither reached HAProxy", not journal.has("127.0.0.3:") and "127.0.0.4:" not in journal.text, journal.text)
    r = person(STUDENT_AT, "staff")
    check("a student is not staff", r.returncode != 0 and 'host "127.77.0.2", user "staff"' in r.stderr, r)
    r = person(STAFF_AT, "postgres")
    check("nor is staff the owner", r.returncode != 0 and 'user "postgres"' in r.stderr, r)
    for pairs in ([("user", "staff"), ("user", "postgres"), ("database", "lab")],
                  [("user", "staff"), ("user", "reader"), ("database", "lab")],
                  [("database", "lab"), ("user", "reader"), ("options", "-c session_authorization=postgres")]):
        a = startup(STAFF_AT, *pairs)
        check(f"no first packet makes staff another: {pairs}", a.startswith(b"E") and b"no pg_hba.conf entry" in a, a)
    a = startup(STAFF_AT, ("user", "staff"), ("database", "lab"), ("options", "-c session_authorization=postgres"))
    check("nor does an option in it", b"FATAL" in a and b"Z\0\0\0\5" not in a, a)
    with socket.create_connection((STAFF_AT, 5432), timeout=60) as s:
        s.sendall(b"PROXY TCP4 127.0.0.2 127.0.1.1 1 5432\r\n")
        s.shutdown(socket.SHUT_WR)
        data = b""
        try:
            while more := s.recv(65536):
                data += more
        except ConnectionResetError:
            pass
    check("a header of the client's own is no header", b"R\0\0\0\x08\0\0\0\0" not in data, data)


def local():
    """Processes of this host that are not HAProxy."""
    r = psql("-h", "127.0.0.1", "-U", "staff", "-d", "lab", "-c", WHO, user="nobody")
    check("a local process is not staff", r.returncode != 0 and 'host "127.0.0.1", user "staff"' in r.stderr, r)
    take = ("import socket,sys\n"
            "s=socket.socket()\n"
            "s.bind(('127.77.0.1',0))\n"
            "try: s.connect(('127.0.0.1',5432)); print('connected')\n"
            "except OSError as e: print(type(e).__name__)\n")
    r = subprocess.run([*as_user("nobody"), "python3", "-c", take], capture_output=True, text=True, timeout=60, check=False)
    check("nor with staff's address", r.stdout == "ConnectionRefusedError\n", r)
    take = ("import socket\n"
            "s=socket.socket(socket.AF_UNIX)\n"
            f"try: s.connect('{ROOT}/run/haproxy/postgresql.sock'); print('connected')\n"
            "except OSError as e: print(type(e).__name__)\n")
    r = subprocess.run([*as_user("nobody"), "python3", "-c", take], capture_output=True, text=True, timeout=60, check=False)
    check("nor does it reach HAProxy to say who it is", r.stdout == "PermissionError\n", r)


def allowed():
    r = person(STAFF_AT, "staff")
    check("staff is the database user staff, without a password", r.stdout == "staff|127.77.0.1\n", (r, journal.text))
    r = person(STAFF_AT, "staff", "insert into sample values ('mica'); select count(*) from sample")
    check("and may what that role may", r.stdout == "INSERT 0 1\n2\n", r)
    r = person(STUDENT_AT, "reader", "select name from sample order by name")
    check("a student is the role reader", r.stdout == "mica\nquartz\n", r)
    r = person(STUDENT_AT, "reader", "insert into sample values ('gold')")
    check("and may no more", r.returncode != 0 and "permission denied" in r.stderr, r)
    want = "staff@example.edu as staff from 127.0.0.1:", "student@example.edu as reader from 127.0.0.2:"
    check("HAProxy's log says who", all(until(30, lambda w=w: journal.has(w)) for w in want), journal.text)
    rid = next((line.rpartition("id ")[2] for line in journal.text.splitlines() if want[0] in line), "")
    check("by the id of Reeve's audit line", len(rid) > 8 and until(30, lambda: rid in read_file("reeved.log")), rid)
    check("and PostgreSQL's too", until(30, lambda: "user=staff database=lab" in read_file("postgresql.log")))


def pam():
    """The host's PAM, with the recipe's service, in a view that is ours alone."""
    # where the server's own user may read it
    module = shutil.copy(f"{harness.BUILD}/lib/.libs/pam_reeve.so", f"{TMP}/pam_reeve.so")
    os.chmod(module, 0o755)
    shutil.copytree("/etc/pam.d", f"{TMP}/pam.d")
    text = read_file("root/etc/pam.d/reeve-postgresql")
    write("pam.d/reeve-postgresql", text.replace("pam_reeve.so", module).rstrip("\n") + f" socket={TMP}/run/api.sock\n")
    subprocess.run(["mount", "--bind", f"{TMP}/pam.d", "/etc/pam.d"], check=True)


def direct():
    """PostgreSQL at an address of the mesh, which asks pam_reeve."""
    with open(f"{harness.BUILD}/lib/.libs/pam_reeve.so", "rb") as f:
        if b"__asan_init" in f.read():
            return skip("PostgreSQL by PAM", "a server that was built without sanitizers cannot load a module with them")

    def call(source, role):
        subprocess.run(["ip", "route", "replace", "local", DIRECT_AT, "dev", "lo", "src", source, "table", "local"], check=True)
        return person(DIRECT_AT, role)
    for source, role, who in (("100.64.0.3", "staff", "nobody"), ("100.64.0.2", "staff", "a student as staff"),
                              ("100.64.0.1", "postgres", "staff as the owner")):
        r = call(source, role)
        check(f"by PAM: {who} is refused", r.returncode != 0 and "PAM authentication failed" in r.stderr, r)
    for source, role in (("100.64.0.1", "staff"), ("100.64.0.1", "reader"), ("100.64.0.2", "reader")):
        r = call(source, role)
        check(f"by PAM: {source} is {role}, without a password", r.stdout == f"{role}|{source}\n", (r, read_file("postgresql.log")[-800:]))
    return None


def ends(daemon):
    """The session ends while a statement runs."""
    running = "select count(*) from pg_stat_activity where usename='staff' and state='active'"
    client = psql("-h", STAFF_AT, "-U", "staff", "-d", "lab", "-c", "select pg_sleep(600)", background=True)
    check("a long statement runs", until(30, lambda: owner(running).stdout == "1\n"), read_file("psql.log"))
    # and who has a grant, but no role
    configure([STUDENT, ADMIN], [*GRANTS, {"src": ["admin@example.edu"], "dst": ["svc:database"], "ip": ["*"]}])
    daemon.send_signal(signal.SIGHUP)
    check("the session ends, and with it the connection", until(60, lambda: client.poll() is not None))
    check("with an error", client.poll() not in (None, 0), client.poll())
    check("PostgreSQL runs the statement no more", until(60, lambda: owner(running).stdout == "0\n"), owner(running))
    # each front hears of a reload by itself
    check("and staff does not come back", until(30, lambda: person(STAFF_AT, "staff").returncode != 0)
          and all(not person(STAFF_AT, "staff").stdout for _ in range(3)))
    answers = []

    def asked():
        answers.append(person(ADMIN_AT, "staff"))
        return journal.has("admin@example.edu as - from")
    check("who has a grant and no role is refused by HAProxy, which says so", until(30, asked), journal.text)
    check("and gets nothing", all(r.returncode != 0 and not r.stdout for r in answers), answers)
    r = person(STUDENT_AT, "reader")
    check("others go on", r.stdout == "reader|127.77.0.2\n", r)


def main():
    for i in (2, 3, 4):
        subprocess.run(["ip", "route", "replace", "local", f"127.0.1.{i}", "dev", "lo", "src", f"127.0.0.{i}", "table", "local"],
                       check=True)
    harness.users(["postgres", "haproxy"], 4100)
    recipe.put(FILES)
    pam()
    for i in (1, 2, 3, 9):
        subprocess.run(["ip", "address", "add", f"100.64.0.{i}/32", "dev", "lo"], check=True)
    os.makedirs(f"{ROOT}/run/haproxy")
    if not database():
        return
    r = subprocess.run([program("nft"), "-f", f"{ROOT}/etc/haproxy/roles.nft"], capture_output=True, text=True, check=False)
    check("nft takes the rule", r.returncode == 0, r)
    start(program("haproxy"), "-db", "-f", f"{ROOT}/etc/haproxy/haproxy.cfg", name="haproxy")
    if not until(30, lambda: os.path.exists(f"{ROOT}/run/haproxy/postgresql.sock")):
        return check("HAProxy starts", False, read_file("haproxy.log"))
    for row in SERVICES.values():
        row["listen"] = [f"{at}:{port}" for port in row["listen"] for at in (STAFF_AT, STUDENT_AT, NOBODY_AT, ADMIN_AT)]
    daemon = start(f"{harness.BUILD}/reeved", "-c", configure(PEOPLE, GRANTS), "-f", name="reeved")
    if not until(30, lambda: person(STUDENT_AT, "reader").stdout == "reader|127.77.0.2\n"):
        return check("a student reaches it at all", False, (read_file("reeved.log")[-1500:], read_file("haproxy.log")[-1500:],
                                                           person(STUDENT_AT, "reader")))
    refused()
    local()
    allowed()
    direct()
    ends(daemon)


BIN = (sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [None])[-1]
PSQL = BIN and f"{BIN}/psql"
SERVICES, GRANTS, FILES = recipe.recipe("postgresql")
if not BIN or not os.path.exists(f"{BIN}/initdb") or not program("haproxy") or not program("nft"):
    skip("PostgreSQL", "postgresql, haproxy or nftables is not installed")
    run(lambda: None)
journal = Journal(f"{ROOT}/run/systemd/journal/dev-log")
run(main)
