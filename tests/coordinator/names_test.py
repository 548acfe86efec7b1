#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose a login name is, with two real providers: the first who shows it, inside the domains of their
issuer; nobody gets it by renaming or recycling; an administrator links, merges, releases. And the
issuer that a mail address leads to."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from people import *   # noqa: E402,F403

t = Test()
w = World(POLICY)
hub = w.hub
other = None


def login(name, account, provider="uni", where=None, device=None):
    """An enrolment's answer, or what the pages said instead."""
    d = device or Device(hub, name)
    ask = d.prove(d.start(loopback=54321).json).json
    a = json.load(open((where or w.dir) + "/accounts.json"))[account]
    try:
        end = idp.login(ask["url"], [LOOPBACK], account, a["password"], a["totp"], w.browser2(), want=provider)
    except RuntimeError as e:
        return Reply(403, {}, json.dumps({"message": str(e)}).encode())
    return hub.public("POST", "/v1/enrol/finish", w.ticket(end))


try:
    # a second provider, that says the same names of other people
    second = w.dir + "/second"
    port = free_port()
    issuer2 = idp.new(second, "127.0.0.1:%d" % port, "127.0.0.1", [w.url + "/login/callback"])
    other = idp.start(second)
    row2 = dict(w.row, issuer=issuer2, **{"client-secret-file": second + "/client-secret", "ca": second + "/cert.pem",
                                          "domains": ["example.org"], "title": "Elsewhere"})
    w.browser2 = lambda: idp.Browser([w.dir + "/cert.pem", w.dir + "/hub.crt", second + "/cert.pem"])
    w.reload(issuers={"uni": w.row, "else": row2})

    # ---- domains ----
    r = login("a", "staff@example.edu", "else", second)
    t.is_(r.status, 403, "a provider says a name outside its domains: nobody is logged in")
    r = login("laptop", "staff@example.edu")
    t.is_((r.status, r.json["node"]["user"]["login"]), (200, "staff@example.edu"), "inside them")
    u1 = r.json["node"]["user"]["id"]

    # ---- the second who claims it ----
    row2["domains"] = ["example.org", "example.edu"]
    w.reload(issuers={"uni": w.row, "else": row2})
    r = login("theirs", "staff@example.edu", "else", second)
    t.ok(r.status == 409 and "belongs to another account" in r.json["message"], "another issuer's person of that name is refused", r)
    refused = [e for e in hub.audit() if e["event"] == "enrolment-refused"][-1]
    t.ok("belongs to another" in refused["reason"] and refused["issuer"] == issuer2 and refused["sub"],
         "the audit has who it was, for an administrator to link", refused)
    t.is_(len(hub.root("GET", "users").json["users"]), 1, "and nothing of them is stored")
    t.is_(w.cli("user", "link", "staff@example.edu", refused["issuer"], refused["sub"]).returncode, 0,
          "linked by an administrator")
    t.ok(w.cli("user", "link", "staff@example.edu", refused["issuer"], refused["sub"]).returncode != 0, "once")
    r = login("theirs", "staff@example.edu", "else", second)
    t.is_((r.status, r.json["node"]["user"]["id"]), (200, u1), "both are the same person")

    # ---- two accounts that turn out to be one person's ----
    r = login("pad", "student@example.edu", "else", second)
    u2, pad = r.json["node"]["user"]["id"], r.json["node"]["id"]
    t.is_(hub.root("POST", "users/" + u1, {"merge": u1}).status, 404, "nobody is merged with themselves")
    t.is_(w.cli("user", "merge", "staff@example.edu", "student@example.edu").returncode, 0, "an administrator merges")
    t.is_(hub.root("GET", "users/" + u2).status, 404, "the other account is gone")
    n = hub.root("GET", "nodes/" + pad).json
    t.ok(n["user"]["id"] == u1 and "session" not in n, "its device is theirs, and nobody is logged in there", n)
    r = login("pad2", "student@example.edu", "else", second)
    t.is_((r.json["node"]["user"]["id"], r.json["node"]["user"]["login"]), (u1, "staff@example.edu"),
          "its identity, too, and it does not rename the account")
    r = login("x", "student@example.edu")
    t.is_(r.status, 409, "its name is nobody else's now")

    # ---- recycled: the name's owner is deleted, somebody new has it at another provider ----
    r = login("desk", "admin@example.edu")
    u3 = r.json["node"]["user"]["id"]
    t.is_(hub.root("DELETE", "users/" + u3).status, 200, "an account is deleted")
    r = login("desk2", "admin@example.edu", "else", second)
    t.ok(r.status == 409 and "release" in r.json["message"], "its name is not free for who comes with it next", r)
    t.is_(hub.root("DELETE", "names/staff@example.edu").status, 403, "a name that somebody has is not released")
    t.is_(hub.root("DELETE", "names/nobody@example.edu").status, 404, "nor one that nobody ever had")
    r = login("desk3", "admin@example.edu")
    t.ok(r.status == 200 and r.json["node"]["user"]["id"] != u3, "who had it before comes back with it, as a new account", r)
    u4 = r.json["node"]["user"]["id"]
    hub.root("DELETE", "users/" + u4)
    t.is_(w.cli("user", "release", "no/name").returncode, 1, "a name that is none")
    t.is_(w.cli("user", "release", "admin@example.edu").returncode, 0, "an administrator releases it")
    r = login("desk2", "admin@example.edu", "else", second)
    t.ok(r.status == 200 and r.json["node"]["user"]["id"] not in (u3, u4), "then it is the next one's", r)

    # ---- the issuer that an address leads to ----
    row2["domains"] = ["example.org"]
    w.reload(issuers={"uni": w.row, "else": row2})
    for address, to in (("somebody@example.org", issuer2), ("somebody@EXAMPLE.edu", w.issuer),
                        ("somebody@example.net", None), ("example.org", None), ("@example.org", None),
                        ("somebody@sub.example.org", None)):
        d = Device(hub, "by")
        ask = d.prove(d.start(loopback=54321).json).json
        b = w.browser2()
        at, answer, text = b.go("GET", ask["url"])
        form = [f for f in idp.Forms(text).forms if "account" in f["fields"]][0]
        body = urllib.parse.urlencode(dict(form["fields"], account=address))
        answer, text = b.once("POST", urllib.parse.urljoin(at, form["action"]), body)
        there = answer.headers["Location"]
        if to:
            t.ok(answer.status == 303 and there.startswith(to + "/"), "%s is asked at its issuer" % address, there)
        else:
            t.is_((answer.status, there), (400, None), "%s is nobody's here" % address)
finally:
    if other:
        other.kill()
        other.wait()
    w.close()
t.end()
