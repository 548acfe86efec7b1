#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Enrolment with a key, over the coordinator's public socket: what is refused, then what is not."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub import *   # noqa: E402,F403

t = Test()
hub = Hub()
try:
    p = hub.tool("init", "-c", hub.dir + "/conf", "--endpoint-state", hub.dir + "/endpoint", good=False)
    t.ok(p.returncode != 0 and "already" in p.stderr, "init never replaces a mesh", p.stderr)
    st = os.stat(hub.dir + "/state/coordinator.db")
    t.is_(st.st_mode & 0o777, 0o600, "the database is its owner's alone")
    t.is_(os.stat(hub.dir + "/endpoint/device.key").st_mode & 0o777, 0o600, "and so is the hub's device key")
    enrolment = json.load(open(hub.dir + "/endpoint/enrolment.json"))
    t.is_((enrolment["node"], enrolment["control"]), ("n1", "unix:" + hub.dir + "/run/mesh.sock"),
          "the hub's reeved is told where its map is")
    p = hub.tool("key", "-c", hub.dir + "/conf", good=False)
    t.ok(p.returncode != 0 and "tag" in p.stderr, "no key without a tag", p.stderr)
    offline = enrol.Key(hub.tool("key", "-c", hub.dir + "/conf", "--tag", "tag:web").strip())
    hub.start()

    # ---- strangers' requests ----
    key = hub.key()
    for what, status, reply in (
        ("nothing", 400, lambda: hub.public("POST", "/v1/enrol/start", "")),
        ("no JSON", 400, lambda: hub.public("POST", "/v1/enrol/start", "{")),
        ("a member twice", 400, lambda: hub.public("POST", "/v1/enrol/start", '{"v":1,"v":1}')),
        ("a body that is too large", 413, lambda: hub.public("POST", "/v1/enrol/start", "[" * 5000)),
        ("another version", 400, lambda: Device(hub).start(key, v=2)),
        ("a name with a dot", 400, lambda: Device(hub, "a.b").start(key)),
        ("a name that is HTML", 400, lambda: Device(hub, "<b>").start(key)),
        ("a control character as system", 400, lambda: Device(hub).start(key, os="a\nb")),
        ("another TLS key", 403, lambda: Device(hub).start(key, pin=os.urandom(32))),
        ("neither key nor browser", 403, lambda: Device(hub).start()),
        ("a path with an escape", 404, lambda: hub.public("GET", "/v1/%65nrol")),
        ("a path of the other socket", 404, lambda: hub.public("GET", "/v1/map")),
        ("administration in public", 401, lambda: hub.public("GET", "/api/v1/nodes")),
        ("a proof without an attempt", 404, lambda: hub.public("POST", "/v1/enrol/prove", {
            "attempt": "AQEBAQEBAQEBAQEBAQEBAQ", "proof": enrol.b64url(bytes(32))})),
    ):
        r = reply()
        t.is_(r.status, status, "refused: " + what)

    # ---- proofs ----
    d = Device(hub)
    ask = d.start(key).json
    t.is_(d.prove(ask, os.urandom(32)).status, 403, "a wrong proof is refused")
    t.is_(d.prove(ask).status, 404, "and the right one after it: an attempt proves once")
    d = Device(hub)
    ask = d.start(key).json
    d.pin = os.urandom(32)
    t.is_(d.prove(ask).status, 403, "a proof for another TLS key, as a man in the middle would relay it")
    d = Device(hub)
    ask = d.start(key).json
    d.body += b" "
    t.is_(d.prove(ask).status, 403, "a proof over another request")
    d, other = Device(hub), Device(hub)
    ask, ask2 = d.start(key).json, other.start(key).json
    t.is_(hub.public("POST", "/v1/enrol/prove", {"attempt": ask2["attempt"], "proof": enrol.b64url(d.proof(ask))}).status,
          403, "a proof of another attempt")
    # X25519 with a point of small order is all-zero, whatever the other's key is.
    for name, point in (("zero", bytes(32)), ("one", b"\1" + bytes(31))):
        d = Device(hub)
        d.public = point
        r = d.start(key)
        r = d.prove(r.json, d.proof(r.json, shared=bytes(32))) if r.status == 200 else r
        t.is_(r.status, 403, "a device key of small order: " + name)
    t.is_(len(hub.root("GET", "nodes").json["nodes"]), 1, "none of this stored anything")

    # ---- and what is right ----
    d = Device(hub, "wiki")
    r = d.enrol(key)
    t.ok(r.status == 200 and d.node["name"] == "wiki" and d.node["tags"] == ["tag:server"], "a key enrols", r)
    first = d.node
    ula = r.json["mesh"]["ula"].split("::")[0]
    t.ok(d.node["v6"].startswith(ula), "with an address of the mesh", d.node)
    t.is_(r.json["hub"]["id"], "n1", "and the hub")
    late = Device(hub, "late")
    r = late.enrol(key)
    t.ok(r.status == 403 and "used up" in r.json["message"], "a single-use key enrols no second device", r)
    r = d.enrol(key)
    t.ok(r.status == 200 and d.node["id"] == first["id"], "the same device again is the same node: its answer was lost", r)
    r = Device(hub, "web").enrol(offline)
    t.ok(r.status == 200 and r.json["node"]["tags"] == ["tag:web"], "the key that root made without the coordinator", r)
    short = hub.key(expires=1)
    time.sleep(1.1)
    r = Device(hub).enrol(short)
    t.is_(r.status, 410, "an expired key")
    k = hub.root("POST", "keys", {"tags": ["tag:server"]}).json
    t.is_(hub.root("DELETE", "keys/" + k["id"]).status, 200, "a key is revoked")
    t.is_(Device(hub).enrol(enrol.Key(k["key"])).status, 403, "and enrols nobody")
    bad = hub.key()
    bad.secret = enrol.b64url(os.urandom(32))
    t.is_(Device(hub).enrol(bad).status, 403, "a secret that was guessed")
    many = hub.key(uses=20)
    names = [Device(hub, "wiki") for _ in range(20)]
    for x in names:
        x.enrol(many)
    t.is_(len({x.node["v4"] for x in names} | {first["v4"]}), 21, "twenty devices have twenty addresses")
    t.is_(len({x.node["name"] for x in names} | {"wiki"}), 21, "and twenty names")
    t.is_([k["used"] for k in hub.root("GET", "keys").json["keys"] if k["uses"] == 20], [20], "the key is spent twenty times")

    # ---- addresses rest ----
    gone = names[0]
    t.is_(hub.root("DELETE", "nodes/" + gone.node["id"]).status, 200, "a node is deleted")
    t.is_(hub.root("DELETE", "nodes/n1").status, 403, "the hub is not")
    t.is_([(e["node"], e.get("refused")) for e in hub.audit() if e["event"] == "node-deleted"],
          [(gone.node["id"], None), ("n1", "denied")], "and the audit tells the one from the other")
    again = hub.key(uses=30)
    v4 = set()
    for i in range(30):
        x = Device(hub)
        x.enrol(again)
        v4.add(x.node["v4"])
    t.ok(gone.node["v4"] not in v4, "its address is not given again soon")
    r = gone.enrol(again)
    t.ok(r.status == 403, "with its old key spent, the device does not come back by itself", r)

    # ---- limits ----
    hub.conf["attempts-per-minute"] = 5
    hub.write_conf()
    hub.proc.send_signal(signal.SIGHUP)
    limit = time.monotonic() + 60
    while time.monotonic() < limit and Device(hub).start(key).status != 429:
        pass
    r = Device(hub).start(key)
    t.is_(r.status, 429, "an address begins so many attempts a minute and no more")
    r = hub.public("POST", "/v1/enrol/start", Device(hub) and "{}", {"X-Forwarded-For": "192.0.2.8"})
    t.is_(r.status, 400, "another address still may")
    for i in range(7):
        r = hub.public("POST", "/v1/enrol/start", "{}", {"X-Forwarded-For": "2001:db8::%x" % i})
    t.is_(r.status, 429, "one /64 is one address")
    events = {e["event"] for e in hub.audit()}
    t.ok({"key-made", "key-revoked", "node-enrolled", "enrolment-refused", "node-deleted"} <= events,
         "and all of it is in the audit", events)
    text = open(hub.dir + "/state/audit.json").read() + open(hub.dir + "/log").read()
    t.ok(key.secret not in text and many.secret not in text, "no secret is in audit or log")
    t.is_(hub.kill(signal.SIGTERM), 0, "it ends as asked")
finally:
    hub.close()
t.end()
