#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every check of an ID token altered one at a time: mutate.mjs lies, idp/ (as tests/idp/rp)
refuses each lie for its own reason, and the honest ones pass."""

import os
import shutil
import ssl
import sys
import tempfile
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import flow  # noqa: E402
import idp  # noqa: E402

# lie -> the reason's name; "ok", or words of a refusal that reaches no token
WANT = {
    "alg_none": "alg", "alg_none_signed": "alg", "alg_missing": "alg", "alg_hs256_public_key": "alg",
    "alg_hs256_modulus": "alg", "alg_eddsa_as_ec": "key", "alg_not_allowed": "alg",
    "at_hash_ed_other": "at_hash",
    "alg_of_other_key": "key", "alg_not_of_key": "key",
    "kid_unknown": "kid", "kid_missing": "kid", "kid_encryption": "kid", "kid_weak": "kid",
    "jwk_header": "signature", "signature_of_stranger": "signature", "signature_cut": "signature",
    "signature_missing": "signature", "payload_changed": "signature",
    "crit": "crit", "crit_empty": "crit", "b64_false": "crit",
    "typ_access_token": "typ", "typ_logout": "typ",
    "header_twice": "json", "claims_twice": "json", "claims_twice_deep": "json",
    "claims_no_object": "json",
    "base64_padded": "base64", "base64_standard": "base64",
    "base64_newline": "/no text", "parts_two": "form", "parts_five": "form", "too_long": "/id_token",
    "iss_other": "iss", "iss_slash": "iss", "iss_missing": "iss",
    "aud_other": "aud", "aud_missing": "aud", "aud_more": "aud", "azp_other": "azp",
    "sub_missing": "sub", "sub_number": "sub", "sub_long": "sub",
    "nonce_other": "nonce", "nonce_missing": "nonce",
    "exp_passed": "exp", "exp_missing": "exp", "exp_text": "exp",
    "iat_future": "iat", "iat_old": "iat", "iat_missing": "iat", "nbf_future": "nbf",
    "auth_time_missing": "auth_time", "auth_time_old": "auth_time", "auth_time_future": "auth_time",
    "acr_missing": "acr", "acr_other": "acr",
    "amr_missing": "mfa", "amr_one": "mfa", "amr_text": "claim",
    "at_hash_other": "at_hash",
    "email_unverified": "login", "email_verified_text": "login", "email_other_domain": "login",
    "email_odd": "claim", "groups_many": "claim", "groups_odd": "claim", "events": "event",
    "userinfo_other_sub": "sub", "userinfo_acr": "mfa", "userinfo_redirect": "/userinfo: HTTP 302",
    "token_redirect": "/token endpoint", "token_huge": "/longer than", "token_garbage": "/token endpoint",
    "token_twice": "/token endpoint", "token_none": "/no id_token",
    "callback_iss_other": "/issuer", "callback_iss_missing": '/"iss"',
    "callback_error_html": "/provider says",
    "honest": "ok", "honest_ec": "ok", "honest_ed": "ok", "honest_ps": "ok", "honest_no_kid": "ok",
    "honest_aud_list": "ok", "honest_exp_edge": "ok", "at_hash_missing": "ok", "groups_empty": "ok",
    "userinfo_honest": "ok",
}


# a description's lie -> what the refusal says
DESCRIPTIONS = {
    "other_issuer": "it describes issuer", "issuer_slash": "it describes issuer",
    "issuer_missing": "it describes issuer", "http_keys": '"jwks_uri" is no https',
    "file_keys": '"jwks_uri" is no https', "http_token": '"token_endpoint" is no https',
    "script_auth": '"authorization_endpoint" is no https', "no_token": "it has no",
    "redirect": "discovery: HTTP 302", "status": "discovery: HTTP 503", "html": "discovery: JSON",
    "huge": "longer than", "drip": "no answer in time", "cut": "discovery:", "headers": "longer than",
    "twice": "discovery: JSON", "deep": "nested", "empty": "discovery: JSON",
    "keys_redirect": "keys: HTTP 302", "keys_huge": "longer than", "keys_drip": "no answer in time",
    "keys_empty": "none of 0", "keys_secret": "none of 1", "keys_garbage": "keys: JSON",
    "honest": "",
}


class Liar(flow.World):
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="reeve-mutate-")
        self.port = flow.free_port()
        self.issuer = idp.new(self.dir, "127.0.0.1:%d" % self.port, "127.0.0.1", [flow.REDIRECT])
        self.idp = idp.start(self.dir, "mutate.mjs")
        self.row = {
            "issuer": self.issuer, "client-id": "reeve", "domains": ["example.edu"],
            "client-secret-file": os.path.join(self.dir, "client-secret"),
            "ca": os.path.join(self.dir, "cert.pem"), "timeout": "20s", "leeway": "10s",
            "algorithms": ["RS256", "PS256", "ES256", "EdDSA"], "max-age": "1h",
        }

    def described(self):
        """One relying party that knows every one of them."""
        return flow.Rp(self.dir, {"issuers": {name: dict(
            self.row, **{"issuer": "%s/d/%s" % (self.issuer, name), "client-id": name,
                         "timeout": "2s" if want == "no answer in time" else "20s"})
            for name, want in DESCRIPTIONS.items()}})

    def login_at(self, rp, name):
        r = rp.ask(do="start", provider=name, redirect=flow.REDIRECT)
        if "url" not in r:
            return r
        b = idp.Browser([os.path.join(self.dir, "cert.pem")])
        end, _, _ = b.go("GET", r["url"], stop=(flow.REDIRECT,))
        return rp.ask(do="finish", id=r["id"], query=urllib.parse.urlsplit(end).query)

    def lie(self, rp, name):
        options = {"acr_values": "urn:example:acr:mfa"} if name.startswith("acr") else {}
        r = rp.ask(do="start", provider="uni", redirect=flow.REDIRECT, login_hint=name, **options)
        if "url" not in r:
            return r
        b = idp.Browser([os.path.join(self.dir, "cert.pem")])
        end, _, _ = b.go("GET", r["url"], stop=(flow.REDIRECT,))
        return rp.ask(do="finish", id=r["id"], query=urllib.parse.urlsplit(end).query)


def told(r, want):
    if want == "ok":
        return "identity" in r
    if want[0] == "/":
        return want[1:] in r.get("refused", "") and r.get("token") == "unchecked"
    return r.get("token") == want


def main():
    if not shutil.which("node") or not shutil.which("openssl"):
        print("1..0 # SKIP node or openssl is not installed")
        sys.exit(77)
    w = Liar()
    try:
        rp = w.rp()
        for name, want in WANT.items():
            r = w.lie(rp, name)
            flow.check("%s: %s" % (name, want.lstrip("/")), told(r, want), r)
        r = w.lie(rp, "groups_empty")
        flow.check("empty groups are groups", r.get("identity", {}).get("groups") == [], r)
        r = w.lie(rp, "callback_error_html")
        flow.check("the provider's text stays out of the words", "<" not in r["words"], r)
        r = w.lie(rp, "honest_late_key")
        flow.check("a key that turned up less than a minute after a fetch waits", told(r, "kid"), r)
        flow.check("the relying party ends cleanly", rp.close() == 0)
        rp = w.rp()
        r = w.lie(rp, "honest_late_key")
        flow.check("a key that turned up later is fetched", told(r, "ok"), r)
        tls = ssl.create_default_context(cafile=os.path.join(w.dir, "cert.pem"))
        n = urllib.request.urlopen(w.issuer + "/fetches", context=tls).read()
        flow.check("two relying parties fetched keys twice in all", b'"fetches":2' in n, n)
        rp.close()
        rp = w.described()
        for name, want in DESCRIPTIONS.items():
            r = w.login_at(rp, name)
            flow.check("description %s: %s" % (name, want or "ok"), want in r["refused"] if want and "refused" in r
                       else not want and "identity" in r, r)
        a = rp.ask(do="start", provider="honest", redirect=flow.REDIRECT)
        b = idp.Browser([os.path.join(w.dir, "cert.pem")])
        end, _, _ = b.go("GET", a["url"].replace("client_id=honest", "client_id=reeve"), stop=(flow.REDIRECT,))
        r = rp.ask(do="finish", id=a["id"], query=urllib.parse.urlsplit(end).query)
        flow.check("a mix-up: another issuer answers the attempt", "issuer" in r.get("refused", ""), r)
        flow.check("the relying party of twenty-five issuers ends cleanly", rp.close() == 0)
    finally:
        w.close()
    flow.summary()


if __name__ == "__main__":
    main()
