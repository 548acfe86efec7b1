#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whole logins against Debian's glewlwyd, a provider that nobody of oidc-provider's
wrote: its own database in a temporary folder, TLS on loopback, password and TOTP."""

import base64
import http.client
import json
import os
import secrets
import shutil
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import flow  # noqa: E402
import idp  # noqa: E402

# Where the package is unpacked, or nothing: installed. Installing it starts a service
# with a known password, so contrib/check unpacks it.
ROOT = os.environ.get("REEVE_GLEWLWYD", "")
PROGRAM = os.path.join(ROOT or "/", "usr/bin/glewlwyd")
SQL = ROOT + "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3"
CONF = """
port=%(port)d
bind_address="127.0.0.1"
external_url="%(base)s/"
login_url="login.html"
api_prefix="api"
static_files_path="%(dir)s/www"
log_mode="console"
log_level="WARNING"
cookie_secure=1
session_key="S"
session_expiration=86400
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="%(root)s/usr/lib/glewlwyd/user"
client_module_path="%(root)s/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="%(root)s/usr/lib/glewlwyd/scheme"
plugin_module_path="%(root)s/usr/lib/glewlwyd/plugin"
use_secure_connection=true
secure_connection_key_file="%(dir)s/key.pem"
secure_connection_pem_file="%(dir)s/cert.pem"
hash_algorithm="SHA512"
database = { type = "sqlite3" path = "%(dir)s/db.sqlite" };
"""


class Session:
    """A browser's session: JSON in, JSON out."""

    def __init__(self, w):
        self.w = w
        self.cookie = {}

    def ask(self, method, path, body=None):
        tls = ssl.create_default_context(cafile=os.path.join(self.w.dir, "cert.pem"))
        c = http.client.HTTPSConnection("127.0.0.1", self.w.port, context=tls, timeout=60)
        headers = {"Content-Type": "application/json"}
        if self.cookie:
            headers["Cookie"] = "; ".join("%s=%s" % kv for kv in self.cookie.items())
        c.request(method, path, None if body is None else json.dumps(body), headers)
        r = c.getresponse()
        text = r.read().decode("utf-8", "replace")
        for line in r.headers.get_all("Set-Cookie") or []:
            name, _, value = line.split(";")[0].partition("=")
            self.cookie[name] = value
        c.close()
        return r, text

    def must(self, method, path, body=None):
        r, text = self.ask(method, path, body)
        if r.status != 200:
            raise RuntimeError("%s %s: HTTP %d %s" % (method, path, r.status, text))
        return text


class Glewlwyd(flow.World):
    def __init__(self, redirects=(flow.REDIRECT,), logout_uri=None, back_to=()):
        self.redirects, self.logout_uri, self.back_to = list(redirects), logout_uri, list(back_to)
        self.user = None
        self.dir = tempfile.mkdtemp(prefix="reeve-glewlwyd-")
        self.port = flow.free_port()
        base = "https://127.0.0.1:%d" % self.port
        self.issuer = base + "/api/oidc"
        os.mkdir(os.path.join(self.dir, "www"))
        idp.certificate(self.dir, ["127.0.0.1"])
        with open(os.path.join(self.dir, "glewlwyd.conf"), "w") as f:
            f.write(CONF % {"port": self.port, "base": base, "dir": self.dir, "root": ROOT})
        db = sqlite3.connect(os.path.join(self.dir, "db.sqlite"))
        db.executescript(open(SQL).read())
        db.close()
        self.log = open(os.path.join(self.dir, "idp.log"), "w")
        self.idp = subprocess.Popen([PROGRAM, "-c", os.path.join(self.dir, "glewlwyd.conf")],
                                    stdout=self.log, stderr=subprocess.STDOUT)
        self.password = secrets.token_urlsafe(12)
        self.totp = base64.b32encode(secrets.token_bytes(20)).decode()
        self.secret = secrets.token_urlsafe(32)
        idp.write_private(os.path.join(self.dir, "client-secret"), self.secret + "\n")
        self.row = {
            "issuer": self.issuer, "client-id": "reeve", "domains": ["example.edu"],
            "client-secret-file": os.path.join(self.dir, "client-secret"),
            "ca": os.path.join(self.dir, "cert.pem"), "scopes": ["profile"],
            "device-client-id": "reeve-device", "mfa-amr": ["password+otp"], "timeout": "30s",
        }
        try:
            self.wait()
            self.furnish()
        except Exception:
            self.idp.kill()
            raise

    def wait(self):
        for _ in range(600):
            try:
                Session(self).ask("GET", "/config")
                return
            except OSError:
                if self.idp.poll() is not None:
                    raise RuntimeError("glewlwyd ended: see idp.log")
                time.sleep(0.1)
        raise RuntimeError("glewlwyd does not answer")

    def furnish(self):
        a = self.admin = Session(self)
        a.must("POST", "/api/auth/", {"username": "admin", "password": "password"})
        a.must("POST", "/api/mod/scheme/", {
            "module": "otp", "name": "otp", "display_name": "TOTP", "expiration": 600, "max_use": 0,
            "allow_user_register": True, "parameters": {
                "issuer": "127.0.0.1", "secret-minimum-size": 16, "otp-length": 6, "hotp-allow": False,
                "hotp-window": 0, "totp-allow": True, "totp-window": 1, "totp-start-offset": 0}})
        a.must("PUT", "/api/scope/openid", {
            "display_name": "openid", "password_required": True,
            "password_max_age": 600, "scheme": {"2": [{"scheme_name": "otp"}]},
            "scheme_required": {"2": 1}})
        a.must("POST", "/api/scope/", {"name": "profile", "display_name": "profile",
                                       "password_required": True, "password_max_age": 600, "scheme": {}})
        a.must("POST", "/api/user/", {
            "username": "staff", "name": "Staff Example", "email": "staff@example.edu",
            "password": self.password, "enabled": True, "scope": ["openid", "profile", "g_profile"]})
        a.must("POST", "/api/delegate/staff/profile/scheme/register/", {
            "username": "staff", "scheme_type": "otp", "scheme_name": "otp",
            "value": {"type": "TOTP", "secret": self.totp, "time_step_size": 30}})
        rows = json.loads(a.must("GET", "/api/mod/client/database"))
        rows["parameters"].setdefault("data-format", {})["post_logout_redirect_uris"] = {"multiple": True, "read": True, "write": True}
        a.must("PUT", "/api/mod/client/database", rows)
        a.must("PUT", "/api/mod/client/database/reset", {})
        clients = (("reeve", True, self.redirects), ("reeve-device", False, [flow.LOOPBACK]))
        for name, confidential, back in clients:
            a.must("POST", "/api/client/", {
                "client_id": name, "name": name, "enabled": True, "confidential": confidential,
                "redirect_uri": back, "authorization_type": ["code", "refresh_token"], "scope": [],
                "post_logout_redirect_uris": self.back_to,
                **({"backchannel_logout_uri": self.logout_uri} if self.logout_uri and confidential else {}),
                **({"client_secret": self.secret,
                    "token_endpoint_auth_method": ["client_secret_basic"]} if confidential else
                   {"token_endpoint_auth_method": ["none"]})})
        key = os.path.join(self.dir, "sign.pem")
        flow.new_key(key, "rsa")
        public = subprocess.run(["openssl", "pkey", "-in", key, "-pubout"], check=True,
                                capture_output=True, text=True).stdout
        a.must("POST", "/api/mod/plugin/", {
            "module": "oidc", "name": "oidc", "display_name": "OIDC", "enabled": True, "parameters": {
                "iss": self.issuer, "jwt-type": "rsa", "jwt-key-size": "256",
                "key": open(key).read(), "cert": public, "jwks-show": True,
                "code-duration": 60, "refresh-token-duration": 86400, "access-token-duration": 600,
                "auth-type-code-enabled": True, "auth-type-implicit-enabled": False,
                "auth-type-client-enabled": False, "auth-type-password-enabled": False,
                "session-management-allowed": bool(self.back_to),
                "session-cookie-name": "oidc_session", "session-cookie-expiration": 86400, "back-channel-logout-allowed": bool(self.logout_uri),
                "auth-type-refresh-enabled": True, "pkce-allowed": True, "pkce-required": True,
                "pkce-method-plain-allowed": False, "name-claim": "mandatory",
                "email-claim": "mandatory", "subject-type": "public", "claims": [
                    {"name": "upn", "user-property": "email", "type": "string", "mandatory": True,
                     "on-demand": False}]}})

    def browse(self, url, otp=True):
        """What the login page's script does: password, code, grant, and on. One session
        for all: a TOTP code counts once here."""
        u = self.user if self.user and otp else Session(self)
        if not self.user or not otp:
            u.must("POST", "/api/auth/", {"username": "staff", "password": self.password})
        if otp and not self.user:
            self.user = u
            u.must("POST", "/api/auth/", {"username": "staff", "scheme_type": "otp", "scheme_name": "otp",
                                          "value": {"value": idp.totp(self.totp)}})
        client = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["client_id"][0]
        u.must("PUT", "/api/auth/grant/" + client, {"scope": "openid profile"})
        at = urllib.parse.urlsplit(url)
        r, text = u.ask("GET", "%s?%s&g_continue" % (at.path, at.query))
        return urllib.parse.urlsplit(r.headers.get("Location", "")), r.status, text


def main():
    if not os.path.exists(PROGRAM) or not os.path.exists(SQL) or not shutil.which("openssl"):
        print("1..0 # SKIP glewlwyd or openssl is not installed, or REEVE_GLEWLWYD names another folder")
        sys.exit(77)
    w = Glewlwyd()
    try:
        run(w)
    finally:
        if flow.failed:
            print(open(os.path.join(w.dir, "idp.log")).read()[-3000:], file=sys.stderr)
        w.close()
    flow.summary()


def login(w, rp, **options):
    options.setdefault("redirect", flow.REDIRECT)
    r = rp.ask(do="start", provider="uni", **options)
    if "url" not in r:
        return r
    to, status, text = w.browse(r["url"])
    if not to.query:
        return {"refused": "HTTP %d %s" % (status, text)}
    return rp.ask(do="finish", id=r["id"], query=to.query)


def run(w):
    check = flow.check
    rp = w.rp()
    r = rp.ask(do="start", provider="uni", redirect=flow.REDIRECT)
    to, status, text = w.browse(r["url"], otp=False)
    check("without the second factor the provider lets nobody on", "code=" not in to.query, to)
    r = login(w, rp)
    check("an address that the provider does not call verified is no login", r.get("token") == "login", r)
    rp.close()
    w.row["login-claim"] = "upn"
    rp = w.rp(**{"mfa-amr": ["hwk"]})
    r = login(w, rp)
    check("amr that does not count is refused", r.get("token") == "mfa", r)
    rp.close()
    rp = w.rp()
    r = login(w, rp)
    who = r.get("identity", {})
    check("login with password and TOTP", who.get("login") == "staff@example.edu", r)
    check("MFA is seen by the schemes that amr names", who.get("mfa") is True, who)
    check("a provider that says nothing of groups", "groups" not in who, who)
    r = rp.ask(do="refresh", provider="uni", sub=who.get("sub"))
    check("refresh", "identity" in r, r)
    check("the relying party ends cleanly", rp.close() == 0)
    key = "11" * 32
    rp = w.rp()
    bind = rp.ask(do="bind", key=key)
    r = login(w, rp, device=True, redirect=flow.LOOPBACK, nonce=bind["nonce"])
    check("login at the device with the public client", r.get("identity", {}).get("login") ==
          "staff@example.edu", r)
    ask = dict(do="evidence", provider="uni", key=key, opening=bind["opening"], max_age=-1, old=False)
    r = rp.ask(**dict(ask, key="22" * 32))
    check("evidence for another device key is refused", r.get("token") == "nonce", r)
    r = rp.ask(**dict(ask, max_age=60))
    check("evidence is not fresh where the provider does not say when (auth_time 0)",
          r.get("token") == "auth_time", r)
    r = rp.ask(**ask)
    check("evidence holds", r.get("identity", {}).get("login") == "staff@example.edu", r)
    rp.close()


if __name__ == "__main__":
    main()
