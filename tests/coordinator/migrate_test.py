#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""A database of the first release is brought up to date with everybody in it: nodes, people, the sessions
that live, and whose each login name is. One of a later release is left alone."""
import os
import re
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub import *   # noqa: E402,F403


def first_schema():
    """The statements of step_1 in daemon/store/schema.c."""
    text = open(os.path.join(TOP, "daemon/store/schema.c")).read()
    body = re.search(r"step_1\[\] = \{(.*?)\n\tNULL,", text, re.S).group(1)
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
    # adjacent literals are one statement; a comma behind one ends it
    return ["".join(re.findall(r'"([^"]*)"', part + '"')) for part in re.split(r'",\s*\n', body + "\n") if '"' in part]


def rows(path, sql, *args):
    db = sqlite3.connect(path)
    try:
        return db.execute(sql, args).fetchall()
    finally:
        db.close()


t = Test()
hub = Hub()
try:
    path = hub.dir + "/state/coordinator.db"
    mesh, node, policy = (rows(path, "SELECT %s FROM %s" % (what, table)) for table, what in (
        ("mesh", "one, epoch, seq, ula, v4, name, last_v4"),
        ("node", "id, key, name, v4, tags, user, enrol_key, hub, os, report, routes, origin, created"),
        ("policy", "version, text, made_by, at")))
    latest = rows(path, "PRAGMA user_version")[0][0]
    t.ok(latest > 1, "there are releases after the first", latest)
    for end in ("", "-wal", "-shm"):
        if os.path.exists(path + end):
            os.unlink(path + end)
    old = sqlite3.connect(path)
    for sql in first_schema():
        old.execute(sql)
    for table, values in (("mesh", mesh), ("node", node), ("policy", policy)):
        old.executemany("INSERT INTO %s VALUES (%s)" % (table, ",".join("?" * len(values[0]))), values)
    now = int(time.time())
    old.execute("INSERT INTO user VALUES (1, 'https://idp', '1', 'Staff@example.edu', 'staff@example.edu', 'Staff', '', "
                "'lab', 0, ?, ?)", (now, now))
    old.execute("INSERT INTO user VALUES (2, 'https://idp', '2', 'student@example.edu', 'student@example.edu', '', '', "
                "'', 1, ?, ?)", (now, now))
    old.executemany("INSERT INTO identity VALUES ('https://idp', ?, ?)", (("1", 1), ("2", 2)))
    old.execute("INSERT INTO node VALUES (7, ?, 'laptop', 1681915911, '', 1, 0, 0, 'test', '', '', '', ?)",
                (bytes(range(32)), now))
    old.execute("INSERT INTO session (id, user, node, auth_time, created, expires, issuer, acr, amr, groups, origin, mfa,"
                " cross_device) VALUES (9, 1, 7, ?, ?, ?, 'https://idp', '', 'pwd', 'lab', '', 0, 0)",
                (now, now, now + 3600))
    old.execute("PRAGMA user_version = 1")
    old.execute("PRAGMA application_id = %d" % 0x52656576)
    old.commit()
    old.close()

    hub.start()
    users = {u["id"]: u for u in hub.root("GET", "users").json["users"]}
    t.is_(sorted(users), ["u1", "u2"], "everybody is there")
    t.ok(users["u2"]["blocked"] and not users["u1"]["blocked"], "who was blocked is", users)
    n = hub.root("GET", "nodes/laptop").json
    t.ok(n["approved"] and n["session"]["id"] == "s9" and n["user"]["login"] == "Staff@example.edu",
         "a device counts as before, and its session lives", n)
    t.is_(len(hub.root("GET", "sessions").json["sessions"]), 1, "the one there was")
    t.is_(rows(path, "PRAGMA user_version")[0][0], latest, "the database is the latest")
    t.is_(rows(path, "SELECT login_key, user, sub FROM login_name ORDER BY 1"),
          [("staff@example.edu", 1, "1"), ("student@example.edu", 2, "2")], "each name is whose it was")
    t.is_(hub.root("DELETE", "names/staff@example.edu").status, 403, "and nobody else's")
    t.is_(hub.root("DELETE", "sessions/s9").status, 200, "what was begun then can be ended")
    d = Device(hub, "new")
    t.is_(d.enrol(hub.key("tag:web")).status, 200, "and it goes on")
    hub.kill()
    hub.start()
    t.is_(len(hub.root("GET", "nodes").json["nodes"]), 3, "also after kill -9")
    hub.kill(signal.SIGTERM)

    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = %d" % (latest + 1))
    db.commit()
    db.close()
    p = hub.tool("run", "-c", hub.dir + "/conf", good=False)
    t.ok(p.returncode != 0 and "later release" in p.stderr, "a database of a later release is not touched", p.stderr)
finally:
    hub.close()
t.end()
