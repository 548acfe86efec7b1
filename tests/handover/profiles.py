#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Profiles of other proxies, before what was written for those: the assertion before the libraries
that their documentation names; OIDC_CLAIM_* beside mod_auth_openidc itself, which says the same of
the same person; user headers before Django behind uWSGI, which folds their names.
"""
import base64
import hashlib
import hmac
import http.server
import json
import os
import re
import subprocess
import threading
import time

import recipe
from harness import STAFF, STUDENT, accepting, begin, check, children, configure, listening, program, read_file, reeved, run, skip, \
    start, until, write

TMP = begin("profiles")
HERE = os.path.dirname(os.path.abspath(__file__))
ISSUER = "https://host.example.edu"
MODULES = "/usr/lib/apache2/modules"
LAB = {**STAFF, "name": "Jöran Ægir", "email": "staff@example.edu", "groups": ["lab", "staff"], "acr": "mfa",
       "amr": ["pwd", "otp"], "auth_time": int(time.time()) - 60}
SIGNED = {"pomerium": "X-Pomerium-Jwt-Assertion", "cloudflare-access": "Cf-Access-Jwt-Assertion",
          "google-iap": "X-Goog-IAP-JWT-Assertion"}
NAMED = {"x-forwarded": ("X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups"),
         "webauth": ("X-WEBAUTH-USER", "X-WEBAUTH-EMAIL", "X-WEBAUTH-GROUPS"),
         "tailscale": ("Tailscale-User-Login", "Tailscale-User-Login", "Tailscale-User-Name"),
         "remote-user": ("Remote-User", "Remote-Email", "Remote-Groups")}
# a port of each kind's own, and the first of those at which Reeve serves it
ECHO, MODULE, DJANGO, SERVED = 3300, 3301, 3310, 1300


class Echo(http.server.BaseHTTPRequestHandler):
    """The application: says what it was told."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        # http.server takes what is not ASCII for Latin-1
        body = json.dumps([[k, v.encode("latin-1").decode()] for k, v in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# ---- assertions ----

class Peers:
    """Those of peers.mjs."""

    def __init__(self):
        with open(f"{TMP}/peers.log", "wb") as log:
            self.p = subprocess.Popen([program("node"), f"{HERE}/peers.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        children.append(self.p)

    def ask(self, **what):
        self.p.stdin.write(json.dumps(what).encode() + b"\n")
        self.p.stdin.flush()
        return json.loads(self.p.stdout.readline() or '{"refused": "it ended"}')


def signed(port):
    if not program("node") or not os.path.isdir(f"{HERE}/node_modules/jose"):
        return skip("pomerium, cloudflare-access and google-iap", "node or its packages are not installed")
    token = {}
    for profile, name in SIGNED.items():
        for what, source in (("nobody", "127.0.0.3"), ("a student", "127.0.0.2")):
            check(f"{profile}: {what} is refused", recipe.ask("signed.example.edu", source=source, port=port)[0] == 403)
        forged = [f"{spelled}: {b64url(b'{}')}.{b64url(b'{}')}." for spelled in (name, name.lower(), name.replace("-", "_"))]
        told = fields(port, "signed.example.edu", forged)
        token[profile] = [v for k, v in told if k.lower().replace("_", "-") == name.lower()]
        check(f"{profile}: one {name}, and not the client's", len(token[profile]) == 1 and len(token[profile][0]) > 100, told)
    said = dict(fields(port, "signed.example.edu", []))
    check("google-iap: says the address with its prefix", said.get("X-Goog-Authenticated-User-Email")
          == "accounts.google.com:staff@example.edu", said)
    peers = Peers()
    for profile, name in SIGNED.items():
        peer = "google" if profile == "google-iap" else "jose"
        good = {"peer": peer, "url": f"http://signed.example.edu:{port}/.well-known/reeve/jwks.json", "token": token[profile][0],
                "issuer": ISSUER, "audience": "signed"}
        head, body, signature = good["token"].split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=="))
        other = b64url(json.dumps({**claims, "email": "admin@example.edu"}).encode())
        old = b64url(json.dumps({**claims, "iat": claims["iat"] - 900, "exp": claims["exp"] - 900}).encode())
        none = b64url(json.dumps({"alg": "none", "typ": "JWT", "kid": json.loads(base64.urlsafe_b64decode(head + "=="))["kid"]}).encode())
        for what, bad in {"another audience": {"audience": "other"}, "another issuer": {"issuer": "https://other.example.edu"},
                          "another's address": {"token": f"{head}.{other}.{signature}"},
                          "another time": {"token": f"{head}.{old}.{signature}"},
                          "no signature": {"token": f"{none}.{body}."}, "a signature cut short": {"token": good["token"][:-4]},
                          "somebody's signature": {"token": f"{head}.{body}.{b64url(os.urandom(64))}"}}.items():
            a = peers.ask(**{**good, **bad})
            check(f"{profile}: {peer} refuses it for {what}", "refused" in a and a["refused"] != "it ended", a)
        a = peers.ask(**good)
        check(f"{profile}: {peer} takes it, and knows who", "claims" in a and (a["claims"]["email"], a["claims"]["groups"])
              == ("staff@example.edu", ["lab", "staff"]), a)
    return None


def fields(port, host, headers, target="/"):
    status, body = recipe.ask(host, target, port=port, headers=headers)
    check(f"{host} serves staff, with {len(headers)} forged fields", status == 200, (status, body[:300]))
    return json.loads(body) if status == 200 else []


# ---- OIDC_CLAIM_* ----

CGI = """#!/usr/bin/python3
import json, os
print("Content-Type: application/json\\n")
print(json.dumps([[k, v] for k, v in os.environ.items()]))
"""


def openidc_module():
    """Apache with the module, which takes claims from a token of ours: a CGI behind it, and a proxied application."""
    if not program("apache2") or not os.path.exists(f"{MODULES}/mod_auth_openidc.so"):
        return skip("mod_auth_openidc", "apache2-bin or libapache2-mod-auth-openidc is not installed")
    secret = "0123456789abcdef0123456789abcdef"
    write("cgi", CGI, 0o755)
    load = "\n".join(f"LoadModule {m}_module {MODULES}/mod_{m}.so" for m in
                     ("mpm_event", "authn_core", "authz_core", "authz_user", "auth_openidc", "alias", "cgid", "proxy", "proxy_http"))
    conf = write("apache.conf", f"""{load}
ServerRoot {TMP}
PidFile {TMP}/apache.pid
ErrorLog {TMP}/apache.err
ScriptSock {TMP}/cgid.sock
ServerName localhost
User www-data
Group www-data
Listen 127.0.0.1:{MODULE}
OIDCCryptoPassphrase 0123456789abcdef
OIDCOAuthVerifySharedKeys "plain##{secret}"
OIDCOAuthRemoteUserClaim preferred_username
ScriptAlias /cgi {TMP}/cgi
ProxyPass /http http://127.0.0.1:{ECHO}/
<Location />
  AuthType oauth20
  Require valid-user
</Location>
""")
    start(program("apache2"), "-f", conf, "-D", "FOREGROUND", name="apache")
    if not until(60, lambda: listening(MODULE)):
        return check("Apache starts", False, read_file("apache.err"))
    now = int(time.time())
    # "sub" and "iss" are a provider's: Reeve on its own knows neither
    claims = {"preferred_username": LAB["login"], "iat": now, "exp": now + 600, **{k: LAB[k] for k in
              ("name", "email", "groups", "acr", "amr", "auth_time")}}
    text = f'{b64url(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())}.{b64url(json.dumps(claims).encode())}'
    token = f"{text}.{b64url(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())}"
    check("mod_auth_openidc: nobody is refused", recipe.ask("localhost", "/cgi", port=MODULE)[0] == 401)
    told = {way: oidc(fields(MODULE, "localhost", [f"Authorization: Bearer {token}"], f"/{way}")) for way in ("cgi", "http")}
    # when its token was made and ends is the module's own matter
    return {way: {k: v for k, v in t.items() if k not in ("OIDC_CLAIM_iat", "OIDC_CLAIM_exp")} for way, t in told.items()}


def oidc(told):
    return {k: v for k, v in told if k.upper().startswith("OIDC_CLAIM_") or k.upper().startswith("HTTP_OIDC")}


def claimed(ports):
    there = openidc_module()
    forged = [f"{n}: admin" for n in ("OIDC_CLAIM_sub", "OIDC-CLAIM-SUB", "oidc_claim_preferred_username", "OIDC_CLAIM_roles",
                                      "OIDC_access_token", "X-OIDC-CLAIM-sub", "Oidc.Claim.Sub")]
    for way, port in ports.items():
        host = f"oidc-{way}.example.edu"
        for what, source in (("nobody", "127.0.0.3"), ("a student", "127.0.0.2")):
            check(f"oidc-claim, {way}: {what} is refused", recipe.ask(host, source=source, port=port, headers=forged)[0] == 403)
        plain, told = (oidc(fields(port, host, headers)) for headers in ([], forged))
        check(f"oidc-claim, {way}: says who", plain.get("OIDC_CLAIM_preferred_username") == "staff@example.edu"
              and plain.get("OIDC_CLAIM_name") == "Jöran Ægir", plain)
        check(f"oidc-claim, {way}: and the same with {len(forged)} forged fields", plain == told, told)
        if there:
            check(f"oidc-claim, {way}: word for word what mod_auth_openidc says", plain == there[way], (plain, there[way]))


# ---- user headers ----

PROJECT = """
import json, os
from django.conf import settings
USER, EMAIL, GROUPS = (h.upper().replace("-", "_") for h in os.environ["TOLD_BY"].split())
settings.configure(
    SECRET_KEY="0123456789abcdef", ALLOWED_HOSTS=["*"], ROOT_URLCONF="portal",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware", "portal.Header"],
    AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.RemoteUserBackend"])
import django
django.setup()
from django.contrib.auth.middleware import RemoteUserMiddleware
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path


class Header(RemoteUserMiddleware):
    header = "HTTP_" + USER


def whoami(request):
    return JsonResponse([request.user.username, request.META.get("HTTP_" + EMAIL), request.META.get("HTTP_" + GROUPS)], safe=False)


urlpatterns = [path("", whoami)]
call_command("migrate", verbosity=0)
application = get_wsgi_application()
"""


def django_of(profile, port):
    os.makedirs(f"{TMP}/{profile}")
    write(f"{profile}/portal.py", PROJECT)
    start(program("uwsgi"), "--plugin", "http,python3", "--http-socket", f"127.0.0.1:{port}", "--chdir", f"{TMP}/{profile}",
          "--module", "portal", "--need-app", "--die-on-term", name=f"django-{profile}",
          env={"PATH": os.environ["PATH"], "HOME": TMP, "TOLD_BY": " ".join(NAMED[profile]), "DATABASE": f"{TMP}/{profile}/db"})


def named(profile, port, served):
    host = f"{profile}.example.edu"
    if not until(60, lambda: listening(port)):
        return check(f"{profile}: Django starts", False, read_file(f"django-{profile}.log"))
    user = NAMED[profile][0]
    a = recipe.ask(host, port=port, headers=[f"{user}: admin@example.edu"])
    check(f"{profile}: Django believes {user} of who reaches it", a[0] == 200 and json.loads(a[1])[:1] == ["admin@example.edu"], a)
    spelled = [user, user.upper(), user.lower(), user.replace("-", "_"), user.replace("-", "_").upper()]
    for what, source in (("nobody", "127.0.0.3"), ("a student", "127.0.0.2")):
        for name in spelled:
            a = recipe.ask(host, source=source, port=served, headers=[f"{name}: staff@example.edu"])
            check(f"{profile}: {what} is refused with {name}", a[0] == 403, a)
    want = ["staff@example.edu", "staff@example.edu", "=?utf-8?q?J=C3=B6ran_=C3=86gir?=" if profile == "tailscale" else "lab,staff"]
    for headers in [[]] + [[f"{name}: admin@example.edu"] for name in spelled] + [[f"{name}: admin@example.edu" for name in spelled]]:
        a = recipe.ask(host, port=served, headers=headers)
        check(f"{profile}: Django knows staff with {headers or 'nothing forged'}", a[0] == 200 and json.loads(a[1]) == want, a)
    return None


def main():
    subprocess.run(["mount", "--bind", write("hosts", "127.0.0.1 localhost signed.example.edu\n"), "/etc/hosts"], check=True)
    threading.Thread(target=http.server.ThreadingHTTPServer(("127.0.0.1", ECHO), Echo).serve_forever, daemon=True).start()
    ports = {name: SERVED + i for i, name in enumerate(["signed", "oidc-http", "oidc-cgi", *NAMED])}
    echo = {"upstream": [f"http://127.0.0.1:{ECHO}"]}
    services = {"signed": {"profiles": list(SIGNED), **echo}, "oidc-http": {"profiles": ["oidc-claim"], **echo}}
    if wrapped := program("fcgiwrap"):
        services["oidc-cgi"] = {"profiles": ["oidc-claim"], "upstream": [f"fastcgi+unix:{TMP}/fcgi.sock"], "script": f"{TMP}/env"}
        write("env", CGI, 0o755)
        start(wrapped, "-s", f"unix:{TMP}/fcgi.sock", name="fcgiwrap")
    else:
        skip("oidc-claim as variables", "fcgiwrap is not installed")
    django = program("uwsgi") and subprocess.run(["/usr/bin/python3", "-c", "import django"], stderr=subprocess.DEVNULL,
                                                 check=False).returncode == 0
    if not django:
        skip("x-forwarded, webauth, tailscale and remote-user before Django", "python3-django or uwsgi-core is not installed")
    for i, profile in enumerate(NAMED if django else ()):
        django_of(profile, DJANGO + i)
        services[profile] = {"profiles": [profile], "upstream": [f"http://127.0.0.1:{DJANGO + i}"]}
    for name, row in services.items():
        row |= {"listen": [f"127.0.0.1:{ports[name]}"], "hosts": [f"{name}.example.edu"]}
    grants = [{"src": ["staff@example.edu"], "dst": [f"svc:{n}" for n in services], "ip": ["*"]}]
    configure([LAB, STUDENT], services, grants)
    conf = write("reeved.hujson", json.dumps({**json.loads(read_file("reeved.hujson")), "name": "host.example.edu"}))
    if not reeved(conf, ports["signed"]) or (wrapped and not until(60, lambda: accepting(f"{TMP}/fcgi.sock"))):
        return
    signed(ports["signed"])
    claimed({way: ports[f"oidc-{way}"] for way in ("http", "cgi") if f"oidc-{way}" in services})
    for i, profile in enumerate(NAMED if django else ()):
        named(profile, DJANGO + i, ports[profile])


run(main)
