#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Logins by the hundred while map streams run, and a provider that hangs, answers garbage, or is gone: who does not
need it does not notice. With REEVE_LOAD=1 a thousand logins and fifty streams; what was measured is printed."""
import concurrent.futures
import os
import shutil
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from own_hub import *   # noqa: E402,F403
import flow             # noqa: E402
import mutate           # noqa: E402

if os.geteuid() != 0:
    skip("not root")
for tool in ("node", "openssl"):
    if not shutil.which(tool):
        skip(tool + " is not installed")
LONG = bool(os.environ.get("REEVE_LOAD"))
LOGINS, STREAMS, PEOPLE, HUNG = (1000, 50, 40, 40) if LONG else (30, 5, 4, 4)
AT_ONCE = 6 if not LONG else 16
PATIENCE = 60
LOOPBACK = "http://127.0.0.1:54321/"
POLICY = """{ "grants": [{ "src": ["autogroup:member"], "dst": ["tag:web"], "ip": ["tcp:80"] }], "tagOwners": { "tag:web": [] } }"""
t = Test()


class Both(Web):
    """To the hub by its socket, to the provider by TLS."""

    def __init__(self, hub, ca):
        idp.Browser.__init__(self, [ca])
        self.hub, self.address = hub, "192.0.2.7"

    def once(self, method, url, body=None, timeout=30):
        if url.startswith(URL):
            return Web.once(self, method, url, body, timeout)
        return idp.Browser.once(self, method, url, body, timeout)


class Follower:
    """A server's map stream, read as it comes, in a thread of its own."""

    def __init__(self, hub, name):
        d = Device(hub, name)
        d.enrol(hub.key("tag:web"))
        self.stream = Stream(hub, d.node["id"], timeout=PATIENCE)
        self.node, self.batches, self.bad = d.node["id"], 0, None
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        try:
            while self.stream.batch() is not None:
                self.batches += 1
        except (OSError, ValueError) as e:
            self.bad = e

    def sees(self, sessions):
        try:
            return all(self.stream.nodes.get(n, {}).get("session", {}).get("id") == s for n, s in list(sessions.items()))
        except RuntimeError:    # it changed meanwhile
            return False


def until(what, words):
    limit = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > limit:
            raise RuntimeError("waited %d s for %s" % (PATIENCE, words))
        time.sleep(0.02)


def ticket(url, want="uni"):
    end = idp.login(url, [LOOPBACK], "staff@example.edu", "", "", Both(hub, ca), want=want)
    q = urllib.parse.parse_qs(urllib.parse.urlsplit(end).query)
    return {"attempt": q["attempt"][0], "ticket": q["ticket"][0]}


def login(node):
    """A login of the person whose device that is; the session's id."""
    r = hub.mesh("POST", "/v1/login/start", {"v": 1, "loopback": 54321}, node=node, timeout=PATIENCE)
    r = hub.mesh("POST", "/v1/login/finish", ticket(r.json["url"]), node=node, timeout=PATIENCE)
    return r.json["node"]["session"]["id"]


def refused(node, want):
    """The words of a login that cannot be."""
    r = hub.mesh("POST", "/v1/login/start", {"v": 1, "loopback": 54321}, node=node, timeout=PATIENCE)
    try:
        ticket(r.json["url"], want)
        return ""
    except RuntimeError as e:
        return str(e)


liar, hub = mutate.Liar(), None
ca = os.path.join(liar.dir, "cert.pem")
try:
    row = {"issuer": liar.issuer, "client-id": "reeve", "domains": ["example.edu"], "client-secret-file": liar.dir + "/client-secret",
           "ca": ca, "timeout": "5s", "require-mfa": False}
    hub = Hub(policy=POLICY, issuers={"uni": row, "html": dict(row, issuer=liar.issuer + "/d/html", **{"client-id": "html"}),
                                      "huge": dict(row, issuer=liar.issuer + "/d/huge", **{"client-id": "huge"}),
                                      "honest": dict(row, issuer=liar.issuer + "/d/honest", timeout="1s", **{"client-id": "honest"})})
    hub.start()
    followers = [Follower(hub, "web%d" % i) for i in range(STREAMS)]
    nodes = []
    for i in range(PEOPLE):
        d = Device(hub, "laptop%d" % i)
        ask = d.prove(d.start(loopback=54321).json).json
        nodes.append(hub.public("POST", "/v1/enrol/finish", ticket(ask["url"]), timeout=PATIENCE).json["node"]["id"])
    t.is_(len(set(nodes)), PEOPLE, "devices of people")

    # ---- many ----
    latest, began = {}, time.monotonic()
    locks = {n: threading.Lock() for n in nodes}

    def one(i):
        node = nodes[i % PEOPLE]
        with locks[node]:
            latest[node] = login(node)

    def cpu():
        stat = open("/proc/%d/stat" % hub.proc.pid).read().rsplit(")", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    used = cpu()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        done = [pool.submit(one, i) for i in range(LOGINS)]
        bad = [e for e in (f.exception() for f in done) if e]
    took = time.monotonic() - began
    t.ok(not bad, "%d logins, %d streams beside them" % (LOGINS, STREAMS), bad[:2])
    print("# %.0f logins a minute from %d at once, %.1f ms of the coordinator's CPU each" %
          (LOGINS / took * 60, AT_ONCE, (cpu() - used) / LOGINS * 1000))
    until(lambda: all(f.sees(latest) for f in followers), "every stream to have every session")
    print("# the last stream had the last session %.2f s after the last login" % (time.monotonic() - began - took))
    t.ok(not [f.bad for f in followers if f.bad], "every stream saw each person's latest session, and none ended")
    if LONG:
        t.ok(LOGINS / took * 60 >= 1000, "a thousand a minute", LOGINS / took * 60)

    # ---- garbage ----
    for want in ("html", "huge"):
        t.ok("HTTP 50" in refused(nodes[0], want), "a provider that answers with " + want + " leads to a refusal in words")

    # ---- hanging: those who need it wait, nobody else ----
    # what it says of itself is known by then
    until(lambda: "HTTP 50" not in refused(nodes[0], "honest"), "its description")
    liar.idp.send_signal(signal.SIGSTOP)
    answers = []

    def come_back(i):
        """A browser that was at the provider comes back with a code that has to be redeemed there; how that ends."""
        b = Both(hub, ca)
        r = hub.mesh("POST", "/v1/login/start", {"v": 1, "loopback": 54321}, node=nodes[i % PEOPLE], timeout=PATIENCE)
        at, answer, text = b.go("GET", r.json["url"], stop=[liar.issuer])
        form = [f for f in idp.Forms(text).forms if f["fields"].get("issuer") == "honest" and not f["refuse"]][0]
        at, answer, text = b.go("POST", urllib.parse.urljoin(at, form["action"]), urllib.parse.urlencode(form["fields"]), stop=[liar.issuer])
        state = urllib.parse.parse_qs(urllib.parse.urlsplit(at).query)["state"][0]
        url = URL + "/login/callback?" + urllib.parse.urlencode({"code": "%032x" % i, "state": state, "iss": liar.issuer + "/d/honest"})
        answer, text = b.once("GET", url, timeout=PATIENCE)
        return answer.status >= 400 and (idp.Forms(text).texts.get("error") or "").strip()

    threads = [threading.Thread(target=lambda i=i: answers.append(come_back(i)), daemon=True) for i in range(HUNG)]
    for th in threads:
        th.start()
    slowest, asked = 0.0, 0
    before = {f: f.batches for f in followers}
    while any(th.is_alive() for th in threads):
        start = time.monotonic()
        if (hub.public("GET", "/v1/enrol", timeout=PATIENCE).status != 200 or time.monotonic() - began > 10 * PATIENCE or
                hub.root("POST", "nodes/" + nodes[asked % PEOPLE], {"name": "renamed%d" % asked}).status != 200):
            break
        slowest, asked = max(slowest, time.monotonic() - start), asked + 1
        time.sleep(0.1)
    for th in threads:
        th.join(PATIENCE)
    t.ok(len(answers) == HUNG and all("did not answer in time" in a for a in answers), "a provider that hangs: each login ends in words", answers)
    t.ok(asked >= 2, "meanwhile others are answered, and the map changes", asked)
    print("# a request and a change of the map beside %d hanging logins took %.0f ms at most" % (HUNG, slowest * 1000))
    until(lambda: all(f.batches > before[f] for f in followers), "the streams to have changed")
    t.ok(not [f.bad for f in followers if f.bad], "and every stream ran")
    liar.idp.send_signal(signal.SIGCONT)
    until(lambda: not refused(nodes[0], "uni"), "logins to go on")
    t.ok(True, "it is back, and so are logins")

    # ---- gone ----
    liar.idp.kill()
    liar.idp.wait()
    words = come_back(1)
    t.ok("cannot be reached" in words, "a provider that is gone: a refusal in words", words)
    t.is_(len(hub.root("GET", "sessions").json["sessions"]), PEOPLE, "nobody was logged out by any of it")
    t.is_(hub.kill(signal.SIGTERM), 0, "it ends as asked")
finally:
    liar.idp.send_signal(signal.SIGCONT)
    if hub:
        hub.close()
    liar.close()
t.end()
