#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whole logins: idp/ (as tests/idp/rp) against oidc-provider, in one process each,
over TLS on loopback. Every check shows the refusal first."""

import base64
import http.server
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import idp  # noqa: E402
from idp import free_port  # noqa: E402,F401

TOP = os.environ.get("top_builddir", ".")
RP = os.path.join(TOP, "tests/idp/rp")
passed, failed = [], []


def check(name, ok, detail=""):
    (passed if ok else failed).append(name)
    print("%s %d - %s%s" % ("ok" if ok else "not ok", len(passed) + len(failed), name,
                            "" if ok else " # " + str(detail)), flush=True)


def summary():
    print("1..%d" % (len(passed) + len(failed)))
    print("# %d passed, %d failed" % (len(passed), len(failed)))
    sys.exit(1 if failed else 0)


class Rp:
    """One relying party; ask() sends a line and returns the answer."""

    def __init__(self, where, conf):
        path = os.path.join(where, "rp.hujson")
        with open(path, "w") as f:
            json.dump(conf, f)
        self.p = subprocess.Popen([RP, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send(self, **what):
        self.p.stdin.write(json.dumps(what) + "\n")
        self.p.stdin.flush()

    def read(self):
        line = self.p.stdout.readline()
        if not line:
            raise RuntimeError("rp ended with %s" % self.p.wait())
        return json.loads(line)

    def ask(self, **what):
        self.send(**what)
        return self.read()

    def close(self):
        self.p.stdin.close()
        return self.p.wait(60)


REDIRECT = "https://hub.example.edu/login/callback"
LOOPBACK = "http://127.0.0.1:54321/callback"


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def new_key(path, kind, curve="P-256"):
    """A private key in PEM at path; its public half as a JWK."""
    how = ["EC", "-pkeyopt", "ec_paramgen_curve:" + curve] if kind == "ec" else \
        ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
    subprocess.run(["openssl", "genpkey", "-algorithm", *how, "-out", path], check=True,
                   stderr=subprocess.DEVNULL)
    os.chmod(path, 0o600)
    if kind == "ec":
        der = subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-outform", "DER"],
                             check=True, capture_output=True).stdout
        return {"kty": "EC", "crv": "P-256", "x": b64(der[-64:-32]), "y": b64(der[-32:]),
                "kid": "k1", "use": "sig"}
    n = subprocess.run(["openssl", "rsa", "-in", path, "-noout", "-modulus"], check=True,
                       capture_output=True, text=True).stdout.strip().split("=")[1]
    return {"kty": "RSA", "n": b64(bytes.fromhex(n)), "e": "AQAB", "kid": "k1", "use": "sig"}


class World:
    def __init__(self, **more):
        self.dir = tempfile.mkdtemp(prefix="reeve-idp-")
        self.port = free_port()
        self.issuer = idp.new(self.dir, "127.0.0.1:%d" % self.port, "127.0.0.1", [REDIRECT], **more)
        self.add_key_clients()
        self.idp = idp.start(self.dir)
        self.accounts = json.load(open(os.path.join(self.dir, "accounts.json")))
        self.row = {
            "issuer": self.issuer, "client-id": "reeve",
            "client-secret-file": os.path.join(self.dir, "client-secret"),
            "ca": os.path.join(self.dir, "cert.pem"), "domains": ["example.edu"],
            "scopes": ["profile", "email", "groups"], "device-client-id": "reeve-device",
            "timeout": "20s",
        }

    def add_key_clients(self):
        path = os.path.join(self.dir, "idp.json")
        conf = json.load(open(path))
        for kind in ("ec", "rsa"):
            jwk = new_key(os.path.join(self.dir, kind + ".pem"), kind)
            conf["clients"].append({
                "client_id": "reeve-" + kind, "redirect_uris": [REDIRECT],
                "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [jwk]},
                "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"]})
        idp.write_private(path, json.dumps(conf))

    def rp(self, **rows):
        row = dict(self.row, **rows)
        return Rp(self.dir, {"issuers": {"uni": {k: v for k, v in row.items() if v is not None}}})

    def browse(self, url, account="staff@example.edu", stop=(REDIRECT, LOOPBACK), browser=None):
        a = self.accounts[account]
        b = browser or idp.Browser([os.path.join(self.dir, "cert.pem")])
        end = idp.login(url, stop, account, a["password"], a["totp"], b)
        return urllib.parse.urlsplit(end).query

    def login(self, rp, account="staff@example.edu", change=None, browser=None, **options):
        options.setdefault("redirect", REDIRECT)
        r = rp.ask(do="start", provider="uni", **options)
        if "url" not in r:
            return r
        query = self.browse(r["url"], account, browser=browser)
        if change:
            query = change(query)
        return rp.ask(do="finish", id=r["id"], query=query)

    def restart(self):
        self.idp.terminate()
        self.idp.wait(20)
        os.environ["NODE_EXTRA_CA_CERTS"] = os.path.join(self.dir, "cert.pem")
        self.idp = idp.start(self.dir)

    def close(self):
        self.idp.terminate()
        self.idp.wait(60)
        shutil.rmtree(self.dir)


def with_param(name, value):
    def change(query):
        q = [(k, v) for k, v in urllib.parse.parse_qsl(query) if k != name]
        if value is not None:
            q.append((name, value))
        return urllib.parse.urlencode(q)
    return change


def test_login(w):
    rp = w.rp()
    r = w.login(rp, change=with_param("state", "A" * 43))
    check("another state is refused", "state" in r.get("refused", ""), r)
    r = w.login(rp, change=with_param("iss", "https://idp.example.org"))
    check("another issuer in the callback is refused", "issuer" in r.get("refused", ""), r)
    r = w.login(rp, change=with_param("iss", None))
    check("a missing iss that was promised is refused", '"iss"' in r.get("refused", ""), r)
    r = w.login(rp, change=with_param("code", "nonsense"))
    check("another code is refused", r.get("error") == "invalid_grant", r)
    r = w.login(rp, change=lambda q: q + "&state=x")
    check("a state that is there twice is refused", "twice" in r.get("refused", ""), r)

    r = w.login(rp)
    who = r.get("identity", {})
    a = w.accounts["staff@example.edu"]
    check("login with password and TOTP", who.get("login") == "staff@example.edu", r)
    check("the subject is the provider's", (who.get("issuer"), who.get("sub")) == (w.issuer, a["sub"]), r)
    check("groups are there", who.get("groups") == ["lab", "staff"], who)
    check("MFA is seen by amr", who.get("mfa") is True and who.get("amr") == ["pwd", "otp"], who)
    check("auth_time is of now", abs(who.get("auth_time", 0) - time.time()) < 60, who)
    r = rp.ask(do="finish", id=0, query="")
    check("an attempt is answered once", "no such attempt" in r["refused"], r)

    r = rp.ask(do="start", provider="uni", redirect=REDIRECT)
    query = w.browse(r["url"])
    first = rp.ask(do="finish", id=r["id"], query=query)
    r = rp.ask(do="start", provider="uni", redirect=REDIRECT)
    again = rp.ask(do="finish", id=r["id"], query=with_param("state", r["state"])(query))
    check("a code that was redeemed is refused", "identity" in first and again.get("error") == "invalid_grant",
          (first, again))

    r = rp.ask(do="start", provider="uni", redirect=REDIRECT)
    b = idp.Browser([os.path.join(w.dir, "cert.pem")])
    url, answer, text = b.go("GET", r["url"])
    cancel = [f for f in idp.Forms(text).forms if f["refuse"]][0]
    end, _, _ = b.go("POST", urllib.parse.urljoin(url, cancel["action"]), "", stop=(REDIRECT,))
    r = rp.ask(do="finish", id=r["id"], query=urllib.parse.urlsplit(end).query)
    check("cancelling reaches the person in words", r.get("error") == "access_denied" and
          "cancelled" in r["words"], r)
    check("a provider that nobody configured", "no such" in
          rp.ask(do="start", provider="other", redirect=REDIRECT)["refused"])
    check("the relying party ends cleanly", rp.close() == 0)


def test_rows(w):
    rp = w.rp(**{"mfa-amr": ["hwk"]})
    r = w.login(rp)
    check("amr that does not count is refused", r.get("token") == "mfa" and "second" in r["words"], r)
    rp.close()
    rp = w.rp(**{"mfa-acr": ["urn:example:acr:mfa"]})
    r = w.login(rp)
    check("acr counts as MFA", r.get("identity", {}).get("mfa") is True, r)
    rp.close()
    rp = w.rp(domains=["example.org"])
    r = w.login(rp)
    check("a login outside the domains is refused", r.get("token") == "login", r)
    rp.close()
    rp = w.rp(algorithms=["ES256"])
    r = w.login(rp)
    check("an algorithm that is not allowed is refused", r.get("token") == "alg", r)
    rp.close()
    rp = w.rp(**{"groups-claim": "/realm_access/roles"})
    r = w.login(rp)
    check("an absent groups claim is not an empty one", "identity" in r and
          "groups" not in r["identity"], r)
    rp.close()
    rp = w.rp(ca=os.path.join(w.dir, "idp.json"))
    check("a ca file without certificates is refused at start", rp.p.wait(60) == 1)
    rp = w.rp(ca=None)
    r = w.login(rp)
    check("a certificate of nobody's CA is refused", "discovery" in r.get("refused", ""), r)
    rp.close()


def test_client(w):
    wrong = os.path.join(w.dir, "wrong-secret")
    idp.write_private(wrong, "wrong\n")
    rp = w.rp(**{"client-secret-file": wrong})
    r = w.login(rp)
    check("a wrong client secret is refused", r.get("error") == "invalid_client", r)
    rp.close()
    os.chmod(wrong, 0o644)
    rp = w.rp(**{"client-secret-file": wrong})
    check("a secret that others may read is refused at start", rp.p.wait(60) == 1)
    for text in ("", "two\nlines\n", "b\xc3\xa4d\n"):
        idp.write_private(wrong, text)
        os.chmod(wrong, 0o600)
        rp = w.rp(**{"client-secret-file": wrong})
        check("a secret file with %r is refused at start" % text, rp.p.wait(60) == 1)
    row = {"auth-method": "private_key_jwt", "client-secret-file": None, "client-key-file": wrong}
    rp = w.rp(**row)
    check("a key file without a key is refused at start", rp.p.wait(60) == 1)
    new_key(wrong, "ec", "P-384")
    rp = w.rp(**row)
    check("a key on another curve is refused at start", rp.p.wait(60) == 1)
    rp = w.rp(**{"auth-method": "none", "client-secret-file": None, "client-id": "reeve-device",
                 "device-client-id": None})
    r = rp.ask(do="start", provider="uni", redirect=LOOPBACK, device=True)
    check("a device login without a device client is refused", "no device client" in r["refused"], r)
    r = w.login(rp, redirect=LOOPBACK)
    check("a public client", r.get("identity", {}).get("login") == "staff@example.edu", r)
    rp.close()
    rp = w.rp(**{"auth-method": "client_secret_post", "login-claim": "preferred_username"})
    r = w.login(rp, account="student@example.edu")
    check("client_secret_post", r.get("identity", {}).get("login") == "student@example.edu", r)
    rp.close()
    for kind in ("ec", "rsa"):
        key = os.path.join(w.dir, "%s.pem" % kind)
        row = {"client-id": "reeve-" + kind, "auth-method": "private_key_jwt",
               "client-secret-file": None, "client-key-file": key, "client-key-id": "k1"}
        if kind == "ec":
            rp = w.rp(**dict(row, **{"client-key-file": os.path.join(w.dir, "rsa.pem")}))
            r = w.login(rp)
            check("private_key_jwt with another key is refused", r.get("error") == "invalid_client", r)
            rp.close()
        rp = w.rp(**row)
        r = w.login(rp)
        check("private_key_jwt (%s), pushed request and token" % kind,
              r.get("identity", {}).get("login") == "staff@example.edu", r)
        rp.close()


def test_step_up(w):
    rp = w.rp(**{"require-mfa": False})
    idp.admin(w.dir, "set", mfa="never")
    r = w.login(rp, acr_values="urn:example:acr:mfa")
    check("a provider that ignores acr_values is refused, not asked again", r.get("token") == "acr", r)
    idp.admin(w.dir, "set", mfa="asked")
    b = idp.Browser([os.path.join(w.dir, "cert.pem")])
    r = w.login(rp, browser=b)
    check("a plain login is one factor", r.get("identity", {}).get("mfa") is False, r)
    r = w.login(rp, browser=b, acr_values="urn:example:acr:mfa")
    check("step-up asks for the second factor in the same browser",
          r.get("identity", {}).get("mfa") is True, r)
    r2 = w.login(rp, browser=b, prompt="none")
    check("prompt=none answers from the provider's session",
          r2.get("identity", {}).get("auth_time") == r["identity"]["auth_time"], r2)
    time.sleep(2.1)
    r3 = w.login(rp, browser=b, max_age=1)
    check("max_age asks again", r3.get("identity", {}).get("auth_time", 0) > r["identity"]["auth_time"], r3)
    r = w.login(rp, prompt="none")
    check("prompt=none without a session is told apart", r.get("error") == "login_required", r)
    idp.admin(w.dir, "set", mfa="always")
    rp.close()


def test_refresh(w):
    rp = w.rp()
    r = w.login(rp)
    sub = w.accounts["staff@example.edu"]["sub"]
    check("a refresh token came", r.get("refresh") is True, r)
    r = rp.ask(do="refresh", provider="uni", sub=sub)
    check("refresh: the provider still stands by the person", r.get("identity", {}).get("sub") == sub, r)
    idp.admin(w.dir, "groups", account="staff@example.edu", groups=["staff"])
    r = rp.ask(do="refresh", provider="uni", sub=sub)
    check("refresh brings changed groups", r.get("identity", {}).get("groups") == ["staff"], r)
    r = rp.ask(do="refresh", provider="uni", sub="somebody-else")
    check("refresh: another sub is refused", r.get("token") == "sub", r)
    rp.close()
    rp = w.rp()
    w.login(rp)
    idp.admin(w.dir, "disable", account="staff@example.edu")
    r = rp.ask(do="refresh", provider="uni", sub=sub)
    check("refresh of a disabled account is refused", r.get("error") == "invalid_grant", r)
    idp.admin(w.dir, "enable", account="staff@example.edu")
    idp.admin(w.dir, "groups", account="staff@example.edu", groups=["staff", "lab"])
    rp.close()


def test_keys(w):
    rp = w.rp()
    r = w.login(rp)
    check("login before rotation", "identity" in r, r)
    idp.admin(w.dir, "rotate", keep=False)
    r = w.login(rp)
    check("an unknown kid less than a minute after a fetch is refused", r.get("token") == "kid", r)
    rp.ask(do="later", boot=61)
    r = w.login(rp)
    check("after a minute the new keys are fetched", "identity" in r, r)
    idp.admin(w.dir, "rotate", keep=False)
    r = w.login(rp)
    check("and not again within the next", r.get("token") == "kid", r)
    rp.close()
    rp = w.rp()
    r = w.login(rp)
    check("another relying party fetches the new keys", "identity" in r, r)
    rp.close()


def test_evidence(w):
    key, other = "11" * 32, "22" * 32
    rp = w.rp()
    bind = rp.ask(do="bind", key=key)
    r = rp.ask(do="start", provider="uni", redirect=LOOPBACK, device=True, nonce=bind["nonce"] + "A")
    check("a nonce that is no binding is refused", "43" in r.get("refused", ""), r)
    r = w.login(rp, device=True, redirect=LOOPBACK, nonce=bind["nonce"])
    check("login at the device with the public client", r.get("identity", {}).get("login") ==
          "staff@example.edu", r)
    ask = dict(do="evidence", provider="uni", key=key, opening=bind["opening"], max_age=60, old=False)
    r = rp.ask(**dict(ask, key=other))
    check("evidence for another device key is refused", r.get("token") == "nonce", r)
    r = rp.ask(**dict(ask, opening=rp.ask(do="bind", key=key)["opening"]))
    check("another opening is refused", r.get("token") == "nonce", r)
    r = rp.ask(**dict(ask, opening="AAAA"))
    check("an opening of another size is refused", r.get("token") == "nonce", r)
    token = rp.ask(do="token")["token"]
    cut = token.rsplit(".", 1)
    r = rp.ask(**dict(ask, token=cut[0] + "." + ("A" if cut[1][0] != "A" else "B") + cut[1][1:]))
    check("a changed signature is refused", r.get("token") == "signature", r)
    r = rp.ask(**ask)
    check("evidence holds", r.get("identity", {}).get("login") == "staff@example.edu", r)
    time.sleep(1.1)
    rp.close()
    rp = w.rp(leeway=0)
    r = rp.ask(**dict(ask, token=token, max_age=0))
    check("evidence of a login that is too old is refused", r.get("token") == "auth_time", r)
    r = w.login(rp, nonce=bind["nonce"])
    r = rp.ask(**ask)
    check("a token for the portal's client is no evidence", r.get("token") == "aud", r)
    rp.close()


def test_time(w):
    rp = w.rp(timeout="5s")
    r = rp.ask(do="start", provider="uni", redirect=REDIRECT)
    query = w.browse(r["url"])
    rp.ask(do="later", boot=601)
    r = rp.ask(do="finish", id=r["id"], query=query)
    check("an attempt that took too long is refused", r.get("code") == "expired" and
          "too long" in r["words"], r)
    for wall, reason in ((-3600, "iat"), (7200, "exp")):
        rp.ask(do="later", wall=wall)
        r = w.login(rp)
        check("our clock %+d s: %s, and the person is told of clocks" % (wall, reason),
              r.get("token") == reason and "clock" in r["words"], r)
        rp.ask(do="later", wall=-wall)
    r = w.login(rp)
    check("with the clock set right again", "identity" in r, r)
    rp.ask(do="later", boot=90000)
    r = w.login(rp)
    check("a day later description and keys are fetched again", "identity" in r, r)
    rp.ask(do="later", boot=3601)
    idp.admin(w.dir, "set", hang=True)
    rp.send(do="evidence", provider="uni", key="11" * 32, opening="A" * 43, max_age=-1, old=False)
    r = rp.read()
    check("keys beyond their age are not used while new ones cannot be had",
          r.get("code") == "timeout" and "keys" in r["refused"], r)
    idp.admin(w.dir, "set", hang=False)
    rp.close()


def test_keys_from_a_file(w):
    path = os.path.join(w.dir, "keys.json")
    tls = ssl.create_default_context(cafile=os.path.join(w.dir, "cert.pem"))

    def fetch():
        text = urllib.request.urlopen(w.issuer + "/jwks", context=tls).read()
        with open(path, "wb") as f:
            f.write(text)

    with open(path, "w") as f:
        f.write('{"keys":[]}')
    rp = w.rp(**{"jwks-file": path})
    check("a file without keys is refused at start", rp.p.wait(60) == 1)
    fetch()
    key = "11" * 32
    rp = w.rp(**{"jwks-file": path})
    bind = rp.ask(do="bind", key=key)
    r = w.login(rp, device=True, redirect=LOOPBACK, nonce=bind["nonce"])
    check("login with keys from a file", "identity" in r, r)
    ask = dict(do="evidence", provider="uni", key=key, opening=bind["opening"], max_age=60, old=False,
               token=rp.ask(do="token")["token"])
    rp.close()
    row = {"jwks-file": path, "issuer": w.issuer, "ca": "/nonexistent"}
    rp = w.rp(**row)
    check("a ca that is not there is refused at start", rp.p.wait(60) == 1)
    w.idp.terminate()
    w.idp.wait(20)
    rp = w.rp(**{"jwks-file": path})
    r = rp.ask(**dict(ask, key="22" * 32))
    check("without the provider: evidence for another key is refused", r.get("token") == "nonce", r)
    r = rp.ask(**ask)
    check("without the provider: evidence holds by the file's keys", "identity" in r, r)
    w.restart()
    fetch()
    r = w.login(rp)
    check("a file that changed is read again for an unknown kid, after a minute", r.get("token") == "kid", r)
    rp.ask(do="later", boot=61)
    r = w.login(rp)
    check("and then the login holds", "identity" in r, r)
    rp.close()


def test_crowd(w):
    rp = w.rp(timeout="6s")    # in which all of them have to be there
    idp.admin(w.dir, "set", hang=True)
    for _ in range(1100):
        rp.send(do="start", provider="uni", redirect=REDIRECT)
    codes = [rp.read().get("code") for _ in range(1100)]
    check("more than 1024 logins at once are told to wait",
          (codes.count("busy"), codes.count("timeout")) == (76, 1024), {c: codes.count(c) for c in codes})
    idp.admin(w.dir, "set", hang=False)
    rp.ask(do="later", boot=6)
    r = w.login(rp)
    check("and the next one goes well", "identity" in r, r)
    check("clean after the crowd", rp.close() == 0)


class Backchannel:
    """Takes logout tokens over TLS with the provider's own certificate."""

    def __init__(self, where):
        self.tokens = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.tokens += urllib.parse.parse_qs(body).get("logout_token", [])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(os.path.join(where, "cert.pem"), os.path.join(where, "key.pem"))
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = "https://127.0.0.1:%d/logout" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_logout(w):
    path = os.path.join(w.dir, "idp.json")
    back = Backchannel(w.dir)
    conf = json.load(open(path))
    conf["clients"][0]["backchannel_logout_uri"] = back.url
    conf["clients"][0]["backchannel_logout_session_required"] = True
    idp.write_private(path, json.dumps(conf))
    w.restart()
    rp = w.rp()
    r = w.login(rp)
    who = r["identity"]
    check("a client with back-channel logout is told the provider's session", who.get("sid"), r)
    told = idp.admin(w.dir, "logout", account="staff@example.edu")
    check("the provider sent a logout token", told.get("told") == 1 and len(back.tokens) == 1, told)
    token = back.tokens[0]
    r = rp.ask(do="logout-token", provider="uni", token=token[:-8] + "AAAAAAA" + token[-1])
    check("a changed logout token is refused", r.get("token") in ("signature", "base64"), r)
    r = rp.ask(do="logout-token", provider="uni", token=rp.ask(do="token")["token"])
    check("an ID token is no logout token", r.get("token") == "event", r)
    r = rp.ask(do="logout-token", provider="uni", token=token, device=True)
    check("a logout token for another client is refused", r.get("token") == "aud", r)
    r = rp.ask(do="logout-token", provider="uni", token=token)
    check("a logout token ends the session that began it",
          (r.get("sub"), r.get("sid")) == (who["sub"], who["sid"]) and r.get("jti"), r)
    r = rp.ask(do="logout-url", provider="uni")
    check("the URL of a logout at the provider", r.get("url", "").startswith(w.issuer + "/session/end?client_id=reeve"
                                                                            "&id_token_hint="), r)
    rp.close()
    back.server.shutdown()


def test_userinfo(w):
    path = os.path.join(w.dir, "idp.json")
    conf = json.load(open(path))
    conf["claims_in"] = "userinfo"
    conf["par"] = False
    idp.write_private(path, json.dumps(conf))
    w.restart()
    rp = w.rp(userinfo=False)
    r = w.login(rp)
    check("a login that only userinfo has is missed without it", r.get("token") == "login", r)
    rp.close()
    rp = w.rp()
    r = w.login(rp)
    check("userinfo adds login and groups, without pushed requests",
          r.get("identity", {}).get("login") == "staff@example.edu" and
          r["identity"].get("groups") == ["lab", "staff"], r)
    rp.close()


def test_gone(w):
    rp = w.rp()
    r = rp.ask(do="start", provider="uni", redirect=REDIRECT)
    query = w.browse(r["url"])
    w.idp.terminate()
    w.idp.wait(20)
    r = rp.ask(do="finish", id=r["id"], query=query)
    check("a provider that is gone", r.get("code") == "peer" and "cannot be reached" in r["words"], r)
    rp.close()
    rp = w.rp()
    r = rp.ask(do="start", provider="uni", redirect=REDIRECT)
    check("a provider that was never there", "discovery" in r.get("refused", ""), r)
    s = rp.ask(do="status", provider="uni")
    check("status says why", s["discovered"] is False and "discovery" in s["last"], s)
    rp.close()


def test_trouble(w):
    rp = w.rp()
    idp.admin(w.dir, "set", garbage=True)
    failed = time.monotonic()
    r = rp.ask(do="start", provider="uni", redirect=REDIRECT)
    check("garbage for a description", "discovery" in r.get("refused", ""), r)
    idp.admin(w.dir, "set", garbage=False)
    r = rp.ask(do="start", provider="uni", redirect=REDIRECT)
    # IDP_RETRY_SECONDS; a machine that took as long has shown nothing
    check("after a failure the provider is left alone for a moment", "refused" in r or time.monotonic() - failed >= 5, r)
    rp.close()
    rp = w.rp(timeout="2s")
    idp.admin(w.dir, "set", hang=True)
    t = time.time()
    for _ in range(5):
        rp.send(do="start", provider="uni", redirect=REDIRECT)
    r = [rp.read() for _ in range(5)]
    check("a hanging provider ends five waiting logins in time",
          all(x.get("code") == "timeout" for x in r) and time.time() - t < 60, (r, time.time() - t))
    idp.admin(w.dir, "set", hang=False)
    rp.close()
    rp = w.rp()
    first = rp.ask(do="start", provider="uni", redirect=REDIRECT)
    query = w.browse(first["url"])
    idp.admin(w.dir, "set", delay=600)
    rp.send(do="finish", id=first["id"], query=query)
    time.sleep(0.2)
    check("an exchange under way is cancelled", rp.ask(do="cancel") == {"cancelled": True})
    time.sleep(0.8)
    check("and nobody is called back", "last" in rp.ask(do="status", provider="uni"))
    rp.send(do="start", provider="uni", redirect=REDIRECT)
    rp.send(do="start", provider="other", redirect=REDIRECT)
    check("ending with logins under way is clean", rp.close() == 0)
    idp.admin(w.dir, "set", delay=0)
    rp = w.rp()
    r = rp.ask(do="start", provider="uni", redirect=REDIRECT)
    query = w.browse(r["url"])
    idp.admin(w.dir, "set", garbage=True)
    r = rp.ask(do="finish", id=r["id"], query=query)
    check("garbage from the token endpoint", "token endpoint" in r.get("refused", ""), r)
    idp.admin(w.dir, "set", garbage=False)
    rp.close()


def main():
    if not idp.node_dir():
        print("1..0 # SKIP " + idp.why())
        sys.exit(77)
    if not shutil.which("openssl"):
        print("1..0 # SKIP openssl is not installed")
        sys.exit(77)
    w = World()
    try:
        for test in (test_login, test_rows, test_client, test_step_up, test_refresh, test_evidence, test_keys,
                     test_time, test_keys_from_a_file, test_crowd, test_trouble, test_logout, test_userinfo, test_gone):
            test(w)
    finally:
        if failed:
            print(open(os.path.join(w.dir, "idp.log")).read()[-2000:], file=sys.stderr)
        w.close()
    summary()


if __name__ == "__main__":
    main()
