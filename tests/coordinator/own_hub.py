# SPDX-License-Identifier: AGPL-3.0-or-later
"""A hub with accounts of its own, and browsers that come to it: for the tests of own accounts."""

import base64
import hashlib
import os
import sys
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(1, os.path.join(HERE, "../idp"))
from hub import *   # noqa: E402,F403
import idp          # noqa: E402
import own          # noqa: E402

URL = "https://hub.example.edu"
CALLBACK = URL + "/login/callback"


class Web(idp.Browser):
    """A browser whose way to the hub is the public front's socket."""

    def __init__(self, hub, address="192.0.2.7"):
        super().__init__()
        self.hub, self.address = hub, address

    def once(self, method, url, body=None, timeout=60):
        url = urllib.parse.urljoin(URL, url)
        u = urllib.parse.urlsplit(url)
        r = urllib.request.Request(url, method=method)
        self.jar.add_cookie_header(r)
        headers = {"Host": u.netloc, "X-Forwarded-For": self.address}
        if r.get_header("Cookie"):
            headers["Cookie"] = r.get_header("Cookie")
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        c = Unix(self.hub.dir + "/run/public.sock", 60)
        c.request(method, urllib.parse.urlunsplit(("", "", u.path, u.query, "")), body, headers)
        answer = c.getresponse()
        self.jar.extract_cookies(answer, r)
        text = answer.read().decode()
        c.close()
        return answer, text

    def go(self, method, url, body=None, stop=(), hops=20):
        return super().go(method, urllib.parse.urljoin(URL, url), body, stop, hops)

    def cookie(self, name):
        return next((c for c in self.jar if c.name == name), None)


class OwnHub(Hub):
    """As `init --own-accounts` leaves it."""

    def tool(self, *args, good=True):
        if args[0] == "init":
            args += ("--own-accounts",)
        return super().tool(*args, good=good)


def asking():
    """A PKCE verifier, and the parameters of a good request with it."""
    verifier = base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    return verifier, {"client_id": "reeve-coordinator", "redirect_uri": CALLBACK, "response_type": "code",
                      "scope": "openid profile", "state": "S" * 43, "nonce": "N" * 43, "code_challenge": challenge,
                      "code_challenge_method": "S256"}


def begin(browser, good, **change):
    """The page that such a request leads to; None leaves a parameter out."""
    q = {k: v for k, v in dict(good, **change).items() if v is not None}
    return own.Page(browser, "GET", "/idp/authorize?" + urllib.parse.urlencode(q), stop=[CALLBACK])
