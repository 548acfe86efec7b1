#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""People with only a browser, at the coordinator: from a service's front to the provider and back
with a code, what the code is redeemed for, who is told, and what ends it."""
import base64
import hashlib
import os
import sys
import urllib.parse

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(1, os.path.join(HERE, "../idp"))
sys.path.insert(0, os.path.join(HERE, "../browser"))        # before: here is a login_test, too
from hub import *       # noqa: E402,F403
import idp              # noqa: E402
import flow             # noqa: E402
from login_test import listener     # noqa: E402

if os.geteuid() != 0:
    skip("not root")
if idp.node_dir() is None:
    skip(idp.why())

WIKI, LAB = "https://wiki.example.edu", "https://lab.example.edu:8443"
POLICY = """{ "grants": [
	{ "src": ["idp:lab"], "dst": ["svc:wiki"], "ip": ["*"] },
	{ "src": ["autogroup:member"], "dst": ["tag:server"], "ip": ["tcp:443"] } ],
	"tagOwners": { "tag:server": [] } }"""


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sha(*parts):
    return hashlib.sha256(b"\0".join(parts)).digest()


def secret():
    own = b64(os.urandom(32))
    return own, b64(sha(b"reeve browser v1", own.encode()))


t = Test()
hport = flow.free_port()
url = "https://127.0.0.1:%d" % hport
flow.REDIRECT = url + "/login/callback"
w = flow.World()
where = os.path.join(w.dir, "hub")
os.mkdir(where)
idp.certificate(where, ["127.0.0.1"])
hub = Hub(policy=POLICY, url=url, session="12h", issuers={"uni": dict(w.row)})


def browser():
    return idp.Browser([w.dir + "/cert.pem", where + "/cert.pem"])


def start(node, service, bind, more=""):
    return "%s/login/service?node=%s&service=%s&bind=%s%s" % (url, node, service, bind, more)


def go(node, service="wiki", own=None, account="staff@example.edu", b=None, origin=WIKI):
    """Through the provider; the code that came back, and the secret."""
    own, bind = own or secret()
    a = w.accounts[account]
    end = idp.login(start(node, service, bind), [origin + "/"], account, a["password"], a["totp"], b or browser())
    assert end.startswith(origin + "/.well-known/reeve/session?code="), end
    return urllib.parse.parse_qs(urllib.parse.urlsplit(end).query)["code"][0], own


def redeem(node, code, own, service="wiki"):
    return hub.mesh("POST", "/v1/browser/redeem", {"service": service, "code": code, "verifier": own}, node=node)


def until(stream, good):
    """Batches until the map is so; what came last."""
    last = None
    while not good(stream.nodes):
        last = stream.batch()
        if last is None:
            return None
    return last or []


def browsers(nodes):
    return [n for n in nodes.values() if n.get("browser")]


try:
    hub.start()
    front = listener(where, hport, hub)
    hosts = {}
    for name in ("server", "other"):
        hosts[name] = Device(hub, name)
        hosts[name].enrol(hub.key())
        services = [{"name": "wiki", "port": 443, "http": True, "hosts": ["wiki.example.edu"], "profiles": ["remote-user"],
                     "browser": WIKI},
                    {"name": "lab", "port": 443, "http": True, "browser": LAB},
                    {"name": "inside", "port": 80, "http": True}] if name == "server" else [
                        {"name": "wiki", "port": 443, "http": True, "browser": "https://other.example.edu"}]
        r = hub.mesh("POST", "/v1/node", {"services": services}, node=hosts[name].node["node"]["id"] if "node" in hosts[name].node else hosts[name].node["id"])
        t.is_(r.status, 200, "%s says what it serves to browsers" % name)
    host, other = (d.node.get("node", d.node)["id"] for d in hosts.values())
    for bad in ("http://wiki.example.edu", "https://wiki.example.edu/", "https://", "https://a b", "https://x@y",
                "https://wiki.example.edu:0", "https://Wiki.example.edu", "https://wiki.example.edu?x"):
        r = hub.mesh("POST", "/v1/node", {"services": [{"name": "wiki", "port": 1, "browser": bad}]}, node=other)
        t.is_(r.status, 400, "no origin: %s" % bad)

    # ---- where it begins ----
    own, bind = secret()
    for what, at in (("no such node", start("n99", "wiki", bind)), ("no such service", start(host, "none", bind)),
                     ("a service that is not for browsers", start(host, "inside", bind)),
                     ("a service of another host", start(other, "lab", bind)),
                     ("no bind", start(host, "wiki", "")), ("half a bind", start(host, "wiki", bind[:20])),
                     ("two services", start(host, "wiki", bind, "&service=lab")), ("no node", url + "/login/service")):
        t.is_(browser().once("GET", at)[0].status, 404, "%s: no login" % what)
    b = browser()
    answer, _ = b.once("GET", start(host, "wiki", bind))
    t.ok(answer.status == 303 and answer.headers["Location"].startswith(w.row["issuer"]),
         "with one provider straight there", answer.headers)
    there = answer.headers["Location"]
    a = w.accounts["staff@example.edu"]
    back = idp.login(there, [url + "/login/callback"], "staff@example.edu", a["password"], a["totp"], b)
    t.is_(browser().once("GET", back)[0].status, 403, "the provider's answer counts in the browser that began it alone")
    answer, _ = b.once("GET", back)
    t.ok(answer.status == 303 and answer.headers["Location"].startswith(WIKI + "/.well-known/reeve/session?code="),
         "there it leads to the service and nowhere else", answer.headers)
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(answer.headers["Location"]).query)["code"][0]
    t.is_(hub.root("GET", "users").json["users"], [], "until it is redeemed nothing is stored")

    # ---- a login that a rule wants to be stronger or fresher ----
    def asked(more):
        answer, _ = browser().once("GET", start(host, "wiki", bind, more))
        assert answer.headers["Location"].startswith(w.row["issuer"]), answer.headers
        there = idp.admin(w.dir, "pushed")
        # this provider reads max_age=0 as prompt=login, and forgets it
        return {k: str(there[k]) for k in ("acr_values", "max_age", "prompt") if there.get(k) is not None}
    acr = "urn:example:acr:mfa"
    q = urllib.parse.quote
    t.is_(asked(""), {}, "a plain login asks for nothing")
    t.is_(asked("&fresh=1"), {"prompt": "login"}, "fresh: from the beginning, as fronts of an earlier release ask")
    t.is_(asked("&fresh=1&max_age=3600"), {"max_age": "3600"}, "as old as the rule allows")
    t.is_(asked("&acr=" + q(acr, "")), {"acr_values": acr}, "an acr")
    t.is_(asked("&fresh=1&max_age=60&acr=" + q(acr + " other", "")), {"acr_values": acr + " other", "max_age": "60"}, "all of it")
    for bad in ("&acr=%00", "&acr=a%0d%0ab", "&acr=" + "a" * 256, "&acr=%zz"):
        t.is_(asked(bad), {"prompt": "login"}, "what cannot be read asks for a fresh login: %.20s" % bad)
    for bad in ("&fresh=1&max_age=-1", "&fresh=1&max_age=x", "&fresh=1&max_age=1&max_age=2"):
        t.is_(asked(bad), {"prompt": "login"}, "no age: " + bad)

    # ---- what a code is not good for ----
    attempt, _, ticket = code.partition(".")
    for path, body in (("/v1/enrol/finish", {"attempt": attempt, "ticket": ticket}),):
        t.is_(hub.public("POST", path, body).status, 404, "a code enrols no device")
    t.is_(hub.mesh("POST", "/v1/login/finish", {"attempt": attempt, "ticket": ticket}, node=host).status, 404,
          "nor logs in on one")
    t.is_(redeem(other, code, own).status, 403, "another host does not redeem it, with all that there is")
    t.is_(redeem(host, code, own).status, 403, "and its try was the only one")
    code, own = go(host)
    t.is_(redeem(host, code, secret()[0]).status, 403, "another browser's secret does not (login CSRF)")
    t.is_(redeem(host, code, own).status, 403, "and that was the only try")
    code, own = go(host)
    t.is_(redeem(host, code, own, "lab").status, 403, "another service of the same host does not")
    code, own = go(host)
    t.is_(redeem(host, code[:-1] + ("A" if code[-1] != "A" else "B"), own).status, 403, "a guessed code does not")
    t.is_(redeem(host, code, own).status, 403, "and is not guessed twice")
    t.is_(redeem(host, "x", own).status, 403, "nor does what is none")
    t.is_(redeem("n99", code, own).status, 404, "a node that is not enrolled asks in vain")
    t.is_(hub.root("GET", "users").json["users"], [], "and still nothing is stored")

    # ---- what it is good for ----
    maps = {n: Stream(hub, n) for n in (host, other)}
    for s in maps.values():
        s.batch()
    t.ok(not browsers(maps[host].nodes), "nobody is in the map")
    code, own = go(host)
    r = redeem(host, code, own)
    t.is_(r.status, 200, "a code is redeemed by its host, for its service, with its browser's secret")
    cookie, node = r.json["cookie"], r.json["node"]
    t.ok(len(cookie) == 43 and cookie not in code and cookie != own, "for a cookie that is neither code nor secret")
    t.is_(redeem(host, code, own).status, 403, "once (replay)")
    until(maps[host], lambda nodes: node in nodes)
    n = maps[host].nodes[node]
    t.is_((n["browser"], n["key"], n["user"]["login"], n.get("v4"), n.get("v6")),
          ("wiki", base64.b64encode(sha(b"reeve cookie v1", b"wiki", cookie.encode())).decode(), "staff@example.edu", None, None),
          "its host is told the cookie's hash, the service and the person, and no address")
    t.ok("lab" in n["user"]["idp"] and n["session"]["expires"] and "mfa" in n["session"]["amr"], "with groups and how they logged in", n)
    # something that the other host is told, so that what it was not told is known
    hub.root("POST", "nodes/" + other, {"tags": ["tag:server"]})
    Device(hub, "third").enrol(hub.key())
    code2, own2 = go(other, account="student@example.edu", origin="https://other.example.edu")
    r = redeem(other, code2, own2)
    until(maps[other], lambda nodes: r.json["node"] in nodes)
    t.is_([x["id"] for x in browsers(maps[other].nodes)], [r.json["node"]], "no other host is told of it")
    student = r.json["node"]
    sessions = hub.root("GET", "sessions").json["sessions"]
    t.is_(sorted(x["node"] for x in sessions), sorted([node, student]), "an administrator sees the sessions")

    # ---- what ends it ----
    t.is_(hub.mesh("POST", "/v1/browser/end", {"node": node}, node=other).status, 404, "another host does not end it")
    t.is_(hub.mesh("POST", "/v1/browser/end", {"node": other}, node=host).status, 404, "nor is a device ended this way")
    t.is_(hub.mesh("POST", "/v1/browser/end", {"node": node}, node=host).status, 200, "its own does: somebody logged out")
    until(maps[host], lambda nodes: node not in nodes)
    t.ok(node not in maps[host].nodes, "and is told")
    t.is_(hub.root("GET", "nodes/" + node).status, 404, "nothing of it stays")
    ended = {}
    for what in ("session", "user"):
        r = redeem(host, *go(host))
        node = r.json["node"]
        until(maps[host], lambda nodes: node in nodes)
        s = next(x for x in hub.root("GET", "sessions").json["sessions"] if x["node"] == node)
        answer = hub.root("DELETE", "sessions/" + s["id"]) if what == "session" else hub.root("POST", "users/" + s["user"], {"blocked": True})
        until(maps[host], lambda nodes: node not in nodes)
        t.ok(answer.status == 200 and node not in maps[host].nodes, "an administrator ends the %s: its host is told" % what, answer)
    code, own = go(host)
    r = redeem(host, code, own)
    t.is_(r.status, 403, "who is blocked has no session")
    hub.root("POST", "users/" + s["user"], {"blocked": False})

    # ---- restart, and the host itself going ----
    r = redeem(host, *go(host))
    node = r.json["node"]
    for s in maps.values():
        s.close()
    hub.kill()
    hub.start()
    m = Stream(hub, host)
    m.batch()
    until(m, lambda nodes: node in nodes)
    t.is_(m.nodes[node]["browser"], "wiki", "a session survives the coordinator's death")
    m.close()
    t.is_(hub.root("DELETE", "nodes/" + host).status, 200, "its host is deleted")
    t.is_(hub.root("GET", "nodes/" + node).status, 404, "and the browsers' sessions there go with it")
    t.is_(browser().once("GET", start(host, "wiki", bind))[0].status, 404, "nobody logs in there any more")
    log = open(hub.dir + "/log").read() + open(hub.dir + "/state/audit.json").read()
    t.ok(not any(x in log for x in (cookie, own, code.partition(".")[2])), "no secret is in log or audit")
    front.shutdown()
finally:
    if t.bad:
        print(open(hub.dir + "/log").read()[-3000:], file=sys.stderr)
    hub.close()
    w.close()
t.end()
