#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a coordinator knows of a directory outlives it (RFC 4533's cookie), against the real slapd: after a
kill -9 only what changed is asked for, what went meanwhile is gone, a cookie that the server or the
configuration has left behind counts for nothing, and what is half there is never taken for everybody's leaving."""
import os
import re
import shutil
import signal
import socket
import sqlite3
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import slapd        # noqa: E402
from hub import *   # noqa: E402,F403
import directory    # noqa: E402

if os.geteuid() != 0:
    skip("not root")
if slapd.why():
    skip(slapd.why())
slapd.namespace()

PEOPLE, GROUPS = "ou=people," + slapd.ROOT, "ou=groups," + slapd.ROOT
MANY = 60
t = Test()
where = tempfile.mkdtemp(prefix="reeve-ldap-")
os.chmod(where, 0o755)
server = slapd.Slapd(where)
hub = None


def wait(what):
    return directory.wait(what, 60)


def uid(name):
    return "uid=%s,%s" % (name, PEOPLE)


def person(name):
    return ("dn: %s\nobjectClass: inetOrgPerson\nuid: %s\ncn: %s\nsn: Example\nmail: %s@example.edu\n\n"
            % (uid(name), name, name, name))


def group(name, *members):
    return ("dn: cn=%s,%s\nobjectClass: groupOfNames\ncn: %s\n%s\n"
            % (name, GROUPS, name, "".join("member: %s\n" % uid(m) for m in members)))


def change(dn, *lines):
    server.modify("dn: %s\nchangetype: modify\n%s\n" % (dn, "\n".join(lines)))


def login(name):
    return name + "@example.edu"


def groups(name):
    return sorted(directory.groups(hub, login(name)))


def state():
    return [d for d in hub.root("GET", "status").json["directories"] if d["source"] == "ldap:campus"][0]


def becomes(what, want, words):
    got = wait(lambda: (what() == want) and [want]) or [what()]
    t.is_(got[0], want, words)


def kept():
    """Whether there is a cookie, and how many entries with it."""
    db = sqlite3.connect(hub.conf["state-dir"] + "/coordinator.db", timeout=60)
    try:
        return (db.execute("SELECT count(*) FROM ldap_kept").fetchone()[0], db.execute("SELECT count(*) FROM ldap_entry").fetchone()[0])
    finally:
        db.close()


def sent(since):
    """The entries that slapd has sent since then, each of the server's log lines being whole by the time that
    the list they led to counts."""
    with open(server.dir + "/log") as f:
        f.seek(since)
        return re.findall(r'ENTRY dn="([^"]*)"', f.read())


def mark():
    return os.path.getsize(server.dir + "/log")


def again(words, **conf):
    """Killed, and started anew; where the server's log was then."""
    hub.kill()
    if conf:
        hub.conf["ldap"]["campus"].update(conf)
        hub.write_conf()
    at = mark()
    hub.start()
    becomes(lambda: (state()["state"], state()["people"] > 0), ("watching", True), words)
    return at


def log_has(text):
    with open(hub.dir + "/log") as f:
        return text in f.read()


names = ["p%d" % i for i in range(MANY)]
TREE = ("dn: %s\nobjectClass: dcObject\nobjectClass: organization\no: example\ndc: example\n\n" % slapd.ROOT +
        "dn: %s\nobjectClass: organizationalUnit\nou: people\n\n" % PEOPLE +
        "dn: %s\nobjectClass: organizationalUnit\nou: groups\n\n" % GROUPS)
ROW = {"url": "ldap://127.0.0.1:%d" % slapd.PLAIN, "ca": server.ca, "bind-dn": slapd.ADMIN, "password-file": server.dir + "/password",
       "people": PEOPLE, "groups": GROUPS, "disabled-filter": "(employeeType=disabled)", "timeout": "10s"}
ALL = MANY + 2

try:
    server.start(level=768)
    server.add(TREE + "".join(person(n) for n in names) + group("lab", *names[:40]) + group("few", "p1", "p2", "p3"))
    hub = Hub(ldap={"campus": dict(ROW)})
    directory.add(hub, *[login(n) for n in names[:6]])
    before = mark()
    hub.start()
    becomes(lambda: groups("p1"), ["idp:few", "idp:lab"], "everything is read at first")
    t.is_(len([e for e in sent(before) if e != ""]), ALL, "each entry once")
    t.is_(kept(), (1, ALL), "and kept with a cookie, by the time it counts")

    # ---- killed: only what changed ----
    at = again("it watches again after kill -9")
    t.is_([e for e in sent(at) if e], [], "nothing had changed, and no entry is sent")
    t.is_((groups("p1"), groups("p5")), (["idp:few", "idp:lab"], ["idp:lab"]), "who is where is known all the same")
    hub.kill()
    at = mark()
    change("cn=few," + GROUPS, "delete: member", "member: " + uid("p2"))
    change("cn=lab," + GROUPS, "add: member", "member: " + uid("p50"))
    change(uid("p3"), "add: employeeType", "employeeType: disabled")
    server.modify("dn: %s\nchangetype: delete\n" % uid("p4"))
    server.add(person("new"))
    hub.start()
    becomes(lambda: groups("p2"), ["idp:lab"], "changes of the time in between count: a membership that went")
    becomes(lambda: login("p3") in directory.sessions(hub), False, "an account that was disabled")
    becomes(lambda: login("p4") in directory.sessions(hub), False, "an account that was deleted")
    t.is_(directory.sessions(hub), sorted(login(n) for n in ("p0", "p1", "p2", "p5")), "and nobody else's session ended")
    becomes(lambda: state()["people"], MANY, "one is new, one is gone")
    # The person who is disabled is found by both searches of people.
    t.is_(sorted(set(e for e in sent(at) if e)), sorted([uid("p3"), uid("new"), "cn=few," + GROUPS, "cn=lab," + GROUPS]),
          "no other entry was sent")
    becomes(kept, (1, ALL + 1), "what is kept is what is there")

    # ---- a change as it happens, then killed: what it led to and the cookie are one ----
    change("cn=few," + GROUPS, "delete: member", "member: " + uid("p1"))
    becomes(lambda: groups("p1"), ["idp:lab"], "a change that arrives as it happens")
    at = again("killed right after it")
    t.is_([e for e in sent(at) if e], [], "it is not sent again")
    t.is_(groups("p1"), ["idp:lab"], "and has not come back")
    # Nobody's groups change by this one: it is kept within seconds, or sent again.
    change(uid("p9"), "replace: sn", "sn: Another")
    at = again("killed after one that changes nobody's groups")
    t.ok(set(e for e in sent(at) if e) <= {uid("p9")}, "it alone may be sent again", sent(at))

    # ---- the server was away: the connection's own cookie ----
    server.stop()
    becomes(lambda: state()["state"], "away", "a server that stops is away")
    at = mark()
    server.start(level=768)
    change("cn=few," + GROUPS, "add: member", "member: " + uid("p5"))
    becomes(lambda: groups("p5"), ["idp:few", "idp:lab"], "back, with a change")
    t.is_(set(e for e in sent(at) if e), {"cn=few," + GROUPS}, "and that alone was sent")

    # ---- a cookie that counts no more ----
    for hint, words in ((True, "refused: e-syncRefreshRequired"), (False, "not refused, but all is sent")):
        hub.kill()
        server.stop()
        server.empty()
        server.start(level=768, hint=hint)
        left = names[:50] + (["new"] if hint else [])
        server.add(TREE + "".join(person(n) for n in left) + group("lab", *names[:40]) + group("few", "p1"))
        at = mark()
        hub.start()
        becomes(lambda: (state()["state"], state()["people"]), ("watching", len(left)), "another database behind that server: " + words)
        becomes(lambda: groups("p1"), ["idp:few", "idp:lab"], "what it says counts")
        t.is_(len(set(e for e in sent(at) if e)), len(left) + 2, "everything was read")
        t.is_(len(directory.sessions(hub)), 4, "and nobody was thrown out by it")
        becomes(kept, (1, len(left) + 2), "it is kept in place of what was")
        if hint:
            t.ok(log_has("everything is read again"), "and the log says so")
    everything = 52

    # ---- another configuration ----
    for words, row, now in (("filter", {"people-filter": "(&(objectClass=person)(!(uid=p49)))"}, everything - 1),
                            ("base", {"groups": slapd.ROOT}, everything - 1),
                            ("URL", {"url": "ldaps://127.0.0.1:%d" % slapd.TLS}, everything - 1)):
        at = again("another " + words, **row)
        becomes(kept, (1, now), "is kept as such")
        t.is_(len(set(e for e in sent(at) if e)), now, "and everything was read")
    at = again("the same again")
    t.is_([e for e in sent(at) if e], [], "nothing is")
    at = mark()
    hub.proc.send_signal(signal.SIGHUP)
    becomes(lambda: len(set(e for e in sent(at) if e)), everything - 1, "SIGHUP reads everything")
    becomes(lambda: state()["state"], "watching", "and goes on from there")

    # ---- what is broken in the database ----
    hub.kill()
    with sqlite3.connect(hub.conf["state-dir"] + "/coordinator.db") as db:
        db.execute("UPDATE ldap_entry SET body = x'0102' WHERE rowid = (SELECT min(rowid) FROM ldap_entry)")
    db.close()
    at = mark()
    hub.start()
    becomes(lambda: state()["people"], 49, "entries that do not parse are read again")
    t.is_(len(set(e for e in sent(at) if e)), everything - 1, "all of them")
    t.is_(len(directory.sessions(hub)), 4, "and nobody was thrown out")

    # ---- killed at any moment of reading: old or new, never a mixture ----
    server.add("".join(person("q%d" % i) for i in range(300)) + group("queue", *["q%d" % i for i in range(300)]))
    becomes(lambda: kept()[1], everything - 1 + 301, "many more")
    hub.conf["ldap"]["campus"]["people-filter"] = "(objectClass=person)"
    hub.write_conf()
    seen = set()
    for i in range(12):
        hub.kill()
        hub.start()
        # Not waited for: it is to be killed while it reads, or writes.
        directory.wait(lambda: state()["people"] > 0, 0.02 * i)
        hub.kill()
        seen.add(kept())
        hub.start()
        if len(directory.sessions(hub)) != 4:
            break
    t.ok(seen <= {(1, everything - 1 + 301), (1, everything + 301)}, "killed twelve times: what is kept is what was or what is", seen)
    t.is_(len(directory.sessions(hub)), 4, "and nobody was thrown out")
    becomes(lambda: (state()["people"], groups("p1")), (350, ["idp:few", "idp:lab"]), "in the end everybody is there")
    t.is_(hub.root("GET", "groups/held").json["held"], [], "and nothing is held")

    # ---- configured no more ----
    hub.kill()
    hub.conf["ldap"] = {}
    hub.write_conf()
    hub.start()
    becomes(kept, (0, 0), "a directory that is configured no more leaves nothing")
    t.is_(hub.kill(signal.SIGTERM), 0, "it ends as asked")
finally:
    server.stop()
    if hub:
        if os.environ.get("KEEP"):
            print("# " + hub.dir)
        hub.close()
    if not os.environ.get("KEEP"):
        shutil.rmtree(where, ignore_errors=True)
t.end()
