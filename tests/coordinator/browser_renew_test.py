#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""The renewal of a browser's session without a page, at the coordinator: through a real provider and through own
accounts, what it is refused for, and that the browser comes back to its service every time."""
import base64
import hashlib
import os
import signal
import sqlite3
import sys
import time
import urllib.parse

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(1, os.path.join(HERE, "../idp"))
sys.path.insert(0, os.path.join(HERE, "../browser"))        # before: here is a login_test, too
from hub import *       # noqa: E402,F403
import idp              # noqa: E402
import flow             # noqa: E402
import own              # noqa: E402
from login_test import listener     # noqa: E402

if os.geteuid() != 0:
    skip("not root")
if idp.node_dir() is None:
    skip(idp.why())

WIKI = "https://wiki.example.edu"
KEPT = WIKI + "/.well-known/reeve/session?kept=1"
POLICY = '{ "grants": [{ "src": ["autogroup:member"], "dst": ["svc:wiki"], "ip": ["*"] }], "tagOwners": { "tag:server": [] } }'


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sha(*parts):
    return hashlib.sha256(b"\0".join(parts)).digest()


def secret():
    own_ = b64(os.urandom(32))
    return own_, b64(sha(b"reeve browser v1", own_.encode()))


t = Test()
hport = flow.free_port()
url = "https://127.0.0.1:%d" % hport
flow.REDIRECT = url + "/login/callback"
w = flow.World()
where = os.path.join(w.dir, "hub")
os.mkdir(where)
idp.certificate(where, ["127.0.0.1"])
hub = Hub(policy=POLICY, url=url, session="12h", issuers={"uni": dict(w.row)},
          accounts={"enabled": True, "title": "Example", "domains": ["example.edu"]})


def browser():
    return idp.Browser([w.dir + "/cert.pem", where + "/cert.pem"])


def session(node):
    return next((s for s in hub.root("GET", "sessions").json["sessions"] if s["node"] == node), None)


class Person:
    """Somebody in a browser, with a session at the service."""

    def __init__(self, login="staff@example.edu", account=None):
        self.b, self.login, self.account = browser(), login, account
        verifier, bind = secret()
        start = "%s/login/service?node=%s&service=wiki&bind=%s" % (url, host, bind)
        if account:
            end = idp.login(start, [WIKI + "/"], login, account.password, None, self.b, want="accounts", code=account.code)
        else:
            a = w.accounts[login]
            end = idp.login(start, [WIKI + "/"], login, a["password"], a["totp"], self.b, want="uni")
        r = redeem(code_of(end), verifier)
        assert r.status == 200, r
        self.node, self.cookie, self.session = r.json["node"], r.json["cookie"], session(r.json["node"])

    def renew(self, service="wiki", by=None):
        self.verifier, bind = secret()
        return hub.mesh("POST", "/v1/browser/renew", {"node": self.node, "service": service, "bind": bind}, node=by or host)

    def sent(self, b=None):
        """Where a renewal that the front may begin ends for this browser."""
        r = self.renew()
        assert r.status == 200 and "url" in r.json, r
        self.url = r.json["url"]
        return self.go(self.url, b)

    def go(self, at, b=None):
        return (b or self.b).go("GET", at, stop=[WIKI])[0]

    def unchanged(self):
        return session(self.node) is not None and session(self.node)["id"] == self.session["id"]


def code_of(end):
    assert end.startswith(WIKI + "/.well-known/reeve/session?code="), end
    return urllib.parse.parse_qs(urllib.parse.urlsplit(end).query)["code"][0]


def redeem(code, verifier, replaces=None, by=None):
    body = {"service": "wiki", "code": code, "verifier": verifier}
    if replaces:
        body["replaces"] = replaces
    return hub.mesh("POST", "/v1/browser/redeem", body, node=by or host)


def edit(sql, *values):
    """While the hub is down."""
    db = sqlite3.connect(hub.dir + "/state/coordinator.db")
    db.execute(sql, values)
    db.commit()
    db.close()


def checked(person):
    """When the provider last stood by the person of that session."""
    db = sqlite3.connect(hub.dir + "/state/coordinator.db", timeout=60)
    try:
        return db.execute("SELECT checked FROM session WHERE id = ?", (int(person.session["id"][1:]),)).fetchone()[0]
    finally:
        db.close()


def later(left=300, **conf):
    """So much is left of every session, as if it had been twelve hours; what the coordinator tried is forgotten."""
    hub.kill()
    now = int(time.time())
    # checked: a question with a refresh token that the next kill cut off would have ended the session
    edit("UPDATE session SET created = ?, expires = ?, checked = ? WHERE ended = 0", now + left - 43200, now + left, now)
    hub.conf.update(conf)
    hub.write_conf()
    hub.start()


def refused(person):
    """Why the audit says that a session was not renewed."""
    return [e["reason"] for e in hub.audit() if e["event"] == "session-not-renewed" and e["session"] == person.session["id"]]


def asked(answer):
    q = urllib.parse.parse_qs(urllib.parse.urlsplit(answer.headers["Location"]).query)
    there = idp.admin(w.dir, "pushed") if "request_uri" in q else {k: v[0] for k, v in q.items()}
    return there.get("prompt"), there.get("login_hint")


try:
    hub.start()
    front = listener(where, hport, hub)
    hosts = []
    for name in ("server", "other"):
        d = Device(hub, name)
        d.enrol(hub.key())
        hosts.append(d.node.get("node", d.node)["id"])
        hub.mesh("POST", "/v1/node", {"services": [{"name": "wiki", "port": 443, "http": True, "browser": WIKI}]}, node=hosts[-1])
    host, other = hosts
    staff = Person()

    # ---- who may ask for it, and when ----
    t.is_(staff.renew(by=other).status, 404, "another host renews nothing")
    t.is_(staff.renew(service="lab").status, 404, "nor is it another service's")
    for body in ({"node": host, "service": "wiki", "bind": "A" * 43}, {"node": "n99", "service": "wiki", "bind": "A" * 43}):
        t.is_(hub.mesh("POST", "/v1/browser/renew", body, node=host).status, 404, "no browser's session: " + body["node"])
    for bad in ("", "A" * 42, "A" * 44, "!" * 43):
        t.is_(hub.mesh("POST", "/v1/browser/renew", {"node": staff.node, "service": "wiki", "bind": bad}, node=host).status, 400,
              "no secret's hash: %r" % bad)
    r = staff.renew()
    t.ok(r.status == 200 and "url" not in r.json and abs(r.json["wait"] - (43200 - 600)) < 120, "ten minutes before the end, no earlier", r)
    later()
    r = staff.renew()
    t.ok(r.status == 200 and r.json["url"].startswith(url + "/login/"), "then it may", r)
    t.is_(staff.renew().status, 409, "once for a session: whatever cookies a browser keeps, there is no loop")
    begun = r.json["url"]

    # ---- it comes back with nothing ----
    stranger = browser()
    answer, _ = stranger.once("GET", begun)
    t.is_(asked(answer), ("none", "staff@example.edu"), "the provider is asked without a page, for that person")
    t.is_(staff.go(answer.headers["Location"], stranger), KEPT, "a browser that it does not know comes back to the service all the same")
    t.ok(staff.unchanged(), "with the session as it was")
    t.ok(refused(staff), "and the audit says why")
    page = hub.mesh("GET", "/", node=staff.node, user=staff.session["user"], session=staff.session["id"]).body.decode()
    t.ok("wiki in a browser ends in" in page and "could not be renewed" in page and WIKI + "/.well-known/reeve/login" in page,
         "the person is told ahead, in the portal", page)
    t.is_(staff.go(begun), KEPT, "the same once more leads back, too, now in the right browser")
    t.is_(browser().once("POST", begun + "/continue", "token=x")[0].status, 404, "there is no form to it")
    t.is_(staff.go(url + "/login/callback?state=" + "A" * 43 + "&code=x"), url + "/login/callback?state=" + "A" * 43 + "&code=x",
          "a callback that nobody began leads nowhere")
    student = Person("student@example.edu")
    later()
    t.is_(staff.sent(student.b), KEPT, "in somebody else's browser it comes back with nothing")
    t.ok(staff.unchanged() and student.unchanged(), "and neither has lost anything", refused(staff))
    later()
    begun = staff.renew().json["url"]
    answer, _ = staff.b.once("GET", begun)
    back = staff.b.go("GET", answer.headers["Location"], stop=[url + "/login/callback"])[0]
    t.is_(staff.go(back, browser()), KEPT, "the provider's answer in a browser without our cookie: back")
    end = staff.go(back)
    t.ok(end.startswith(WIKI + "/.well-known/reeve/session?code=") and end.endswith("&renews=1"),
         "and it still counts in the one that asked", end)

    # ---- what its code is not good for ----
    for what, change in (("no session", {}), ("another one", {"replaces": student.node}),
                         ("another host", {"replaces": staff.node, "by": other}),
                         ("another browser's secret", {"replaces": staff.node, "verifier": secret()[0]})):
        code = code_of(end)
        r = redeem(code, change.pop("verifier", staff.verifier), **change)
        t.is_(r.status, 403, "shown with %s it is refused" % what)
        t.is_(redeem(code, staff.verifier, staff.node).status, 403, "and used up")
        later()
        end = staff.sent()
    t.ok(staff.unchanged() and student.unchanged(), "nothing has changed by any of it")
    attempt, _, ticket = code_of(end).partition(".")
    t.is_((hub.public("POST", "/v1/enrol/finish", {"attempt": attempt, "ticket": ticket}).status,
           hub.mesh("POST", "/v1/login/finish", {"attempt": attempt, "ticket": ticket}, node=host).status), (404, 404), "nor is it a device's")

    # ---- what it is good for ----
    m = Stream(hub, host)
    m.batch()
    before = m.nodes[staff.node]
    r = redeem(code_of(end), staff.verifier, staff.node)
    t.is_((r.status, r.json.get("node")), (200, staff.node), "with everything right it renews that session")
    t.ok(r.json["cookie"] != staff.cookie and len(r.json["cookie"]) == 43, "which has another cookie from now on")
    seen = []
    while m.nodes.get(staff.node, {}).get("session", {}).get("id") in (None, staff.session["id"]):
        seen += m.batch()
    now = m.nodes[staff.node]
    key = base64.b64encode(sha(b"reeve cookie v1", b"wiki", r.json["cookie"].encode())).decode()
    t.ok(now["key"] == key and now["session"]["expires"] > before["session"]["expires"] + 3600, "its host is told of both", now)
    t.ok(now["session"]["auth_time"] == before["session"]["auth_time"] and now["user"] == before["user"],
         "the same person, of the same proof", (before, now))
    t.ok(all(x["op"] != "gone" and "session" in x["node"] for x in seen if x["op"] in ("gone", "node")),
         "in one step: nothing that is open loses its identity", seen)
    m.close()
    t.is_(redeem(code_of(end), staff.verifier, staff.node).status, 403, "once")
    staff.session = session(staff.node)
    t.is_(len([s for s in hub.root("GET", "sessions").json["sessions"] if s["login"] == staff.login]), 1, "one session lives")
    r = staff.renew()
    t.ok(r.status == 200 and "url" not in r.json, "the new one has its own time", r)
    later()
    end = staff.sent()
    hub.root("DELETE", "sessions/" + staff.session["id"])
    t.is_(redeem(code_of(end), staff.verifier, staff.node).status, 403, "a session that has ended meanwhile does not come back")
    t.is_((session(staff.node), staff.renew().status), (None, 404), "and is not renewed")

    # ---- its absolute end ----
    staff = Person()
    later(**{"session-max": "12h"})
    t.is_(staff.sent(), KEPT, "a session that could last no longer is left as it is")
    t.ok(staff.unchanged(), "to its end")
    hub.conf.pop("session-max")

    # ---- less is proven than before ----
    def proves(person, mfa):
        """They prove themselves anew at the provider, in the same browser: for another service's sake, say."""
        idp.admin(w.dir, "set", mfa=mfa)
        a = w.accounts[person.login]
        start = "%s/login/service?node=%s&service=wiki&bind=%s&fresh=1" % (url, host, secret()[1])
        code_of(idp.login(start, [WIKI + "/"], person.login, a["password"], a["totp"], person.b, want="uni"))

    uni = hub.conf["issuers"]["uni"]
    LESS = "the provider says less of the login than it did"
    for change, mfa, what in (({"require-mfa": False}, True, "without the second factor"),
                              ({"always-mfa": True}, True, "with another acr, though that counts as a second factor, too"),
                              ({"require-mfa": False}, False, "")):
        idp.admin(w.dir, "set", mfa="always" if mfa else "never")
        later(issuers={"uni": dict(uni, **change)})
        staff = Person()
        t.is_(staff.session["mfa"], mfa, "%s, %s" % (change, "mfa" if mfa else "one factor"))
        proves(staff, "never" if mfa else "always")
        later()
        if not mfa:
            t.is_((staff.sent(), staff.unchanged()), (KEPT, True), "another acr is not told better from worse: as it was")
            continue
        t.is_(staff.sent(), KEPT, "who proves themselves %s comes back with nothing" % what)
        t.ok(staff.unchanged(), "with the session as it was")
        t.is_(refused(staff), [LESS], "and the audit says why")
        proves(staff, "always")
        later()
        end = staff.sent()
        t.is_(redeem(code_of(end), staff.verifier, staff.node).status, 200, "who proves as much as before is renewed")
    later(issuers={"uni": uni})

    # ---- an ended person, and an ended service ----
    staff, end = Person(), None
    later()
    begun = staff.renew().json["url"]
    hub.root("POST", "users/" + staff.session["user"], {"blocked": True})
    t.is_(staff.go(begun), KEPT, "who is disabled meanwhile is sent back, to log in in vain")
    hub.root("POST", "users/" + staff.session["user"], {"blocked": False})

    # ---- whether the provider still stands by the person goes on being asked ----
    idp.admin(w.dir, "set", offline=True)
    staff = Person()
    later()
    idp.admin(w.dir, "set", refresh=False)
    end = staff.sent()
    r = redeem(code_of(end), staff.verifier, staff.node)
    staff.session = session(staff.node)
    t.ok(r.status == 200 and staff.session, "a provider that gives no refresh token without a page renews a session", r)
    later(43200, **{"refresh-every": "1s"})
    was, limit = checked(staff), time.monotonic() + 60
    while checked(staff) == was and time.monotonic() < limit:
        time.sleep(0.1)
    t.ok(checked(staff) > was, "which is asked after with the token of the one before")
    idp.admin(w.dir, "disable", account=staff.login)
    while session(staff.node) and time.monotonic() < limit:
        time.sleep(0.1)
    t.is_(session(staff.node), None, "so that who is disabled there is out before its end")
    idp.admin(w.dir, "enable", account=staff.login)
    idp.admin(w.dir, "set", refresh=True, offline=False)
    later(43200, **{"refresh-every": "15m"})

    # ---- the provider is away ----
    staff = Person()
    later()
    begun = staff.renew().json["url"]
    w.idp.send_signal(signal.SIGSTOP)
    try:
        t.is_(staff.go(begun), KEPT, "a provider that hangs is not waited for: the browser is sent back, not there")
    finally:
        w.idp.send_signal(signal.SIGCONT)
    t.ok(staff.unchanged(), "with the session as it was")
    later()
    begun = staff.renew().json["url"]
    w.idp.kill()
    w.idp.wait()
    t.is_(staff.go(begun), KEPT, "one that is gone")
    t.ok(staff.unchanged(), "changes nothing, either")

    # ---- own accounts ----
    chief = own.Account("chief@example.edu")
    link = hub.root("POST", "accounts", {"login": chief.login, "name": "Chief"}).json["link"]
    chief.set_up(link, browser())
    # a coordinator that starts anew keeps nobody logged in, so here the time itself is short: longer, where that was too short
    for length in (6, 32, 120):
        hub.kill()
        edit("UPDATE own_account SET totp_step = 0")    # nobody waits for the app's next code
        chief.step = 0
        hub.conf["session"] = "%ds" % length
        hub.write_conf()
        hub.start()
        p = Person(chief.login, chief)
        was, limit = p.session, time.monotonic() + length
        r = p.renew()
        while r.status == 200 and "url" not in r.json and time.monotonic() < limit:
            time.sleep(0.1)
            r = p.renew()
        end = p.go(r.json["url"]) if r.status == 200 and "url" in r.json else ""
        if "code=" in end and redeem(code_of(end), p.verifier, p.node).status == 200:
            break
    now = session(p.node)
    t.ok(now and now["id"] != was["id"] and now["auth_time"] == was["auth_time"],
         "own accounts: a browser that is logged in there renews its session without a page", (was, now, end, r))
    p.session = now
    later()
    t.is_(p.sent(), KEPT, "one that is not comes back with nothing")
    t.ok(p.unchanged(), "and the session as it was")
    log = open(hub.dir + "/log").read() + open(hub.dir + "/state/audit.json").read()
    t.ok(not any(x in log for x in (staff.cookie, p.cookie, staff.verifier, ticket)), "no secret is in log or audit")
    front.shutdown()
finally:
    if t.bad:
        print(open(hub.dir + "/log").read()[-3000:], file=sys.stderr)
    hub.close()
    w.close()
t.end()
