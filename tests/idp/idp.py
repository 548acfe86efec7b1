#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""The test provider's one tool: install its modules, make a configuration,
run it, log in through it as a browser would. README has examples."""

import argparse
import base64
import hmac
import html.parser
import http.client
import http.cookiejar
import ipaddress
import json
import os
import secrets
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.join(HERE, ".."))
from ports import free_port  # noqa: E402,F401  (for the tests)
FILES = ("package.json", "package-lock.json", ".npmrc", "idp.mjs")
ACCOUNTS = {
    "staff@example.edu": {"name": "Staff Example", "groups": ["staff", "lab"]},
    "student@example.edu": {"name": "Student Example", "groups": ["students"]},
    "admin@example.edu": {"name": "Admin Example", "groups": ["staff", "admins"]},
}


# ---- install ----

def node_dirs():
    """Where the modules may be, best first."""
    if os.environ.get("REEVE_IDP_NODE"):
        yield os.environ["REEVE_IDP_NODE"]
    if os.environ.get("top_builddir"):
        yield os.path.join(os.path.abspath(os.environ["top_builddir"]), "tests/idp/node")
    yield HERE


def node_dir():
    """The folder with the modules, or None: then why() says what is missing."""
    if not shutil.which("node"):
        return None
    for d in node_dirs():
        if os.path.exists(os.path.join(d, "node_modules/oidc-provider/package.json")):
            return d
    return None


def why():
    if not shutil.which("node"):
        return "node is not installed"
    return "oidc-provider is not installed (tests/idp/idp.py install)"


def install(where):
    os.makedirs(where, exist_ok=True)
    if os.path.abspath(where) != HERE:
        for name in FILES:
            src = os.path.join(HERE, name)
            if os.path.exists(src):
                shutil.copyfile(src, os.path.join(where, name))
    lock = open(os.path.join(HERE, "package-lock.json"), "rb").read()
    stamp = os.path.join(where, "node_modules/.reeve-lock")
    if os.path.exists(stamp) and open(stamp, "rb").read() == lock:
        return
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"],
                   cwd=where, check=True)
    with open(stamp, "wb") as f:
        f.write(lock)


def sync(where):
    """The modules' folder runs what the source says now."""
    if os.path.abspath(where) != HERE:
        for name in FILES:
            src = os.path.join(HERE, name)
            if os.path.exists(src):
                shutil.copyfile(src, os.path.join(where, name))


# ---- new ----

def certificate(where, names):
    """A certificate that is its own CA, for these names and addresses."""
    def kind(n):
        try:
            ipaddress.ip_address(n)
            return "IP:" + n
        except ValueError:
            return "DNS:" + n

    san = ",".join(kind(n) for n in names)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-keyout", os.path.join(where, "key.pem"),
                    "-out", os.path.join(where, "cert.pem"), "-subj", "/CN=" + names[0],
                    "-addext", "subjectAltName=" + san,
                    "-addext", "basicConstraints=critical,CA:TRUE"],
                   check=True, stderr=subprocess.DEVNULL)
    os.chmod(os.path.join(where, "key.pem"), 0o600)


def write_private(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        f.write(text)


def new(where, listen, name, redirects=(), logout_uri=None, back_to=(), **more):
    """Writes idp.json, accounts.json (with fresh passwords and TOTP secrets), cert.pem,
    key.pem and client-secret to a folder; returns the issuer."""
    os.makedirs(where, mode=0o700, exist_ok=True)
    host, port = listen.rsplit(":", 1)
    issuer = "https://%s:%s" % (name, port) if port != "443" else "https://" + name
    names = [name] + [n for n in (host.strip("[]"), "127.0.0.1") if n != name and n != "0.0.0.0"]
    certificate(where, list(dict.fromkeys(names)))
    accounts = {}
    for login, a in ACCOUNTS.items():
        accounts[login] = dict(a, sub=secrets.token_hex(8), password=secrets.token_urlsafe(12),
                               totp=base64.b32encode(secrets.token_bytes(20)).decode())
    write_private(os.path.join(where, "accounts.json"), json.dumps(accounts, indent=1))
    secret = secrets.token_urlsafe(32)
    write_private(os.path.join(where, "client-secret"), secret + "\n")
    grants = ["authorization_code", "refresh_token"]
    clients = [{
        "client_id": "reeve", "client_secret": secret, "redirect_uris": list(redirects) or
        ["https://hub.example.edu/login/callback"],
        "grant_types": grants, "response_types": ["code"],
        "post_logout_redirect_uris": list(back_to),
        **({"backchannel_logout_uri": logout_uri, "backchannel_logout_session_required": True}
           if logout_uri else {}),
    }, {
        "client_id": "reeve-device", "token_endpoint_auth_method": "none",
        "application_type": "native", "grant_types": grants, "response_types": ["code"],
        "redirect_uris": ["http://127.0.0.1/callback", "http://[::1]/callback"],
    }]
    write_private(os.path.join(where, "idp.json"), json.dumps(dict({
        "issuer": issuer, "listen": listen, "cert": "cert.pem", "key": "key.pem",
        "accounts": "accounts.json", "admin": "admin.sock", "clients": clients}, **more), indent=1))
    return issuer


# ---- serve, admin ----

def serve_command(where, script="idp.mjs", conf="idp.json"):
    d = node_dir() if script == "idp.mjs" else HERE      # only the one needs modules
    if not d:
        sys.exit("skip: " + why())
    sync(d)
    return ["node", os.path.join(d, script), os.path.join(os.path.abspath(where), conf)]


def start(where, script="idp.mjs", conf="idp.json"):
    """For tests in Python: the process, once it has said that it is ready."""
    p = subprocess.Popen(serve_command(where, script, conf), stdout=subprocess.PIPE, text=True,
                         stderr=open(os.path.join(where, "idp.log"), "a"))
    line = p.stdout.readline()
    if not line.startswith("ready "):
        p.kill()
        raise RuntimeError("the provider did not start: see idp.log")
    return p


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.path)


def admin(where, what, **args):
    c = Unix(os.path.join(where, "admin.sock"))
    c.request("POST", "/" + what, json.dumps(args))
    r = c.getresponse()
    out = json.loads(r.read())
    if r.status != 200:
        raise RuntimeError(out.get("error"))
    return out


# ---- login: what a browser would do, without one ----

def totp(secret, now=None):
    """RFC 6238."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    mac = hmac.digest(key, struct.pack(">Q", int(time.time() if now is None else now) // 30), "sha1")
    at = mac[19] & 15
    return "%06d" % ((struct.unpack(">I", mac[at:at + 4])[0] & 0x7fffffff) % 1000000)


class Forms(html.parser.HTMLParser):
    """The forms of a page, in order: action, method, fields, buttons, whether it refuses."""

    def __init__(self, text):
        super().__init__()
        self.forms, self.texts, self.catch = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag == "form":
            self.forms.append({"action": a.get("action") or "", "method": (a.get("method") or "get"),
                               "fields": {}, "refuse": "data-refuse" in a, "id": a.get("id")})
        elif tag in ("input", "button") and a.get("name"):
            form = self.forms[-1] if self.forms else None
            if a.get("form"):
                form = next((f for f in self.forms if f["id"] == a["form"]), form)
            if form is not None and not (tag == "button" and "do" in form["fields"]):
                form["fields"][a["name"]] = a.get("value") or ""
        if a.get("id"):
            self.catch = a["id"]
            self.texts[self.catch] = ""

    def handle_endtag(self, tag):
        self.catch = None

    def handle_data(self, data):
        if self.catch:
            self.texts[self.catch] += data


class Browser:
    """Cookies, redirects and forms over one or more TLS authorities."""

    def __init__(self, ca=(), insecure=False, resolve=None, verbose=False):
        self.jar = http.cookiejar.CookieJar()
        self.tls = ssl.create_default_context()
        for f in ca:
            self.tls.load_verify_locations(f)
        if insecure:
            self.tls.check_hostname = False
            self.tls.verify_mode = ssl.CERT_NONE
        self.resolve = resolve or {}
        self.verbose = verbose
        self.url = None

    def once(self, method, url, body=None, timeout=60):
        u = urllib.parse.urlsplit(url)
        port = u.port or (443 if u.scheme == "https" else 80)
        where = self.resolve.get("%s:%d" % (u.hostname, port), u.hostname)
        sock = socket.create_connection((where, port), timeout=timeout)
        if u.scheme == "https":
            sock = self.tls.wrap_socket(sock, server_hostname=u.hostname)
        c = http.client.HTTPConnection(u.hostname, port, timeout=timeout)
        c.sock = sock
        r = urllib.request.Request(url, method=method)
        self.jar.add_cookie_header(r)
        headers = {"Accept": "text/html", "Host": u.netloc.rsplit("@", 1)[-1]}
        if r.get_header("Cookie"):
            headers["Cookie"] = r.get_header("Cookie")
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Origin"] = "%s://%s" % (u.scheme, u.netloc)
            headers["Sec-Fetch-Site"] = "same-origin"
        path = urllib.parse.urlunsplit(("", "", u.path or "/", u.query, ""))
        c.request(method, path, body, headers)
        answer = c.getresponse()
        self.jar.extract_cookies(answer, r)
        text = answer.read(1 << 20).decode("utf-8", "replace")
        c.close()
        if self.verbose:
            print("%s %s -> %d %s" % (method, url, answer.status,
                                      answer.headers.get("Location", "")), file=sys.stderr)
        self.url = url
        return answer, text

    def go(self, method, url, body=None, stop=(), hops=20):
        """Follows redirects; (url, None, None) where one begins with a prefix of stop."""
        for _ in range(hops):
            if any(url.startswith(s) for s in stop):
                return url, None, None
            answer, text = self.once(method, url, body)
            if answer.status not in (301, 302, 303, 307, 308):
                return url, answer, text
            url = urllib.parse.urljoin(url, answer.headers["Location"])
            method, body = "GET", None
        raise RuntimeError("too many redirects")


def fill(fields, account, password, code):
    out = dict(fields)
    for name in fields:
        if name == "login":
            out[name] = account
        elif name == "password":
            out[name] = password
        elif name == "otp":
            out[name] = code()
    return out


def login(url, stop, account, password, secret, browser, want=None, seen=None, code=None):
    """From a login URL through every form to a redirect that begins with stop: returns it.
    Forms marked data-refuse are never pressed. want: a field "issuer" to choose where there
    is a choice. seen(url, text) is shown every page on the way. code() in place of totp(secret)."""
    at, answer, text = browser.go("GET", url, stop=stop)
    for _ in range(12):
        if answer is None:
            return at
        if seen:
            seen(at, text)
        page = Forms(text)
        if page.texts.get("wrong"):
            raise RuntimeError(page.texts["wrong"])
        forms = [f for f in page.forms if not f["refuse"]]
        if want:
            forms = [f for f in forms if f["fields"].get("issuer", want) == want]
        if answer.status >= 400 or not forms:
            said = page.texts.get("error") or page.texts.get("title") or ""
            raise RuntimeError("%s: HTTP %d %s" % (at, answer.status, said.strip()))
        form = forms[0]
        body = urllib.parse.urlencode(fill(form["fields"], account, password,
                                           code or (lambda: totp(secret))))
        target = urllib.parse.urljoin(at, form["action"])
        if form["method"].lower() == "post":
            at, answer, text = browser.go("POST", target, body, stop=stop)
        else:
            at, answer, text = browser.go("GET", target + "?" + body, stop=stop)
    raise RuntimeError("too many pages")


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    sub = ap.add_subparsers(dest="cmd", required=True)
    a = sub.add_parser("install", help="npm ci into a folder (default: beside this file)")
    a.add_argument("dir", nargs="?", default=next(node_dirs()))
    a = sub.add_parser("new", help="write a configuration with fresh secrets")
    a.add_argument("dir")
    a.add_argument("--listen", required=True, metavar="ADDR:PORT")
    a.add_argument("--name", required=True, help="host name or address in the issuer's URL")
    a.add_argument("--redirect", action="append", default=[], help="redirect_uri of client reeve")
    a.add_argument("--logout-uri", help="back-channel logout URL of client reeve")
    a.add_argument("--back-to", action="append", default=[], help="post_logout_redirect_uri")
    a.add_argument("--mfa", choices=("always", "asked", "never"), default="always")
    a = sub.add_parser("serve", help="run it in the foreground; says \"ready ISSUER\"")
    a.add_argument("dir")
    a = sub.add_parser("admin", help="disable, enable, rotate, logout, set, groups, state")
    a.add_argument("dir")
    a.add_argument("what")
    a.add_argument("json", nargs="?", default="{}")
    a = sub.add_parser("totp", help="the code of an account now")
    a.add_argument("dir")
    a.add_argument("account")
    a = sub.add_parser("login", help="log in as a browser would, print where it ends")
    a.add_argument("dir", help="of \"new\": accounts and the provider's certificate")
    a.add_argument("account")
    a.add_argument("url")
    a.add_argument("--stop", action="append", required=True, help="redirect prefix to stop at")
    a.add_argument("--follow", action="store_true", help="also fetch the last URL (a loopback)")
    a.add_argument("--ca", action="append", default=[], help="another certificate to trust")
    a.add_argument("--insecure", action="store_true", help="trust every certificate")
    a.add_argument("--resolve", action="append", default=[], metavar="HOST:PORT:ADDR")
    a.add_argument("--issuer", help="what to choose where there is a choice")
    a.add_argument("--jar", help="cookies are read from this file, and left there")
    a.add_argument("--pages", help="append every page on the way to this file")
    a.add_argument("-v", action="store_true")
    o = ap.parse_args()
    if o.cmd == "install":
        install(o.dir)
    elif o.cmd == "new":
        print(new(o.dir, o.listen, o.name, o.redirect, o.logout_uri, o.back_to, mfa=o.mfa))
    elif o.cmd == "serve":
        cmd = serve_command(o.dir)
        os.execvp(cmd[0], cmd)
    elif o.cmd == "admin":
        print(json.dumps(admin(o.dir, o.what, **json.loads(o.json))))
    else:
        acc = json.load(open(os.path.join(o.dir, "accounts.json")))[o.account]
        if o.cmd == "totp":
            print(totp(acc["totp"]))
            return
        resolve = {}
        for r in o.resolve:
            host, port, addr = r.split(":", 2)
            resolve["%s:%s" % (host, port)] = addr
        b = Browser([os.path.join(o.dir, "cert.pem")] + o.ca, o.insecure, resolve, o.v)
        if o.jar:
            b.jar = http.cookiejar.LWPCookieJar(o.jar)
            if os.path.exists(o.jar):
                b.jar.load(ignore_discard=True)

        def seen(at, text):
            if o.pages:
                with open(o.pages, "a") as f:
                    f.write("<!-- %s -->\n%s\n" % (at, text))
        url, answer, text = o.url, None, ""
        try:
            while url:
                end = login(url, o.stop, o.account, acc["password"], acc["totp"], b, o.issuer, seen)
                print(end)
                answer, text = b.once("GET", end) if o.follow else (None, "")
                # A silent login that wants a person is sent on.
                url = answer.headers["Location"] if answer and answer.status == 303 else None
        except (RuntimeError, OSError) as e:
            sys.exit("login: %s" % e)
        if o.jar:
            b.jar.save(ignore_discard=True)
        if o.follow:
            print(text)
            sys.exit(0 if answer.status < 400 else "login: HTTP %d" % answer.status)


if __name__ == "__main__":
    main()
