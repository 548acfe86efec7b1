#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nothing secret in any log, error page, ps or core dump: one hub with everything that has secrets (a provider with
refresh tokens, own accounts, LDAP, SCIM, enrolment keys, browsers), its log at debug, every login and every way of
failing that there is, and then a search for each secret that was used, in every form it may have."""
import base64
import re
import resource

from people import *    # noqa: F403
import fake_ldap
import own
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from canary import Canaries, in_jar, in_url     # noqa: E402

t = Test()
POLICY = """{ "grants": [{ "src": ["autogroup:member"], "dst": ["tag:web"], "ip": ["tcp:80"] }], "tagOwners": { "tag:web": [] } }"""
canaries = Canaries()
canary, found_in = canaries.add, canaries.found_in


class Watched(idp.Browser):
    """Keeps what it sends and gets that only it may know: of URLs, of cookies."""

    def once(self, method, url, body=None, timeout=30):
        answer, text = super().once(method, url, body, timeout)
        for u in (url, answer.headers.get("Location") or ""):
            for name, value in in_url(u):
                canary(name, value)
        for name, value in in_jar(self.jar):
            canary(name, value)
        return answer, text


bind_password = "ldap-" + own.secrets.token_urlsafe(24)
directory_ = fake_ldap.Fake([fake_ldap.Entry("uid=staff,ou=people,dc=example", objectClass=["person"], mail="staff@example.edu")])
password_file = tempfile.NamedTemporaryFile("w", prefix="reeve-canary-", delete=False)
password_file.write(canary("the directory's password", bind_password).decode() + "\n")
password_file.close()
wrong = fake_ldap.Fake([], refuse=True)
row = {"url": directory_.url, "clear-text": True, "bind-dn": "cn=reeve,dc=example", "password-file": password_file.name,
       "people": "ou=people,dc=example", "groups": "ou=groups,dc=example", "timeout": "5s"}
w = None
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
try:
    w = World(POLICY,
              **{"accounts": {"enabled": True, "domains": ["example.edu"]}, "refresh-every": "1s", "log-level": "debug",
                 "ldap": {"campus": row, "wrong": dict(row, url=wrong.url)}})
    hub = w.hub
    go = w.go
    w.go = lambda ask, account="staff@example.edu", b=None: go(ask, account, b, want="uni")
    w.browser = lambda: Watched([w.dir + "/cert.pem", w.dir + "/hub.crt"])
    pages = []          # what failed, as its caller reads it

    def says(r):
        pages.append(r.body if hasattr(r, "body") else r[1].encode())
        return r

    canary("the client's secret", open(w.dir + "/client-secret").read().strip())
    canary("the key of the seals", open(hub.dir + "/state/refresh.key", "rb").read())
    staff = w.accounts["staff@example.edu"]
    canary("a password at the provider", staff["password"])
    canary("an app's secret at the provider", staff["totp"])

    # ---- every kind of login, and of key ----
    key = hub.key("tag:web")
    canary("an enrolment key", key.secret)
    server = Device(hub, "wiki")
    t.is_(server.enrol(key).status, 200, "a server enrols with a key")
    laptop = w.enrol("laptop").node["id"]
    t.is_(w.login(laptop).status, 200, "a person logs in, and again")
    until(lambda: any(s["checked"] for s in w.sessions().values()), "the provider to be asked with a refresh token")
    scim = hub.root("POST", "keys", {"scim": True}).json["key"]
    canary("a SCIM token", scim.split(".")[2])
    auth = {"Authorization": "Bearer " + scim, "Content-Type": "application/scim+json"}
    user = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "student@example.edu",
            "password": canary("a password in a SCIM user", "scim-" + own.secrets.token_urlsafe(20)).decode()}
    t.is_(hub.public("POST", "/scim/v2/Users", user, auth).status, 201, "a user comes by SCIM")
    mine = own.Account("admin@example.edu")
    link = hub.root("POST", "accounts", {"login": mine.login}).json["link"]
    canary("an invitation", link[-43:])
    canary("an own password", mine.password)
    b = w.browser()
    mine.set_up(link, b)
    canary("an own app's secret", mine.totp)
    canary("its bytes", base64.b32decode(mine.totp))
    for i, c in enumerate(mine.codes):
        canary("recovery code %d" % i, c)
        canary("recovery code %d, without hyphens" % i, c.replace("-", ""))
    mine.begin(b, w.url + "/idp/account").good().send("otp", otp=mine.code()).good()
    t.ok(True, "an own account logs in")

    # ---- each with what is wrong ----
    b = w.browser()
    page = own.Page(b, "GET", w.url + "/idp/account")
    typed = canary("a password that is wrong", "typed-" + own.secrets.token_urlsafe(20)).decode()
    page = page.send("password", login=mine.login, password=typed)
    t.is_(says((page.status, page.text))[0], 403, "a wrong password")
    page = page.send("password", login=typed, password=mine.password)
    t.is_(page.status, 403, "one in the field of the login, which its writer reads again and nobody else")
    page = mine.begin(w.browser(), w.url + "/idp/account").good()
    says((0, page.send("recovery", recovery=mine.codes[0][:-1] + ("A" if mine.codes[0][-1] != "A" else "B")).text))
    says((0, page.send("otp", otp="000000").text))
    says((0, own.Page(w.browser(), "GET", link).text))
    code = canary("a code that nobody gave", own.secrets.token_urlsafe(32)).decode()
    for path in ("/login/callback?code=%s&state=%s&iss=%s" % (code, code, urllib.parse.quote(w.issuer)), "/login/callback?code=" + code,
                 "/login/callback?error=%s&error_description=%s" % (code, code), "/login/" + code, "/login/" + code + "?ticket=" + code,
                 "/idp/authorize?client_id=%s&state=%s" % (code, code), "/idp/link?t=" + code, "/nothing?token=" + code, "/idp/flow/" + code):
        r = says(hub.public("GET", path, None, {"Cookie": "__Host-hub-browser=" + code, "Authorization": "Bearer " + code}))
        t.ok(400 <= r.status < 500, "refused: " + path.replace(code, "CODE").replace(urllib.parse.quote(w.issuer), "ISS"), r)
    for path, body, more in (
            ("/v1/enrol/start", {"v": 1, "key": code, "name": code, "pin": code, "enrol_key": code}, {}),
            ("/v1/enrol/start", '{"enrol_key":"%s", nonsense' % code, {}),
            ("/v1/enrol/prove", {"attempt": "x" * 22, "proof": code}, {}),
            ("/v1/enrol/finish", {"attempt": code[:22], "ticket": code}, {}),
            ("/v1/enrol/finish", {"attempt": code[:22], "id_token": "eyJhbGciOiJub25lIn0." + code + ".", "opening": code, "refresh_token": code}, {}),
            ("/idp/token", "grant_type=authorization_code&code=%s&code_verifier=%s&client_secret=%s" % (code, code, code), {}),
            ("/idp/flow/" + code + "/password", "login=a&password=" + code, {}),
            ("/login/logout/uni", "logout_token=eyJhbGciOiJub25lIn0." + code + "." + code, {"Content-Type": "application/x-www-form-urlencoded"}),
            ("/scim/v2/Users", {"userName": "a", "password": code, "x": None}, {"Authorization": "Bearer " + code}),
            ("/scim/v2/Users", '{"password":"%s", nonsense' % code, auth),
            ("/api/v1/keys", {"tags": ["tag:web"]}, {"Authorization": "Bearer eyJhbGciOiJub25lIn0." + code + "."})):
        r = says(hub.public("POST", path, body, more))
        t.ok(400 <= r.status < 500, "refused: POST " + path.replace(code, "CODE"), r)
    says(hub.mesh("POST", "/v1/login/finish", {"attempt": code[:22], "ticket": code}, node=laptop))
    says(hub.mesh("POST", "/v1/browser/redeem", {"service": "wiki", "code": code + "." + code, "verifier": code}, node=laptop))
    until(lambda: "wrong" in w.log(), "the directory that refuses the password")
    w.stop_idp()
    d = Device(hub, "late")
    ask = d.prove(d.start(loopback=54321).json).json
    t.ok(w.refused(lambda: w.go(ask)), "a provider that is away")
    own_pages = b"\n".join(pages)

    # ---- the search ----
    t.ok(len(canaries) > 40, "enough is looked for", len(canaries))
    t.is_(found_in(b"x" + canaries["an own password"] + b"y"), ["an own password"], "and would be found: as it is")
    t.is_(found_in(base64.b64encode(canaries["its bytes"])), ["its bytes"], "in base64")
    log, audit = w.log().encode(), open(hub.dir + "/state/audit.json", "rb").read()
    t.ok(len(log) > 1000 and b"debug: attempt" in log, "the log is one of a debug run", len(log))
    t.is_(found_in(log), [], "nothing secret in the log")
    t.is_(re.findall(rb"eyJ[\w-]{8,}\.eyJ[\w-]*", log + audit), [], "nor any token")
    t.is_(found_in(audit), [], "nothing in the audit")
    t.is_(found_in(own_pages), [], "nothing in a page or an answer that says what failed")
    for what in ("cmdline", "environ"):
        t.is_(found_in(open("/proc/%d/%s" % (hub.proc.pid, what), "rb").read()), [], "nothing in ps: " + what)
    at_rest = b"".join(open(os.path.join(hub.dir, "state", n), "rb").read() for n in os.listdir(hub.dir + "/state") if n != "refresh.key")
    t.is_(found_in(at_rest), [], "nothing in any file but the key's own")
    for name in os.listdir(hub.dir + "/state"):
        t.is_(os.stat(os.path.join(hub.dir, "state", name)).st_mode & 0o077, 0, "others may not read " + name)

    # ---- a crash ----
    where = hub.dir + "/crash"
    os.mkdir(where)
    sleeper = subprocess.Popen(["sleep", "60"], cwd=where)
    until(lambda: b"sleep" in open("/proc/%d/cmdline" % sleeper.pid, "rb").read(), "sleep")
    sleeper.send_signal(signal.SIGABRT)
    dumped = os.WCOREDUMP(os.waitpid(sleeper.pid, 0)[1])
    sleeper.returncode = 0
    limits = open("/proc/%d/limits" % hub.proc.pid).read()
    t.ok(re.search(r"Max core file size +0 +0 ", limits), "no core file may be written", limits)
    hub.proc.send_signal(signal.SIGABRT)
    status = os.waitpid(hub.proc.pid, 0)[1]
    hub.proc.returncode = -signal.SIGABRT
    t.ok(os.WIFSIGNALED(status) and not os.WCOREDUMP(status), "a crash leaves none (another program's: %s)" % dumped, status)
finally:
    if w:
        w.close()
    os.unlink(password_file.name)
t.end()
