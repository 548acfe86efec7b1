#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sessions whose provider is Debian's glewlwyd: who is logged out there, disabled there, or has their
grant taken away there, is logged out here; and the person's way to its page of logout."""
import os
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from people import *   # noqa: E402,F403
import glewlwyd   # noqa: E402

BACK = "/login/logout/uni"


class World:
    """glewlwyd, a hub, and TLS before it."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="reeve-people-")
        hport, plain = free_port(), free_port()
        self.url = "https://127.0.0.1:%d" % hport
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=hub",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-keyout", self.dir + "/hub.key",
                        "-out", self.dir + "/hub.crt"], check=True, capture_output=True)
        # It trusts the system's certificates alone: on loopback it may speak without.
        self.idp = glewlwyd.Glewlwyd([self.url + "/login/callback"], "http://127.0.0.1:%d%s" % (plain, BACK), [self.url + "/login/bye"])
        self.hub = None
        try:
            row = dict(self.idp.row, **{"login-claim": "upn", "bare-refusal": True})
            self.hub = Hub(policy=POLICY, url=self.url, issuers={"uni": row}, **{"refresh-every": "1s"})
            self.hub.start()
            sock = self.hub.dir + "/run/public.sock"
            self.front = Front(hport, self.dir + "/hub.crt", self.dir + "/hub.key", sock)
            self.plain = Front(plain, None, None, sock)
        except Exception:
            self.close()
            raise

    def browser(self):
        return idp.Browser([self.idp.dir + "/cert.pem", self.dir + "/hub.crt"])

    def through(self, url):
        """From a login's URL to the device's loopback: our pages, its login, and ours again."""
        b = self.browser()
        at = idp.login(url, ["https://127.0.0.1:%d/" % self.idp.port], "", "", "", b)
        to, status, text = self.idp.browse(at)
        if not to.query:
            raise RuntimeError("glewlwyd lets nobody on: HTTP %d %s" % (status, text))
        end = idp.login(urllib.parse.urlunsplit(to), [LOOPBACK], "", "", "", b)
        q = urllib.parse.parse_qs(urllib.parse.urlsplit(end).query)
        return {"attempt": q["attempt"][0], "ticket": q["ticket"][0]}

    def enrol(self, name):
        d = Device(self.hub, name)
        ask = d.prove(d.start(loopback=54321).json).json
        r = self.hub.public("POST", "/v1/enrol/finish", self.through(ask["url"]))
        if r.status != 200:
            raise RuntimeError(repr(r))
        return r.json["node"]

    def login(self, node):
        ask = self.hub.mesh("POST", "/v1/login/start", {"v": 1, "loopback": 54321}, node=node).json
        return self.hub.mesh("POST", "/v1/login/finish", self.through(ask["url"]), node=node)

    def living(self):
        return {s["node"] for s in self.hub.root("GET", "sessions").json["sessions"]}

    def why(self, node):
        return [e for e in self.hub.audit() if e["event"] == "session-ended" and e["node"] == node][-1]

    def close(self):
        self.idp.close()
        if self.hub:
            self.hub.close()
        shutil.rmtree(self.dir, ignore_errors=True)


if os.geteuid() != 0:
    skip("not root")
if not os.path.exists(glewlwyd.PROGRAM) or not os.path.exists(glewlwyd.SQL) or not shutil.which("openssl"):
    skip("glewlwyd or openssl is not installed, or REEVE_GLEWLWYD names another folder")
t = Test()
w = World()
hub = w.hub


def sid():
    """The provider's session of whoever is logged in, as the coordinator has it."""
    db = sqlite3.connect(hub.dir + "/state/coordinator.db", timeout=60)
    try:
        return db.execute("SELECT sid FROM session WHERE ended = 0").fetchone()[0]
    finally:
        db.close()


def push(on):
    """Whether glewlwyd tells the hub of logouts."""
    client = json.loads(w.idp.admin.must("GET", "/api/client/reeve"))
    client.pop("backchannel_logout_uri", None)
    if on:
        client["backchannel_logout_uri"] = w.idp.logout_uri
    w.idp.admin.must("PUT", "/api/client/reeve", client)


def user(**what):
    w.idp.admin.must("PUT", "/api/user/staff", dict(json.loads(w.idp.admin.must("GET", "/api/user/staff")), **what))


try:
    # ---- who is logged out there ----
    push(False)
    one = w.enrol("one")["id"]
    t.is_(w.living(), {one}, "a person is logged in by glewlwyd")
    until(lambda: hub.root("GET", "sessions").json["sessions"][0]["checked"], "the first question")
    t.is_(w.living(), {one}, "which stands by them when it is asked")
    w.idp.user.must("DELETE", "/api/oidc/session/" + sid() + "/")
    until(lambda: not w.living(), "the end of a session that was ended there")
    e = w.why(one)
    t.ok(e["why"] == "provider-refused" and "invalid_grant" in e["detail"], "logged out there, without a word to us: found by asking", e)

    # ---- and says so: a logout token of the drafts, without exp ----
    push(True)
    t.is_(w.login(one).status, 200, "they log in again")
    w.idp.user.must("DELETE", "/api/oidc/session/" + sid() + "/")
    until(lambda: not w.living(), "the end of a session that was ended there")
    t.is_(len(until(lambda: w.plain.bodies(BACK), "its word")), 1, "logged out there, and we are told")
    e = until(lambda: [e for e in hub.audit() if e["event"].startswith("provider-logout")], "the audit")[-1]
    t.ok(e["event"] == "provider-logout" and e["issuer"] == w.idp.issuer and e.get("sub"), "the token is obeyed", e)
    r = hub.public("POST", BACK, w.plain.bodies(BACK)[0], {"Content-Type": "application/x-www-form-urlencoded"})
    t.is_(r.status, 400, "once")

    # ---- who takes the grant away ----
    push(False)
    t.is_(w.login(one).status, 200, "they log in again")
    for x in json.loads(w.idp.user.must("GET", "/api/oidc/token/")):
        if x["enabled"]:
            w.idp.user.must("DELETE", "/api/oidc/token/" + urllib.parse.quote(x["token_hash"], safe=""))
    until(lambda: not w.living(), "the end")
    t.is_(w.why(one)["why"], "provider-refused", "who takes the grant away there is logged out here")

    # ---- the way to its page ----
    r = w.login(one)
    u, s = r.json["node"]["user"]["id"], r.json["node"]["session"]["id"]
    r = hub.mesh("POST", "/v1/logout", "{}", node=one, user=u, session=s)
    at, q = urllib.parse.urlsplit(r.json["url"]), urllib.parse.parse_qs(urllib.parse.urlsplit(r.json["url"]).query)
    t.ok(at.path.endswith("/api/oidc/end_session") and q["client_id"] == ["reeve"] and
         q["post_logout_redirect_uri"] == [w.url + "/login/bye"], "a logout names its page", r)
    t.is_(w.living(), set(), "and is one here")
    r, text = w.idp.user.ask("GET", at.path + "?" + at.query)
    t.is_(r.status, 200, "which wants an ID token for a hint, and asks nothing without")

    # ---- who is disabled there, or gone ----
    t.is_(w.login(one).status, 200, "they log in again")
    user(enabled=False)
    fresh = glewlwyd.Session(w.idp)
    t.is_(fresh.ask("POST", "/api/auth/", {"username": "staff", "password": w.idp.password})[0].status, 401, "who is disabled there does not log in")
    # It goes on answering for the refresh tokens of such a person, so that an administrator there ends those, too.
    w.idp.admin.must("DELETE", "/api/user/staff")
    until(lambda: not w.living(), "the end")
    t.is_(w.why(one)["why"], "provider-refused", "who is gone there is logged out here")
    t.ok(w.idp.secret not in open(hub.dir + "/log").read(), "no secret is in the log")
finally:
    w.close()
t.end()
