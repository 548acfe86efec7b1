# SPDX-License-Identifier: AGPL-3.0-or-later
"""People who are logged in already, put into the database of a hub that does not run: for tests of
what ends a session, to which it is all the same how it began."""

import os
import sqlite3
import time


def add(hub, *logins, issuer="https://idp.example.edu"):
    """Each login with a node and a living session; {login: (user id, node id)}."""
    made = {}
    with sqlite3.connect(hub.conf["state-dir"] + "/coordinator.db") as db:
        now = int(time.time())
        v4 = db.execute("SELECT max(v4) FROM node").fetchone()[0]
        for i, login in enumerate(logins):
            user = db.execute("INSERT INTO user (issuer, sub, login, login_key, name, email, groups, created, last_login)"
                              " VALUES (?, ?, ?, ?, '', '', '', ?, ?)",
                              (issuer, "sub of " + login, login, login.lower(), now, now)).lastrowid
            db.execute("INSERT INTO identity (issuer, sub, user) VALUES (?, ?, ?)", (issuer, "sub of " + login, user))
            db.execute("INSERT INTO login_name (login_key, user, issuer, sub, since) VALUES (?, ?, ?, ?, ?)",
                       (login.lower(), user, issuer, "sub of " + login, now))
            node = db.execute("INSERT INTO node (key, name, v4, tags, user, enrol_key, hub, os, report, routes, origin, created)"
                              " VALUES (?, ?, ?, '', ?, 0, 0, 'test', '', '', '', ?)",
                              (os.urandom(32), "dev%d" % user, v4 + 1 + i, user, now)).lastrowid
            db.execute("INSERT INTO session (user, node, auth_time, created, expires, issuer, acr, amr, groups, origin, mfa,"
                       " cross_device) VALUES (?, ?, ?, ?, ?, ?, '', '', '', '', 1, 0)",
                       (user, node, now, now, now + 36000, issuer))
            made[login] = ("u%d" % user, "n%d" % node)
    db.close()
    return made


def sessions(hub):
    """The logins that have a living session."""
    return sorted(s["login"] for s in hub.root("GET", "sessions").json["sessions"])


def groups(hub, login):
    """{group: [sources]} of a person."""
    out = {}
    for g in hub.root("GET", "users/" + login).json["groups"]:
        out.setdefault(g["name"], []).append(g["source"])
    return out


def wait(what, seconds=60):
    """The first true answer of what(); its last one after so long."""
    end = time.monotonic() + seconds
    while True:
        got = what()
        if got or time.monotonic() > end:
            return got
        time.sleep(0.02)
