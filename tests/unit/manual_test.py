#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""The manual of each daemon has every row of its configuration table, as --help-conf prints it.
With --write, what is out of date in doc/ is written anew."""
import os
import re
import subprocess
import sys

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BUILD = os.environ.get("top_builddir") or "."
BEGIN = ".Bl -tag -width Ds\n.It Ic "


def body(text):
    """From the first row's list to its own end; what encloses it in the manual is not part of it."""
    at = text.find(BEGIN)
    if at < 0:
        return None
    depth, lines = 0, []
    for line in text[at:].splitlines(True):
        depth += line.startswith(".Bl ") - line.startswith(".El")
        lines.append(line)
        if depth == 0:
            break
    return "".join(lines)


def anywhere(text):
    """Where a build puts its state is configure's choice."""
    return re.sub(r"(?m)^\.Ql /\S*/(reeve[^/\s]*) \.$", r".Ql \1 .", text)


def rows(text):
    return re.findall(r"(?m)^\.It Ic (\S+)$", text)


failed = 0
n = 0
BUILT = ".Ql /tmp/reeve-x/dist/reeve-0.1/_inst/var/lib/reeve-coordinator .\n"


def ok(good, what, detail=""):
    global n, failed
    n += 1
    failed += not good
    print("%s %d - %s" % ("ok" if good else "not ok", n, what))
    if not good and detail:
        print("# " + str(detail).replace("\n", "\n# ")[:2000])


ok(anywhere(BUILT) == anywhere(".Ql /var/lib/reeve-coordinator .\n") != anywhere(".Ql /var/lib/reeve .\n"),
   "a build elsewhere is the same to it")
for daemon in ("reeved", "reeve-coordinator"):
    path = os.path.join(TOP, "doc", daemon + ".8")
    says = subprocess.run([os.path.join(BUILD, daemon), "--help-conf"], capture_output=True, text=True, timeout=60)
    man = open(path).read()
    want, have = body(says.stdout), body(man)
    ok(says.returncode == 0 and want and len(rows(want)) > 20, "%s prints its rows" % daemon, says.stderr)
    if "--write" in sys.argv and want and have and anywhere(want) != anywhere(have):
        with open(path, "w") as f:
            f.write(man.replace(have, want, 1))
        have = want
    missing = [r for r in rows(want or "") if r not in rows(have or "")]
    ok(not missing, "doc/%s.8 has each of them" % daemon, missing)
    ok(have is not None and anywhere(want) == anywhere(have), "with its type, range, default and meaning",
       "tests/unit/manual_test.py --write in the build directory brings doc/ up to date")
    for row in ("state-dir", "run-dir"):
        other = (want or "").replace(".It Ic %s\n" % row, "")
        ok(anywhere(other) != anywhere(have or ""), "a page without %s would be seen" % row)
print("1..%d" % n)
sys.exit(failed != 0)
