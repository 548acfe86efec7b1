#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Secrets of known value, and the search for them: in what form they may have been written, and where.

In a script: Canaries. On the command line, with a folder that has one secret a file:

  canary.py keep FOLDER NAME [VALUE]      from standard input without VALUE; a newline at the end is not part of it
  canary.py keep-key FOLDER NAME PEM      of a private key's file: the number, and a line of it
  canary.py keep-json FOLDER NAME PATH    base64url of standard input's member: /keys/0/d
  canary.py keep-cookies FOLDER JAR...    whatever is long in these jars of http.cookiejar.LWPCookieJar
  canary.py keep-urls FOLDER              of the URLs on standard input what only the browser may know
  canary.py text FOLDER FILE...           the names found in these files (and folders), "NAME: FILE" a line
  canary.py memory FOLDER PID NAME...     those of these names that are in that process's memory, one a line
"""
import base64
import http.cookiejar
import json
import os
import re
import subprocess
import sys
import urllib.parse

SHORTEST = 8        # what is shorter would be found by accident
CHUNK = 4 << 20


def forms(value):
    """As it may be written: itself, in hex, escaped, in base64 by itself and in the midst of something else, and
    backwards, as numbers are kept in memory."""
    found = {value, value.hex().encode(), value.hex().upper().encode(), urllib.parse.quote_plus(value).encode(), value[::-1]}
    for before in range(3):
        # without the characters in which its neighbours have a part
        b64 = base64.b64encode(b"\0" * before + value)
        b64 = b64[(0, 2, 3)[before]:len(b64) - (0, 3, 2)[(before + len(value)) % 3]]
        if len(b64) >= SHORTEST:
            found |= {b64, b64.replace(b"+", b"-").replace(b"/", b"_")}
    return found


class Canaries(dict):
    """What it is: its bytes."""

    def add(self, what, value):
        value = value.encode() if isinstance(value, str) else value
        if len(value) < SHORTEST:
            raise RuntimeError("%s is too short to be looked for: %r" % (what, value))
        self[what] = value
        return value

    def found_in(self, text):
        return sorted(k for k, v in self.items() if any(f in text for f in forms(v)))


def in_url(url):
    """What of a login's URL only the browser may know, with names."""
    for k, v in urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query):
        if k in ("code", "ticket", "state", "nonce", "t") and len(v) >= 16:
            yield "%s %s..." % (k, v[:3]), v.rpartition(".")[2]


def in_jar(jar):
    """What of a browser's cookies only it may know, with names."""
    for c in jar:
        if len(c.value or "") >= 16:
            yield "cookie %s %s..." % (c.name, c.value[:3]), c.value.rpartition(".")[2]


def mappings(pid):
    """What a process may have written itself: (first, last) of its writable memory. Not a sanitizer's notes of which
    bytes are what, which are terabytes of nothing."""
    for line in open("/proc/%d/maps" % pid, encoding="ascii", errors="replace"):
        at, how = line.split()[:2]
        first, last = (int(x, 16) for x in at.split("-"))
        if how.startswith("rw") and last - first < 1 << 33:
            yield first, last


def memory(pid):
    """Its bytes, in pieces of which each begins with the end of the one before."""
    with open("/proc/%d/mem" % pid, "rb", buffering=0) as mem:
        for first, last in mappings(pid):
            rest = b""
            while first < last:
                try:
                    mem.seek(first)
                    piece = mem.read(min(CHUNK, last - first))
                except OSError:
                    break       # the kernel's own pages, and what has gone meanwhile
                if not piece:
                    break
                yield rest + piece
                rest, first = piece[-1024:], first + len(piece)


def in_memory(canaries, pid):
    """The names of those in it, and how many bytes were looked at."""
    wanted = {k: forms(v) for k, v in canaries.items()}
    found, size = set(), 0
    for piece in memory(pid):
        size += len(piece)
        found |= {k for k, fs in wanted.items() if k not in found and any(f in piece for f in fs)}
    return sorted(found), size


# ---- the command ----

def load(folder):
    all_ = Canaries()
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as f:
            all_.add(name, f.read())
    return all_


def keep(folder, name, value):
    Canaries().add(name, value)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(value)


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def files(paths):
    for p in paths:
        if os.path.isdir(p):
            for folder, _, names in os.walk(p):
                yield from (os.path.join(folder, n) for n in names)
        else:
            yield p


def main(what, folder, *args):
    if what == "keep":
        value = args[1].encode() if len(args) > 1 else sys.stdin.buffer.read()
        keep(folder, args[0], value[:-1] if value.endswith(b"\n") else value)
    elif what == "keep-json":
        at = json.load(sys.stdin)
        for member in args[1].strip("/").split("/"):
            at = at[int(member)] if isinstance(at, list) else at[member]
        keep(folder, args[0], unb64(at))
    elif what == "keep-key":
        said = subprocess.run(["openssl", "pkey", "-in", args[1], "-noout", "-text"], check=True, capture_output=True, text=True).stdout
        number = re.search(r"priv(?:ateExponent)?:\s*((?:[0-9a-f]{2}:?\s*)+)", said).group(1)
        keep(folder, args[0], bytes.fromhex(re.sub(r"[:\s]", "", number)).lstrip(b"\0"))
        keep(folder, args[0] + ", a line of it", open(args[1], "rb").read().split(b"\n")[2])
    elif what == "keep-cookies":
        for path in args:
            jar = http.cookiejar.LWPCookieJar(path)
            jar.load(ignore_discard=True)
            for name, value in in_jar(jar):
                keep(folder, name, value.encode())
    elif what == "keep-urls":
        for url in re.findall(r"https?://\S+", sys.stdin.read()):
            for name, value in in_url(url):
                keep(folder, name, value.encode())
    elif what == "text":
        canaries = load(folder)
        for path in files(args):
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    for name in canaries.found_in(f.read()):
                        print("%s: %s" % (name, path))
    elif what == "memory":
        canaries = load(folder)
        found, size = in_memory({n: canaries[n] for n in args[1:]}, int(args[0]))
        if size < 1 << 16:
            sys.exit("%s: %d bytes were to be read" % (args[0], size))
        print(*found, sep="\n", end="\n" if found else "")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
