#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Enrols devices with an enrolment key, as doc/architecture section 7 says it: a second
implementation of the protocol, that trusts none of ours.

usage: enrol.py KEY COUNT [--prefix NAME] [--log FILE] [--forge]

For every device that the coordinator acknowledged, a line "NAME PUBLIC-KEY V4 V6" goes to
FILE (default: standard output) before the next begins. An enrolment that is cut off is
begun again with a new key; after 30 s without an answer it gives up. With --forge the
proof is a wrong one: the coordinator must refuse.
"""
import argparse
import base64
import hashlib
import hmac
import http.client
import json
import os
import socket
import ssl
import sys
import time
import urllib.parse

P = 2**255 - 19


def x25519(scalar, point):
    """RFC 7748, section 5."""
    k = bytearray(scalar)
    k[0] &= 248
    k[31] = k[31] & 127 | 64
    k = int.from_bytes(k, "little")
    x1 = int.from_bytes(point, "little") & (2**255 - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b = x2 + z2, x2 - z2
        aa, bb = a * a % P, b * b % P
        e = aa - bb
        da, cb = (x3 - z3) * a % P, (x3 + z3) * b % P
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


BASE = (9).to_bytes(32, "little")


def b64(b):
    return base64.b64encode(b).decode()


def b64url(b):
    return base64.urlsafe_b64encode(b).decode().rstrip("=")


def unb64url(s):
    return base64.urlsafe_b64decode(s + "=" * (-len(s) % 4))


def spki_pin(der):
    """SHA-256 of SubjectPublicKeyInfo: the sixth or seventh member of TBSCertificate."""
    def item(at):
        n, head = der[at + 1], 2
        if n & 0x80:
            head += n & 0x7F
            n = int.from_bytes(der[at + 2:at + head], "big")
        return at + head, at + head + n
    inside, _ = item(0)
    at, _ = item(inside)
    if der[at] == 0xA0:
        at = item(at)[1]
    for _ in range(5):          # serial, algorithm, issuer, validity, subject
        at = item(at)[1]
    return hashlib.sha256(der[at:item(at)[1]]).digest()


class Key:
    def __init__(self, text):
        parts = text.split(".")
        if parts[0] != "rk1" or len(parts) < 4:
            sys.exit("not an enrolment key")
        self.url = unb64url(parts[1]).decode()
        self.secret = parts[2]
        self.pins = [unb64url(p) for p in parts[3:]]


class Refused(Exception):
    pass


def connect(key):
    u = urllib.parse.urlsplit(key.url)
    c = http.client.HTTPConnection(u.hostname, u.port or 443, timeout=5)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    raw = socket.create_connection((u.hostname, u.port or 443), timeout=5)
    c.sock = tls.wrap_socket(raw, server_hostname=u.hostname)
    pin = spki_pin(c.sock.getpeercert(binary_form=True))
    if pin not in key.pins:
        sys.exit("the hub's TLS key is not the pinned one")
    return c, pin


def post(c, path, body):
    c.request("POST", path, body, {"Content-Type": "application/json"})
    r = c.getresponse()
    text = r.read()
    if r.status >= 500:
        raise OSError("HTTP %d" % r.status)
    if r.status >= 300:
        raise Refused("HTTP %d %s" % (r.status, text.decode(errors="replace")))
    return json.loads(text)


def enrol(key, name, forge=False):
    device = os.urandom(32)
    public = x25519(device, BASE)
    c, pin = connect(key)
    try:
        start = json.dumps({"v": 1, "key": b64(public), "name": name, "os": "test",
                            "enrol_key": key.secret, "pin": b64url(pin)}).encode()
        ask = post(c, "/v1/enrol/start", start)
        challenge, ephemeral = unb64url(ask["challenge"]), base64.b64decode(ask["ephemeral"])
        shared = x25519(device, ephemeral)
        if forge:
            shared = os.urandom(32)
        proof = hmac.digest(shared, b"reeve enrol v1\0" + challenge + pin + public + ephemeral +
                            hashlib.sha256(start).digest(), "sha256")
        done = post(c, "/v1/enrol/prove", json.dumps({"attempt": ask["attempt"],
                                                      "proof": b64url(proof)}))
    finally:
        c.close()
    node = done["node"]
    if node["key"] != b64(public):
        raise Refused("another key came back")
    return node["name"], node["key"], node["v4"], node["v6"]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("key")
    ap.add_argument("count", type=int)
    ap.add_argument("--prefix", default="dev")
    ap.add_argument("--log")
    ap.add_argument("--forge", action="store_true")
    o = ap.parse_args()
    key = Key(o.key)
    out = open(o.log, "a") if o.log else sys.stdout
    for i in range(o.count):
        limit = time.monotonic() + 30
        while True:
            try:
                print(*enrol(key, "%s-%d" % (o.prefix, i), o.forge), file=out, flush=True)
                break
            except Refused as e:
                sys.exit("refused: %s" % e)
            except (OSError, http.client.HTTPException, ValueError, KeyError) as e:
                if time.monotonic() > limit:
                    sys.exit("gave up: %s" % e)
                time.sleep(0.05)


if __name__ == "__main__":
    main()
