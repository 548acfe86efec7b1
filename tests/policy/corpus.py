#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""The outside cases: every accepted policy's rows agree, every rejected one is
rejected. Reads ../shared/corpora/tailnet-policy in place; skips without it."""
import concurrent.futures
import gzip
import json
import os
import subprocess
import sys
import tempfile

SRC = os.environ.get("top_srcdir", ".")
BUILD = os.environ.get("top_builddir", ".")
REEVE = os.path.join(BUILD, "reeve")
CORPUS = os.path.join(os.environ.get("REEVE_CORPORA") or os.path.join(SRC, "..", "shared", "corpora"),
                      "tailnet-policy")


def one(case, truth, folder):
    """(rows compared, list of what is wrong)"""
    base = os.path.join(folder, case["id"])
    with open(base + ".policy", "w") as f:
        json.dump(case["policy"], f)
    with open(base + ".topology", "w") as f:
        json.dump(case["topology"], f)
    check = subprocess.run([REEVE, "policy", "check", base + ".policy", "--topology", base + ".topology"],
                           capture_output=True, text=True, timeout=60)
    if check.returncode not in (0, 1):
        return 0, [f"{case['id']}: check ended with {check.returncode}"]
    if case["rejected"]:
        return 0, [] if check.returncode == 1 else [f"{case['id']}: accepted, want it rejected"]
    if check.returncode != 0:
        return 0, [f"{case['id']}: rejected: {check.stderr.strip()}"]
    out = subprocess.run([REEVE, "policy", "matrix", "--policy", base + ".policy", "--topology",
                          base + ".topology", "--json"], capture_output=True, text=True, timeout=60)
    if out.returncode:
        return 0, [f"{case['id']}: matrix: {out.stderr.strip()}"]
    have = {}
    for line in out.stdout.splitlines():
        row = json.loads(line)
        have[row["src"], row["dst"], row["fam"], row["proto"]] = row
    wrong = []
    for row in truth:
        key = row["src"], row["dst"], row["fam"], row["proto"]
        got = have.get(key)
        if not got:
            wrong.append(f"{case['id']}: no row for {key}")
        elif any(got[k] != row[k] for k in ("sip", "dip", "allow")):
            wrong.append(f"{case['id']}: {key}: want {row['allow']}, got {got['allow']}")
    return len(truth), wrong


def main():
    if not os.path.isdir(CORPUS):
        print("skip tailnet-policy: ../shared/corpora is not here")
        return 77
    with gzip.open(os.path.join(CORPUS, "cases.ndjson.gz"), "rt") as f:
        cases = [json.loads(line) for line in f]
    truth = {}
    with gzip.open(os.path.join(CORPUS, "truth.ndjson.gz"), "rt") as f:
        for line in f:
            row = json.loads(line)
            truth.setdefault(row["id"], []).append(row)
    failed = rows = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [(c["id"], pool.submit(one, c, truth.get(c["id"], []), folder)) for c in cases]
        for name, job in jobs:
            n, wrong = job.result()
            rows += n
            failed += bool(wrong)
            for line in wrong[:5]:
                print("not ok -", line)
            if not wrong:
                print("ok", name)
    print(f"# {len(cases)} cases, {len(cases) - failed} agree, {rows} rows compared")
    return 1 if failed else 0


sys.exit(main())
