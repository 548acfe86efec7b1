#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Our parsers beside Node's (llhttp): the same bytes to both, and what we take
they must take, with the same messages, fields and bodies. The other way round,
we may refuse more.

usage: top_builddir=BUILD tests/http/test_differential.py [--seed N] [--count N] [--seconds N] [--show N]

`make check` runs the rules of hostile.py and a fixed set of mutations;
--seconds goes on with other seeds for as long. What we take and they do not
is listed in EXPECTED, each with its reason; anything else fails.
"""
import argparse
import collections
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hostile

BUILD = os.environ.get("top_builddir", ".")
HERE = os.path.dirname(os.path.abspath(__file__))


class Judge:
    """A filter that reads cases and writes a line for each."""

    def __init__(self, argv):
        self.proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, kind, cases):
        data = b"".join(kind + struct.pack(">I", len(c)) + c for c in cases)

        def feed():
            self.proc.stdin.write(data)
            self.proc.stdin.flush()
        t = threading.Thread(target=feed)
        t.start()
        out = []
        for _ in cases:
            line = self.proc.stdout.readline()
            if not line:
                raise SystemExit("a filter ended early")
            out.append(line.decode("latin1").rstrip("\n"))
        t.join()
        return out

    def close(self):
        self.proc.stdin.close()
        return self.proc.wait(timeout=30)


class Verdict:
    def __init__(self, line):
        left, self.why = line.split(" | ", 1)
        words = left.split(" ")
        self.end, self.heads = words[0], int(words[1])
        self.messages = [tuple(int(x) for x in w.split(",")) for w in words[3:]]

    def done(self):
        return [m for m in self.messages if m[4]]


# What we see, in their words, in the bytes, and why it is right.
REFUSE = "they refuse what we take"
EXPECTED = [
    (b"Q", REFUSE, "HPE_INVALID_METHOD", rb"",
        "any token is a method (RFC 9110 9.1); policy decides which pass"),
    (b"Q", REFUSE, "HPE_INVALID_URL Invalid char in url (path|query)", rb"[\x80-\xff]",
        "UTF-8 in a target is escaped and passed on"),
    (b"Q", REFUSE, "HPE_INVALID_URL Unexpected char in url schema", rb"[!-~]  HTTP/1",
        "an empty target is the root"),
    (b"Q", REFUSE, "HPE_INVALID_URL Unexpected start char in url", rb"", "an empty target is the root"),
    (b"QS", REFUSE, "HPE_INVALID_CONTENT_LENGTH", rb"(?i)content-length:[^\r]*[0-9][ ]*\t[ \t]*\r",
        "a tab behind a value is white space (RFC 9110 5.6.3)"),
    (b"S", "another body", "^$", rb"(?i)transfer-encoding:[^\r]*\t\s*\r",
        "a tab behind a value is white space (RFC 9110 5.6.3)"),
    (b"Q", REFUSE, "HPE_INVALID_TRANSFER_ENCODING", rb"(?i)transfer-encoding:[^\r]*\t\s*\r",
        "a tab behind a value is white space (RFC 9110 5.6.3)"),
    (b"Q", REFUSE, "HPE_INVALID_TRANSFER_ENCODING", rb"(?i)transfer-encoding:[^\r]*;",
        "parameters of a coding mean nothing; what is passed on has none"),
    (b"S", "another body", "^$", rb"HTTP/1\.[01] 304",
        "a 304 has no body (RFC 9112 6.3); Node before 20 reads one"),
]


def compare(kind, ours, theirs):
    """None, or in what way theirs is not a reading of the same messages."""
    mine, other = ours.done(), theirs.done()
    for i, m in enumerate(mine):
        if i >= len(other):
            return "they refuse what we take" if theirs.end == "bad" else "they wait for more"
        o = other[i]
        if m[2:4] != o[2:4]:
            return "another body"
        if m[:2] != o[:2]:
            return "other fields"
    if ours.end == "open" and len(other) > len(mine):
        return "we wait for more"
    return None


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--count", type=int, default=int(os.environ.get("REEVE_DIFFERENTIAL", "80000")))
    a.add_argument("--seconds", type=int, default=0)
    a.add_argument("--show", type=int, default=3)
    o = a.parse_args()
    if not shutil.which("node"):
        print("skip: node is not installed")
        sys.exit(77)
    ours = Judge([BUILD + "/http_judge"])
    theirs = Judge(["node", "--no-warnings", HERE + "/llhttp_judge.js"])
    found, stricter = collections.defaultdict(list), collections.Counter()
    total = 0

    def run(kind, cases):
        nonlocal total
        mine, other = ours.ask(kind, cases), theirs.ask(kind, cases)
        total += len(cases)
        for c, m, n in zip(cases, mine, other):
            v, w = Verdict(m), Verdict(n)
            what = compare(kind, v, w)
            if what:
                if not any(kind in k and see == what and re.search(words, w.why) and re.search(raw, c)
                           for k, see, words, raw, _ in EXPECTED):
                    found[kind.decode() + " " + what + ": " + w.why].append((c, m, n))
            elif v.end == "bad" and w.end != "bad":
                stricter[v.why] += 1

    def batches(cases, size=2000):
        part = []
        for c in cases:
            part.append(c)
            if len(part) == size:
                yield part
                part = []
        if part:
            yield part
    for part in batches(raw for _, raw, _ in hostile.requests()):
        run(b"Q", part)
    stop, seed = time.monotonic() + o.seconds, o.seed
    while True:
        for part in batches(hostile.mutations(seed, o.count * 3 // 4)):
            run(b"Q", part)
        for part in batches(hostile.mutations(seed, o.count // 4, answers=True)):
            run(b"S", part)
        seed += 1
        if time.monotonic() >= stop:
            break
    assert ours.close() == 0 and theirs.close() == 0
    for what, cases in sorted(found.items()):
        print("# %s: %d" % (what, len(cases)))
        for c, m, n in cases[:o.show]:
            print("#   %r\n#     here  %s\n#     there %s" % (c, m, n))
    if o.show > 3:
        for why, n in stricter.most_common():
            print("# stricter: %6d %s" % (n, why))
    print("%s 1 - %d cases, %d of them read otherwise than by llhttp without a reason" %
          ("not ok" if found else "ok", total, sum(len(v) for v in found.values())))
    sys.exit(1 if found else 0)


main()
