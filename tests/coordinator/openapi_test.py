#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""The administration API and doc/openapi.json say the same: every route of the server is in the file, every
operation of the file answers as described, and takes the permission that the file says."""
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub import *   # noqa: E402,F403
import directory    # noqa: E402

try:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
except ImportError:
    skip("python3-cryptography is not installed")

ISSUER, AUDIENCE = "https://idp.example.edu", "api://reeve"
PERMISSIONS = ["%s:%s" % (k, v) for k in ("nodes", "users", "groups", "sessions", "keys", "policy", "audit", "status")
               for v in ("read", "write")] + ["scim"]
with open(os.path.join(TOP, "doc/openapi.json")) as f:
    API = json.load(f)
t = Test()


# ---- JSON schema, as much of it as the file uses ----

def resolve(o):
    while "$ref" in o:
        at = API
        for part in o["$ref"][2:].split("/"):
            at = at[part]
        o = at
    return o


TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
KNOWN = {"type", "properties", "required", "items", "enum", "pattern", "minimum", "maximum", "description"}


def fault(schema, v, where="$"):
    """The first thing that is not as the schema says; None: nothing."""
    s = resolve(schema)
    if set(s) - KNOWN:
        return "%s: the test does not know %s" % (where, set(s) - KNOWN)
    if "type" in s and (not isinstance(v, TYPES[s["type"]]) or (s["type"] == "integer" and isinstance(v, bool))):
        return "%s: %r is no %s" % (where, v, s["type"])
    if "enum" in s and v not in s["enum"]:
        return "%s: %r is none of %s" % (where, v, s["enum"])
    if "pattern" in s and not re.search(s["pattern"], v):
        return "%s: %r does not match %s" % (where, v, s["pattern"])
    if ("minimum" in s and v < s["minimum"]) or ("maximum" in s and v > s["maximum"]):
        return "%s: %r is out of range" % (where, v)
    for name in s.get("required", []):
        if name not in v:
            return "%s: no %s" % (where, name)
    for name, sub in s.get("properties", {}).items():
        if name in v:
            bad = fault(sub, v[name], where + "." + name)
            if bad:
                return bad
    for i, one in enumerate(v if "items" in s else []):
        bad = fault(s["items"], one, "%s[%d]" % (where, i))
        if bad:
            return bad
    return None


t.ok(fault({"type": "integer"}, True) and fault({"type": "array", "items": {"type": "string"}}, ["a", 1]) and
     fault({"type": "object", "required": ["a"]}, {}) and not fault({"type": "object", "properties": {"a": {"type": "integer"}}}, {"a": 1}),
     "the checker finds faults")


# ---- tokens of a program ----

key, stranger = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def jwk(k):
    n = k.public_key().public_numbers()
    return {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "one", "x": enrol.b64url(n.x.to_bytes(32, "big")),
            "y": enrol.b64url(n.y.to_bytes(32, "big"))}


def token(scope, by=key, head=None, **more):
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "robot", "client_id": "robot", "iat": now, "exp": now + 300, "scope": scope}
    claims.update(more)
    claims = {k: v for k, v in claims.items() if v is not None}
    text = ".".join(enrol.b64url(json.dumps(x).encode()) for x in (dict({"alg": "ES256", "kid": "one", "typ": "at+jwt"}, **(head or {})), claims))
    r, s = decode_dss_signature(by.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return text + "." + enrol.b64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


# ---- the operations ----

ops = {(m.upper(), p): o for p, item in API["paths"].items() for m, o in item.items()}
covered = set()
hub = Hub(accounts={"enabled": True},
          issuers={"uni": {"issuer": ISSUER, "client-id": "reeve", "client-secret-file": "secret", "domains": ["example.edu"],
                           "jwks-file": "jwks.json"}},
          bearers=dict({"p%d" % i: {"issuer": "uni", "audience": AUDIENCE, "scope": "may." + p, "permissions": [p]}
                        for i, p in enumerate(PERMISSIONS)},
                       named={"issuer": "uni", "audience": AUDIENCE, "scope": "robots", "client": "robot", "permissions": ["keys:write"]}))
with open(hub.dir + "/secret", "w") as f:
    f.write("secret of the tests\n")
os.chmod(hub.dir + "/secret", 0o600)
with open(hub.dir + "/jwks.json", "w") as f:
    json.dump({"keys": [jwk(key)]}, f)
staff, student, admin = "staff@example.edu", "student@example.edu", "admin@example.edu"


def op(method, path, body=None, want=200, query="", **values):
    """Calls it as root, and compares the answer with the file's words."""
    o = ops.get((method, path))
    if not t.ok(o is not None, "%s %s is in the file" % (method, path)):
        return None
    if body is not None and want == 200:
        bad = fault(o["requestBody"]["content"]["application/json"]["schema"], body)
        t.ok(not bad, "what is sent is as described: %s %s" % (method, path), bad)
    r = hub.root(method, path[1:].format(**values) + query, body)
    how = resolve(o["responses"].get(str(r.status), o["responses"]["default"]))
    kind, content = next(iter(how["content"].items()))
    bad = None
    if r.headers["Content-Type"] != kind:
        bad = r.headers["Content-Type"]
    elif kind == "application/json":
        bad = fault(content["schema"], r.json)
    t.ok(r.status == want and not bad, "%s %s: %d, as described" % (method, path, want), (bad, r))
    if want == 200:
        covered.add((method, path))
    return r.json if kind == "application/json" else r.body


try:
    made = directory.add(hub, staff, student, admin, "one@example.edu")
    table = set(tuple(l.split(" ", 1)) for l in hub.tool("--help-api").splitlines())
    t.is_({(m, API["servers"][0]["url"] + p) for m, p in ops}, table, "the routes of the file are those of the server")
    hub.start()
    dev = Device(hub, "wiki")
    dev.enrol(hub.key("tag:server"))

    op("GET", "/nodes")
    op("GET", "/nodes/{node}", node="wiki")
    op("GET", "/nodes/{node}", node="n999", want=404)
    op("POST", "/nodes/{node}", {"name": "pad", "tags": ["tag:server"], "routes": ["192.0.2.0/24"]}, node="wiki")
    op("POST", "/nodes/{node}", {"name": "A B"}, node="pad", want=400)
    op("GET", "/users")
    op("GET", "/users/{user}", user=staff)
    op("POST", "/users/{user}", {"blocked": True}, user=student)
    op("POST", "/users/{user}", {"blocked": False}, user=student)
    op("POST", "/users/{user}", {"link": {"issuer": "https://other.example.edu", "sub": "7"}}, user=student)
    op("POST", "/users/{user}", {}, user=student, want=400)
    op("GET", "/sessions")
    session = [s["id"] for s in hub.root("GET", "sessions").json["sessions"] if s["login"] == staff][0]
    op("GET", "/sessions/{session}", session=session)
    new = op("POST", "/keys", {"scim": True, "note": "tests"})
    op("POST", "/keys", {"tags": ["tag:server"], "uses": 2, "expires": 60})
    op("POST", "/keys", {"tags": []}, want=400)
    op("GET", "/keys")
    op("GET", "/keys/{key}", key=new["id"])
    policy = op("GET", "/policy")
    op("POST", "/policy/check", {"text": "{"})
    op("PUT", "/policy", {"text": policy["text"], "base": policy["version"]})
    op("PUT", "/policy", {"text": policy["text"], "base": policy["version"]}, want=409)
    op("PUT", "/policy", {"text": "{"}, want=400)
    op("GET", "/policy/{version}", version=1)
    op("GET", "/policy/{version}", version=99, want=404)
    a = op("POST", "/accounts", {"login": "new@example.edu", "name": "New"})
    op("GET", "/accounts")
    op("POST", "/accounts/{account}", {"disabled": True}, account=a["account"]["id"])
    op("DELETE", "/accounts/{account}", account=a["account"]["id"])
    op("GET", "/status")
    op("GET", "/metrics")
    op("GET", "/topology")
    # a group, and one that is held
    scim = {"Authorization": "Bearer " + new["key"]}
    ids = [hub.public("POST", "/scim/v2/Users", {"userName": u}, scim).json["id"] for u in (staff, student, admin) + tuple("abcdef")]
    g = hub.public("POST", "/scim/v2/Groups", {"displayName": "lab", "members": [{"value": i} for i in ids]}, scim).json["id"]
    op("GET", "/groups")
    hub.public("DELETE", "/scim/v2/Groups/" + g, None, scim)
    held = op("GET", "/groups/held")["held"]
    op("POST", "/groups/held/{held}", {"accept": False}, held=held[0]["id"], want=400)
    op("POST", "/groups/held/{held}", {"accept": True}, held=held[0]["id"])
    op("POST", "/groups/held/{held}", {"accept": True}, held=held[0]["id"], want=404)
    lines = op("GET", "/audit", query="?lines=5")["audit"]
    t.ok(len(lines) == 5 and lines[-1]["event"] == "group-loss-accepted", "the last lines of the audit", lines)
    op("GET", "/audit", query="?lines=0", want=400)
    op("GET", "/audit", query="?since=1", want=400)

    # ---- who may ----
    who = {"node": made[admin][1], "user": made[admin][0], "session":
           [s["id"] for s in hub.root("GET", "sessions").json["sessions"] if s["login"] == admin][0]}
    t.is_(hub.mesh("GET", "/api/v1/status", **who).status, 200, "an administrator, on the mesh")
    t.is_(hub.public("GET", "/api/v1/status", headers={"Reeve-Node": who["node"], "Reeve-User": who["user"],
                                                       "Reeve-Session": who["session"]}).status, 401, "nobody is one on the public listener")
    r = hub.public("GET", "/api/v1/status")
    t.ok(r.status == 401 and r.headers["WWW-Authenticate"] == "Bearer" and not fault(API["components"]["schemas"]["Error"], r.json),
         "without a token nothing there, either", r)

    def by(tok, method="GET", path="status", body=None, listener=None):
        h = {"Authorization": "Bearer " + tok, "X-Forwarded-For": "192.0.2.3"}
        return (listener or hub.public)(method, "/api/v1/" + path, body, headers=h).status

    good = "may.status:read"
    t.is_(by(token(good)), 200, "a program with an access token")
    t.is_(hub.mesh("GET", "/api/v1/status", node=dev.node["id"], headers={"Authorization": "Bearer " + token(good)}).status, 200,
          "on the mesh as well")
    for what, tok in (("another key", token(good, by=stranger)), ("another audience", token(good, aud="reeve")),
                      ("another issuer", token(good, iss=ISSUER + "/")), ("no expiry", token(good, exp=None)),
                      ("expired", token(good, exp=int(time.time()) - 60)), ("a login's ID token", token(good, nonce="n")),
                      ("no algorithm", token(good, head={"alg": "none"})), ("another type", token(good, head={"typ": "logout+jwt"})),
                      ("a critical extension", token(good, head={"crit": ["x"], "x": 1})), ("an unknown key", token(good, head={"kid": "two"})),
                      ("no scope", token(None)), ("half a scope", token("may.status")), ("no token", "x"), ("nothing", "..")):
        t.is_(by(tok), 401, "refused: " + what)
    body = {"tags": ["tag:a"]}
    t.is_(by(token("robots", client_id="somebody"), "POST", "keys", body), 401, "refused: another client")
    t.is_(by(token("robots"), "POST", "keys", body), 200, "that client makes a key")
    made_key = [x for x in hub.audit() if x["event"] == "key-made"][-1]
    t.is_(made_key.get("by"), "named", "and the audit names it")
    t.is_(by(new["key"]), 403, "a provisioning token is for SCIM alone")
    t.is_(hub.public("GET", "/scim/v2/Users", headers={"Authorization": "Bearer " + token("may.scim")}).status, 200, "an issuer's for SCIM")
    t.is_(hub.public("GET", "/scim/v2/Users", headers={"Authorization": "Bearer " + token(good)}).status, 403, "not with another permission")

    # Each operation with each permission alone; of nothing that is there.
    tokens = {p: token("may." + p) for p in PERMISSIONS}
    wrong = []
    for (method, path), o in sorted(ops.items()):
        need = re.search(r"needs ([a-z]+:[a-z]+)\.", o["description"]).group(1)
        target = path[1:].format(node="n999", user="u999", login="nobody@example.edu", account="a999", held="h999", session="s999", key="k999",
                                 version="999")
        for p, tok in tokens.items():
            status = by(tok, method, target, None if method in ("GET", "DELETE") else {})
            allowed = p == need or p == need.replace(":read", ":write")
            if (status in (401, 403)) == allowed:
                wrong.append((method, path, p, status))
    t.is_(wrong, [], "every operation takes the permission that the file says, and no other")

    # ---- what ends ----
    op("DELETE", "/keys/{key}", key=new["id"])
    op("DELETE", "/sessions/{session}", session=session)
    op("DELETE", "/nodes/{node}/sessions", node=made[admin][1])
    op("DELETE", "/nodes/{node}", node="pad")
    op("DELETE", "/users/{user}/sessions", user="one@example.edu")
    op("DELETE", "/users/{user}", user=student)
    op("DELETE", "/names/{login}", login=student)
    t.is_(covered, set(ops), "every operation of the file was called")
finally:
    hub.close()
t.end()
