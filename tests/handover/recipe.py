# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tests that run doc/recipes have in common: a recipe's parts, read from its
text, and a request with who sends it.

Paths below /etc, /srv, /run and /var are looked for below the test's own folder.
"""
import base64
import json
import os
import re
import socket

import harness
from harness import check

DOC = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../doc/recipes")
FORGED = ["Remote-User: admin", "X-Remote-User: admin", "Remote_User: admin", "X-Forwarded-User: admin", "REMOTE-USER: admin",
          "Authorization: Basic " + base64.b64encode(b"admin:x").decode()]


class End(str):
    """What goes to the end of a file that the package brings."""


def root():
    return f"{harness.TMP}/root"


def moved(text):
    return re.sub(r"(?<![\w.])/(etc|srv|run|var)(?=/)", root() + r"/\1", text)


def recipe(name):
    """(service's name and row, grants, {path: text})"""
    with open(f"{DOC}/{name}", encoding="utf-8") as f:
        lines = f.read().split("\n")
    blocks, ends = {}, set()
    at = None
    for line in lines:
        word = line.split(" ")
        if line in ("SERVICE", "GRANTS") or (word[0] in ("FILE", "END") and len(word) == 2):
            at = word[-1]
            blocks[at] = []
            if word[0] == "END":
                ends.add(at)
        elif line and not line.startswith("  "):
            at = None
        elif at:
            blocks[at].append(line[2:])
    text = {k: moved("\n".join(v).strip("\n")) + "\n" for k, v in blocks.items()}
    service = json.loads("{" + text.pop("SERVICE") + "}")
    grants = json.loads("[" + text.pop("GRANTS") + "]")
    return service, grants, {moved(k): End(v) if k in ends else v for k, v in text.items()}


def service_lines(name):
    """How many lines a service owner adds."""
    with open(f"{DOC}/{name}", encoding="utf-8") as f:
        return len(f.read().split("\nSERVICE\n")[1].split("\n\n")[0].splitlines())


def put(files):
    for path, text in files.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "a" if isinstance(text, End) else "w", encoding="utf-8") as f:
            f.write(text)
        if not isinstance(text, End):
            os.chmod(path, 0o755 if text.startswith("#!") else 0o644)


def ask(host, target="/", source="127.0.0.1", headers=(), method="GET", body=b"", port=80, at="127.0.0.1"):
    """(status, body as text)"""
    s = socket.create_connection((at, port), timeout=60, source_address=(source, 0))
    s.sendall("\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *headers,
                           "Connection: close"]).encode() + b"\r\n\r\n" + body)
    data = b""
    while more := s.recv(65536):
        data += more
    s.close()
    head, _, rest = data.partition(b"\r\n\r\n")
    if re.search(rb"\r\ntransfer-encoding: *chunked(\r|$)", head.lower()):
        rest = harness.whole(rest)
    return (int(head.split()[1]) if head else 0), rest.decode("utf-8", "replace")


def refusals(name, host, target="/", **more):
    a = ask(host, target, "127.0.0.3", **more)
    check(f"{name}: nobody is refused", a[0] == 403, a)
    a = ask(host, target, "127.0.0.3", FORGED, **more)
    check(f"{name}: nor does a forgery help", a[0] == 403, a)
