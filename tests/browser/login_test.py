#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""A person's login as their browser sees it: Chromium, the real coordinator behind a plain
TLS listener, oidc-provider with password and TOTP, and a device's loopback.

  chromium --TLS--> listener --public.sock--> reeve-coordinator
     |  \\--TLS--> oidc-provider
     \\--http--> 127.0.0.1:PORT (the device)
"""

import os
import sys
import time
import urllib.parse

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
for folder in (HERE, HERE + "/../idp", HERE + "/../coordinator"):
    sys.path.insert(0, folder)
import chromium  # noqa: E402
from front import Loopback, listener  # noqa: E402
import flow  # noqa: E402
import idp  # noqa: E402

HOST = "hub.example.edu"


GO = "document.querySelector('form:not([data-refuse]) button')"


def run(w, h, hub, check, port):
    back = Loopback()
    device = hub.Device(h, "laptop")
    r = device.start(loopback=back.port)
    r = device.prove(r.json)
    if not check("the device is told a URL and a code", r.status == 200 and r.json.get("code"), r):
        return
    asked = r.json
    b = chromium.Chromium({HOST: "127.0.0.1"}, ["127.0.0.1:%d" % p for p in (port, w.port)])
    try:
        browse(w, h, b, check, device, back, asked)
    finally:
        b.close()


def browse(w, h, b, check, device, back, asked):
    tab, other = b.tab(), b.tab()
    tab.go(asked["url"])
    text = tab.text()
    check("the page shows the device, its system, where it asks from and the code",
          all(x in text for x in ("laptop", "test", "192.0.2.7", asked["code"])), text)
    style = tab.run("getComputedStyle(document.querySelector('.code')).fontFamily")
    check("the policy admits the style", "mono" in (style or ""), style)
    check("the browser has nothing to complain of", not [c for c in tab.complaints() if "favicon" not in c],
          tab.complaints())
    roles = tab.roles()
    check("one heading of the first level, and every button has a name",
          tab.run("document.querySelectorAll('h1').length") == 1 and
          all(name for role, name in roles if role in ("button", "link", "textbox")) and
          any(role == "button" for role, _ in roles), roles)
    check("the page needs no script", tab.run("document.scripts.length") == 0)

    # framed by another site: first a page that lets itself be framed
    frame = "http://127.0.0.1:%d/frame?" % back.port
    shown = [other.frame(frame + urllib.parse.quote("http://localhost:%d/" % back.port)),
             other.frame(frame + urllib.parse.quote(asked["url"]))]
    check("another site cannot frame it", "back on the device" in shown[0] and "laptop" not in shown[1] and
          asked["code"] not in shown[1], shown)

    # the form: a forged one first, from a browser without the cookie
    other.go("data:text/html,<form method=post action='%s/continue'><button>x</button></form>" % asked["url"])
    other.press("document.querySelector('button')")
    other.wait("location.protocol == 'https:' && document.readyState == 'complete' && "
               "document.body.innerText.includes('not yours') && 1")
    check("a form from another site is refused", "not yours" in other.text(), other.text())

    check("it fits a telephone's window", tab.overflow(360) == 0, tab.overflow(360))
    tabs = tab.press_by_keyboard(GO)
    check("\"continue\" is the first thing that the keyboard reaches", tabs == 1, tabs)
    check("\"continue\" leads to the provider", tab.wait(
        "location.port == '%d' && document.querySelector('input[name=password]') && 1" % w.port), tab.url())
    a = w.accounts["staff@example.edu"]
    tab.run("document.querySelector('input[name=login]').value = ''")
    tab.type("login", "staff@example.edu")
    tab.type("password", a["password"])
    tab.press(GO)
    tab.wait("document.querySelector('input[name=otp]') && 1")
    tab.type("otp", idp.totp(a["totp"]))
    tab.press(GO)
    check("the provider leads back to the approval", tab.wait(
        "document.readyState == 'complete' && location.hostname == '%s' && document.body.innerText.includes('staff@example.edu') && 1" % HOST),
        (tab.url(), tab.text()))
    text = tab.text()
    check("the approval shows person, second factor, device and code",
          all(x in text for x in ("Staff Example", "yes", "laptop", asked["code"])), text)
    check("the callback's URL is not told to others", tab.run(
        "document.querySelectorAll('a[href^=http]').length") == 0)

    check("the approval fits a telephone's window", tab.overflow(360) == 0, tab.overflow(360))

    # the callback in another browser
    here = tab.url()
    other.go(here)
    check("the callback counts in its own browser alone", "over" in other.text() or "Another" in other.text(),
          other.text())
    check("nothing has reached the device so far", back.got == [], back.got)
    tab.press(GO)
    check("approving leads to the device's loopback", tab.wait("document.getElementById('done') && 1"),
          (tab.url(), tab.text()))
    check("the loopback has the attempt and a ticket", len(back.got) == 1 and
          back.got[0].get("attempt") == asked["attempt"] and back.got[0].get("ticket"), back.got)
    r = h.public("POST", "/v1/enrol/finish", back.got[0])
    check("the ticket makes the device a node of that person", r.status == 200 and r.json.get("node"), r)
    node = r.json["node"]["id"]
    r = h.public("POST", "/v1/enrol/finish", back.got[0])
    check("and counts once", r.status != 200, r)
    users = h.root("GET", "users").json
    check("the coordinator knows the person", "staff@example.edu" in str(users), users)
    portal(h, b, check, node)
    log = open(os.path.join(h.dir, "log")).read() + open(os.path.join(h.dir, "state/audit.json")).read()
    canaries = (a["password"], a["totp"], back.got[0]["ticket"], open(w.dir + "/client-secret").read().strip())
    check("no secret is in log or audit", not any(c in log for c in canaries))
    check("the browser had nothing to complain of to the end",
          not [c for c in tab.complaints() if "favicon" not in c], tab.complaints())


def portal(h, b, check, node):
    session = h.root("GET", "sessions").json["sessions"][0]
    user = h.root("GET", "users").json["users"][0]["id"]
    port = flow.free_port()
    front = listener(None, port, h, "mesh.sock", {
        "Reeve-Node": node, "Reeve-User": user, "Reeve-Session": session["id"]})
    tab = b.tab()
    tab.go("http://127.0.0.1:%d/" % port)
    text = tab.text()
    check("the portal shows person, device and session",
          all(x in text for x in ("Staff Example", "staff@example.edu", "laptop", "(this one)", "End")), text)
    check("the portal fits a telephone's window", tab.overflow(360) == 0, tab.overflow(360))
    other = b.tab()
    other.go("data:text/html,<form method=post action='http://127.0.0.1:%d/session/end'>"
             "<input name=id value=%s><button>x</button></form>" % (port, session["id"]))
    other.press("document.querySelector('button')")
    other.wait("location.protocol == 'http:' && document.body && document.body.innerText.includes('not from here')")
    check("another site's form ends nothing", len(h.root("GET", "sessions").json["sessions"]) == 1 and
          "not from here" in other.text(), other.text())
    tab.press("document.querySelector('form[action=\"/session/end\"] button')")
    tab.wait("document.body.innerText.includes('logged in nowhere') && 1")
    check("\"End\" ends the session", h.root("GET", "sessions").json["sessions"] == [], tab.text())
    check("the portal gives the browser nothing to complain of",
          not [c for c in tab.complaints() if "favicon" not in c], tab.complaints())
    front.shutdown()


def main():
    missing = ("not root" if os.geteuid() else "chromium is not installed" if not chromium.find() else
               idp.why() if not idp.node_dir() else None)
    if missing:
        print("1..0 # SKIP " + missing)
        sys.exit(77)
    import hub
    port = flow.free_port()
    redirect = "https://%s:%d/login/callback" % (HOST, port)
    flow.REDIRECT = redirect
    w = flow.World()
    h = None
    try:
        idp_row = {k: v for k, v in w.row.items()}
        where = os.path.join(w.dir, "hub")
        os.mkdir(where)
        idp.certificate(where, [HOST])
        h = hub.Hub(url="https://%s:%d" % (HOST, port), issuers={"uni": idp_row})
        h.start()
        front = listener(where, port, h)
        run(w, h, hub, check, port)
        front.shutdown()
    finally:
        if h:
            if flow.failed:
                print(open(h.dir + "/log").read()[-3000:], file=sys.stderr)
            h.close()
        w.close()
    flow.summary()


def check(name, ok, detail=""):
    flow.check(name, bool(ok), detail)
    return ok


if __name__ == "__main__":
    main()
