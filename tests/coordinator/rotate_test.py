#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Another key of a node, as the coordinator sees it: who may announce one, who is told, what becomes of it."""
import os
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub import *   # noqa: E402,F403

POLICY = '{ "tagOwners": { "tag:server": ["admin@example.edu"] }, "grants": [ { "src": ["tag:server"], "dst": ["*"], "ip": ["*"] } ] }'
WORD = bytes(range(32))

t = Test()
hub = Hub(POLICY)


class Turn:
    """A change of a device's key, step by step."""

    def __init__(self, d, new=None):
        self.d, self.new = d, new or Device(hub)
        self.body = json.dumps({"v": 1, "key": enrol.b64(self.new.public)}).encode()

    def start(self, node=None):
        r = hub.mesh("POST", "/v1/rotate/start", self.body, node=node or self.d.node["id"])
        self.ask = r.json if r.status == 200 else None
        return r

    def proof(self, d):
        d.body, d.pin = self.body, bytes(32)
        return enrol.b64url(d.proof(self.ask))

    def prove(self, node=None, vouches=None, **more):
        msg = {"attempt": self.ask["attempt"], "old": self.proof(self.d), "proof": self.proof(self.new),
               "vouches": {n: enrol.b64url(WORD) for n in vouches or []}}
        msg.update(more)
        return hub.mesh("POST", "/v1/rotate/prove", {k: v for k, v in msg.items() if v is not None},
                        node=node or self.d.node["id"])

    def announce(self, vouches):
        self.start()
        return self.prove(vouches=vouches)

    def finish(self, node=None):
        return hub.mesh("POST", "/v1/rotate/finish", self.body, node=node or self.d.node["id"])


def server(name):
    d = Device(hub, name)
    if d.enrol(hub.key()).status != 200:
        raise RuntimeError("no " + name)
    return d


def told(stream, n, member, until_there=True):
    """The node as the endpoint was told of it, once it has that member (or not any more)."""
    while (member in stream.nodes.get(n, {})) != until_there:
        if stream.batch() is None:
            raise RuntimeError("the stream ended")
    stream.ack()
    return stream.nodes[n]


try:
    hub.start()
    web, other, third = server("web"), server("other"), server("third")
    n, o, th = web.node["id"], other.node["id"], third.node["id"]
    mine, theirs, unknown = (Stream(hub, x) for x in (n, o, th))
    for s in (mine, theirs, unknown):
        s.batch()
        s.ack()
    v4, v6 = web.node["v4"], web.node["v6"]

    # ---- refused ----
    turn = Turn(web)
    t.is_(hub.public("POST", "/v1/rotate/start", turn.body).status, 404, "strangers cannot ask")
    t.is_(turn.start("n99").status, 404, "nor can a node that is none")
    t.is_(hub.mesh("POST", "/v1/rotate/start", {"v": 1, "key": "AA=="}, node=n).status, 400, "a key that is none")
    t.is_(turn.finish().status, 404, "a key that was not announced is not in use")
    t.is_(hub.mesh("GET", "/v1/rotate", node=n).status, 404, "and is nowhere")
    for what, bad, want in (
            ("without the old key's proof, as anybody on that machine would", {"old": None}, 400),
            ("with the new key's proof in its place", {"old": "new"}, 403),
            ("with another key's", {"old": enrol.b64url(WORD)}, 403),
            ("without the new key's proof", {"proof": None}, 400),
            ("with the old key's in its place", {"proof": "old"}, 403),
            ("by another node", {"node": o}, 404)):
        turn.start()
        bad = dict(bad)
        if bad.get("old") == "new":
            bad["old"] = turn.proof(turn.new)
        if bad.get("proof") == "old":
            bad["proof"] = turn.proof(turn.d)
        r = turn.prove(**bad)
        t.is_(r.status, want, "refused: " + what)
    turn.start()
    turn.prove(old=enrol.b64url(WORD))
    t.is_(turn.prove().status, 404, "a proof is tried once")
    turn.start()
    r = hub.public("POST", "/v1/enrol/prove", {"attempt": turn.ask["attempt"], "proof": turn.proof(turn.new)})
    t.is_(r.status, 404, "such an attempt is no enrolment")
    t.is_(Turn(web, other).announce([]).status, 409, "a key that is another node's, though somebody holds both")
    hubs = Turn(web)
    hubs.start("n1")
    t.is_(hubs.prove("n1").status, 403, "the hub's key is the hub's")
    hub_dir = sqlite3.connect(hub.dir + "/state/coordinator.db")
    t.is_(hub_dir.execute("SELECT count(*) FROM node WHERE next_key IS NOT NULL OR was_key IS NOT NULL").fetchone()[0],
          0, "nothing of that was written")
    t.ok([e for e in hub.audit() if e["event"] == "node-key-refused"], "but for the audit")

    # ---- when, and whose owners would be surprised ----
    t.is_(hub.mesh("GET", "/v1/rotate/due", node=n).json, {"max_age": 0, "listed": 0, "hosts": ""}, "nobody wants it, nobody lists it")
    hub.mesh("POST", "/v1/node", {"v": 1, "lists": [n, "n99", "x"], "key_since": 5, "key_due": 7, "key_why": "away"}, node=o)
    t.is_(hub.mesh("GET", "/v1/rotate/due", node=n).json, {"max_age": 0, "listed": 1, "hosts": "other"}, "a host that lists it is named")
    t.is_(hub.mesh("GET", "/v1/rotate/due", node=o).json["listed"], 0, "to that node alone")
    t.is_(hub.mesh("POST", "/v1/node", {"v": 1, "key_since": -1}, node=o).status, 400, "no key is from before 1970")
    t.is_(hub.mesh("POST", "/v1/node", {"v": 1}, node=o).status, 200, "it lists it no more")
    t.is_(hub.mesh("GET", "/v1/rotate/due", node=n).json["listed"], 0, "then nobody does")

    # ---- announced ----
    r = turn.announce(["n1", o])
    t.is_((r.status, r.json["away"]), (200, 1), "announced; the hub does not listen here")
    me = told(mine, n, "next")
    t.is_((me["next"], me["v6"]), ({"key": enrol.b64(turn.new.public)}, v6), "the node itself reads so, and is who it was")
    it = told(theirs, n, "next")
    t.is_(it["next"], {"key": enrol.b64(turn.new.public), "vouch": enrol.b64url(WORD)}, "who was vouched to, with the word")
    t.is_(it["key"], enrol.b64(web.public), "beside the old key")
    late = Stream(hub, th)
    late.batch()
    t.ok("next" not in late.nodes[n], "who was not vouched to is told of the old key alone", late.nodes[n])
    late.close()
    limit = time.monotonic() + 30
    while hub.mesh("GET", "/v1/rotate", node=n).json["waiting"] and time.monotonic() < limit:
        time.sleep(0.02)
    t.is_(hub.mesh("GET", "/v1/rotate", node=n).json, {"waiting": 0, "away": 1}, "everybody who listens has it")
    t.is_(Turn(other, turn.new).announce([]).status, 409, "it is nobody else's next key")
    hub.kill()
    hub.start()
    t.is_(hub.mesh("GET", "/v1/rotate", node=n).status, 200, "it outlives a kill")
    unknown, theirs, mine = (Stream(hub, x) for x in (th, o, n))
    t.ok("next" in told(theirs, n, "next"), "and is told again")

    # ---- in use ----
    t.is_(Turn(web).finish().status, 404, "another key is not in use")
    t.is_(turn.finish(o).status, 404, "nor is it another node's")
    t.is_(turn.finish().status, 200, "in use")
    it = told(theirs, n, "was")
    t.is_((it["key"], it["was"], it["v4"], "next" in it),
          (enrol.b64(turn.new.public), {"key": enrol.b64(web.public), "vouch": enrol.b64url(WORD)}, v4, False),
          "the same node and IPv4 address, with the old key's word for the new one")
    t.ok(it["v6"] != v6 and it["id"] == n and it["name"] == "web", "and another IPv6 address", it)
    unknown.batch()
    while unknown.nodes[n]["key"] != enrol.b64(turn.new.public):
        unknown.batch()
    t.ok("was" not in unknown.nodes[n], "others are told of the new key alone", unknown.nodes[n])
    t.is_(turn.finish().status, 200, "said again, since the answer was lost")
    t.is_(sum(e["event"] == "node-key-changed" and "reason" not in e for e in hub.audit()), 1, "which is no second change")
    web.node = it
    t.is_(Turn(Device(hub), web).start(n).status, 200, "back to the key that was")
    back = Turn(turn.new, web)
    turn.new.node = it
    t.is_(back.announce([]).status, 409, "is no way")

    # ---- given up ----
    again = Turn(turn.new)
    t.is_(again.announce([o]).status, 200, "announced once more")
    told(theirs, n, "next")
    hub_dir.execute("UPDATE node SET next_until = 1 WHERE next_key IS NOT NULL")
    hub_dir.commit()
    hub.kill()
    hub.start()
    theirs = Stream(hub, o)
    it = told(theirs, n, "next", until_there=False) if theirs.batch() else {}
    t.ok("next" not in it and it["key"] == enrol.b64(turn.new.public), "one that is not used is forgotten", it)
    t.is_(again.finish().status, 404, "and comes too late")
    t.ok([e for e in hub.audit() if e["event"] == "node-key-not-used"], "as the audit says")
finally:
    hub.close()
t.end()
