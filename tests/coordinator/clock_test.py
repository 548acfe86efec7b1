#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""The wall clock of a running coordinator is set: two hours ahead at one, two hours back at another.
Ahead, nobody is let in whose time it shows to be over, and nothing is ended for good; back, a session
ends when it would have ended. Debian's libfaketime tells the coordinators the time."""
import glob
import os
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub import *   # noqa: E402,F403

PATIENCE = 60
POLICY = """{ "tagOwners": { "tag:server": ["admin@example.edu"] },
              "grants": [ { "src": ["autogroup:member"], "dst": ["tag:server"], "ip": ["*"] } ] }"""
found = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
if not found:
    skip("no libfaketime")
with open(BUILD + "/reeve-coordinator", "rb") as f:
    if b"__asan_init" in f.read():
        skip("libfaketime and a sanitizer's runtime ask each other for the time, and some starts do not come to an end")

t = Test()


class Clock:
    """A coordinator with a server, a laptop whose session lasts `session` seconds, and a node that lasts an hour."""

    def __init__(self, session):
        self.hub = Hub(POLICY)
        self.file = self.hub.dir + "/clock"
        self.set(0)
        self.start()
        self.ids = {}
        for name in ("web", "laptop", "brief"):
            d = Device(self.hub, name)
            if d.enrol(self.hub.key()).status != 200:
                raise RuntimeError("no " + name)
            self.ids[name] = d.node["id"]
        self.hub.kill()
        now = int(time.time())
        self.session(now + session)
        self.start()
        self.stream = Stream(self.hub, self.ids["web"], timeout=PATIENCE)
        self.stream.batch()

    def start(self):
        os.environ.update(LD_PRELOAD=found[0], FAKETIME_TIMESTAMP_FILE=self.file, FAKETIME_NO_CACHE="1",
                          FAKETIME_DONT_FAKE_MONOTONIC="1", DONT_FAKE_MONOTONIC="1", FAKETIME_DONT_RESET="1")
        try:
            self.hub.start()
        finally:
            del os.environ["LD_PRELOAD"]

    def set(self, seconds):
        with open(self.file + ".new", "w") as f:
            f.write("%+d\n" % seconds)
        os.rename(self.file + ".new", self.file)

    def db(self, sql, *args):
        db = sqlite3.connect(self.hub.dir + "/state/coordinator.db", timeout=20)
        rows = db.execute(sql, args).fetchall()
        db.commit()
        db.close()
        return rows

    def session(self, expires):
        node, now = int(self.ids["laptop"][1:]), int(time.time())
        self.db("INSERT INTO user (id, issuer, sub, login, login_key, name, email, groups, created, last_login)"
                " VALUES (1, 'https://idp', '1', 'staff@example.edu', 'staff@example.edu', '', '', '', ?, ?)", now, now)
        self.db("UPDATE node SET user = 1, tags = '' WHERE id = ?", node)
        self.db("INSERT INTO session (user, node, auth_time, created, expires, issuer, acr, amr, groups, origin, mfa,"
                " cross_device, sub) VALUES (1, ?, ?, ?, ?, 'https://idp', '', '', '', '', 0, 0, '1')",
                node, now, now, expires)
        self.db("UPDATE node SET expires = ? WHERE id = ?", now + 3600, int(self.ids["brief"][1:]))

    def logged_in(self):
        return "session" in self.stream.nodes.get(self.ids["laptop"], {})

    def told(self, logged_in):
        """The server's map, once it says so."""
        while self.logged_in() != logged_in:
            if self.stream.batch() is None:
                return False
        return True

    def ended(self):
        return self.db("SELECT why FROM session WHERE ended != 0")

    def said(self, words):
        with open(self.hub.dir + "/log") as f:
            return words in f.read()

    def close(self):
        self.hub.close()


def until(fn):
    limit = time.monotonic() + PATIENCE
    while not fn() and time.monotonic() < limit:
        time.sleep(0.02)
    return fn()


ahead = back = None
try:
    ahead, back = Clock(3600), Clock(6)
    t.ok(ahead.logged_in(), "logged in for an hour")
    long_enough = back.logged_in()
    back.set(-7200)
    ahead.set(7200)
    t.ok(ahead.told(False), "two hours ahead: the server is told of nobody")
    t.ok(until(lambda: ahead.said("the clock was set: ")), "and the log says why")
    # Some rounds that would end what is over.
    time.sleep(2.5)
    t.is_(ahead.ended(), [], "no session has ended for good")
    t.is_(ahead.hub.root("GET", "nodes/brief").status, 200, "no enrolment, either")
    ahead.set(0)
    t.ok(ahead.told(True), "the clock is right again: the session is there as it was")
    t.is_(ahead.hub.root("GET", "nodes/brief").status, 200, "and so is the node")
    if long_enough:
        t.ok(until(back.ended), "two hours back: a session of some seconds ends after these seconds")
        t.is_(back.ended(), [("expired",)], "as one that has expired")
        t.ok(back.told(False), "and the server is told")
finally:
    for c in (ahead, back):
        if c:
            c.close()
t.end()
