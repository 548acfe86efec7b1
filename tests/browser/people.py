#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""People with only a browser, in the whole product: run by tests/netns/browser.sh on a host without
Reeve. Once as Chromium, once as scripts that do what a thief would.

usage: people.py IDP-FOLDER COMMAND-ON-THE-HUB...
"""
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
for folder in (HERE, HERE + "/../idp"):
    sys.path.insert(0, folder)
import chromium     # noqa: E402
import idp          # noqa: E402

DOWNLOAD, WHO = "https://download.example.edu", "https://who.example.edu:8443"
BACK, PATIENCE = "/.well-known/reeve/session", 60
where, hub = sys.argv[1], sys.argv[2:]
accounts = json.load(open(where + "/accounts.json", encoding="utf-8"))
passed = failed = 0


def check(what, holds, saw=""):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    print("ok - " + what if holds else "not ok - %s: saw %r" % (what, saw), flush=True)
    return holds


def until(ask, patience=PATIENCE):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        got = ask()
        if got:
            return got
        time.sleep(0.05)
    return None


def admin(method, path, body=None):
    """As root on the hub."""
    out = subprocess.run(hub + ["-X", method, "http://hub/api/v1/" + path] + (["-d", json.dumps(body)] if body else []),
                         check=True, capture_output=True, text=True, timeout=60).stdout
    return json.loads(out) if out.strip() else None


def sessions(login):
    return [s for s in admin("GET", "sessions")["sessions"] if s["login"] == login]


def script():
    return idp.Browser(insecure=True)


def login(url, account="staff@example.edu", b=None, stop=()):
    """As a person's browser would, through the provider; what is shown in the end."""
    a, b = accounts[account], b or script()
    at, answer, text = b.go("GET", url, stop=stop)
    if answer is None or answer.status != 200 or "password" not in text:
        return at, answer, text
    at = idp.login(at, list(stop) + [DOWNLOAD + BACK, WHO + BACK], account, a["password"], a["totp"], b)
    return b.go("GET", at, stop=stop)


def cookie_of(b, name="__Host-reeve", host="download.example.edu"):
    return next((c.value for c in b.jar if c.name == name and c.domain.startswith(host)), None)


def with_cookie(url, value, extra=()):
    """A request that carries just this cookie; status, headers, text. Status 0: it was cut, which is what happens to
    one that is under way when its session ends."""
    b = script()
    u = urllib.parse.urlsplit(url)
    add = b.jar.add_cookie_header
    b.jar.add_cookie_header = lambda r: r.add_unredirected_header("Cookie", "__Host-reeve=" + value)
    try:
        answer, text = b.once("GET", urllib.parse.urlunsplit(u))
    except (http.client.HTTPException, OSError):
        return 0, {}, ""
    finally:
        b.jar.add_cookie_header = add
    return answer.status, answer.headers, text


def enter(tab, page):
    """Through the provider's pages, and back to that one."""
    a = accounts["staff@example.edu"]
    check("Chromium: a page leads to the provider", tab.wait(
        "location.hostname == 'idp.example.edu' && document.querySelector('input[name=password]') && 1", PATIENCE), tab.url())
    tab.run("document.querySelector('input[name=login]').value = ''")
    tab.type("login", "staff@example.edu")
    tab.type("password", a["password"])
    go = "document.querySelector('form:not([data-refuse]) button')"
    tab.press(go)
    tab.wait("document.querySelector('input[name=otp]') && 1", PATIENCE)
    tab.type("otp", idp.totp(a["totp"]))
    tab.press(go)
    check("Chromium: and back to the page, as that person", shows(tab, page), (tab.url(), tab.text()))


def shows(tab, page):
    return tab.wait("location.href == '%s' && document.body.innerText.includes('Remote-User: staff@example.edu') && 1" % page, PATIENCE)


def chrome():
    if not chromium.find():
        print("skip - Chromium: it is not installed")
        return
    b = chromium.Chromium()
    try:
        tab = b.tab()
        tab.go(DOWNLOAD + "/headers?first=1")
        enter(tab, DOWNLOAD + "/headers?first=1")
        check("Chromium: the application is shown no cookie of ours", "__Host-" not in tab.text(), tab.text())
        jar = {c["name"]: c for c in tab.ask("Network.getCookies", {"urls": [DOWNLOAD]})["cookies"]}
        c = jar.get("__Host-reeve", {})
        check("Chromium: one cookie, Secure, HttpOnly, SameSite=Lax, for this host alone", list(jar) == ["__Host-reeve"] and
              c["secure"] and c["httpOnly"] and c["sameSite"] == "Lax" and c["path"] == "/" and c["session"] and
              c["domain"] == "download.example.edu", jar)
        # another's login brought to its end in this browser, while it is logged in, and while it is not
        for state in ("logged in", "logged out"):
            at, _, _ = login(DOWNLOAD + "/headers", "student@example.edu", stop=[DOWNLOAD + BACK])
            tab.go(at)
            tab.wait("document.body && document.body.innerText.includes('begun in another browser') && 1", PATIENCE)
            check("Chromium, %s: somebody else's login is not taken over (login CSRF)" % state,
                  "begun in another browser" in tab.text(), (at, tab.text()))
            tab.go(DOWNLOAD + "/headers")
            if state == "logged in":
                check("Chromium: the person is who they were", tab.wait(
                    "document.body.innerText.includes('Remote-User: staff@example.edu') && 1", PATIENCE), tab.text())
                tab.go(DOWNLOAD + "/.well-known/reeve/logout")
                tab.press("document.querySelector('form button')")
                check("Chromium: the button logs out", tab.wait(
                    "document.body.innerText.includes('not logged in here any more') && 1", PATIENCE), tab.text())
                check("Chromium: the session has ended at the coordinator", until(lambda: not sessions("staff@example.edu")),
                      sessions("staff@example.edu"))
                check("Chromium: and its cookie is nobody's", until(lambda: with_cookie(DOWNLOAD + "/headers", c["value"])[0] == 303))
        # the other site, whose page makes requests here
        tab.go(DOWNLOAD + "/headers")
        until(lambda: "Remote-User" in tab.text() or "idp.example.edu" in (tab.url() or ""))
        check("Chromium: the provider still knows the person: no password again", tab.wait(
            "location.href == '%s/headers' && document.body.innerText.includes('Remote-User: staff@example.edu') && 1" % DOWNLOAD,
            PATIENCE), (tab.url(), tab.text()))
        tab.go(WHO + "/who")
        check("Chromium: another service has a login of its own, without a password", tab.wait(
            "document.body.innerText.includes('REMOTE_USER=staff@example.edu') && 1", PATIENCE), (tab.url(), tab.text()))
        tab.run("window.word = ''; fetch('%s/headers', {method: 'POST', mode: 'no-cors', credentials: 'include'})"
                ".then(r => r.type, e => 'refused').then(w => window.word = w); 0" % DOWNLOAD)
        tab.wait("window.word", PATIENCE)
        tab.go("%s/headers" % DOWNLOAD)
        check("Chromium: the page of one service is a stranger to the other", "Remote-User" in tab.text(), tab.text())
    finally:
        b.close()


def thief():
    b = script()
    at, answer, text = login(DOWNLOAD + "/headers?a=1", b=b)
    check("a person is led through the login and back", at == DOWNLOAD + "/headers?a=1" and
          "Remote-User: staff@example.edu" in text, (at, text))
    value = cookie_of(b)
    check("with the stolen cookie somebody else is that person: it is all there is",
          "Remote-User: staff@example.edu" in with_cookie(DOWNLOAD + "/headers", value)[2])
    status, headers, _ = with_cookie(WHO + "/who", value)
    check("but at this service alone (cookie theft across services)", status == 303 and
          headers["Location"].startswith("https://hub.example.edu/login/service?"), (status, headers))
    status, _, _ = with_cookie(DOWNLOAD + "/headers", value[:-1] + ("A" if value[-1] != "A" else "B"))
    check("another cookie is nobody's", status == 303, status)
    student = script()
    at, answer, text = login(DOWNLOAD + "/headers", "student@example.edu", student)
    check("who is not granted is told so, as who they are", answer.status == 403 and "student@example.edu" in text, (at, text))
    at, answer, text = login(WHO + "/who", "student@example.edu", student)
    check("and is served where they are", "REMOTE_USER=student@example.edu" in text, (at, text))

    # codes: another browser, twice, at another service
    one = script()
    at, _, _ = login(DOWNLOAD + "/headers", b=one, stop=[DOWNLOAD + BACK])
    answer, _ = script().once("GET", at)
    check("a code in a browser that began nothing", answer.status == 403 and not answer.headers.get("Set-Cookie"), answer.headers)
    other = script()
    other.once("GET", DOWNLOAD + "/headers")
    answer, _ = other.once("GET", at)
    check("a code in a browser that began another login", answer.status == 403 and not cookie_of(other), answer.headers)
    answer, _ = one.once("GET", at)
    check("and it was tried: it counts no more", answer.status == 403, answer.headers)
    one = script()
    at, _, _ = login(DOWNLOAD + "/headers", b=one, stop=[DOWNLOAD + BACK])
    answer, _ = one.once("GET", at)
    check("a code in its own browser", answer.status == 303 and answer.headers["Location"] == "/headers", answer.headers)
    one.jar.clear("download.example.edu", "/", "__Host-reeve")
    answer, _ = one.once("GET", at)
    check("is good once (replay)", answer.status == 403 and not cookie_of(one), answer.headers)

    # where it leads
    for back in ("//evil.example/", "https://evil.example/", "/\\evil.example"):
        b = script()
        at, _, _ = login(DOWNLOAD + "/.well-known/reeve/login?back=" + urllib.parse.quote(back, safe=""), b=b,
                         stop=[DOWNLOAD + BACK])
        answer, _ = b.once("GET", at)
        check("not to %s (open redirect)" % back, answer.status == 303 and answer.headers["Location"] == "/", answer.headers)
    for host in ("192.0.2.20", "evil.example"):
        evil = idp.Browser(insecure=True, resolve={host + ":443": "192.0.2.20"})
        answer, text = evil.once("GET", "https://%s/headers" % host)
        check("under %s it is not there (rebinding)" % host, answer.status == 421 and "Remote-User" not in text, answer.status)
    fixed = script()
    at, answer, text = login(DOWNLOAD + "/headers", b=fixed)
    old = cookie_of(fixed)
    at, answer, text = login(DOWNLOAD + "/.well-known/reeve/login?back=%2Fheaders", b=fixed)
    check("a new login has a new cookie (fixation)", cookie_of(fixed) not in (None, old) and "Remote-User" in text, text)
    check("and the old one is nobody's", until(lambda: with_cookie(DOWNLOAD + "/headers", old)[0] == 303))


def revoked():
    """What is open ends with the session, whoever ends it."""
    b = script()
    at, _, text = login(DOWNLOAD + "/headers", b=b)
    value = cookie_of(b)
    before = len(sessions("staff@example.edu"))
    got = {"bytes": 0, "ended": None}

    def download():
        p = subprocess.Popen(["curl", "-skN", "-H", "Cookie: __Host-reeve=" + value, DOWNLOAD + "/stream"],
                             stdout=subprocess.PIPE)
        while True:
            part = p.stdout.read1(65536)
            if not part:
                break
            got["bytes"] += len(part)
        got["ended"] = time.monotonic()
        p.wait()
    t = threading.Thread(target=download, daemon=True)
    t.start()
    check("a download runs", until(lambda: got["bytes"] > 100000), got)
    newest = max(sessions("staff@example.edu"), key=lambda s: int(s["id"][1:]))
    began = time.monotonic()
    admin("DELETE", "sessions/" + newest["id"])
    t.join(PATIENCE)
    check("it ends when an administrator ends the session", got["ended"] is not None, got)
    if got["ended"]:
        print("# command to last byte: %d ms" % ((got["ended"] - began) * 1000))
    check("and the cookie is nobody's", until(lambda: with_cookie(DOWNLOAD + "/headers", value)[0] == 303))
    check("one session less", len(sessions("staff@example.edu")) == before - 1)
    student = script()
    login(WHO + "/who", "student@example.edu", student)
    value = cookie_of(student, host="who.example.edu")
    user = sessions("student@example.edu")[0]["user"]
    check("the student is in", with_cookie(WHO + "/who", value)[0] == 200)
    admin("POST", "users/" + user, {"blocked": True})
    check("a blocked person's cookies are nobody's", until(lambda: with_cookie(WHO + "/who", value)[0] == 303))
    at, answer, text = login(WHO + "/who", "student@example.edu", script())
    check("and they do not log in again", answer.status == 403 and "REMOTE_USER" not in text, (at, text))
    admin("POST", "users/" + user, {"blocked": False})


def main():
    what = os.environ.get("PART", "all")
    if what == "begin":
        b = script()
        _, _, text = login(DOWNLOAD + "/headers", b=b)
        check("a person logs in", "Remote-User: staff@example.edu" in text, text)
        print("cookie " + cookie_of(b))
    else:
        chrome()
        thief()
        revoked()
    print("# %d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
