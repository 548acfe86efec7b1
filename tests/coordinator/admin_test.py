#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Administration: the policy file checked on write, nodes, keys, what a bad file or a bad request
leaves as it was."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub import *   # noqa: E402,F403

t = Test()
hub = Hub()
stream = None
try:
    p = hub.tool("check", "-c", hub.dir + "/conf", "--print", good=False)
    t.ok(p.returncode == 0 and '"session"' in p.stdout, "the configuration checks, and prints", p.stdout + p.stderr)
    with open(hub.dir + "/bad", "w") as f:
        f.write('{\n\t"url": "http://hub.example.edu",\n\t"sesion": "12h",\n}\n')
    p = hub.tool("check", "-c", hub.dir + "/bad", good=False)
    t.ok(p.returncode != 0 and "bad:3:" in p.stderr and "session" in p.stderr, "an unknown key has its place and the nearest known one",
         p.stderr)
    p = hub.tool("nonsense", good=False)
    t.is_(p.returncode, 2, "an unknown command says so")
    t.ok("issuers" in hub.tool("--help-conf"), "--help-conf tells every key")

    hub.start()
    # ---- the policy ----
    first = hub.root("GET", "policy").json
    t.ok(first["version"] == 1 and "grants" in first["text"], "there is a policy that allows nothing", first)
    web = Device(hub, "wiki")
    web.enrol(hub.key("tag:web"))
    client = Device(hub, "laptop")
    client.enrol(hub.key("tag:client"))
    stream = Stream(hub, web.node["id"])
    stream.batch()
    stream.ack()
    tags = '"tagOwners": {"tag:web": [], "tag:client": []}'
    for what, text in (
        ("no JSON", "{"),
        ("an unknown key", "{%s, \"grant\": []}" % tags),
        ("an unknown tag", '{"grants": [{"src": ["tag:nobody"], "dst": ["*"], "ip": ["*"]}]}'),
        ("a test that fails", '{%s, "grants": [], "tests": [{"src": "tag:client", "accept": ["tag:web:80"]}]}' % tags),
    ):
        r = hub.root("PUT", "policy", {"text": text})
        t.ok(r.status == 400 and r.json["diags"], "refused: %s" % what, r)
        r = hub.root("POST", "policy/check", {"text": text})
        t.ok(r.status == 200 and r.json["ok"] is False and r.json["diags"], "and a check says the same: %s" % what, r)
    t.is_(hub.root("GET", "policy").json, first, "the old one stays")
    good = ('{%s,\n"grants": [{"src": ["tag:client"], "dst": ["tag:web"], "ip": ["tcp:80"]}],\n'
            '"tests": [{"src": "tag:client", "accept": ["tag:web:80"], "deny": ["tag:web:22"]}]}' % tags)
    r = hub.root("PUT", "policy", {"text": good, "base": 7})
    t.is_(r.status, 409, "on top of another version than the latest")
    r = hub.root("PUT", "policy", {"text": good, "base": 1})
    t.ok(r.status == 200 and r.json["version"] == 2, "a good one is taken, its tests run", r)
    b = stream.batch()
    t.ok("6:80" in stream.policy and client.node["id"] in stream.nodes, "endpoints have it at once, with whom it lets in", b)
    t.is_(hub.root("GET", "policy/1").json["text"], first["text"], "the old version can be read")
    t.is_(hub.root("GET", "policy/9").status, 404, "one that never was cannot")
    hub.kill()
    hub.start()
    t.is_(hub.root("GET", "policy").json["text"], good, "it survives kill -9")

    # ---- nodes ----
    n = client.node["id"]
    t.is_(hub.root("GET", "nodes/n99").status, 404, "there is no such node")
    t.is_(hub.root("POST", "nodes/" + n, {"name": "A B"}).status, 400, "a name that is none")
    t.is_(hub.root("POST", "nodes/" + n, {"name": "wiki"}).status, 409, "a name that is taken")
    t.is_(hub.root("POST", "nodes/" + n, {"tags": ["web"]}).status, 400, "a tag that is none")
    t.is_(hub.root("POST", "nodes/" + n, {"name": "pad", "tags": ["tag:client", "tag:web"]}).status, 200, "a node is renamed and tagged")
    t.is_(hub.root("GET", "nodes/pad").json["tags"], ["tag:client", "tag:web"], "and found by its name")
    t.is_(hub.root("DELETE", "nodes/pad/sessions").status, 404, "a server has no session to revoke")
    t.is_(hub.root("DELETE", "nodes/pad").status, 200, "deleted")
    t.is_(hub.root("GET", "nodes/" + n).status, 404, "it is gone")
    hub.kill()
    hub.start()
    t.is_(hub.root("GET", "nodes/" + n).status, 404, "and stays so over kill -9")
    x = Device(hub, "other")
    x.enrol(hub.key("tag:client"))
    t.ok(int(x.node["id"][1:]) > int(n[1:]), "its id is never given again", x.node)

    # ---- keys ----
    for what, body in (("no tag", {"tags": []}), ("a tag that is none", {"tags": ["x"]}), ("no uses", {"tags": ["tag:a"], "uses": 0}),
                       ("longer than a year", {"tags": ["tag:a"], "expires": 400 * 86400}),
                       ("a note with a newline", {"tags": ["tag:a"], "note": "a\nb"})):
        t.is_(hub.root("POST", "keys", body).status, 400, "no key with " + what)
    r = hub.root("POST", "keys", {"tags": ["tag:a"], "uses": 3, "expires": 60, "note": "for the rack"})
    k = enrol.Key(r.json["key"])
    t.is_((k.url, k.pins), ("https://hub.example.edu", [PIN]), "a key says where to, and whom to believe")
    listed = [x for x in hub.root("GET", "keys").json["keys"] if x["id"] == r.json["id"]][0]
    t.ok(listed["note"] == "for the rack" and k.secret not in json.dumps(listed), "its secret is shown once", listed)

    # ---- odd requests ----
    t.is_(hub.root("GET", "nothing").status, 404, "there is nothing there")
    t.is_(hub.root("GET", "nodes/n1/more/less").status, 404, "nor deeper")
    t.is_(hub.root("PUT", "nodes", {}).status, 404, "nodes are not put")
    t.is_(hub.root("POST", "nodes/n1", "[]").status, 400, "a list is no change")
    t.is_(hub.mesh("PATCH", "/api/v1/nodes").status, 400, "a method that nobody uses")
    t.is_(hub.mesh("GET", "/api/v1/nodes", headers={"X-Forwarded-For": "100.64.0.9"}).status, 403,
          "what a front hands on without a node is not root's")
    t.is_(hub.mesh("GET", "/api/v1/nodes", user="u1").status, 403, "nor what names a user alone")
    m = hub.root("GET", "metrics").body.decode()
    t.ok("reeve_map_seq " in m and "reeve_revocation_seconds_bucket" in m, "metrics")

    # ---- a full disk ----
    os.mkdir(hub.dir + "/small")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "none", hub.dir + "/small"],
                      capture_output=True).returncode == 0:
        try:
            hub.kill(signal.SIGTERM)
            old = hub.conf["state-dir"]
            shutil.copy(old + "/coordinator.db", hub.dir + "/small/coordinator.db")
            hub.conf["state-dir"] = hub.dir + "/small"
            hub.conf["audit"] = hub.dir + "/audit.json"
            hub.write_conf()
            hub.start()
            key = hub.key("tag:client", uses=1000)
            r = Device(hub).enrol(key)
            t.is_(r.status, 200, "while there is room, a device is enrolled")
            fill = os.open(hub.dir + "/small/fill", os.O_WRONLY | os.O_CREAT)
            try:
                while True:
                    os.write(fill, bytes(4096))
            except OSError:
                os.close(fill)
            good, bad = 0, 0
            while bad < 5 and good < 500:
                s = Device(hub).enrol(key).status
                good, bad = good + (s == 200), bad + (s == 500)
            t.ok(bad == 5, "on a full disk enrolments fail, and say so", (good, bad))
            t.is_(hub.mesh("GET", "/api/v1/nodes").status, 200, "reading goes on")
            os.unlink(hub.dir + "/small/fill")
            t.is_(Device(hub).enrol(key).status, 200, "with room again they go on")
            want = len(hub.root("GET", "nodes").json["nodes"])
            hub.kill()
            hub.start()
            nodes = hub.root("GET", "nodes").json["nodes"]
            used = [x["used"] for x in hub.root("GET", "keys").json["keys"] if x["uses"] == 1000]
            t.is_((len(nodes), used), (want, [good + 2]), "exactly what was acknowledged is there")
        finally:
            hub.kill(signal.SIGTERM)
            subprocess.run(["umount", hub.dir + "/small"])
    else:
        print("# no tmpfs can be mounted here: the full disk is left to tests/unit/test_store.c")
finally:
    if stream:
        stream.close()
    hub.close()
t.end()
