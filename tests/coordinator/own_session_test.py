#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""A browser stays logged in at the coordinator's own provider: whom that vouches for without a page, whom with
one, how old the proof stays, and what ends it. As in own_token_test.py, as_self.c lets this test speak at the token
endpoint, and sets the boot clock ahead."""
import copy
import os
import re
import shutil
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from own_hub import *   # noqa: E402,F403

LOOPBACK = "http://127.0.0.1:54321/"
NAME = "__Host-hub-session"
t = Test()
cc = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
if not cc:
    skip("no C compiler")
hub = OwnHub(policy='{ "grants": [] }', admins=["admin@example.edu"],
             accounts={"enabled": True, "title": "Example", "domains": ["example.edu"], "session": "24h", "session-idle": "10h"})


def start():
    was = dict(os.environ)
    os.environ.update({"LD_PRELOAD": hub.dir + "/as_self.so", "AS_SELF_AHEAD": hub.dir + "/ahead",
                       "ASAN_OPTIONS": "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")})
    try:
        hub.start()
    finally:
        os.environ.clear()
        os.environ.update(was)


def ahead(seconds):
    with open(hub.dir + "/ahead.new", "w") as f:
        f.write("%d\n" % seconds)
    os.rename(hub.dir + "/ahead.new", hub.dir + "/ahead")


def account(login):
    a = own.Account(login)
    a.set_up(hub.root("POST", "accounts", {"login": login, "name": login.split("@")[0]}).json["link"], Web(hub))
    return a


def codes(*accounts):
    """Recovery codes for as many logins as there are here: nobody waits for an app's next code."""
    db = sqlite3.connect(hub.dir + "/state/coordinator.db")
    for a in accounts:
        for n in range(60):
            plain = "%016d" % (n + 2)
            db.execute("INSERT INTO own_code SELECT id, ? FROM own_account WHERE login = ?",
                       (hashlib.sha256(plain.encode()).digest(), a.login))
            a.codes.append(plain)
    db.commit()
    db.close()


def prove(page, a, **more):
    """From the page that asks for a password to the end."""
    return page.good().send("password", login=a.login, password=a.password).good().send("recovery", recovery=a.codes.pop(), **more)


def end_of(page):
    """What the client was told: a code's verifier comes with it in asked()."""
    q = urllib.parse.parse_qs(urllib.parse.urlsplit(page.url).query) if page.url.startswith(CALLBACK) else {}
    return (q.get("error") or ["code" if "code" in q else "page: " + page.title])[0]


def ask(b, **change):
    verifier, good = asking()
    page = begin(b, good, **change)
    page.verifier = verifier
    return page


def claims(page):
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(page.url).query)["code"][0]
    r = hub.public("POST", "/idp/token", urllib.parse.urlencode({
        "grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "client_id": "reeve-coordinator",
        "code_verifier": page.verifier}), {"Content-Type": "application/x-www-form-urlencoded"})
    part = r.json["id_token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def silent(b, **change):
    return end_of(ask(b, prompt="none", **change))


def logged_in(a):
    b = Web(hub)
    page = ask(b)
    verifier = page.verifier
    page = prove(page, a, stop=[CALLBACK])
    if end_of(page) != "code":
        raise RuntimeError("no login: %s %s" % (page.title, page.wrong))
    page.verifier = verifier
    b.first = page
    return b


def has_factors(c):
    return (c["preferred_username"], c["auth_time"], c["acr"], c["amr"])


try:
    subprocess.run([cc, "-shared", "-fPIC", "-o", hub.dir + "/as_self.so",
                    os.path.join(os.path.dirname(os.path.abspath(__file__)), "as_self.c"), "-ldl"], check=True, timeout=60)
    start()
    staff, student = account("staff@example.edu"), account("student@example.edu")
    hub.kill(signal.SIGTERM)
    codes(staff, student)
    start()

    # ---- nobody is logged in ----
    t.is_(silent(Web(hub)), "login_required", "a browser that nobody logged in with is refused without a page")
    half = Web(hub)
    ask(half).good().send("password", login=staff.login, password=staff.password).good()
    t.is_(silent(half), "login_required", "so is one where the password alone was right")
    setup = Web(hub)
    r = hub.root("POST", "accounts", {"login": "third@example.edu"})
    third = own.Account("third@example.edu")
    third.set_up(r.json["link"], setup)
    t.is_((silent(setup), setup.cookie(NAME)), ("login_required", None), "setting an account up is no login")

    # ---- somebody is ----
    b = logged_in(staff)
    kept = copy.copy(b.cookie(NAME))
    t.ok(kept is not None and kept.secure and kept.path == "/" and not kept.domain_specified and kept.expires is None and
         kept.has_nonstandard_attr("HttpOnly") and kept.get_nonstandard_attr("SameSite") == "Lax",
         "a login leaves a cookie of this host alone, for no script, until the browser ends", kept)
    first = claims(b.first)
    wait = time.monotonic() + 60
    while int(time.time()) <= first["auth_time"] and time.monotonic() < wait:
        time.sleep(0.1)
    page = ask(b, prompt="none")
    t.is_(end_of(page), "code", "then the same is answered without a page")
    again = claims(page)
    t.ok(again["iat"] > first["auth_time"], "later")
    t.is_(has_factors(again), has_factors(first), "and says when and how they proved themselves: then, not now")
    for what, change, want in (
            ("another login as a hint", {"login_hint": student.login}, "login_required"),
            ("a hint that is no login", {"login_hint": "a b"}, "login_required"),
            ("an ID token as a hint, which may be anybody's", {"id_token_hint": "x.y.z"}, "login_required"),
            ("max_age=0", {"max_age": "0"}, "login_required"),
            ("a passkey alone", {"acr_values": "phr"}, "interaction_required"),
            ("another client", {"client_id": "other"}, "page: Nobody to log in to"),
            ("none beside others", {"prompt": "none login"}, "invalid_request")):
        got = silent(b, **change) if "prompt" not in change else end_of(ask(b, **change))
        t.is_(got, want, "refused: " + what)
    for what, change in (("the same login", {"login_hint": "STAFF@example.edu"}), ("an hour", {"max_age": "3600"}),
                         ("a passkey or what there is", {"acr_values": "phr urn:reeve:acr:mfa"})):
        t.is_(silent(b, **change), "code", "let in: " + what)
    for what, value in (("half of it", kept.value[:20]), ("another one", "A" * 43), ("none", "")):
        other = Web(hub)
        for c in b.jar:
            other.jar.set_cookie(copy.copy(c))
        other.cookie(NAME).value = value
        t.is_(silent(other), "login_required", "the cookie's value: " + what)

    # ---- with a page ----
    page = ask(b)
    t.ok(end_of(page) == "page: Log in" and staff.login in page.text and page.form("continue"),
         "who may see a page is asked whether it is that account: a link that somebody sent vouches for nothing", page.text)
    f = page.form("continue")
    body = urllib.parse.urlencode(f["fields"])
    t.is_(own.Page(b, "POST", f["action"], "", stop=[CALLBACK]).status, 403, "not by another site's form")
    stranger = Web(hub)
    t.is_(own.Page(stranger, "POST", f["action"], body, stop=[CALLBACK]).status, 403, "nor in another browser")
    copied = Web(hub)
    for c in b.jar:
        if c.name != NAME:
            copied.jar.set_cookie(c)
    t.is_(end_of(own.Page(copied, "POST", f["action"], body, stop=[CALLBACK])), "page: Log in", "nor where the cookie is gone")
    t.is_(own.Page(b, "POST", f["action"], body, stop=[CALLBACK]).status, 403, "and that form was the only one")
    page = ask(b)
    verifier = page.verifier
    page = page.send("continue", stop=[CALLBACK])
    page.verifier = verifier
    t.is_(has_factors(claims(page)), has_factors(first), "the person says yes: the proof is as old as it is")
    page = ask(b).send("other")
    t.ok(page.form("password") and staff.login not in page.text, "or says no, and somebody else logs in", page.text)
    page = ask(b, prompt="login")
    t.ok(page.form("password"), "prompt=login asks for everything")
    page = ask(b, max_age="0")
    t.ok(page.form("password"), "so does what the session is too old for")
    page = ask(b, login_hint=student.login)
    t.ok(page.form("password")["fields"]["login"] == student.login, "and who means another account, whose name stands there")
    page = prove(ask(b, login_hint=student.login), student, stop=[CALLBACK])
    t.is_((end_of(page), silent(b, login_hint=student.login), silent(b, login_hint=staff.login)), ("code", "code", "login_required"),
          "who logs in takes the place of who was logged in")
    t.ok(b.cookie(NAME).value != kept.value, "with another cookie")
    other.cookie(NAME).value = kept.value
    t.is_(silent(other), "login_required", "and the one before is nobody's")

    # ---- a device's login, renewed without a page ----
    b = logged_in(staff)
    dev = Device(hub, "laptop")
    w = dev.prove(dev.start(loopback=54321).json).json

    def ticket(at):
        q = urllib.parse.parse_qs(urllib.parse.urlsplit(at).query)
        return {"attempt": q["attempt"][0], "ticket": q["ticket"][0]}
    at = idp.login(w["url"], [LOOPBACK], "nobody", "x", None, b, code=lambda: "000000")
    r = hub.public("POST", "/v1/enrol/finish", ticket(at))
    t.ok(r.status == 200, "a new device: by two pages that ask, and no password", r)
    node, was = r.json["node"]["id"], r.json["node"]["session"]
    want = {"v": 1, "loopback": 54321, "silent": True}
    url = hub.mesh("POST", "/v1/login/start", want, node=node).json["url"]
    at, answer, text = Web(hub).go("GET", url, stop=[LOOPBACK])
    t.ok(answer is not None and "Log in" in text, "silent, in a browser that is not logged in: the ordinary page after all", at)
    theirs = logged_in(student)
    url = hub.mesh("POST", "/v1/login/start", want, node=node).json["url"]
    at, answer, text = theirs.go("GET", url, stop=[LOOPBACK])
    t.ok(answer is not None, "and in another person's", at)
    url = hub.mesh("POST", "/v1/login/start", want, node=node).json["url"]
    at, answer, text = b.go("GET", url, stop=[LOOPBACK])
    t.ok(answer is None and at.startswith(LOOPBACK), "in theirs it leads straight back to the device", (at, text))
    r = hub.mesh("POST", "/v1/login/finish", ticket(at), node=node)
    now = r.json["node"]["session"]
    t.ok(now["id"] != was["id"] and (now["auth_time"], now["amr"], now["acr"]) == (was["auth_time"], was["amr"], was["acr"]),
         "a new session of the same proof", (was, now))
    url = hub.mesh("POST", "/v1/login/start", dict(want, max_age=0), node=node).json["url"]
    at, answer, text = b.go("GET", url, stop=[LOOPBACK])
    t.ok(answer is not None, "what wants a fresh proof wants the person", at)

    # ---- its logout ----
    d = hub.public("GET", "/idp/.well-known/openid-configuration").json
    t.is_(d["end_session_endpoint"], URL + "/idp/logout", "the provider says where one logs out")
    BYE = URL + "/login/bye"
    good = "/idp/logout?" + urllib.parse.urlencode({"post_logout_redirect_uri": BYE, "state": "x&y"})
    page = own.Page(b, "GET", good)
    t.ok(staff.login in page.text and silent(b) == "code", "a link there ends nothing: the person is asked", page.text)
    f = page.form("logout")
    t.is_((own.Page(b, "POST", f["action"], "").status, own.Page(Web(hub), "POST", f["action"], urllib.parse.urlencode(f["fields"])).status,
           silent(b)), (403, 403, "code"), "nor does another site's form, or another browser's")
    page = page.send("logout", stop=[BYE])
    t.is_((page.url, silent(b), b.cookie(NAME)), (BYE + "?state=x%26y", "login_required", None), "their own does, and leads back")
    t.is_([e["how"] for e in hub.audit() if e["event"] == "account-logout"], ["provider"], "the audit says so")
    for away in ("https://evil.example/", BYE + ".evil", BYE + "?x", URL + "/", "//evil.example/login/bye"):
        page = own.Page(Web(hub), "GET", "/idp/logout?" + urllib.parse.urlencode({"post_logout_redirect_uri": away}), stop=["https://evil"])
        t.is_(page.title, "Logged out", "it leads nowhere else: " + away)
    t.is_(own.Page(Web(hub), "GET", good, stop=[BYE]).url, BYE + "?state=x%26y", "who is logged out already is sent back")

    # ---- what else ends it ----
    path = "accounts/" + third.login
    third.codes = list(third.codes)
    hub.kill(signal.SIGTERM)
    codes(third)
    start()
    b = logged_in(third)
    t.is_(silent(b), "code", "a session of a third account")
    mine = logged_in(staff)

    def manage(browser):
        page = prove(own.Page(browser, "GET", "/idp/account"), third)
        return page.good()
    page = manage(b)
    t.is_((page.title, silent(b)), ("How you log in", "code"), "to look at how one logs in ends nothing")
    page = page.send("change-codes").good()
    t.is_(silent(b), "login_required", "other recovery codes end every session of the account")
    third.codes = re.findall(r"<code>([^<]+)</code>", page.text)
    b = logged_in(third)
    page = manage(b).send("change-password").good()
    third.password = "another " + third.password
    page.send("new-password", password=third.password, again=third.password).good()
    t.is_(silent(b), "login_required", "so does another password")
    b = logged_in(third)
    hub.root("POST", path, {"groups": ["lab"]})
    t.is_(silent(b), "code", "other groups do not")
    link = hub.root("POST", path, {"reset": True}).json["link"]
    t.is_(silent(b), "login_required", "a reset does")
    third = own.Account(third.login)
    third.set_up(link, Web(hub))
    b = logged_in(third)
    hub.root("POST", path, {"disabled": True})
    t.is_(silent(b), "login_required", "an account that is disabled")
    hub.root("POST", path, {"disabled": False})
    t.is_(silent(b), "login_required", "and enabled again: no session comes back")
    b = logged_in(third)
    hub.root("DELETE", path)
    t.is_(silent(b), "login_required", "one that is deleted")
    t.is_(silent(mine), "code", "all that time another account's goes on")
    u = next(u for u in hub.root("GET", "users").json["users"] if u["login"] == staff.login)["id"]
    hub.root("POST", "users/" + u, {"blocked": True})
    t.is_(silent(mine), "login_required", "until the person is disabled here")
    hub.root("POST", "users/" + u, {"blocked": False})
    t.is_(silent(mine), "login_required", "for good")

    # ---- how many, how long ----
    many = [logged_in(staff) for _ in range(17)]
    t.is_([silent(b) for b in many], ["login_required"] + ["code"] * 16, "sixteen of one account: the oldest makes room")
    b = many[-1]
    ahead(3601)
    t.is_((silent(b, max_age="3600"), silent(b)), ("login_required", "code"), "an hour later it is too old for max_age=3600")
    t.ok(ask(b, max_age="3600").form("password"), "with a page, too")
    ahead(3600 + 36001)
    t.is_((silent(many[5]), silent(b)), ("login_required", "login_required"), "ten hours without a use end them")
    b = logged_in(staff)
    for hour in (9, 18):
        ahead(3600 + 36001 + hour * 3600)
        t.is_(silent(b), "code", "used every %d hours it goes on" % 9)
    ahead(3600 + 36001 + 86401)
    t.is_(silent(b), "login_required", "for a day, and no longer")
    b = logged_in(staff)
    t.is_(hub.kill(signal.SIGTERM), 0, "it ends as asked")
    hub.conf["accounts"]["session"] = "0"
    hub.write_conf()
    start()
    t.is_(silent(b), "login_required", "a restart keeps nobody logged in")
    b = logged_in(staff)
    t.is_((silent(b), b.cookie(NAME)), ("login_required", None), "with \"session\": 0 nobody is, ever")
    # ---- more logins under way than there is room for ----
    another = "/idp/authorize?" + urllib.parse.urlencode(asking()[1])
    while hub.public("GET", another).status == 200:
        pass
    t.is_((end_of(ask(b)), silent(b)), ("page: Too many logins", "temporarily_unavailable"),
          "who wants no page gets none where there is no room for a login, either, and goes on with what it was at")
    said = open(hub.dir + "/log").read() + open(hub.dir + "/state/audit.json").read()
    t.ok(kept.value not in said, "no cookie is in the log or the audit")
    t.is_(hub.kill(signal.SIGTERM), 0, "it ends as asked")
finally:
    if t.bad:
        print(open(hub.dir + "/log").read()[-3000:], file=sys.stderr)
    hub.close()
t.end()
