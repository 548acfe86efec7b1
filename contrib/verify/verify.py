#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Checks an X-Reeve-Assertion. See README for the order of the checks."""
import base64
import json
import re
import sys
import time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256

LEEWAY = 5
LIFE_MAX = 300


class Refused(Exception):
    pass


def unbase64(text):
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text) or len(text) % 4 == 1:
        raise Refused("not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def once(pairs):
    out = dict(pairs)
    if len(out) != len(pairs):
        raise Refused("a member appears twice")
    return out


def unjson(text):
    try:
        out = json.loads(unbase64(text), object_pairs_hook=once)
    except ValueError:
        raise Refused("not JSON")
    if not isinstance(out, dict):
        raise Refused("not a JSON object")
    return out


def verify(token, jwks, issuer, audience, method=None, path=None, now=None):
    """Returns the claims, or raises Refused. jwks is the parsed key set."""
    parts = token.split(".")
    if len(parts) != 3:
        raise Refused("not three parts")
    head, claims = unjson(parts[0]), unjson(parts[1])
    if head.get("alg") != "ES256" or "crit" in head:
        raise Refused("alg is not ES256, or there is a crit")
    key = next((k for k in jwks["keys"] if k.get("kid") == head.get("kid")), None)
    if not key or key.get("kty") != "EC" or key.get("crv") != "P-256":
        raise Refused("no such key")
    sig = unbase64(parts[2])
    if len(sig) != 64:
        raise Refused("the signature is not 64 bytes")
    x, y = (int.from_bytes(unbase64(key[c]), "big") for c in "xy")
    r, s = (int.from_bytes(sig[i:i + 32], "big") for i in (0, 32))
    try:
        ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key().verify(
            utils.encode_dss_signature(r, s), f"{parts[0]}.{parts[1]}".encode(), ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise Refused("the signature does not hold")
    if claims.get("iss") != issuer or claims.get("aud") != audience:
        raise Refused("for another host or service")
    now = time.time() if now is None else now
    iat, exp = claims.get("iat"), claims.get("exp")
    if type(iat) is not int or type(exp) is not int or exp - iat > LIFE_MAX:
        raise Refused("no proper lifetime")
    if not iat - LEEWAY <= now < exp + LEEWAY:
        raise Refused("expired, or not yet valid")
    if method is not None and (claims.get("htm"), claims.get("htp")) != (method, path):
        raise Refused("for another request")
    return claims


if __name__ == "__main__":
    try:
        with open(sys.argv[1], encoding="utf-8") as f:
            print(json.dumps(verify(sys.stdin.read().strip(), json.load(f), *sys.argv[2:])))
    except Refused as why:
        sys.exit(f"refused: {why}")
