#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Own accounts: the provider's token endpoint over HTTP, each refusal before what it refuses, and the groups
that an administrator puts accounts into. The endpoint answers the coordinator's own process alone; as_self.c,
preloaded, lets this test pass for it."""
import os
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from own_hub import *   # noqa: E402,F403
import directory        # noqa: E402

t = Test()
cc = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
if not cc:
    skip("no C compiler")
accounts = {"enabled": True, "title": "Example", "domains": ["example.edu"]}
hub = OwnHub(policy='{ "groups": { "group:lab": ["staff@example.edu"] }, "grants": [] }', accounts=accounts,
             admins=["admin@example.edu"])


def token(raw=None, **fields):
    body = raw if raw is not None else urllib.parse.urlencode({k: v for k, v in fields.items() if v is not None})
    return hub.public("POST", "/idp/token", body, {"Content-Type": "application/x-www-form-urlencoded"})


def claims(jwt):
    part = jwt.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def code_of(page):
    q = urllib.parse.parse_qs(urllib.parse.urlsplit(page.url).query)
    if "code" not in q:
        raise RuntimeError("no code: %s %s" % (page.url, page.wrong))
    return q["code"][0]


def login(acc, **change):
    """A fresh code for acc, and its verifier: by a recovery code, since nobody waits for the app's next ones."""
    verifier, good = asking()
    page = begin(Web(hub), good, **change).good().send("password", login=acc.login, password=acc.password).good()
    return code_of(page.send("recovery", stop=[CALLBACK], recovery=acc.codes.pop())), verifier


def asked(code, verifier, **change):
    return dict({"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK,
                 "client_id": "reeve-coordinator", "code_verifier": verifier}, **change)


try:
    subprocess.run([cc, "-shared", "-fPIC", "-o", hub.dir + "/as_self.so",
                    os.path.join(os.path.dirname(os.path.abspath(__file__)), "as_self.c"), "-ldl"], check=True, timeout=60)
    # whoever it is not preloaded for is nobody
    hub.start()
    r = token(**asked("A" * 43, "v" * 43))
    t.is_(r.status, 403, "the token endpoint is the coordinator's own")
    hub.kill(signal.SIGTERM)
    env = {"LD_PRELOAD": hub.dir + "/as_self.so", "AS_SELF_AHEAD": hub.dir + "/ahead",
           "ASAN_OPTIONS": "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")}
    was = dict(os.environ)
    os.environ.update(env)
    hub.start()
    os.environ.clear()
    os.environ.update(was)

    staff = own.Account("staff@example.edu")
    staff.set_up(hub.root("POST", "accounts", {"login": staff.login, "name": "Staff"}).json["link"], Web(hub))

    def refused(r, error, what):
        good = r.status == 400 and r.json == {"error": error}
        t.ok(good, what, r)

    # ---- no code at all ----
    refused(token(**asked("A" * 43, "v" * 43)), "invalid_grant", "a code that nobody was given")
    refused(token(**asked(None, "v" * 43)), "invalid_grant", "none")
    refused(token(**asked("short", "v" * 43)), "invalid_grant", "what can be none")
    refused(token(raw=""), "unsupported_grant_type", "nothing")
    refused(token(**asked("A" * 43, "v" * 43, grant_type="refresh_token")), "unsupported_grant_type", "another grant_type")
    refused(token(**asked("A" * 43, "v" * 43, grant_type="client_credentials")), "unsupported_grant_type", "and another")
    t.ok(hub.public("GET", "/idp/token?code=" + "A" * 43).status >= 400, "a code is not shown in a query")

    # ---- a code of somebody's, shown wrongly: once, and it is over ----
    for change, error, what in (
            ({"grant_type": "password"}, "unsupported_grant_type", "another grant_type"),
            ({"client_id": "reeve"}, "invalid_client", "another client"),
            ({"client_id": None}, "invalid_client", "no client"),
            ({"redirect_uri": CALLBACK + "/"}, "invalid_grant", "another redirect_uri"),
            ({"redirect_uri": None}, "invalid_grant", "no redirect_uri"),
            ({"code_verifier": "v" * 43}, "invalid_grant", "another verifier"),
            ({"code_verifier": None}, "invalid_grant", "no verifier")):
        code, verifier = login(staff)
        refused(token(**asked(code, verifier, **change)), error, what)
        refused(token(**asked(code, verifier)), "invalid_grant", "and its code is no use any more")

    # ---- shown rightly ----
    began = int(time.time())
    code, verifier = login(staff, max_age="0", prompt="login", acr_values="urn:reeve:acr:mfa phr")
    r = token(**asked(code, verifier))
    t.ok(r.status == 200 and r.json["token_type"] == "Bearer", "the right one is answered", r)
    t.is_(r.headers["Cache-Control"], "no-store", "and kept nowhere")
    c = claims(r.json["id_token"])
    t.is_((c["iss"], c["aud"], c["nonce"], c["preferred_username"], c["email"]),
          (URL + "/idp", "reeve-coordinator", "N" * 43, staff.login, staff.login), "with who, for whom, and the nonce")
    t.ok(began <= c["auth_time"] <= c["iat"] < c["exp"], "max_age and prompt=login: proven now", c)
    t.is_(c["acr"], "urn:reeve:acr:mfa", "acr_values: the first that was reached, and not more")
    t.is_(c["groups"], [], "in no group, which is known")
    refused(token(**asked(code, verifier)), "invalid_grant", "the same code again")

    # ---- groups of own accounts ----
    path = "accounts/" + staff.login
    for body, status, what in (({"groups": "lab"}, 400, "no list"), ({"groups": [1]}, 400, "no name"), ({"groups": [""]}, 400, "an empty one"),
                               ({"groups": ["a\nb"]}, 400, "a line's end"), ({"groups": ["x" * 257]}, 400, "a long one"),
                               ({"groups": ["g%d" % i for i in range(101)]}, 413, "too many"),
                               ({"groups": ["%03d" % i + "x" * 200 for i in range(30)]}, 413, "too much text"),
                               ({"groups": ["lab"], "disabled": False}, 400, "two wishes")):
        t.is_(hub.root("POST", path, body).status, status, "groups refused: " + what)
    t.is_(hub.root("POST", "accounts/nobody@example.edu", {"groups": ["lab"]}).status, 404, "of nobody")
    r = hub.root("POST", path, {"groups": ["lab", "ops", "lab"]})
    t.is_((r.status, r.json["account"]["groups"]), (200, ["lab", "ops"]), "an administrator puts an account into groups")
    dev = Device(hub, "laptop")
    ask = dev.prove(dev.start(loopback=54321).json).json
    end = idp.login(ask["url"], ["http://127.0.0.1:54321/"], staff.login, staff.password, None, Web(hub), code=staff.code)
    q = urllib.parse.parse_qs(urllib.parse.urlsplit(end).query)
    r = hub.public("POST", "/v1/enrol/finish", {"attempt": q["attempt"][0], "ticket": q["ticket"][0]})
    t.is_(r.status, 200, "the person logs in")
    source = "idp:%s/idp" % URL

    def groups():
        return {k: v for k, v in directory.groups(hub, staff.login).items() if k.startswith("idp:")}

    t.is_(groups(), {"idp:lab": [source], "idp:ops": [source]}, "they are a claim like any provider's, and have their source")
    p = subprocess.run([BUILD + "/reeve", "--control", hub.dir + "/run/mesh.sock", "account", "groups", staff.login],
                       capture_output=True, text=True, timeout=60)
    t.is_((p.returncode, len(groups())), (2, 2), "half a command takes nobody out of anything")
    p = subprocess.run([BUILD + "/reeve", "--control", hub.dir + "/run/mesh.sock", "account", "groups", staff.login, "lab", "night"],
                       capture_output=True, text=True, timeout=60)
    t.is_((p.returncode, groups()), (0, {"idp:lab": [source], "idp:night": [source]}), "a change counts at once, in the session there is")
    p = subprocess.run([BUILD + "/reeve", "--control", hub.dir + "/run/mesh.sock", "account", "list"], capture_output=True, text=True, timeout=60)
    t.ok("night" in p.stdout, "and is listed", p.stdout)
    p = subprocess.run([BUILD + "/reeve", "--control", hub.dir + "/run/mesh.sock", "account", "groups", staff.login, "--none"],
                       capture_output=True, text=True, timeout=60)
    t.is_((p.returncode, groups()), (0, {}), "--none takes them out of all")
    t.is_([e["by"] for e in hub.audit() if e["event"] == "account-groups"], ["root"] * 3, "the audit has each change")

    # ---- codes of who may not any more, and of before ----
    code, verifier = login(staff)
    t.is_(hub.root("POST", path, {"disabled": True}).status, 200, "an account is disabled between code and token")
    refused(token(**asked(code, verifier)), "invalid_grant", "and gets none")
    t.is_(hub.root("POST", path, {"disabled": False}).status, 200, "enabled again")
    code, verifier = login(staff)
    with open(hub.dir + "/ahead.new", "w") as f:
        f.write("61\n")
    os.rename(hub.dir + "/ahead.new", hub.dir + "/ahead")
    refused(token(**asked(code, verifier)), "invalid_grant", "a code of a minute ago")
    t.is_(hub.kill(signal.SIGTERM), 0, "it ends as asked")
finally:
    hub.close()
t.end()
