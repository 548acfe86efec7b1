#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""People log in: the coordinator's pages behind TLS, a real identity provider with password
and TOTP, a browser that is bound to its device by the loopback redirect at the end."""
import html
import os
import re
import socket
import ssl
import sys
import threading
import urllib.parse

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(1, os.path.join(HERE, "../idp"))
from hub import *   # noqa: E402,F403
import idp          # noqa: E402
from idp import free_port   # noqa: E402

if os.geteuid() != 0:
    skip("not root")
if idp.node_dir() is None:
    skip(idp.why())


class Front:
    """TLS before the public socket: reeved's public front has its own tests."""

    def __init__(self, port, cert, key, path):
        self.path = path
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(cert, key)
        self.sock = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            c, _ = self.sock.accept()
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        try:
            c = self.tls.wrap_socket(c, server_side=True)
            up = socket.socket(socket.AF_UNIX)
            up.connect(self.path)
            threading.Thread(target=self.pump, args=(up, c), daemon=True).start()
            self.pump(c, up)
        except OSError:
            c.close()

    @staticmethod
    def pump(a, b):
        try:
            while True:
                data = a.recv(65536)
                if not data:
                    break
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


t = Test()
where = tempfile.mkdtemp(prefix="reeve-coord-idp-")
iport, hport = free_port(), free_port()
url = "https://127.0.0.1:%d" % hport
issuer = idp.new(where, "127.0.0.1:%d" % iport, "127.0.0.1", [url + "/login/callback"])
provider = idp.start(where)
accounts = json.load(open(where + "/accounts.json"))
POLICY = """{
	"groups": { "group:ops": ["staff@example.edu"], "group:all": ["staff@example.edu", "student@example.edu"] },
	"grants": [
		{ "src": ["idp:lab"], "dst": ["tag:web"], "ip": ["tcp:80"] },
		{ "src": ["autogroup:member"], "dst": ["tag:db"], "ip": ["tcp:22"] },
		{ "src": ["group:ops"], "dst": ["tag:db"], "ip": ["tcp:23"] },
		{ "src": ["autogroup:member"], "dst": ["tag:app"], "ip": ["tcp:80"] },
	],
	"tagOwners": { "tag:app": [], "tag:web": [], "tag:db": [] },
	"nodeAttrs": [{ "target": ["group:ops"], "attr": ["reeve:admin"] }],
}
"""
row = {"issuer": issuer, "title": "University", "client-id": "reeve", "client-secret-file": where + "/client-secret",
       "ca": where + "/cert.pem", "scopes": ["profile", "email", "groups"], "domains": ["example.edu"],
       "mfa-amr": ["pwd+otp"], "require-mfa": True}
hub = Hub(policy=POLICY, url=url, session="12h", issuers={"uni": row})
streams = []
pages = []


def browser():
    return idp.Browser([where + "/cert.pem", hub.dir + "/hub.crt"])


def go(ask, account="staff@example.edu", b=None, stop="http://127.0.0.1:54321/"):
    a = accounts[account]
    return idp.login(ask["url"], [stop], account, a["password"], a["totp"], b or browser(),
                     seen=lambda at, text: pages.append((at, text)))


def ticket_of(end):
    q = urllib.parse.parse_qs(urllib.parse.urlsplit(end).query)
    return {"attempt": q["attempt"][0], "ticket": q["ticket"][0]}


def refused(fn):
    try:
        return None if fn() else ""
    except RuntimeError as e:
        return str(e)


try:
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
                    "-keyout", hub.dir + "/hub.key", "-out", hub.dir + "/hub.crt"], check=True, capture_output=True)
    hub.start()
    front = Front(hport, hub.dir + "/hub.crt", hub.dir + "/hub.key", hub.dir + "/run/public.sock")

    # ---- the first page ----
    t.is_(hub.public("GET", "/login/AQEBAQEBAQEBAQEBAQEBAQ").status, 404, "an attempt that nobody began has no page")
    d = Device(hub, "laptop")
    ask = d.start(loopback=54321).json
    t.is_(hub.public("GET", "/login/" + ask["attempt"]).status, 404, "nor has one before its proof")
    ask = d.prove(ask).json
    t.ok(ask["url"] == url + "/login/" + ask["attempt"] and re.fullmatch("[A-Z]{4}-[A-Z]{4}", ask["code"]),
         "a proof without a key leads to a page", ask)
    r = hub.public("GET", "/login/" + ask["attempt"])
    page = r.body.decode()
    t.ok(all(x in page for x in ("laptop", "test", "192.0.2.7", ask["code"])),
         "which shows the device's name, its system, where it asks from, and the code", page)
    t.ok("frame-ancestors 'none'" in (r.headers["Content-Security-Policy"] or ""), "and is in nobody's frame")
    t.is_(hub.public("POST", "/v1/enrol/finish", {"attempt": ask["attempt"], "ticket": "A" * 43}).status, 403,
          "no ticket is good before a login")

    # ---- forms of others ----
    t.is_(hub.public("POST", "/login/%s/continue" % ask["attempt"], "").status, 403, "no form without its token")
    b1, b2 = browser(), browser()
    at, answer, text = b1.go("GET", ask["url"])
    form = idp.Forms(text).forms[0]
    body = urllib.parse.urlencode(form["fields"])
    target = urllib.parse.urljoin(at, form["action"])
    b2.go("GET", ask["url"])
    t.is_(b2.once("POST", target, body)[0].status, 403, "a form of one browser is none in another")
    answer, text = b1.once("POST", target, body)
    t.is_(answer.status, 303, "in its own it leads to the provider")
    there = answer.headers["Location"]
    q = urllib.parse.parse_qs(urllib.parse.urlsplit(there).query)
    t.ok(there.startswith(issuer) and (q.get("code_challenge_method") == ["S256"] or q.get("request_uri")),
         "with PKCE, in the URL or pushed before (RFC 9126)", there)
    t.is_(b2.once("GET", ask["url"])[0].status, 403, "another browser cannot take it over")
    # somebody logs in and hands the answer to the victim's browser, or the other way round
    a = accounts["staff@example.edu"]
    back = idp.login(there, [url + "/login/callback"], "staff@example.edu", a["password"], a["totp"], b1)
    t.is_(b2.once("GET", back)[0].status, 403, "the provider's answer counts in the browser that asked alone")
    t.is_(b2.once("GET", url + "/login/callback?code=x&state=" + "A" * 43)[0].status, 404, "an answer that nobody asked for")
    answer, text = b1.once("GET", back)
    t.ok(answer.status == 200 and "staff@example.edu" in text and ask["code"] in text, "there it asks for approval", text)
    t.ok(b1.once("GET", back)[0].status == 404, "once")
    forms = idp.Forms(text).forms
    good = [f for f in forms if not f["refuse"]][0]
    body = urllib.parse.urlencode(good["fields"])
    target = urllib.parse.urljoin(back, good["action"])
    t.is_(b2.once("POST", target, body)[0].status, 403, "nobody else approves it")
    t.is_(b1.once("POST", target, "token=" + "A" * 43)[0].status, 403, "nor another site's form")
    t.is_(hub.root("GET", "users").json, {"users": []}, "until then nothing is stored")
    answer, text = b1.once("POST", target, body)
    end = answer.headers["Location"]
    t.ok(end.startswith("http://127.0.0.1:54321/done?"), "approved: the ticket goes to the device's loopback", end)
    fin = ticket_of(end)
    wrong = dict(fin, ticket="A" * 43)
    r = hub.public("POST", "/v1/enrol/finish", fin)
    t.ok(r.status == 200, "the device finishes with it", r)
    me = r.json["node"]
    t.is_((me["user"]["login"], sorted(me["user"]["idp"]), me["session"]["amr"][:2]),
          ("staff@example.edu", ["lab", "staff"], ["pwd", "otp"]), "as that person, with groups and how they logged in")
    t.ok("mfa" in me["session"]["amr"], "and as MFA by the provider's row", me["session"])
    t.is_(hub.public("POST", "/v1/enrol/finish", fin).status, 404, "a ticket is good once")
    n, u, s = me["id"], me["user"]["id"], me["session"]["id"]

    # ---- refusals of people ----
    d2 = Device(hub, "theirs")
    ask2 = d2.prove(d2.start(loopback=54321).json).json
    fin2 = ticket_of(go(ask2, "student@example.edu"))
    t.is_(hub.public("POST", "/v1/enrol/finish", dict(fin2, ticket="A" * 43)).status, 403, "a guessed ticket")
    t.is_(hub.public("POST", "/v1/enrol/finish", fin2).status, 404, "ends the attempt: none is guessed twice")
    idp.admin(where, "set", mfa="never")
    ask2 = d2.prove(d2.start(loopback=54321).json).json
    why = refused(lambda: go(ask2, "student@example.edu"))
    t.ok(why and "HTTP 403" in why, "a login without MFA", why)
    idp.admin(where, "set", mfa="always")
    ask2 = d2.prove(d2.start(loopback=54321).json).json
    r = hub.public("POST", "/v1/enrol/finish", ticket_of(go(ask2, "student@example.edu")))
    t.ok(r.status == 200 and r.json["node"]["user"]["login"] == "student@example.edu", "with MFA the student is in", r)
    student = r.json["node"]
    ask3 = d.prove(d.start(loopback=54321).json).json
    r = hub.public("POST", "/v1/enrol/finish", ticket_of(go(ask3, "student@example.edu")))
    t.ok(r.status == 409 and "somebody else" in r.json["message"], "the staff's laptop does not become the student's", r)
    r = hub.public("POST", "/v1/enrol/start", d.body)
    r = Device(hub).start()
    t.is_(r.status, 403, "without a loopback, and cross-device off, there is no login")
    t.ok("cross-device" in r.json["message"] and "--key-file" in r.json["message"], "in words that name the key and the switch", r)
    r = hub.mesh("POST", "/v1/login/start", {"v": 1}, node=n)
    t.ok(r.status == 403 and "cross-device" in r.json["message"], "nor on a device that is enrolled", r)

    # ---- the map says who ----
    web = Device(hub, "wiki")
    web.enrol(hub.key("tag:web"))
    db = Device(hub, "db")
    db.enrol(hub.key("tag:db"))
    sw, sd = Stream(hub, web.node["id"]), Stream(hub, db.node["id"])
    streams += [sw, sd]
    sw.batch(), sd.batch()
    t.ok(n in sw.nodes and db.node["id"] not in sw.nodes, "who may pass the wiki, or could after a login, is known there", sw.nodes)
    t.ok("idp" not in sw.nodes[student["id"]]["user"], "of the student no group that no rule there names", sw.nodes)
    t.is_(sw.nodes[n]["user"]["idp"], ["lab"], "of the groups the one that a rule there names")
    t.ok("idp" not in sd.nodes[n]["user"] and "groups" not in sw.nodes[n]["user"],
         "and none where no rule does", (sd.nodes[n], sw.nodes[n]))
    t.is_((sd.nodes[n]["user"].get("groups"), sd.nodes[student["id"]]["user"].get("groups")), (["group:ops"], None),
          "of the policy's groups those that a rule there asks for")
    app = Device(hub, "app")
    app.enrol(hub.key("tag:app"))
    hub.mesh("POST", "/v1/node", {"services": [{"name": "app", "port": 80, "http": True, "profiles": ["remote-user"]}]},
             node=app.node["id"])
    sa = Stream(hub, app.node["id"])
    streams.append(sa)
    sa.batch()
    t.is_((sa.nodes[n]["user"]["groups"], sorted(sa.nodes[n]["user"]["idp"])), (["group:all", "group:ops"], ["lab", "staff"]),
          "where a header profile writes groups: all")
    t.ok(student["id"] in sd.nodes, "members are known at the database")
    sw.ack(), sd.ack()

    # ---- logout, login on an enrolled node ----
    t.is_(hub.mesh("POST", "/v1/logout", "{}", node=web.node["id"]).status, 404, "a server has no session to end")
    t.is_(hub.mesh("POST", "/v1/logout", "{}", node=n, user=u, session=s).status, 200, "staff logs out")
    sw.batch()
    t.ok("session" not in sw.nodes[n] and sw.nodes[n]["user"]["login"] == "staff@example.edu",
         "the wiki is told: known, and not logged in", sw.nodes[n])
    t.is_(hub.mesh("GET", "/api/v1/nodes", node=n, user=u, session=s).status, 403, "an ended session is no administrator's")
    t.is_(hub.mesh("POST", "/v1/login/start", {"v": 1, "loopback": 54321}, node=web.node["id"]).status, 403,
          "nobody logs in on a server")
    hub.mesh("POST", "/v1/node", {"seen": [{"key": me["key"], "at": "203.0.113.9:51820"}]}, node="n1")
    ask4 = hub.mesh("POST", "/v1/login/start", {"v": 1, "loopback": 54321}, node=n, user=u).json
    t.ok(b"203.0.113.9" in hub.public("GET", "/login/" + ask4["attempt"]).body, "the page says where the device is, not where in the tunnel")
    fin4 = ticket_of(go(ask4))
    t.is_(hub.mesh("POST", "/v1/login/finish", fin4, node=student["id"]).status, 404, "another node cannot finish it")
    t.is_(hub.public("POST", "/v1/enrol/finish", fin4).status, 404, "nor the public listener")
    r = hub.mesh("POST", "/v1/login/finish", fin4, node=n, user=u)
    t.ok(r.status == 200 and r.json["node"]["session"]["id"] != s, "the node itself does", r)
    s = r.json["node"]["session"]["id"]
    while "session" not in sw.nodes[n] and sw.batch():
        pass
    t.is_(sw.nodes[n]["session"]["id"], s, "and the wiki is told")
    ask5 = hub.mesh("POST", "/v1/login/start", {"v": 1, "loopback": 54321}, node=n, user=u).json
    r = hub.mesh("POST", "/v1/login/finish", ticket_of(go(ask5, "student@example.edu")), node=n, user=u)
    t.is_(r.status, 403, "a student's login on the staff's laptop")
    sd.batch()

    # ---- step-up: the provider asks again, whatever it remembers ----
    b = browser()
    one = hub.mesh("POST", "/v1/login/start", {"v": 1, "loopback": 54321}, node=n, user=u).json
    r = hub.mesh("POST", "/v1/login/finish", ticket_of(go(one, b=b)), node=n, user=u)
    s, before = r.json["node"]["session"]["id"], r.json["node"]["session"]["auth_time"]
    time.sleep(1.1)
    one = hub.mesh("POST", "/v1/login/start", {"v": 1, "loopback": 54321}, node=n, user=u).json
    r = hub.mesh("POST", "/v1/login/finish", ticket_of(go(one, b=b)), node=n, user=u)
    s = r.json["node"]["session"]["id"]
    t.is_(r.json["node"]["session"]["auth_time"], before, "a browser that the provider knows is not asked again")
    one = hub.mesh("POST", "/v1/login/start", {"v": 1, "loopback": 54321, "max_age": 0}, node=n, user=u).json
    r = hub.mesh("POST", "/v1/login/finish", ticket_of(go(one, b=b)), node=n, user=u)
    s = r.json["node"]["session"]["id"]
    t.ok(r.json["node"]["session"]["auth_time"] > before, "unless a fresh login is what the node asks for",
         (before, r.json["node"]["session"]))

    # ---- administrators ----
    t.is_(hub.mesh("GET", "/api/v1/nodes", node=student["id"], user=student["user"]["id"],
                   session=student["session"]["id"]).status, 403, "a student is no administrator")
    t.is_(hub.mesh("GET", "/api/v1/nodes", node=n, user=u).status, 403, "nor is staff without a session")
    t.is_(hub.mesh("GET", "/api/v1/nodes", node=student["id"], user=u, session=s).status, 403, "nor on another's node")
    t.is_(hub.mesh("GET", "/api/v1/nodes", node=n, user=u, session=s).status, 200, "staff is: the policy says so")
    da = Device(hub, "desk")
    aska = da.prove(da.start(loopback=54321).json).json
    adm = hub.public("POST", "/v1/enrol/finish", ticket_of(go(aska, "admin@example.edu"))).json["node"]
    t.is_(hub.mesh("GET", "/api/v1/users", node=adm["id"], user=adm["user"]["id"], session=adm["session"]["id"]).status,
          200, "and who is named in the configuration")
    t.is_(adm["user"]["roles"], ["admin"], "who has the role")

    # ---- the portal ----
    r = hub.mesh("GET", "/", node=n, user=u, session=s)
    t.ok(r.status == 200 and b"staff@example.edu" in r.body and b"student" not in r.body, "a person sees their own devices", r)
    t.is_(hub.mesh("GET", "/", node=web.node["id"]).status, 403, "a server has no portal")
    t.is_(hub.mesh("POST", "/session/end", "session=" + s, node=n, user=u, session=s).status, 403, "whose forms need their token")
    form = [f for f in idp.Forms(r.body.decode()).forms if "session" in f["action"]][0]
    body = urllib.parse.urlencode(form["fields"])
    r = hub.mesh("POST", "/session/end", body, node=student["id"], user=student["user"]["id"], session=student["session"]["id"])
    t.ok(r.status >= 400, "and are nobody else's", r)
    r = hub.mesh("POST", "/session/end", body, node=n, user=u, session=s,
                 headers={"Content-Type": "application/x-www-form-urlencoded"})
    t.ok(r.status in (200, 303), "a person ends their own session", r)
    while "session" in sw.nodes[n] and sw.batch():
        pass
    t.ok("session" not in sw.nodes[n], "and the wiki is told", sw.nodes[n])

    # ---- blocked ----
    t.is_(hub.root("POST", "users/student@example.edu", {"blocked": True}).status, 200, "a student is blocked")
    ask6 = hub.mesh("POST", "/v1/login/start", {"v": 1, "loopback": 54321}, node=student["id"]).json
    r = hub.mesh("POST", "/v1/login/finish", ticket_of(go(ask6, "student@example.edu")), node=student["id"])
    t.ok(r.status == 403 and "blocked" in r.json["message"], "and does not log in", r)
    t.is_(hub.root("DELETE", "users/student@example.edu").status, 200, "deleted")
    t.is_(hub.mesh("GET", "/v1/map", node=student["id"]).status, 404, "their devices are gone, too")
    ends = [e for e in hub.audit() if e["event"] == "login"]
    t.ok(ends and ends[0]["login"] == "staff@example.edu" and ends[0]["issuer"] == issuer, "logins are in the audit", ends[:1])
    # ---- expiry, and what a reload changes ----
    hub.conf["session"] = "6s"
    hub.conf["cross-device"] = True
    hub.conf["login-time"] = "1h"
    hub.write_conf()
    hub.proc.send_signal(signal.SIGHUP)
    limit = time.monotonic() + 10
    d7 = Device(hub, "tv")
    while d7.start().status != 200 and time.monotonic() < limit:
        time.sleep(0.05)
    ask7 = d7.prove(d7.start().json).json
    t.is_(hub.public("POST", "/v1/enrol/finish", {"attempt": ask7["attempt"]}).status, 202, "cross-device, once it is on: wait")
    page = html.unescape(hub.public("GET", "/login/" + ask7["attempt"]).body.decode())
    t.is_([w for w in ("tv", "test", "Asks from", ask7["code"], "Asked at", "not on that device") if w not in page], [],
          "the page shows device, system, address, code and time, and that the browser is elsewhere")
    t.ok(0 < ask7["expires"] - time.time() <= 600, "who did not ask within ten minutes gets nothing, however long logins may take",
         ask7["expires"] - time.time())
    here = Device(hub, "here")
    long = here.prove(here.start(loopback=54321).json).json["expires"] - time.time()
    t.ok(long > 3000, "which is for those alone whose browser is elsewhere", long)
    b = browser()
    a = accounts["admin@example.edu"]
    try:
        idp.login(ask7["url"], ["nowhere:"], "admin@example.edu", a["password"], a["totp"], b)
    except RuntimeError:
        pass            # the last page has no form
    r = hub.public("POST", "/v1/enrol/finish", {"attempt": ask7["attempt"]})
    t.ok(r.status == 200 and r.json["node"]["session"]["cross_device"] is True, "approved elsewhere, and marked so", r)
    left = r.json["node"]["session"]["expires"] - time.time()
    t.ok(0 < left <= 6, "its session is as long as the new configuration says", left)
    tv = r.json["node"]["id"]
    while "session" not in sd.nodes.get(tv, {}) and sd.batch():
        pass
    while "session" in sd.nodes[tv] and sd.batch():
        pass
    late = time.time() - r.json["node"]["session"]["expires"]
    t.ok(0 <= late < 60, "and ends at its second, for everybody who knew", late)
    t.is_([e["why"] for e in hub.audit() if e["event"] == "session-ended"], ["logout", "expired"], "which the audit has, too")
    t.ok([e for e in hub.audit() if e["event"] == "node-enrolled" and e.get("cross_device") == "yes" and e["name"] == "tv"],
         "and how it was approved")

    # ---- the switch is turned while somebody looks at the page ----
    d8 = Device(hub, "wall")
    ask8 = d8.prove(d8.start().json).json
    again = hub.mesh("POST", "/v1/login/start", {"v": 1}, node=tv).json
    t.ok(hub.public("GET", "/login/" + ask8["attempt"]).status == 200 and "attempt" in again, "two wait for an approval elsewhere", again)
    hub.conf["cross-device"] = False
    hub.write_conf()
    hub.proc.send_signal(signal.SIGHUP)
    limit = time.monotonic() + 60
    while Device(hub, "probe").start().status != 403 and time.monotonic() < limit:
        time.sleep(0.05)
    t.is_(hub.public("GET", "/login/" + ask8["attempt"]).status, 404, "the switch is turned: the page is gone")
    t.is_(hub.public("POST", "/v1/enrol/finish", {"attempt": ask8["attempt"]}).status, 403, "and the device is told no")
    t.is_(hub.mesh("POST", "/v1/login/finish", {"attempt": again["attempt"], "ticket": ""}, node=tv).status, 403,
          "so is one that is enrolled")
    t.is_(hub.kill(signal.SIGTERM), 0, "it ends as asked")
finally:
    for x in streams:
        x.close()
    provider.kill()
    provider.wait()
    hub.close()
    shutil.rmtree(where, ignore_errors=True)
t.end()
