#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two evaluators, one language: random worlds and the golden cases are put to both.
   run.py [--decisions N] [--seed S]
`make check` asks for 60,000 decisions, contrib/check for a million ($REEVE_DECISIONS)."""
import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # the tree may be read-only, and stays as it was
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import generate  # noqa: E402
import oracle  # noqa: E402

DECIDE = os.path.join(os.environ.get("top_builddir", "."), "tests", "oracle", "decide")
PER_WORLD = 3000
WHY = {"k": "session", "m": "weak", "l": "old", "i": "stale"}  # 'a' + enum reason_code


def expect(world):
    """What the oracle says: per step a string of verdicts and a list of whys (None: not asked)."""
    out = []
    policy = world["policy"]
    for step in world["steps"]:
        policy = step.get("policy", policy)
        w = oracle.World(policy, world["owner"], oracle.plain(step["topology"]), world["idp_only"])
        verdicts, whys, seen = [], [], {}
        for q in step["queries"]:
            key = json.dumps(q)
            if key not in seen:
                if q[0] == "p":
                    seen[key] = w.packet(*q[1:], step["now"]), None
                else:
                    seen[key] = w.http(*q[1:], step["now"])
            ok, why = seen[key]
            verdicts.append("A" if ok else "D")
            whys.append(why)
        out.append(("".join(verdicts), whys))
    return out


class Decider:
    def __init__(self):
        self.p = subprocess.Popen([DECIDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, world):
        self.p.stdin.write(json.dumps(world) + "\n")
        self.p.stdin.flush()
        line = self.p.stdout.readline()
        if not line.endswith("]}\n"):
            raise RuntimeError(f"{world['name']}: decide ended with {self.p.wait()}")
        flat = json.loads(line)["verdicts"]
        return list(zip(flat[::2], flat[1::2]))

    def end(self):
        self.p.stdin.close()
        self.p.wait()


def compare(world, have, want):
    """(decisions, allowed, list of what differs)"""
    n = allowed = 0
    bad = []
    for i, (step, (hv, hr), (wv, ww)) in enumerate(zip(world["steps"], have, want)):
        n += len(wv)
        allowed += wv.count("A")
        for k, q in enumerate(step["queries"]):
            if hv[k] != wv[k]:
                bad.append(f"{world['name']} step {i} {json.dumps(q)}: tables say {hv[k]}, oracle {wv[k]}")
            elif ww[k] is not None and hv[k] == "D" and WHY.get(hr[k], "") != ww[k]:
                bad.append(f"{world['name']} step {i} {json.dumps(q)}: tables say '{WHY.get(hr[k], '')}', oracle '{ww[k]}'")
    return n, allowed, bad


# ---- metamorphic: what must hold between two policies ----

def allowed_set(have):
    return [v for v, _ in have]


def metamorphic(decider, world, seed):
    """More grants never take away; order never matters; an owner's file never adds."""
    import random
    r = random.Random(seed)
    bad = []
    world = dict(world, steps=[{k: v for k, v in s.items() if k != "policy"} for s in world["steps"]])
    pol = json.loads(world["policy"])
    base = allowed_set(decider.ask(dict(world, owner=None)))
    names = generate.Names(r, json.loads(world["steps"][0]["topology"]), json.loads(world["steps"][0]["topology"])["services"])
    names.groups, names.users = pol["groups"], names.users

    def both(other, test, what):
        for i, (a, b) in enumerate(zip(base, other)):
            for k, (x, y) in enumerate(zip(a, b)):
                if not test(x, y):
                    bad.append(f"{world['name']} step {i} {json.dumps(world['steps'][i]['queries'][k])}: {what}")
                    return

    more = dict(pol, grants=pol["grants"] + [generate.rule(r, names, False, False)])
    both(allowed_set(decider.ask(dict(world, owner=None, policy=json.dumps(more)))), lambda x, y: x <= y or x == "D" or
         y == "A", "a grant more took away")
    mixed = dict(pol, grants=r.sample(pol["grants"], len(pol["grants"])), acls=r.sample(pol["acls"], len(pol["acls"])))
    both(allowed_set(decider.ask(dict(world, owner=None, policy=json.dumps(mixed)))), lambda x, y: x == y,
         "the order of rules mattered")
    if world["owner"] is not None:
        both(allowed_set(decider.ask(world)), lambda x, y: y == "D" or x == "A", "the owner's file added")
    mapped = json.dumps(pol).replace('"100.64.0.', '"::ffff:100.64.0.')
    import re
    mapped = re.sub(r'"::ffff:(100\.64\.0\.\d+)/(\d+)', lambda m: f'"::ffff:{m.group(1)}/{int(m.group(2)) + 96}', mapped)
    mapped = re.sub(r'"::ffff:(100\.64\.0\.\d+(?:/\d+)?)(:[0-9*,-]+)"',
                    lambda m: f'"{m.group(1) if "/" not in m.group(1) else m.group(1).split("/")[0] + "/" + str(int(m.group(1).split("/")[1]) - 96)}{m.group(2)}"',
                    mapped)
    both(allowed_set(decider.ask(dict(world, owner=None, policy=mapped))), lambda x, y: x == y,
         "an IPv4-mapped address was another one")
    return bad


def batch(job):
    first, count, meta = job
    decider = Decider()
    total = allowed = 0
    bad = []
    try:
        for seed in range(first, first + count):
            world = generate.world(seed, PER_WORLD)
            n, a, wrong = compare(world, decider.ask(world), expect(world))
            total, allowed, bad = total + n, allowed + a, bad + wrong
            if meta and seed % meta == 0:
                bad += metamorphic(decider, world, seed)
            if len(bad) > 20:
                break
    except RuntimeError as e:
        bad.append(str(e))
    decider.end()
    return total, allowed, bad


def golden():
    """Data under tests/policy/cases, one folder a feature; each query names its verdict."""
    folder = os.path.join(HERE, "..", "policy", "cases")
    decider = Decider()
    n = 0
    bad = []
    for feature in sorted(os.listdir(folder)):
        for name in sorted(os.listdir(os.path.join(folder, feature))):
            with open(os.path.join(folder, feature, name)) as f:
                case = oracle.plain(f.read())
            asked = case["ask"]
            world = {"name": f"{feature}/{name}", "policy": json.dumps(case["policy"]),
                     "owner": json.dumps(case["owner"]) if "owner" in case else None,
                     "idp_only": case.get("idp_only", False),
                     "steps": [{"now": case.get("now", 1790000000), "topology": json.dumps(case["topology"]), "changed": [],
                                "queries": [q[1:] for q in asked]}]}
            have, want = decider.ask(world), expect(world)
            _, _, wrong = compare(world, have, want)
            bad += wrong
            for q, v in zip(asked, have[0][0]):
                n += 1
                if ("allow" if v == "A" else "deny") != q[0]:
                    bad.append(f"{world['name']} {json.dumps(q[1:])}: want {q[0]}")
    decider.end()
    return n, bad


def outside(share=0.04):
    """The oracle against rows that others measured (tests/policy/corpus.py asks the C code for all of them)."""
    import gzip
    import random
    top = os.environ.get("top_srcdir") or os.path.join(HERE, "..", "..")
    folder = os.path.join(os.environ.get("REEVE_CORPORA") or os.path.join(top, "..", "shared", "corpora"), "tailnet-policy")
    if not os.path.isdir(folder):
        print("skip the oracle against outside rows: ../shared/corpora is not here")
        return []
    with gzip.open(os.path.join(folder, "cases.ndjson.gz"), "rt") as f:
        cases = {c["id"]: c for c in map(json.loads, f)}
    r, worlds, n, bad = random.Random(1), {}, 0, []
    with gzip.open(os.path.join(folder, "truth.ndjson.gz"), "rt") as f:
        for line in f:
            if r.random() > share:
                continue
            row = json.loads(line)
            case = cases[row["id"]]
            if row["id"] not in worlds:
                worlds[row["id"]] = oracle.World(case["policy"], None, case["topology"])
            for port in {0, 22, 80, 443, r.randint(1, 65535)} | {min(x, 65535) for a, b in row["allow"] for x in (a, b, b + 1)}:
                n += 1
                want = any(a <= port <= b for a, b in row["allow"])
                if worlds[row["id"]].packet(row["src"], row["dst"], row["sip"], row["dip"], row["proto"], port, -1, 1) != want:
                    bad.append(f"oracle: {row['id']} {row['src']} -> {row['dip']} {row['proto']}/{port}: want {want}")
    if not bad:
        print(f"ok the oracle agrees with outside rows: {n} answers")
    return bad


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--decisions", type=int, default=int(os.environ.get("REEVE_DECISIONS", 60000)))
    a.add_argument("--seed", type=int, default=1)
    a = a.parse_args()
    began = time.monotonic()
    n, bad = golden()
    bad += outside()
    for line in bad[:20]:
        print("not ok -", line)
    if not bad:
        print(f"ok golden cases: {n} answers, from both evaluators")
    # A batch is short, so that both cores end together.
    worlds = -(-a.decisions // (PER_WORLD * 65 // 100))
    step = 10
    jobs = [(a.seed + i, min(step, worlds - i), 10) for i in range(0, worlds, step)]
    total = allowed = 0
    wrong = []
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for t, al, b in pool.imap_unordered(batch, jobs):
            total, allowed, wrong = total + t, allowed + al, wrong + b
            if len(wrong) > 20:
                pool.terminate()
                break
    for line in wrong[:20]:
        print("not ok -", line)
    if not wrong:
        print(f"ok two evaluators agree on {total} decisions ({allowed} allowed) in {worlds} worlds, "
              f"{time.monotonic() - began:.0f} s")
    return 1 if bad or wrong or not total else 0


sys.exit(main())
