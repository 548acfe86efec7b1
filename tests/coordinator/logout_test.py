#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Logout through the provider, both ways: its back-channel ends sessions here, by sid or by subject,
and a token is obeyed once; the person's way to the provider's own page."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from people import *   # noqa: E402,F403

t = Test()
w = World(POLICY)
hub = w.hub
BACK = "/login/logout/uni"


def post(body, path=BACK):
    return hub.public("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})


def living():
    return {s["node"] for s in w.sessions().values()}


def told(stream, node):
    """Reads until the endpoint knows that nobody is logged in there."""
    while "session" in stream.nodes[node]:
        if stream.batch() is None:
            raise RuntimeError("the stream ended")
    return True


def leave(b, url, stop=()):
    """The provider's own page of logout, and its button."""
    at, answer, text = b.go("GET", url)
    form = [f for f in idp.Forms(text).forms if "logout" in f["fields"] or f["id"] == "op.logoutForm"][0]
    return b.go("POST", urllib.parse.urljoin(at, form["action"]), urllib.parse.urlencode(form["fields"]), stop=stop)


try:
    # ---- what is refused ----
    t.is_(post("logout_token=x", "/login/logout/nobody").status, 404, "a provider that is none of ours")
    t.is_(post("").status, 400, "no token")
    t.is_(post("logout_token=a.b.c&logout_token=a.b.c").status, 400, "two")
    r = post("logout_token=a.b.c")
    t.ok(r.status == 400 and r.json["error"] == "invalid_request", "one that is none", r)
    t.is_(r.headers["Cache-Control"], "no-store", "and nobody keeps the answer")
    t.is_(hub.mesh("POST", BACK, "logout_token=a.b.c", node="n1").status, 404, "the mesh listener has no such thing")

    web = w.server("wiki", "tag:web")
    b1, b2 = w.browser(), w.browser()
    one, two = w.enrol("one", b=b1).node["id"], w.enrol("two", b=b2).node["id"]
    three = w.enrol("three", "student@example.edu").node["id"]
    while not {one, two, three} <= set(web.nodes):
        web.batch()
    t.is_(living(), {one, two, three}, "three are logged in")

    # ---- by sid: the person ends one browser's session at the provider ----
    leave(b1, w.issuer + "/session/end?client_id=reeve")
    t.ok(told(web, one), "the provider ends one browser's session: so does the device's that used it")
    t.is_(living(), {two, three}, "and no other")
    bodies = until(lambda: w.front.bodies(BACK), "the provider's word")
    t.is_(len(bodies), 1, "one token came")
    event = [e for e in hub.audit() if e["event"] == "provider-logout"][-1]
    t.ok(event["ended"] == 1 and event["sid"] and event["issuer"] == w.issuer, "the audit has it", event)

    # ---- once ----
    t.is_(w.login(one, b=b1).status, 200, "the person logs in again")
    r = post(bodies[0])
    t.ok(r.status == 400 and "before" in r.json["error_description"], "the same token again is refused", r)
    t.is_(living(), {one, two, three}, "and ends nothing")
    hub.kill()
    hub.start()
    t.is_(post(bodies[0]).status, 400, "nor after the coordinator was killed and started")
    claims = bodies[0].split("=", 1)[1].split(".")
    other = ".".join([claims[0], claims[1], claims[2][:-8] + ("A" * 8 if claims[2][-8:] != "A" * 8 else "B" * 8)])
    r = post("logout_token=" + other)
    t.is_((r.status, r.json["error_description"]), (400, "signature"), "a token that somebody altered")

    # ---- by subject: all of them ----
    web = w.server("wiki2", "tag:web")
    n = idp.admin(w.dir, "logout", account="staff@example.edu")
    t.ok(n["told"] >= 2, "the provider logs a person out everywhere", n)
    t.ok(told(web, one) and told(web, two), "every device of theirs is told to be nobody's")
    t.is_(living(), {three}, "and nobody else's")

    # ---- who is on the way in ----
    ask = w.ask(one).json
    fin = w.go(ask, b=w.browser())
    idp.admin(w.dir, "logout", account="staff@example.edu")
    r = hub.mesh("POST", "/v1/login/finish", fin, node=one)
    t.is_((r.status, living()), (404, {three}), "a login that the provider ended before it was finished begins nothing")

    # ---- the way to the provider ----
    b = w.browser()
    r = w.login(one, b=b)
    u, s = r.json["node"]["user"]["id"], r.json["node"]["session"]["id"]
    r = hub.mesh("POST", "/v1/logout", "{}", node=one, user=u, session=s)
    q = urllib.parse.parse_qs(urllib.parse.urlsplit(r.json["url"]).query)
    t.ok(r.json["url"].startswith(w.issuer) and q["client_id"] == ["reeve"] and
         q["post_logout_redirect_uri"] == [w.url + "/login/bye"], "a logout names the provider's page", r)
    t.ok("id_token_hint" not in q, "without a token in the URL")
    at, answer, text = leave(b, r.json["url"])
    t.ok(at.startswith(w.url + "/login/bye") and "logged out" in text, "from which the person comes back to a page of ours", at)
    ask = w.ask(one, silent=True).json
    at, answer, text = b.go("GET", ask["url"], stop=[LOOPBACK])
    t.ok(answer is not None and "continue" in text.lower(), "and is not known there any more", at)

    # ---- the portal ----
    r = w.login(one, b=b)
    s = r.json["node"]["session"]["id"]
    page = hub.mesh("GET", "/", node=one, user=u, session=s).body.decode()
    forms = [f for f in idp.Forms(page).forms if f["action"] == "/session/logout"]
    t.is_(len(forms), 1, "the portal has a button for both")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    t.is_(hub.mesh("POST", "/session/logout", "id=" + s, node=one, user=u, session=s, headers=form).status, 403,
          "that another site cannot press")
    r = hub.mesh("POST", "/session/logout", urllib.parse.urlencode(forms[0]["fields"]), node=one, user=u, session=s,
                 headers=form)
    t.ok(r.status == 303 and r.headers["Location"].startswith(w.issuer), "it leads to the provider", r.headers)
    t.ok(one not in living(), "and the session has ended")
finally:
    w.close()
t.end()
