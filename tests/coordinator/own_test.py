#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Own accounts: a site without an identity provider. Invitation, password and code, the provider's
endpoints, recovery, reset, lockout; each refusal before what it refuses."""
import base64
import os
import re
import sqlite3
import sys
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(1, os.path.join(HERE, "../idp"))
from hub import *   # noqa: E402,F403
import idp          # noqa: E402
import own          # noqa: E402
from own_hub import *   # noqa: E402,F403

t = Test()


def link_of(login, **more):
    r = hub.root("POST", "accounts", dict(login=login, **more))
    if r.status != 200:
        raise RuntimeError(repr(r))
    return r.json["link"]


def account(login):
    return next(a for a in hub.root("GET", "accounts").json["accounts"] if a["login"] == login)


POLICY = """{ "grants": [{ "src": ["autogroup:member"], "dst": ["tag:web"], "ip": ["tcp:80"] }],
              "tagOwners": { "tag:web": [] } }"""
accounts = {"enabled": True, "title": "Example", "domains": ["example.edu"]}

# ---- the configuration ----
bad = Hub(policy=POLICY)
p = bad.tool("init", "-c", bad.dir + "/conf", "--endpoint-state", bad.dir + "/e2", "--own-accounts", good=False)
t.ok(p.returncode != 0 and "accounts" in p.stderr, "init --own-accounts wants them in the configuration", p.stderr)
bad.start()
t.is_(bad.public("GET", "/idp/jwks").status, 404, "where none are configured there is no provider")
t.is_(bad.root("GET", "accounts").status, 404, "nor accounts")
bad.close()
taken = Hub(policy=POLICY)
taken.conf.update(accounts=accounts, issuers={"accounts": {"issuer": "https://idp.example.edu", "client-id": "reeve",
                                                          "auth-method": "none", "domains": ["example.edu"]}})
taken.write_conf()
p = taken.tool("check", "-c", taken.dir + "/conf", good=False)
t.ok(p.returncode != 0 and "taken" in p.stderr, "its name among issuers is its own", p.stderr)
taken.conf["issuers"] = {"uni": dict(taken.conf["issuers"]["accounts"], issuer=URL + "/idp")}
taken.write_conf()
p = taken.tool("check", "-c", taken.dir + "/conf", good=False)
t.ok(p.returncode != 0 and "accounts" in p.stderr, "and so is its issuer", p.stderr)
taken.close()


hub = OwnHub(policy=POLICY, accounts=accounts, admins=["admin@example.edu", "chief@example.edu"])
try:
    first = re.search(r"https://\S+/idp/link\?t=\S+", hub.said).group(0)
    p = hub.tool("check", "-c", hub.dir + "/conf", "--print")
    t.ok("client-id" not in p, "the printed configuration is the one that was written", p)
    hub.start()
    root_b = Web(hub)

    # ---- invitation ----
    def refused(fn):
        try:
            fn()
        except own.Refused as e:
            return e
        return None

    e = refused(lambda: own.Page(Web(hub), "GET", "/idp/link?t=" + "A" * 43).good())
    t.ok(e and e.status == 404, "a link that nobody was given leads nowhere", e)
    e = refused(lambda: own.Page(Web(hub), "GET", "/idp/link?t=" + first[-43:-1]).good())
    t.ok(e and e.status == 404, "nor does half of one", e)
    admin = own.Account("admin@example.edu")
    b = Web(hub)
    page = own.Page(b, "GET", first).good()
    t.ok("admin@example.edu" in page.text and "You are invited" in page.title, "the first invitation is the administrator's")
    for password, why in (("short", "shorter"), ("password1234", "too easy"), ("admin@example.edu", "too easy"),
                          ("x" * 300, "256"), ("aaaaaaaaaaaaaaa", "too easy")):
        page = page.send("new-password", password=password, again=password)
        t.ok(page.status == 400 and why in page.wrong, "no password is: " + password[:20], page.wrong)
    page = page.send("new-password", password=admin.password, again=admin.password + "x")
    t.ok("not the same" in page.wrong, "nor one that was typed in two ways", page.wrong)
    page = page.send("new-password", password=admin.password, again=admin.password).good()
    t.ok("<svg" in page.text and "script" not in page.text, "then the app: a QR code without a script")
    page = page.send("new-otp", otp="000000")
    admin.totp = page.page.texts["secret"].strip()
    t.ok("not right" in page.wrong or idp.totp(admin.totp) == "000000", "whose code must be right", page.wrong)
    t.is_(account("admin@example.edu")["state"], "invited", "until then nothing is written")
    other = own.Page(Web(hub), "GET", first).good()
    t.ok("You are invited" in other.title, "looking at the link spent nothing")
    setup_code = admin.code()
    page = page.send("new-otp", otp=setup_code).good()
    admin.codes = re.findall(r"<code>([^<]+)</code>", page.text)
    t.is_(len(set(admin.codes)), 10, "ten recovery codes")
    t.is_(account("admin@example.edu")["state"], "active", "and the account is there")
    e = refused(lambda: own.Page(Web(hub), "GET", first).good())
    t.ok(e and e.status == 404, "the link is over", e)
    rival = own.Account("admin@example.edu")
    other = other.send("new-password", password=rival.password, again=rival.password).good()
    rival.totp = other.page.texts["secret"].strip()
    other = other.send("new-otp", otp=rival.code())
    t.ok(other.status == 403 and "over" in other.title, "also for who had it open meanwhile", other.title)

    # ---- the provider's endpoints ----
    d = hub.public("GET", "/idp/.well-known/openid-configuration").json
    t.is_(d["issuer"], URL + "/idp", "it describes itself")
    key = hub.public("GET", "/idp/jwks").json["keys"][0]
    t.ok(key["kty"] == "EC" and key["alg"] == "ES256" and "d" not in key, "its key is public, and no more", key)
    verifier, good = asking()

    def authorize(b=None, **change):
        return begin(b or Web(hub), good, **change)

    for change, why in (({"client_id": "other"}, "another client"), ({"redirect_uri": "https://evil.example/login/callback"}, "another site"),
                        ({"redirect_uri": URL + "/login/callback/x"}, "another page"), ({"redirect_uri": URL + "/login/callback?a=b"}, "a query"),
                        ({"redirect_uri": URL + ".evil.example/login/callback"}, "a longer host"), ({"redirect_uri": None}, "none")):
        page = authorize(**change)
        t.is_(page.status, 400, "no code goes to " + why)
    for change, error in (({"response_type": "token"}, "unsupported_response_type"), ({"scope": "profile"}, "invalid_scope"),
                          ({"code_challenge": None}, "invalid_request"), ({"code_challenge_method": "plain"}, "invalid_request"),
                          ({"code_challenge_method": None}, "invalid_request"), ({"code_challenge": "short"}, "invalid_request"),
                          ({"nonce": None}, "invalid_request"), ({"prompt": "none"}, "login_required"),
                          ({"prompt": "none login"}, "invalid_request"), ({"max_age": "soon"}, "invalid_request"),
                          ({"max_age": "-1"}, "invalid_request"),
                          ({"request": "x.y.z"}, "request_not_supported")):
        q = urllib.parse.parse_qs(urllib.parse.urlsplit(authorize(**change).url).query)
        t.is_((q.get("error"), q.get("iss"), q.get("state")), ([error], [URL + "/idp"], ["S" * 43]),
              "%s is answered %s" % (change, error))
    r = hub.public("POST", "/idp/token", urllib.parse.urlencode({"grant_type": "authorization_code", "code": "A" * 43,
                   "client_id": "reeve-coordinator", "redirect_uri": good["redirect_uri"], "code_verifier": verifier}))
    t.is_(r.status, 403, "the token endpoint answers the coordinator's own process alone")

    # ---- a login, refused ----
    def try_password(login, password, b):
        return authorize(b, prompt="login").send("password", login=login, password=password)

    page = authorize()
    f = page.form("password")
    t.is_(own.Page(Web(hub), "POST", f["action"], "login=a&password=b").status, 403, "a form in another browser is refused")
    t.is_(own.Page(page.browser, "POST", f["action"], "login=a&password=b").status, 403, "one without its token, too")
    t.is_(own.Page(page.browser, "POST", f["action"], "login=a&password=b&token=" + "A" * 43).status, 403, "and one with another")
    words = set()
    for login, password in (("admin@example.edu", "wrong-password-1"), ("nobody@example.edu", admin.password),
                            ("no such login", "x"), ("admin@example.edu", "")):
        page = try_password(login, password, Web(hub, "192.0.2.50"))
        words.add((page.status, page.wrong))
    t.is_(words, {(403, "Login or password is not right.")}, "wrong is wrong in the same words, account or none")
    page = authorize(Web(hub, "192.0.2.51")).send("password", login="Admin@Example.EDU ", password=admin.password)
    t.is_(page.title, "Your second factor", "login in any case, password to the letter")
    f = page.form("otp")
    page2 = page.send("otp", otp=setup_code)
    t.ok("used before" in page2.wrong, "the code of the set-up does not count again", page2.wrong)
    page2 = page2.send("recovery", recovery="AAAA-AAAA-AAAA-AAAA")
    t.ok(page2.status == 403, "nor does an invented recovery code", page2.status)
    code = admin.code()
    end = page2.send("otp", stop=[URL + "/login/callback"], otp=code)
    q = urllib.parse.parse_qs(urllib.parse.urlsplit(end.url).query)
    t.ok(len(q["code"][0]) == 43 and q["state"] == ["S" * 43] and q["iss"] == [URL + "/idp"], "a fresh code lets in", end.url)
    known = page.browser
    t.ok(known.cookie("__Host-hub-known") is not None, "and this browser is known from now on")
    t.is_(own.Page(known, "POST", f["action"], urllib.parse.urlencode(dict(f["fields"], otp=code))).status, 404,
          "its form is over")
    page = try_password("admin@example.edu", admin.password, Web(hub, "192.0.2.51")).good()
    page = page.send("otp", otp=code)
    t.ok(page.status == 403 and "used before" in page.wrong, "the same code is refused in another login", page.wrong)
    end = page.send("recovery", stop=[URL + "/login/callback"], recovery=admin.codes[0].lower().replace("-", " "))
    t.ok("code=" in end.url, "a recovery code, as somebody may type it")
    page = try_password("admin@example.edu", admin.password, Web(hub, "192.0.2.51")).good()
    page = page.send("recovery", recovery=admin.codes[0])
    t.is_(page.status, 403, "counts once")
    for _ in range(4):
        page = page.send("otp", otp="12345")
    t.ok("Begin again" in page.wrong, "five wrong ones end it", page.text[-300:])
    t.is_(account("admin@example.edu")["recovery"], 9, "nine recovery codes are left")

    # ---- the whole way: a device, the relying party, a session ----
    dev = Device(hub, "laptop")
    ask = dev.prove(dev.start(loopback=54321).json).json
    staff = own.Account("staff@example.edu")
    t.is_(hub.root("POST", "accounts", {"login": "staff@elsewhere.example"}).status, 403, "only the site's own domains are invited")
    t.is_(hub.root("POST", "accounts", {"login": "a b@example.edu"}).status, 400, "and what can be a login")
    staff.set_up(link_of("staff@example.edu", name="Staff Example"), Web(hub))
    t.is_(hub.root("POST", "accounts", {"login": "staff@example.edu"}).status, 409, "nobody is invited twice")
    end = idp.login(ask["url"], ["http://127.0.0.1:54321/"], staff.login, staff.password, None, Web(hub), code=staff.code)
    q = urllib.parse.parse_qs(urllib.parse.urlsplit(end).query)
    r = hub.public("POST", "/v1/enrol/finish", {"attempt": q["attempt"][0], "ticket": q["ticket"][0]})
    t.ok(r.status == 200 and r.json["node"]["user"]["login"] == "staff@example.edu", "a device joins in an own account's name", r)
    node = r.json["node"]
    t.ok(node["user"]["issuer"] == URL + "/idp" and node["user"]["name"] == "Staff Example", "of the coordinator's own issuer", node["user"])
    t.ok({"pwd", "otp", "mfa"} <= set(node["session"]["amr"]) and node["session"]["acr"] == "urn:reeve:acr:mfa",
         "with two factors, and says so", node["session"])
    t.ok(abs(node["session"]["auth_time"] - time.time()) < 120, "at this time")
    t.is_(hub.mesh("GET", "/api/v1/accounts", node=node["id"], user=node["user"]["id"], session=node["session"]["id"]).status,
          403, "which makes nobody an administrator")

    # ---- an administrator, from the mesh ----
    chief = own.Account("chief@example.edu")
    chief.set_up(link_of(chief.login), Web(hub))
    dev = Device(hub, "desk")
    ask = dev.prove(dev.start(loopback=54321).json).json
    end = idp.login(ask["url"], ["http://127.0.0.1:54321/"], chief.login, chief.password, None, Web(hub), code=chief.code)
    q = urllib.parse.parse_qs(urllib.parse.urlsplit(end).query)
    n = hub.public("POST", "/v1/enrol/finish", {"attempt": q["attempt"][0], "ticket": q["ticket"][0]}).json["node"]
    who = {"node": n["id"], "user": n["user"]["id"], "session": n["session"]["id"]}
    t.is_(hub.mesh("GET", "/api/v1/accounts", **dict(who, session="s999")).status, 403, "an administrator's device without their session is nobody")
    t.is_(len(hub.mesh("GET", "/api/v1/accounts", **who).json["accounts"]), 3, "with it, it sees the accounts")
    r = hub.mesh("POST", "/api/v1/accounts/chief@example.edu", {"reset": True}, **who)
    t.ok(r.status == 200 and r.json["link"], "and resets one", r)
    t.is_([e["by"] for e in hub.audit() if e["event"] == "account-reset"], ["chief@example.edu"], "in its own name")
    t.is_(len([s for s in hub.root("GET", "sessions").json["sessions"] if s["login"] == chief.login]), 1, "which ends nothing yet")
    own.Account(chief.login).set_up(r.json["link"], Web(hub))
    t.is_([s for s in hub.root("GET", "sessions").json["sessions"] if s["login"] == chief.login], [], "but once the link was used, every session")
    t.is_(hub.root("DELETE", "accounts/chief@example.edu").status, 200, "and so the chief leaves")

    # ---- disabled, and back ----
    r = hub.root("POST", "accounts/staff@example.edu", {"disabled": True})
    t.is_((r.status, r.json["account"]["state"]), (200, "disabled"), "an account is disabled")
    t.is_(hub.root("GET", "sessions").json["sessions"], [], "and its sessions are over")
    page = try_password("staff@example.edu", staff.password, Web(hub, "192.0.2.60"))
    t.is_((page.status, page.wrong), (403, "Login or password is not right."), "its password is as wrong as any")
    t.is_(hub.root("POST", "accounts/staff@example.edu", {"reset": True}).status, 409, "it is not reset")
    t.is_(hub.root("POST", "accounts/staff@example.edu", {"disabled": False}).json["account"]["state"], "active", "until it is enabled")
    r = hub.root("POST", "accounts/staff@example.edu", {"reset": True}).json
    e1, e2 = r["link"], hub.root("POST", "accounts/" + r["account"]["id"], {"reset": True}).json["link"]
    e = refused(lambda: own.Page(Web(hub), "GET", e1).good())
    t.ok(e and e.status == 404, "a second reset ends the first one's link", e)
    old = staff.password
    staff = own.Account("staff@example.edu")
    page = own.Page(Web(hub), "GET", e2)
    t.is_(page.title, "Set up your account again", "a reset begins anew")
    staff.set_up(e2, Web(hub))
    t.is_(try_password("staff@example.edu", old, Web(hub, "192.0.2.61")).status, 403, "the old password is gone")
    t.is_(try_password("staff@example.edu", staff.password, Web(hub, "192.0.2.61")).title, "Your second factor", "the new one counts")

    # ---- the command line ----
    def reeve(*args):
        return subprocess.run([BUILD + "/reeve", "--control", hub.dir + "/run/mesh.sock", "account"] + list(args),
                              capture_output=True, text=True, timeout=60)

    p = reeve("show", "nobody@example.edu")
    t.ok(p.returncode == 5 and "no account" in p.stderr, "reeve account knows who is nobody", p)
    t.is_(reeve("invite", "staff@example.edu").returncode, 1, "nobody is invited twice there, either")
    t.is_(reeve("disable").returncode, 2, "and half a command is none")
    p = reeve("invite", "student@example.edu", "--name", "Student")
    t.ok(p.returncode == 0 and re.fullmatch(re.escape(URL) + r"/idp/link\?t=[\w-]{43}", p.stdout.strip()), "it prints the link alone", p)
    t.is_(own.Page(Web(hub), "GET", p.stdout.strip()).title, "You are invited", "which leads to the invitation")
    p = reeve("list")
    t.ok(re.search(r"student@example.edu +Student +invited", p.stdout), "and lists who is invited", p)
    t.is_((reeve("disable", "student@example.edu").returncode, account("student@example.edu")["state"]), (0, "disabled"), "disables")
    t.is_((reeve("enable", "STUDENT@example.edu").returncode, account("student@example.edu")["state"]), (0, "invited"), "enables")
    t.ok("/idp/link" in reeve("reset", "student@example.edu").stdout, "resets")
    t.is_(reeve("delete", "student@example.edu").returncode, 0, "and deletes")

    # ---- what people change themselves ----
    menu = staff.begin(Web(hub, "192.0.2.62")).good().send("otp", otp=staff.code()).good()
    t.is_(menu.title, "How you log in", "one's own account, after a login")
    page = menu.send("change-codes").good()
    new = re.findall(r"<code>([^<]+)</code>", page.text)
    t.ok(len(new) == 10 and not set(new) & set(staff.codes), "new recovery codes", new)
    page = own.Page(menu.browser, "GET", menu.form("leave")["action"].rsplit("/", 1)[0]).good()
    page = page.send("change-otp").good()
    t.ok(staff.totp not in page.text, "a new app does not show the old one's secret")
    moved = own.Account(staff.login, staff.password, page.page.texts["secret"].strip())
    wrong = page.send("new-otp", otp=idp.totp(staff.totp))
    t.is_(wrong.status, 400, "whose code is not the old one's")
    page = wrong.send("new-otp", otp=moved.code()).good()
    t.is_(page.title, "How you log in", "a new app")
    page = page.send("change-password").good()
    staff.password = "another " + staff.password
    page = page.send("new-password", password=staff.password, again=staff.password).good()
    t.is_(page.title, "How you log in", "a new password")
    page.send("leave")
    t.is_(own.Page(page.browser, "GET", menu.form("leave")["action"].rsplit("/", 1)[0]).status, 404, "then nobody is there any more")
    page = try_password("staff@example.edu", staff.password, Web(hub, "192.0.2.63"))
    t.is_(page.title, "Your second factor", "it counts at once")
    page = page.send("recovery", recovery=staff.codes[0])
    t.is_(page.status, 403, "the old recovery codes are over")
    page = page.send("otp", otp=idp.totp(staff.totp, time.time() + 30))
    t.is_(page.status, 403, "and so is the old app")
    t.ok("code=" in page.send("recovery", stop=[URL + "/login/callback"], recovery=new[0]).url, "the new ones count")
    staff.totp = moved.totp
    e = refused(lambda: own.Page(Web(hub, "192.0.2.64"), "POST", menu.form("change-codes")["action"], "token=" + "A" * 43).good())
    t.ok(e and e.status in (403, 404), "what one may change is shown to nobody without a login for it", e)

    # ---- guessing ----
    guesser = Web(hub, "198.51.100.9")

    def guess(login, b):    # until one had to wait: the first waits are short, but they double
        seen = []
        while len(seen) < 60 and seen[-1:] != [429]:
            seen.append(try_password(login, "guess %d" % len(seen), b).status)
        return seen

    seen = guess("admin@example.edu", guesser)
    t.ok(seen[:5] == [403] * 5 and seen[-1] == 429, "who guesses has to wait", seen)
    for _ in range(30):     # where the machine slept over that wait, another one
        page = try_password("admin@example.edu", admin.password, guesser)
        if page.status == 429:
            break
        guess("admin@example.edu", guesser)
    t.ok(page.status == 429 and "Wait" in page.wrong, "even with the right one then", page.wrong)
    t.is_(try_password("nobody@example.edu", "x", guesser).status, 403, "another login from there is not held up yet")
    seen = guess("ghost@example.edu", Web(hub, "198.51.100.10"))
    t.ok(seen[:5] == [403] * 5 and seen[-1] == 429, "for a login that does not exist it is the same", seen)
    t.is_(try_password("admin@example.edu", admin.password, Web(hub, "192.0.2.99")).title, "Your second factor",
          "the account's owner is not locked out elsewhere")
    known.address = "198.51.100.9"
    t.is_(try_password("admin@example.edu", admin.password, known).title, "Your second factor",
          "nor in the browser that is known, even from the guesser's address")

    # ---- across a restart, and what is said nowhere ----
    def at_rest():
        """The database's files, whole."""
        return b"".join(open(os.path.join(hub.dir, "state", n), "rb").read()
                        for n in os.listdir(hub.dir + "/state") if "coordinator.db" in n)

    def plain():
        """Whose app's secret is in them, as bytes or as people type it."""
        now = at_rest()
        return [a.login for a in (admin, staff) if base64.b32decode(a.totp) in now or a.totp.encode() in now]

    def unspent(what="totp_step = 0", *values):
        """The app's codes count again (nobody waits for the next ones), while the hub is down."""
        db = sqlite3.connect(hub.dir + "/state/coordinator.db")
        db.execute("UPDATE own_account SET %s WHERE login = 'admin@example.edu'" % what, values)
        db.commit()
        db.close()
        admin.step = 0

    hub.kill(signal.SIGKILL)
    t.is_(plain(), [], "no app's secret is in the database as it is")
    hub.start()
    page = try_password("admin@example.edu", admin.password, Web(hub, "192.0.2.51")).good()
    page = page.send("otp", otp=code)
    t.ok(page.status == 403, "a code that was used stays used after a crash", page.wrong)
    page = page.send("recovery", recovery=admin.codes[0])
    t.is_(page.status, 403, "and so does a recovery code")
    hub.kill(signal.SIGKILL)
    unspent("totp_step = 0, totp = ?, totp_sealed = ''", base64.b32decode(admin.totp))
    t.is_(plain(), ["admin@example.edu"], "an earlier release wrote it as it was")
    hub.start()
    t.is_(plain(), [], "which the next start mends, without leaving it in a free page or the log")
    page = try_password("admin@example.edu", admin.password, Web(hub, "192.0.2.51")).good()
    page = page.send("otp", stop=[URL + "/login/callback"], otp=admin.code())
    t.ok("code=" in page.url, "and the app's codes are right", page.url)
    t.is_(hub.root("DELETE", "accounts/staff@example.edu").json["account"], None, "an account is deleted")
    t.is_([a["login"] for a in hub.root("GET", "accounts").json["accounts"]], ["admin@example.edu"], "and is gone")
    t.is_(hub.kill(signal.SIGTERM), 0, "it ends as asked")
    said = open(hub.dir + "/log").read() + open(hub.dir + "/state/audit.json").read()
    secrets_ = [admin.password, staff.password, old, admin.totp, staff.totp, first[-43:], e2[-43:], "wrong-password-1"] + admin.codes
    t.is_([s for s in secrets_ if s in said], [], "no secret is in the log or the audit")
    at_end = at_rest()
    t.is_([s for s in [admin.password, staff.password, e2[-43:]] + admin.codes if s.encode() in at_end], [],
          "passwords, links and recovery codes are in the database only as hashes")
    # another key: the app's secret does not open, what does not need it works
    os.unlink(hub.dir + "/state/refresh.key")
    unspent()
    hub.start()
    page = try_password("admin@example.edu", admin.password, Web(hub, "192.0.2.51")).good()
    page = page.send("otp", otp=admin.code())
    t.ok(page.status == 403 and "does not open" in open(hub.dir + "/log").read(), "without its key no code is right, and the log says why")
    page = page.send("recovery", stop=[URL + "/login/callback"], recovery=admin.codes[1])
    t.ok("code=" in page.url, "a recovery code is", page.url)
    t.is_(hub.kill(signal.SIGTERM), 0, "it ends as asked, again")
    events = {e["event"] for e in hub.audit()}
    t.ok({"account-invited", "account-set-up", "account-login", "account-refused", "account-disabled", "account-enabled",
          "account-reset", "account-was-reset", "account-changed", "account-deleted"} <= events, "the audit has it all", events)
finally:
    hub.close()
t.end()
