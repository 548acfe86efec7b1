#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a coordinator that lies could have signed: a login of an account through a client of the
provider that it holds, with a nonce that commits to a device key of its choice. Prints
{"id_token","opening","as_sent"}: the opening in hex and as base64url; the binding is computed here, apart from idp/evidence.c.

  mint.py DIR CLIENT REDIRECT ACCOUNT KEY-BASE64
"""
import base64
import hashlib
import json
import os
import sys
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import idp  # noqa: E402


def b64url(raw):
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def main():
    where, client, redirect, account, key = sys.argv[1:6]
    conf = json.load(open(os.path.join(where, "idp.json")))
    person = json.load(open(os.path.join(where, "accounts.json")))[account]
    opening, verifier = os.urandom(32), b64url(os.urandom(32))
    nonce = hashlib.sha256(b"reeve binding v1" + base64.b64decode(key) + opening).digest()
    ask = {"client_id": client, "response_type": "code", "redirect_uri": redirect, "scope": "openid profile email groups",
           "state": b64url(os.urandom(32)), "nonce": b64url(nonce), "max_age": "3600", "code_challenge_method": "S256",
           "code_challenge": b64url(hashlib.sha256(verifier.encode()).digest())}
    browser = idp.Browser([os.path.join(where, "cert.pem")])
    end = idp.login(conf["issuer"] + "/auth?" + urllib.parse.urlencode(ask), [redirect], account, person["password"],
                    person["totp"], browser)
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(end).query)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier,
            "client_id": client}
    secret = next(c for c in conf["clients"] if c["client_id"] == client).get("client_secret")
    url = urllib.parse.urlsplit(conf["issuer"] + "/token")
    if secret:
        basic = base64.b64encode(("%s:%s" % (client, secret)).encode()).decode()
        form.pop("client_id")
    import http.client
    c = http.client.HTTPSConnection(url.hostname, url.port or 443, context=browser.tls, timeout=60)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if secret:
        headers["Authorization"] = "Basic " + basic
    c.request("POST", url.path, urllib.parse.urlencode(form), headers)
    answer = c.getresponse()
    text = answer.read()
    if answer.status != 200:
        sys.exit("token endpoint: %d %s" % (answer.status, text))
    print(json.dumps({"id_token": json.loads(text)["id_token"], "opening": opening.hex(), "as_sent": b64url(opening)}))


if __name__ == "__main__":
    main()
