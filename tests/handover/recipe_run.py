# SPDX-License-Identifier: AGPL-3.0-or-later
"""Recipes before their programs: one reeved with the SERVICE and GRANTS of several, the
programs that they are for, and who asks.

  staff calls 127.0.1.1 and comes from 127.0.0.1, a student 127.0.1.2 from .2, nobody .3;
  an Apache that asks Reeve listens at 127.0.2.1, for all of them
"""
import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess

import harness
import recipe
from harness import STAFF, STUDENT, check, listening, program, read_file, start, until, write
from recipe import FORGED

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
AT = {"127.0.0.1": "127.0.1.1", "127.0.0.2": "127.0.1.2", "127.0.0.3": "127.0.1.3"}
APACHE = "127.0.2.1"
MODULES = "/usr/lib/apache2/modules"
daemons = []


def environment(**more):
    return {"PATH": harness.PATH, "HOME": harness.TMP, "LC_ALL": "C.UTF-8", "USER": "owner", **more}


def ask(host, target="/", source="127.0.0.1", at=None, **more):
    """As recipe.ask(); 0 where the connection was cut off, as one is whose session ends."""
    try:
        return recipe.ask(host, target, source, at=at or AT[source], **more)
    except OSError as e:
        return 0, str(e)


def refusals(name, host, target="/", source="127.0.0.3", **more):
    for what, headers in (("nobody is refused", []), ("nor does a forgery help", FORGED)):
        a = ask(host, target, source, headers=headers, **more)
        check(f"{name}: {what}", a[0] == 403, a)


def forged(login):
    """Fields that say that somebody else calls, in the spellings that programs take for one."""
    return [f"{name}: {login}" for name in
            ("Remote-User", "remote-user", "REMOTE_USER", "Remote_User", "X-Remote-User", "X_Remote_User", "X-Forwarded-User",
             "X-WEBAUTH-USER", "Redirect-Remote-User", "HTTP-Remote-User")] + [
        "Authorization: Basic " + base64.b64encode(f"{login}:0123456789abcdef".encode()).decode()]


def said(name, host, target, who, expect, at=None, short=False):
    """The application itself says whom it is told of: who is a pattern with one group, and expect what it
    finds for each person. With fields that claim to be the other the person stays who they are, or is sent away."""
    login = {"127.0.0.1": "staff@example.edu", "127.0.0.2": "student@example.edu"}
    for source, want in expect.items():
        other = login["127.0.0.2" if source == "127.0.0.1" else "127.0.0.1"]
        lines = forged(other.split("@")[0] if short else other)
        for headers in [[]] + [[line] for line in lines] + [lines]:
            a = ask(host, target, source, headers=headers, at=at)
            names = set(re.findall(who, a[1]))
            check(f"{name}: {login[source]} with {headers or 'nothing forged'}",
                  (a[0] == 200 and names == set(want)) or (headers and a[0] == 403 and not names), (a[0], names, a[1][-800:]))


def kept_out(name, path, *users):
    """Local processes do not reach the program's socket, where they could say any name."""
    for user in users:
        r = subprocess.run(["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups", "/usr/bin/python3", "-c",
                            "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])", path],
                           capture_output=True, text=True, timeout=120, check=False)
        check(f"{name}: a local process of {user}'s does not reach its socket", "PermissionError" in r.stderr, r)


def tool(*argv, cwd=None, **env):
    return subprocess.run(argv, cwd=cwd or harness.TMP, env=environment(**env), capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL, check=False)


def made(*argv, **more):
    r = tool(*argv, **more)
    if r.returncode:
        check(" ".join(argv[:3]), False, r)
    return r.returncode == 0


def over(*folders):
    """Copies of folders of the package's, in their place in a view that is this test's alone;
    before anything is written there: their files may be links from one to the other."""
    for d in folders:
        shutil.copytree(d, recipe.root() + d, symlinks=True)
        for top, names, files in os.walk(d):
            for path in [top] + [os.path.join(top, n) for n in names + files]:
                s = os.lstat(path)
                os.chown(recipe.root() + path, s.st_uid, s.st_gid, follow_symlinks=False)
                if not os.path.islink(path):
                    os.chmod(recipe.root() + path, s.st_mode & 0o7777)
    for d in folders:
        subprocess.run(["mount", "--bind", recipe.root() + d, d], check=True)


def apache(name, modules, sites, listen=f"{APACHE}:80"):
    """Started as www-data with sites of recipes; its PidFile is there when it listens."""
    tmp, root = harness.TMP, recipe.root()
    lines = [f"LoadModule {m}_module {MODULES}/mod_{m}.so" for m in sorted({"mpm_event", "authz_core", "setenvif", *modules})]
    lines += [f"ServerRoot {tmp}", f"PidFile {tmp}/{name}.pid", "ServerName localhost", f"ErrorLog {tmp}/{name}.err",
              # what stays open does so however slow the machine is
              "KeepAliveTimeout 600", "MaxKeepAliveRequests 0", "User www-data", "Group www-data"]
    if "cgid" in modules:
        lines.append(f"ScriptSock {tmp}/{name}.cgid")
    if "mime" in modules:
        lines.append("TypesConfig /dev/null")
    if "lua" in modules:
        shutil.copy(f"{TOP}/contrib/forward-auth/apache/reeve.lua", f"{root}/etc/apache2/reeve.lua")
    if listen:
        lines.append(f"Listen {listen}")
    lines += [f"Include {root}/etc/apache2/{site}" for site in sites]
    start(program("apache2"), "-f", write(f"{name}.conf", "\n".join(lines) + "\n"), "-D", "FOREGROUND", name=name, env=environment())


def apache_missing(*modules):
    """Why Apache cannot be run, or an empty string."""
    if not program("apache2"):
        return "apache2-bin is not installed"
    for m in modules:
        if not os.path.exists(f"{MODULES}/mod_{m}.so"):
            return f"Apache's mod_{m} is not installed"
    if "lua" in modules and not os.path.exists("/usr/share/lua/5.3/socket.lua"):
        return "lua-socket is not installed"
    return ""


def people(*who):
    """Whose sessions count, from now on; seen by asking."""
    write("identities.hujson", json.dumps(who))
    daemons[0].send_signal(signal.SIGHUP)


def changed_hands():
    """Staff's session has ended; at their device is the student, who may do what staff might."""
    write("policy.hujson", read_file("policy.hujson").replace(STAFF["login"], STUDENT["login"]))
    people({**STUDENT, "from": STAFF["from"]})


def rows(name):
    """(service, grants, files) of a recipe, with addresses for its ports and a secret where it names one."""
    service, grants, files = recipe.recipe(name)
    for row in service.values():
        row["listen"] = [x if x.startswith("unix:") else f"{at}:{x}" for x in row["listen"]
                         for at in (AT.values() if not x.startswith("unix:") else [""])]
        if secret := row.get("basic-secret"):
            recipe.put({secret: "0123456789abcdef\n"})
            os.chmod(secret, 0o600)
            shutil.chown(secret, "reeve", "reeve")
    return service, grants, files


def serve(apps, front=None, **more):
    """apps: {recipe: prepare}; prepare(files) starts the program and returns (whether it is ready,
    what is then done), or nothing if it cannot be. front starts what is in front of several;
    more is for reeved's configuration."""
    for source, at in AT.items():
        subprocess.run(["ip", "route", "replace", "local", at, "dev", "lo", "src", source, "table", "local"], check=True)
    os.makedirs(f"{recipe.root()}/run", exist_ok=True)
    os.symlink(f"{harness.TMP}/run", f"{recipe.root()}/run/reeve")
    services, grants, told = {}, [], []
    for name, prepare in apps.items():
        service, mine, files = rows(name)
        services |= service
        grants += mine
        if ready := prepare(files):
            told.append((name, *ready))
    if front:
        front()
    # one front, or what the first knows of a reload says nothing of what the second does
    conf = harness.configure([STAFF, STUDENT], services, grants, fronts=1, **more)
    daemon = start(f"{harness.BUILD}/reeved", "-c", conf, "-f", name="reeved")
    daemons.append(daemon)
    where = [x for row in services.values() for x in row["listen"]]

    def ready():
        return daemon.poll() is None and all(
            os.path.exists(f"{harness.TMP}/run/forward/{x[5:]}") if x.startswith("unix:")
            else listening(int(x.split(":")[1]), x.split(":")[0]) for x in where)
    if not until(60, ready):
        return check("reeved starts", False, read_file("reeved.log")[-2000:])
    for name, ready, then in told:
        if until(60, ready):
            then()
        else:
            check(f"{name} starts", False, [read_file(f)[-500:] for f in os.listdir(harness.TMP) if f.endswith((".log", ".err"))])
    return None


class Connection:
    """One that stays open as long as the other side lets it, with cookies as a browser keeps them."""

    def __init__(self, host, source="127.0.0.1", at=None, port=80, cookies=None, headers=()):
        self.host, self.headers, self.cookies = host, headers, {} if cookies is None else cookies
        self.source, self.where = source, (at or AT[source], port)
        self.open()

    def open(self):
        self.s = socket.create_connection(self.where, timeout=60, source_address=(self.source, 0))
        self.f = self.s.makefile("rb")
        self.last = self.cut = False

    def close(self):
        self.f.close()
        self.s.close()

    def ask(self, target="/", method="GET", headers=(), body=b""):
        """(status, fields, text); 0 from where the connection was cut off, be it in an answer."""
        try:
            return (0, {}, "") if self.cut else self.exchange(target, method, headers, body)
        except (OSError, ValueError, IndexError):
            self.cut = True
            return 0, {}, ""

    def exchange(self, target, method, headers, body):
        if self.last:
            self.close()
            self.open()
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}", *self.headers, *headers]
        if self.cookies:
            lines.append("Cookie: " + "; ".join(f"{k}={v}" for k, v in self.cookies.items()))
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        self.s.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        first = self.f.readline()
        fields = {}
        while (line := self.f.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
            if name.lower() == "set-cookie":
                k, _, v = value.strip().split(";")[0].partition("=")
                if v.strip('"'):
                    self.cookies[k] = v
                else:
                    self.cookies.pop(k, None)
        self.last = fields.get("connection", "").lower() == "close"
        # nothing, or not a line: IndexError
        status, data = int(first.split()[1]), b""
        if fields.get("transfer-encoding") == "chunked":
            while n := int(self.f.readline().split(b";")[0], 16):
                data += self.f.read(n)
                self.f.readline()
            self.f.readline()
        elif "content-length" in fields:
            data = self.f.read(int(fields["content-length"]))
        elif status not in (101, 204, 304):
            data = self.f.read()
        return status, fields, data.decode("utf-8", "replace")
