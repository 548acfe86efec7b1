#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sessions of people with only a browser, renewed without a page, in the whole product: run by
tests/netns/browser.sh on a host without Reeve, which does in MEET what this asks of it.

usage: renewal.py IDP-FOLDER COMMAND-ON-THE-HUB...
"""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chromium     # noqa: E402
import people       # noqa: E402
from people import DOWNLOAD, check, cookie_of, enter, login, script, sessions, shows, until     # noqa: E402

MEET, HUB = os.environ["MEET"], "https://hub.example.edu/login/"
WHO = "staff@example.edu"


def meet(what):
    """Has the script on the other side do that; it gives up if that does not come to pass."""
    open(os.path.join(MEET, what), "w").close()
    if not until(lambda: os.path.exists(os.path.join(MEET, what + ".done")), 240):
        raise RuntimeError("nobody came: " + what)


class Person:
    """In a browser that is a script, at a page of the service."""

    def __init__(self, name):
        self.page = DOWNLOAD + "/headers?" + name
        self.b, before = script(), {s["id"] for s in sessions(WHO)}
        _, _, text = login(self.page, WHO, self.b)
        self.session = next(s for s in sessions(WHO) if s["id"] not in before)
        self.cookie = cookie_of(self.b)
        check(name + " is in", "Remote-User: " + WHO in text, text)

    def now(self):
        return next((s for s in sessions(WHO) if s["node"] == self.session["node"]), {})

    def sent(self):
        """Where a renewal sends them; None: the page is shown."""
        answer, text = self.b.once("GET", self.page)
        if answer.status == 200:
            assert "Remote-User: " + WHO in text, text
            return None
        return answer.headers["Location"]

    def renewed(self, at):
        """The way that it goes from there."""
        at, answer, text = self.b.go("GET", at)
        return at == self.page and answer.status == 200 and "Remote-User: " + WHO in text


def counts(tab):
    return tab.run("window.bytes || 0") or 0


def main():
    known, forgotten, away = Person("known"), Person("forgotten"), Person("away")
    browser = tab = None
    if chromium.find():
        browser = chromium.Chromium()
        tab = browser.tab()
        tab.go(DOWNLOAD + "/headers?open")
        enter(tab, DOWNLOAD + "/headers?open")
        tab.run("window.bytes = 0; fetch('/stream').then(async r => { const f = r.body.getReader(); for (;;) {"
                " const p = await f.read(); if (p.done) break; window.bytes += p.value.length; } window.over = 1; },"
                " () => window.over = 1); 0")
        check("Chromium: a download is open", until(lambda: counts(tab) > 100000), counts(tab))
    else:
        print("skip - Chromium: it is not installed")
    check("long before its end a session is not renewed", known.sent() is None)
    meet("age")

    at = until(known.sent)
    check("shortly before it, a page goes by way of the coordinator", at and at.startswith(HUB) and "/service" not in at, at)
    answer, _ = known.b.once("POST", known.page, "a=b")
    check("a form does not", answer.status == 200, answer.status)
    check("the provider knows them: the very page is shown, and no other", known.renewed(at))
    new = known.now()
    check("with another cookie, and another session in the old one's place", cookie_of(known.b) not in (None, known.cookie) and
          new.get("id") not in (None, known.session["id"]) and new["expires"] > known.session["expires"] - 60,
          (new, known.session, cookie_of(known.b) != known.cookie, sessions(WHO)))
    check("which is not renewed again", known.sent() is None)

    forgotten.b.jar.clear("idp.example.edu")
    at = until(forgotten.sent)
    check("a browser that the provider does not know any more is sent, too", at and at.startswith(HUB), at)
    check("and comes back to the very page", forgotten.renewed(at))
    check("with the session it had", cookie_of(forgotten.b) == forgotten.cookie and forgotten.now().get("id") == forgotten.session["id"])
    check("which is not tried again", [forgotten.sent() for _ in range(3)] == [None] * 3)

    if tab:
        def jar():
            return {c["name"]: c["value"] for c in tab.ask("Network.getCookies", {"urls": [DOWNLOAD]})["cookies"]}
        was, other = jar().get("__Host-reeve"), browser.tab(tab)
        other.go(DOWNLOAD + "/headers?other")
        check("Chromium: another tab shows its page", shows(other, DOWNLOAD + "/headers?other"), (other.url(), other.text()))
        check("Chromium: with another cookie", jar().get("__Host-reeve") not in (None, was), list(jar()))
        had = counts(tab)
        check("Chromium: and the download goes on", until(lambda: counts(tab) > had + 1000000) and not tab.run("window.over"),
              (had, counts(tab)))

    meet("away")
    check("without the coordinator nobody is sent there", [away.sent() for _ in range(3)] == [None] * 3)
    if tab:
        had = counts(tab)
        check("Chromium: the download goes on all the same", until(lambda: counts(tab) > had + 100000), (had, counts(tab)))
    meet("back")
    at = until(away.sent)
    check("with it again they are", at and at.startswith(HUB), at)
    check("and renewed", away.renewed(at) and cookie_of(away.b) != away.cookie)
    if tab:
        browser.close()
    print("# %d passed, %d failed" % (people.passed, people.failed))
    sys.exit(1 if people.failed else 0)


if __name__ == "__main__":
    main()
