#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Does the provider still stand by whoever is logged in: asked with refresh tokens, which are on disk
sealed. Who is disabled there is out; a provider that is away throws nobody out, for a while."""
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from people import *   # noqa: E402,F403
import sqlite3   # noqa: E402

t = Test()
w = World(POLICY, **{"refresh-every": "1s"})
hub = w.hub


def row(node):
    """Of the living session, as it is on disk."""
    db = sqlite3.connect(hub.dir + "/state/coordinator.db")
    try:
        return db.execute("SELECT id, refresh, checked, provider, sub, sid FROM session WHERE node = ? AND ended = 0",
                          (int(node[1:]),)).fetchone()
    finally:
        db.close()


def why(node):
    db = sqlite3.connect(hub.dir + "/state/coordinator.db")
    try:
        return db.execute("SELECT why, refresh FROM session WHERE node = ? ORDER BY id DESC LIMIT 1",
                          (int(node[1:]),)).fetchone()
    finally:
        db.close()


def restarted_after(seconds):
    """The hub, again, with sessions that were asked about so much longer ago."""
    hub.kill(signal.SIGTERM)
    db = sqlite3.connect(hub.dir + "/state/coordinator.db")
    db.execute("UPDATE session SET checked = checked - ?1, created = created - ?1 WHERE ended = 0", (seconds,))
    db.commit()
    db.close()
    hub.start()


def checked_again(node):
    """Waits until the provider has been asked once more."""
    before = row(node)
    until(lambda: row(node)[2] > before[2] and row(node)[1] != before[1], "the next question")


try:
    st = os.stat(hub.dir + "/state/refresh.key")
    t.ok(st.st_mode & 0o777 == 0o600 and st.st_size == 32, "the key is in a file of its own")
    key = open(hub.dir + "/state/refresh.key", "rb").read()
    web = w.server("wiki", "tag:web")
    one = w.enrol("one").node["id"]
    two = w.enrol("two", "student@example.edu").node["id"]
    while not {one, two} <= set(web.nodes):
        web.batch()
    _, sealed, _, provider, sub, sid = row(one)
    t.ok(len(sealed) > 50 and provider == "uni" and sub == w.accounts["staff@example.edu"]["sub"] and sid,
         "a session keeps what its provider must be asked with", (sealed, provider, sub, sid))
    checked_again(one)
    t.ok(True, "the provider is asked, and its new token is kept")
    checked_again(one)
    t.ok(True, "and asked again with that")
    t.ok(w.sessions()[[s for s, x in w.sessions().items() if x["node"] == one][0]]["checked"] > 0, "administrators see when")
    hub.kill(signal.SIGTERM)
    hub.start()
    checked_again(one)
    t.ok(True, "so it goes on after a restart: an answer under way was waited for")
    web = w.server("wiki2", "tag:web")
    t.ok("session" in web.nodes[one] and "session" in web.nodes[two], "nobody was logged out by any of it")
    for name in os.listdir(hub.dir + "/state"):
        if name != "refresh.key":
            t.ok(key not in open(hub.dir + "/state/" + name, "rb").read(), "the key is not in " + name)

    # ---- several logins in one browser, which has one session at the provider ----
    both, each = w.browser(), w.browser()
    left, right = (w.enrol(name, "admin@example.edu", both).node["id"] for name in ("left", "right"))
    for _ in range(2):
        checked_again(left)
        checked_again(right)
    t.ok(True, "the later login takes nothing from the earlier: both are stood by")
    idp.admin(w.dir, "set", grants="each")
    first, second = (w.enrol(name, "admin@example.edu", each).node["id"] for name in ("first", "second"))
    until(lambda: why(first)[0], "the end of the earlier one")
    t.is_(why(first), ("provider-refused", ""), "where the provider lets the later one take it, the earlier login is over")
    checked_again(second)
    checked_again(right)
    t.ok(True, "and no other")
    idp.admin(w.dir, "set", grants="session")

    # ---- gone at the provider ----
    idp.admin(w.dir, "disable", account="student@example.edu")
    while "session" in web.nodes[two]:
        web.batch()
    t.is_(why(two), ("provider-refused", ""), "who is disabled at the provider is logged out, and the token forgotten")
    t.ok("session" in web.nodes[one], "and nobody else", web.nodes[one])
    event = [e for e in hub.audit() if e["event"] == "session-ended" and e["node"] == two]
    t.ok(event and "invalid_grant" in event[-1]["detail"], "the audit has the provider's word", event)

    # ---- not asked for ----
    w.reload(**{"refresh-every": "0"})
    three = w.enrol("three", "admin@example.edu").node["id"]
    t.is_(row(three)[1], "", "where nobody is asked about, no token is kept")
    w.reload(**{"refresh-every": "1s"})

    # ---- the provider is away ----
    idp.admin(w.dir, "set", garbage=True)
    before = row(one)[2]
    until(lambda: "cannot be asked" in w.log(), "a question without an answer")
    t.ok(row(one) is not None, "a provider that talks nonsense throws nobody out")
    idp.admin(w.dir, "set", garbage=False)
    until(lambda: row(one)[2] > before, "the next answer")
    t.ok(True, "and is asked again")
    w.stop_idp()
    asked = w.log().count("cannot be asked")
    until(lambda: w.log().count("cannot be asked") > asked, "a question without an answer")
    t.ok(row(one) is not None, "nor does one that is gone")
    restarted_after(86000)
    t.is_(why(one)[0], "", "within its patience (24h) no restart ends it")
    restarted_after(400)
    until(lambda: why(one)[0], "the end")
    t.is_(why(one), ("provider-silent", ""), "until that is over")
    t.ok(not re.search(r"[A-Za-z0-9_-]{43}", w.log()), "no token is in the log")
finally:
    w.close()
t.end()
