#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""A directory in the manner of Active Directory, by fake_ldap.py: groups whose members come in pieces, accounts
disabled by a bit, referrals that nobody follows; and others whose pieces do not fit."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub import *   # noqa: E402,F403
import directory    # noqa: E402
from fake_ldap import Entry, Fake   # noqa: E402

if os.geteuid() != 0:
    skip("not root")
ROOT = "dc=example,dc=edu"
PEOPLE, GROUPS = "ou=people," + ROOT, "ou=groups," + ROOT
staff, student, admin = "staff@example.edu", "student@example.edu", "admin@example.edu"
t = Test()
wait = directory.wait
NORMAL, DISABLED = "512", "514"


def dn(name):
    return "CN=%s,%s" % (name, PEOPLE)


def person(name, flags=NORMAL, **more):
    return Entry(dn(name), objectClass=["top", "person", "user"], userPrincipalName=name + "@example.edu", userAccountControl=flags, **more)


def tree(size):
    """With a group of that many."""
    many = [dn("p%d" % i) for i in range(size - 1)]
    return ([person("staff", memberOf=["CN=of%d,%s" % (i, GROUPS) for i in range(20)]), person("student"), person("admin", DISABLED)] +
            [Entry("CN=big,%s" % GROUPS, objectClass=["top", "group"], cn="big", member=many + [dn("staff")]),
             Entry("CN=edge,%s" % GROUPS, objectClass=["top", "group"], cn="edge", member=many[:14] + [dn("student")]),
             Entry("CN=one,%s" % GROUPS, objectClass=["top", "group"], cn="one", member=[dn("student")])] +
            [Entry("CN=of%d,%s" % (i, GROUPS), objectClass=["top", "group"], cn="of%d" % i) for i in range(20)])


ROW = {"clear-text": True, "people": PEOPLE, "groups": GROUPS, "people-filter": "(&(objectClass=person)(objectClass=user))",
       "login-attribute": "userPrincipalName", "disabled-filter": "(userAccountControl:1.2.840.113556.1.4.803:=2)", "timeout": "20s",
       "page": 2, "poll": 1}
elsewhere = Fake([])
ad = Fake(tree(400), step=15, referral=elsewhere.url)
ds = Fake([person("staff", nsAccountLock="FALSE"), person("student", nsAccountLock="TRUE")])
ppolicy = Fake([person("staff", pwdAccountLockedTime="20261121050000Z"), person("student")])
far = Fake(tree(4000), step=1500)
liars = {"gap": lambda attr, low, name: name.replace("range=%d-" % low, "range=%d-" % (low + 1)) if low else name,
         "again": lambda attr, low, name: name.replace("range=%d-" % low, "range=0-"),
         "back": lambda attr, low, name: attr + ";range=%d-%d" % (low, low - 1) if low else name,
         "huge": lambda attr, low, name: attr + ";range=0-99999999999999999999",
         "none": lambda attr, low, name: name if not low else "description"}
fakes = {k: Fake(tree(40), step=15, lie=v) for k, v in liars.items()}
hub = Hub(ldap=dict({"ad": dict(ROW, url=ad.url)}, **{k: dict(ROW, url=v.url) for k, v in fakes.items()}))


def groups(login, source="ldap:ad"):
    return sorted(k for k, v in directory.groups(hub, login).items() if source in v)


def state(source):
    return next((d for d in hub.root("GET", "status").json["directories"] if d["source"] == "ldap:" + source), {"state": "none"})


def becomes(what, want, words):
    got = wait(lambda: (what() == want) and [want], 60) or [what()]
    t.is_(got[0], want, words)


try:
    directory.add(hub, staff, student, admin)
    hub.start()
    becomes(lambda: state("ad")["state"], "polling", "a directory without RFC 4533 is polled")
    becomes(lambda: groups(student), ["idp:edge", "idp:one"], "a group that fits into one piece, to the member")
    becomes(lambda: groups(staff), sorted(["idp:big"] + ["idp:of%d" % i for i in range(20)]), "one of four hundred, and memberships of a person, in pieces")
    pieces = [n for b, s, n in list(ad.searches) if s == 0 and b.lower().startswith("cn=big")]
    t.ok(["member;range=15-*"] in pieces and ["member;range=390-*"] in pieces, "each piece was asked for", pieces[:3])
    becomes(lambda: admin in directory.sessions(hub), False, "an account that is disabled by its bit has no session")
    t.is_(directory.sessions(hub), [staff, student], "and nobody else")
    t.is_(elsewhere.connections, 0, "a referral is not followed")
    for name in liars:
        becomes(lambda: state(name)["state"], "away", "pieces that do not fit change nothing: " + name)
        t.ok(state(name).get("error") and not state(name)["read"] and not groups(staff, "ldap:" + name), "and it is said why", state(name))
    # as the real one does it; and how others say that an account is disabled
    hub.conf["ldap"] = {"ad": dict(ROW, url=far.url, page=500),
                        "ds": dict(ROW, url=ds.url, **{"disabled-filter": "(nsAccountLock=TRUE)"}),
                        "ppolicy": dict(ROW, url=ppolicy.url, **{"disabled-filter": "(pwdAccountLockedTime=*)"})}
    hub.write_conf()
    hub.proc.send_signal(signal.SIGHUP)
    becomes(lambda: any(n == ["member;range=3000-*"] for b, s, n in list(far.searches)) and state("ad")["state"], "polling", "four thousand, in pieces of 1,500")
    t.is_(groups(student), ["idp:edge", "idp:one"], "it is the same")
    becomes(lambda: hub.root("GET", "users/" + student).json["disabled"], ["ldap:ds"], "nsAccountLock, of 389 Directory Server")
    becomes(lambda: hub.root("GET", "users/" + staff).json["disabled"], ["ldap:ppolicy"], "pwdAccountLockedTime, of a password policy")
    becomes(lambda: directory.sessions(hub), [], "each ends sessions")
    t.is_(hub.kill(signal.SIGTERM), 0, "it ends as asked")
finally:
    hub.close()
t.end()
