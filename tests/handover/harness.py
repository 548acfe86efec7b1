# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tests of tests/handover have in common: a network of their own, a
folder, a reeved in standalone mode with two people, and the count.

  staff@example.edu 127.0.0.1, student@example.edu 127.0.0.2, nobody 127.0.0.3
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
STAFF = {"from": "127.0.0.1", "login": "staff@example.edu", "name": "Staff", "groups": ["lab"]}
STUDENT = {"from": "127.0.0.2", "login": "student@example.edu"}
passed = failed = 0
children = []
viewed = set()
TMP = None


def begin(name):
    """Runs the script again in namespaces of its own, as root; then makes its folder."""
    global TMP
    if not os.environ.get("REEVE_HANDOVER_NS"):
        if os.geteuid() != 0:
            print(f"skip {name}: needs root, for a network of its own")
            sys.exit(77)
        os.execvpe("unshare", ["unshare", "-nmpf", "--mount-proc", "--kill-child", sys.executable, *sys.argv],
                   {**os.environ, "REEVE_HANDOVER_NS": "1"})
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    TMP = tempfile.mkdtemp(prefix="reeve-handover.")
    os.chmod(TMP, 0o755)
    users(["reeve", "reeve-front", "reeve-tunnel"], 3990)
    for d in ("run", "state"):
        os.mkdir(f"{TMP}/{d}")
    return TMP


def users(names, first, home=None):
    """Local users, in a view of /etc that is this test's alone; those that are there stay.
    In home each has a folder; without it they share the test's, which they cannot write."""
    for path, line in (("/etc/passwd", "{0}:x:{1}:{1}::{2}:/bin/sh"), ("/etc/group", "{0}:x:{1}:"),
                       ("/etc/shadow", "{0}:*:19000:0:99999:7:::")):
        with open(path, encoding="utf-8") as f:
            lines = f.read().splitlines()
        there = {entry.split(":")[0] for entry in lines}
        lines += [line.format(n, first + i, f"{home}/{n}" if home else TMP) for i, n in enumerate(names) if n not in there]
        copy = write(f"{os.path.basename(path)}.{first}", "\n".join(lines) + "\n", 0o600 if "shadow" in path else 0o644)
        # not one over the other: what something is mounted on cannot be removed
        if path in viewed:
            subprocess.run(["umount", path], check=True)
        viewed.add(path)
        subprocess.run(["mount", "--bind", copy, path], check=True)
    for i, n in enumerate(names if home else []):
        os.makedirs(f"{home}/{n}")
        os.chown(f"{home}/{n}", first + i, first + i)


def run(main):
    """main(), the end of everything that was started, the sum; exits."""
    try:
        main()
    finally:
        for p in children:
            if p.poll() is None:
                p.terminate()
        for p in children:
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
        if os.environ.get("REEVE_KEEP"):
            print("#", TMP)
        else:
            shutil.rmtree(TMP, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def check(what, holds, saw=""):
    global passed, failed
    if holds:
        passed += 1
        print(f"ok - {what}", flush=True)
    else:
        failed += 1
        print(f"not ok - {what}: saw {saw!r}", flush=True)


def skip(what, why):
    print(f"skip {what}: {why}", flush=True)


def program(name):
    return shutil.which(name, path=PATH)


def write(name, text, mode=0o644):
    path = os.path.join(TMP, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def read_file(name):
    with open(os.path.join(TMP, name), encoding="utf-8", errors="replace") as f:
        return f.read()


def until(seconds, ask):
    """At least a minute, for a slow machine is no failure."""
    end = time.monotonic() + max(seconds, 60)
    while time.monotonic() < end:
        if ask():
            return True
        time.sleep(0.02)
    return False


def listening(port, address="127.0.0.1"):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex((address, port)) == 0


def accepting(path):
    """A unix socket's file is there before anybody listens at it."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(1)
        try:
            return s.connect_ex(path) == 0
        except OSError:
            return False


def start(*argv, name, **more):
    with open(os.path.join(TMP, f"{name}.log"), "wb") as log:
        p = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **more)
    children.append(p)
    return p


def configure(people, services, grants, **more):
    write("identities.hujson", json.dumps(people))
    write("policy.hujson", json.dumps({"grants": grants}))
    return write("reeved.hujson", json.dumps({
        "identities": "identities.hujson", "policy": "policy.hujson", "unprivileged": True,
        "run-dir": "run", "state-dir": "state", "services": services, **more}))


def reeved(conf, port):
    """Started, and serving at port; None (and counted) if it is not."""
    p = start(f"{BUILD}/reeved", "-c", conf, "-f", name="reeved")
    if until(30, lambda: listening(port)):
        return p
    check("reeved starts", False, read_file("reeved.log"))
    return None


def whole(rest):
    """A body that came in chunks, as it was before: what is there of it."""
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        n = int(size.split(b";")[0], 16)
        if n == 0:
            break
        body, rest = body + rest[:n], rest[n + 2:]
    return body
