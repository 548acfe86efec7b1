#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""kill -9 of the coordinator during enrolments, 200 times (KILLS=N for another number): every
acknowledged node is there afterwards, no other is, no address is given twice, and the
enrolment key was spent exactly as often as it enrolled. Devices whose answer was lost ask
again with the same key, until they are told."""
import os
import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub import *   # noqa: E402,F403

KILLS = int(os.environ.get("KILLS", "200"))
WORKERS = 3
DEVICES_MAX = 30000


def worker(hub, key, out, stop):
    """Enrols devices one after the other; a line for each that was acknowledged."""
    lost = 0
    with open(out, "w") as f:
        while not os.path.exists(stop):
            d = Device(hub, "dev")
            while True:
                try:
                    r = d.enrol(key)
                except (OSError, http.client.HTTPException):
                    lost += 1
                    time.sleep(0.002)
                    continue
                if r.status == 200:
                    break
                if r.status not in (404, 429, 500):     # 404: the attempt died with its process
                    f.write(json.dumps({"refused": repr(r)}) + "\n")
                    os._exit(1)
                time.sleep(0.002)
            f.write(json.dumps({"node": r.json["node"], "key": enrol.b64(d.public)}) + "\n")
            f.flush()
        f.write(json.dumps({"lost": lost}) + "\n")
    os._exit(0)


def acknowledged(hub):
    n = 0
    for i in range(WORKERS):
        try:
            with open("%s/acked.%d" % (hub.dir, i)) as f:
                n += sum(1 for _ in f)
        except OSError:
            pass
    return n


t = Test()
hub = Hub(**{"log-level": "warn"})
pids = []
try:
    hub.start()
    key = hub.key(uses=DEVICES_MAX, expires=86400)
    for i in range(WORKERS):
        pid = os.fork()
        if pid == 0:
            try:
                worker(hub, key, "%s/acked.%d" % (hub.dir, i), hub.dir + "/stop")
            except BaseException as e:
                print("# worker: %r" % e, flush=True)
            os._exit(1)
        pids.append(pid)
    at = time.monotonic()
    random.seed(7)
    i, longest = 0, 0.09
    # at least so often; more, and with longer lives, where the machine is slow
    while i < KILLS or (i < 5 * KILLS and acknowledged(hub) <= KILLS / 4):
        if i >= KILLS:
            longest = 0.5
        time.sleep(random.uniform(0.0, longest))
        hub.kill()
        hub.proc = subprocess.Popen([BUILD + "/reeve-coordinator", "run", "-c", hub.dir + "/conf"],
                                    stderr=hub.log, stdin=subprocess.DEVNULL)
        if i % 3:       # else it is killed whenever it may be, its start included
            hub.wait()
        i += 1
    hub.wait()
    print("# %d kills in %.1f s" % (i, time.monotonic() - at))
    open(hub.dir + "/stop", "w").close()
    good = [os.waitpid(pid, 0)[1] == 0 for pid in pids]
    pids = []
    t.ok(all(good), "every device was enrolled in the end", good)
    lines = [json.loads(l) for i in range(WORKERS) for l in open("%s/acked.%d" % (hub.dir, i))]
    t.is_([l for l in lines if "refused" in l], [], "and none was refused")
    acked = {l["key"]: l["node"] for l in lines if "node" in l}
    lost = sum(l["lost"] for l in lines if "lost" in l)
    print("# %d devices were acknowledged, %d answers were lost on the way" % (len(acked), lost))
    t.ok(len(acked) > KILLS / 4 and lost > KILLS / 4, "enrolments were under way when it was killed", (len(acked), lost))
    hub.kill()
    hub.start()
    nodes = {n["key"]: n for n in hub.root("GET", "nodes").json["nodes"] if n["id"] != "n1"}
    t.is_(sorted(acked.keys() - nodes.keys()), [], "every acknowledged node is there")
    t.is_(sorted(nodes.keys() - acked.keys()), [], "no other is")
    wrong = [(acked[k], nodes[k]) for k in acked if k in nodes and any(acked[k][m] != nodes[k][m] for m in ("id", "name", "v4", "v6"))]
    t.is_(wrong, [], "with the id, name and addresses that it was told")
    for what in ("id", "name", "v4", "v6"):
        t.is_(len({n[what] for n in nodes.values()}), len(nodes), "none of them shares its %s" % what)
    k = hub.root("GET", "keys").json["keys"][0]
    t.is_(k["used"], len(nodes), "the key was spent once for each")
    p = subprocess.run(["python3", "-c", "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("
                        "'PRAGMA integrity_check').fetchone()[0])", hub.dir + "/state/coordinator.db"],
                       capture_output=True, text=True)
    t.is_(p.stdout.strip(), "ok", "the database is sound")
finally:
    open(hub.dir + "/stop", "w").close()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    hub.close()
t.end()
