#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Devices that wait for an administrator, enrolments that end, nodes that are forgotten when they are not
in touch, people who are disabled: endpoints are told of each."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from people import *   # noqa: E402,F403

t = Test()
w = World(POLICY, **{"approve-devices": True, "ephemeral-after": "3s"})
hub = w.hub


def node(n):
    return hub.root("GET", "nodes/" + n)


def gone(stream, n):
    while n in stream.nodes:
        if stream.batch() is None:
            raise RuntimeError("the stream ended")
    return True


try:
    web = w.server("wiki", "tag:web")
    t.is_(node(web.node).json["approved"], True, "who made the key has approved its servers")

    # ---- what has a clock begins first ----
    key = w.cli("key", "create", "--tag", "tag:job", "--uses", "3", "--ephemeral").stdout.strip()
    jobs = [Device(hub, "job%d" % i) for i in range(2)]
    for j in jobs:
        j.enrol(enrol.Key(key))
    short = w.cli("key", "create", "--tag", "tag:job", "--node-life", "2s").stdout.strip()
    brief = Device(hub, "brief")
    r = brief.enrol(enrol.Key(short))
    t.is_(r.status, 200, "a node for two seconds")
    job, busy = jobs[0].node["id"], jobs[1].node["id"]
    s = Stream(hub, busy, timeout=PATIENCE)
    w.streams.append(s)
    s.batch()
    j = node(busy).json
    t.ok(j["ephemeral"] and j["expires"] == 0, "what the key says of its nodes is theirs", j)

    # ---- approval ----
    d = w.enrol("laptop")
    n, u = d.node["id"], d.node["user"]["id"]
    t.ok("session" not in d.node and d.node["waits"] is True, "a new device of a person waits: nobody is logged in on it",
         d.node)
    t.ok(node(n).json["approved"] is False and "session" not in node(n).json, "administrators see that", node(n))
    t.is_(hub.mesh("GET", "/api/v1/nodes", node=n, user=u, session="s1").status, 403, "it is no administrator's")
    r = w.login(n)
    t.ok(r.status == 200 and "session" not in r.json["node"], "logging in again is no approval", r)
    r = hub.mesh("POST", "/api/v1/nodes/" + n, {"approved": True}, node=n, user=u)
    t.is_(r.status, 403, "nor is asking")
    web2 = w.server("wiki2", "tag:web")
    t.ok("session" not in web2.nodes.get(n, {}), "endpoints are told of nobody", web2.nodes.get(n))
    t.is_(w.cli("node", "approve", "nobody").returncode, 5, "a device that is none is not approved")
    t.is_(w.cli("node", "approve", "laptop").stdout, "approved\n", "an administrator approves")
    while "session" not in web2.nodes.get(n, {}):
        web2.batch()
    t.ok("waits" not in web2.nodes[n], "it waits no more", web2.nodes[n])
    t.is_(web2.nodes[n]["user"]["login"], "staff@example.edu", "then it is the person's, with the login from before")
    t.is_(w.login(n).json["node"]["user"]["id"], u, "and stays so")

    # ---- ends ----
    t.is_(hub.root("POST", "nodes/hub", {"expires": 1}).status, 403, "the hub's own node stays")
    t.is_(hub.root("POST", "nodes/laptop", {"expires": -1}).status, 400, "a time that is none")
    two = w.enrol("old").node["id"]
    hub.root("POST", "nodes/" + two, {"approved": True, "expires": 1})
    until(lambda: node(two).status == 404, "the end of an enrolment")
    t.ok(gone(web2, two), "an enrolment that ended: endpoints forget the node")
    until(lambda: node(brief.node["id"]).status == 404, "the end of a server's")
    t.is_(brief.start(enrol.Key(short)).status, 200, "it may ask again")
    t.is_(w.cli("node", "expire", "laptop", "soon").returncode, 2, "a time that is none")
    t.is_(w.cli("node", "expire", "laptop", "1h").returncode, 0, "one that ends in an hour")
    t.ok(node(n).json["expires"] > time.time(), "says so", node(n))
    w.cli("node", "expire", "laptop", "never")
    t.is_(node(n).json["expires"], 0, "or never")
    w.reload(**{"node-life": "30d"})
    w.login(n)
    t.ok(abs(node(n).json["expires"] - time.time() - 30 * 86400) < 60, "a login makes a person's device last", node(n))
    until(lambda: node(job).status == 404, "an ephemeral node")
    t.is_(node(busy).status, 200, "an ephemeral node goes when it is not in touch, and one that listens does not")
    s.close()
    hub.root("POST", "nodes/" + busy, {"name": "left"})     # what it is told finds nobody
    # ---- disabled ----
    three = w.enrol("pad").node["id"]
    hub.root("POST", "nodes/pad", {"approved": True})
    while not ("session" in web2.nodes.get(three, {}) and "session" in web2.nodes.get(n, {})):
        web2.batch()
    ask = w.ask(n).json
    fin = w.go(ask)
    p = w.cli("session", "list")
    t.ok("laptop" in p.stdout and "pad" in p.stdout and "192.0.2.7" in p.stdout, "sessions are listed with device and place", p)
    t.is_(w.cli("user", "disable", "staff@example.edu").returncode, 0, "a person is disabled")
    while "session" in web2.nodes[three] or "session" in web2.nodes[n]:
        web2.batch()
    t.is_(w.sessions(), {}, "every session of theirs has ended, and endpoints were told")
    r = hub.mesh("POST", "/v1/login/finish", fin, node=n)
    t.ok(r.status == 403 and "blocked" in r.json["message"], "a login that was under way is refused", r)
    t.is_(w.login(n).status, 403, "and so is a new one")
    w.cli("user", "enable", "staff@example.edu")
    t.is_((w.login(n).status, len(w.sessions())), (200, 1), "enabled again: by a new login, no session comes back")
    p = w.cli("session", "end", list(w.sessions())[0])
    t.is_((p.returncode, w.sessions()), (0, {}), "and that can be ended alone")
    # one whose enrolment is younger than the coordinator's start is not gone before it came
    late, at = Device(hub, "late"), time.time()
    late.enrol(enrol.Key(key))
    until(lambda: node(late.node["id"]).status == 404, "a node that never came")
    t.ok(time.time() - at >= 2, "a node has its time from its enrolment on", time.time() - at)
    until(lambda: node(busy).status == 404, "an ephemeral node that left")
    t.ok(True, "until it stops")
    events = {e["event"] for e in hub.audit()}
    t.ok({"node-expired", "node-gone"} <= events, "the audit says which was which", events)
finally:
    w.close()
t.end()
