#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""reeve policy on a live mesh: what is not named in a file is asked of a real coordinator."""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.environ.get("top_srcdir") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."),
                                "tests/coordinator"))
from hub import *   # noqa: E402,F403

t = Test()
hub = Hub()


def reeve(*args, given=""):
    return subprocess.run([BUILD + "/reeve", "--control", hub.dir + "/run/mesh.sock", "policy"] + list(args), input=given,
                          capture_output=True, text=True, timeout=60)


def file(name, text):
    with open(hub.dir + "/" + name, "w") as f:
        f.write(text)
    return hub.dir + "/" + name


TAGS = '"tagOwners": {"tag:web": [], "tag:client": []}'
try:
    hub.start()
    Device(hub, "wiki").enrol(hub.key("tag:web"))
    Device(hub, "pad").enrol(hub.key("tag:client"))
    p = reeve("explain", "--src", "pad", "--dst", "wiki:80")
    t.ok(p.returncode == 1 and "no rule" in p.stdout, "nothing is allowed yet, and explain says so", p.stdout + p.stderr)
    new = file("new", "{%s, \"grants\": [{\"src\": [\"tag:client\"], \"dst\": [\"tag:web\"], \"ip\": [\"tcp:80\"]}]}" % TAGS)
    p = reeve("diff", new)
    t.ok(p.returncode == 0 and "+ pad -> wiki tcp 80" in p.stdout, "diff tells what a file would open", p.stdout + p.stderr)
    p = reeve("set", new)
    t.ok(p.returncode == 1 and "--yes" in p.stderr and hub.root("GET", "policy").json["version"] == 1,
         "with nobody to ask it is not applied", p.stdout + p.stderr)
    p = reeve("set", new, "--yes")
    t.ok(p.returncode == 0 and "+ pad -> wiki tcp 80" in p.stdout and hub.root("GET", "policy").json["version"] == 2,
         "with --yes it is shown and applied", p.stdout + p.stderr)
    p = reeve("explain", "--src", "pad", "--dst", "wiki:80")
    t.ok(p.returncode == 0 and "policy:1:" in p.stdout, "the live mesh allows it, by its rule", p.stdout + p.stderr)
    p = reeve("matrix")
    t.ok(p.returncode == 0 and "pad -> wiki" in p.stdout and "wiki -> pad" not in p.stdout, "matrix", p.stdout + p.stderr)
    bad = file("bad", "{%s, \"grants\": [], \"tests\": [{\"src\": \"tag:client\", \"accept\": [\"tag:web:80\"]}]}" % TAGS)
    p = reeve("set", bad, "--yes")
    t.ok(p.returncode != 0 and hub.root("GET", "policy").json["version"] == 2, "one whose tests fail is refused", p.stdout + p.stderr)
    topology = file("topology", hub.root("GET", "topology").body.decode())
    p = reeve("check", new, "--topology", topology)
    t.ok(p.returncode == 0, "what the coordinator says of the mesh is a topology file", p.stdout + p.stderr)
    hub.kill()
    p = reeve("matrix")
    t.ok(p.returncode == 3, "without a coordinator it says that nobody answers", (p.returncode, p.stderr))
finally:
    hub.close()
t.end()
