#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Own accounts, as a browser without a screen uses them: takes an invitation up, logs in.
What it sets up goes to DIR/accounts.json, as idp.py's provider keeps them."""

import argparse
import json
import os
import re
import secrets
import sys
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import idp   # noqa: E402


class Refused(Exception):
    """What the page said."""

    def __init__(self, status, words):
        super().__init__("HTTP %d: %s" % (status, words))
        self.status, self.words = status, words


class Page:
    """One page of a browser, and the forms on it."""

    def __init__(self, browser, method, url, body=None, stop=()):
        self.browser = browser
        self.url, self.answer, self.text = browser.go(method, url, body, stop=stop)
        self.status = self.answer.status if self.answer else 0
        self.page = idp.Forms(self.text or "")
        self.title = (self.page.texts.get("title") or "").strip()

    @property
    def wrong(self):
        return (self.page.texts.get("wrong") or self.page.texts.get("error") or "").strip()

    def form(self, action):
        for f in self.page.forms:
            if f["action"].rsplit("/", 1)[-1] == action:
                return f
        raise Refused(self.status, "no form %s on \"%s\": %s" % (action, self.title, self.wrong))

    def send(self, action, stop=(), **fields):
        """Fills that form in and sends it; a page that says what is wrong comes back like any other."""
        f = self.form(action)
        body = urllib.parse.urlencode(dict(f["fields"], **fields))
        return Page(self.browser, "POST", urllib.parse.urljoin(self.url, f["action"]), body, stop)

    def good(self):
        if self.answer is not None and (self.status >= 400 or self.page.texts.get("wrong")):
            raise Refused(self.status, self.wrong)
        return self


class Account:
    """Login, password, app and recovery codes; knows which step of the app's codes was used last."""

    def __init__(self, login, password=None, totp=None, codes=(), step=0):
        self.login = login
        # no two of these are neighbours: cracklib finds a random password with some of those "too systematic", now and then
        self.password = password or "".join(secrets.choice("acegikmoqsuwy13579") for _ in range(20))
        self.totp, self.codes, self.step = totp, list(codes), step

    def code(self):
        """A code that was not used yet: the next one counts already. Waits where there is none."""
        want = max(self.step + 1, int(time.time()) // 30)
        while int(time.time()) // 30 + 1 < want:
            time.sleep(0.2)
        self.step = want
        return idp.totp(self.totp, want * 30)

    def set_up(self, link, browser):
        """From the link of an invitation or a reset to the recovery codes."""
        page = Page(browser, "GET", link).good()
        page = page.send("new-password", password=self.password, again=self.password).good()
        self.totp = page.page.texts["secret"].strip()
        self.step = 0
        page = page.send("new-otp", otp=self.code()).good()
        self.codes = re.findall(r"<code>([^<]+)</code>", page.text)
        return page

    def begin(self, browser, url="/idp/account"):
        page = Page(browser, "GET", url).good()
        return page.send("password", login=self.login, password=self.password)


def load(where):
    path = os.path.join(where, "accounts.json")
    return json.load(open(path)) if os.path.exists(path) else {}


def save(where, a):
    all_ = load(where)
    all_[a.login] = {"password": a.password, "totp": a.totp, "codes": a.codes, "step": a.step}
    idp.write_private(os.path.join(where, "accounts.json"), json.dumps(all_, indent=1))


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    sub = ap.add_subparsers(dest="cmd", required=True)
    a = sub.add_parser("set-up", help="take an invitation up")
    a.add_argument("dir")
    a.add_argument("account")
    a.add_argument("url", help="the link")
    a.add_argument("--insecure", action="store_true", help="trust every certificate")
    a.add_argument("-v", action="store_true")
    a = sub.add_parser("login", help="as idp.py login")
    a.add_argument("dir")
    a.add_argument("account")
    a.add_argument("url")
    a.add_argument("--stop", action="append", required=True)
    a.add_argument("--follow", action="store_true")
    a.add_argument("--insecure", action="store_true")
    a.add_argument("--pages")
    a.add_argument("-v", action="store_true")
    o = ap.parse_args()
    browser = idp.Browser(insecure=o.insecure, verbose=o.v)
    try:
        if o.cmd == "set-up":
            os.makedirs(o.dir, mode=0o700, exist_ok=True)
            acc = Account(o.account)
            print(acc.set_up(o.url, browser).title)
            save(o.dir, acc)
            return
        acc = Account(o.account, **load(o.dir)[o.account])

        def seen(at, text):
            if o.pages:
                with open(o.pages, "a") as f:
                    f.write("<!-- %s -->\n%s\n" % (at, text))
        end = idp.login(o.url, o.stop, acc.login, acc.password, None, browser, seen=seen, code=acc.code)
        save(o.dir, acc)
    except (Refused, RuntimeError, OSError) as e:
        sys.exit("%s: %s" % (o.cmd, e))
    print(end)
    if o.follow:
        answer, text = browser.once("GET", end)
        print(text)
        sys.exit(0 if answer.status < 400 else "login: HTTP %d" % answer.status)


if __name__ == "__main__":
    main()
