#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Passkeys of own accounts in Chromium, with a virtual authenticator: an invitation taken up with
one, a device's login with it, and what is refused: another login's answer, a changed signature, a
copy of the key whose counter is behind, an authenticator that did not verify its user."""

import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
for folder in (HERE, HERE + "/../idp", HERE + "/../coordinator"):
    sys.path.insert(0, folder)
import chromium  # noqa: E402
import idp  # noqa: E402
from idp import free_port  # noqa: E402
from hub import *  # noqa: E402,F403
from front import Loopback, listener  # noqa: E402

HOST = "hub.example.edu"
BUTTON = "document.getElementById('use-passkey')"
t = Test()


def title(tab, want):
    return tab.wait("document.readyState == 'complete' && document.getElementById('title') && "
                    "document.getElementById('title').textContent == %r && document.title" % want)


def use(tab):
    """Presses the page's passkey button, once its script is there."""
    tab.wait("document.readyState == 'complete' && !!" + BUTTON)
    tab.press(BUTTON)


def refused(tab):
    return tab.wait("document.readyState == 'complete' && document.getElementById('wrong') && "
                    "document.getElementById('wrong').textContent")


def keep(tab):
    """The answer of the authenticator to this page, which is not sent."""
    tab.wait("document.readyState == 'complete' && !!" + BUTTON)
    tab.run("%s.form.submit = function () { window.kept = Object.fromEntries(new FormData(this)) }" % BUTTON)
    tab.press(BUTTON)
    tab.wait("!!window.kept")
    tab.run("delete %s.form.submit" % BUTTON)       # the form's own is behind it
    return tab.run("window.kept")


def send(tab, fields):
    """Fills this page's form with them, but for its own token, and sends it."""
    tab.wait("document.readyState == 'complete' && !!" + BUTTON)
    for name, value in fields.items():
        if name != "token":
            tab.run("%s.form.elements[%r].value = %r" % (BUTTON, name, value))
    tab.run("window.old = true; %s.form.submit()" % BUTTON)
    if not tab.wait("!window.old && document.readyState == 'complete'"):
        raise RuntimeError("the form was not sent")


def main():
    if not chromium.find():
        skip("chromium is not installed")
    port = free_port()
    url = "https://%s:%d" % (HOST, port)
    hub = Hub(policy="{}", url=url, accounts={"enabled": True, "title": "Example"})
    browser = front = None
    try:
        idp.certificate(hub.dir, [HOST])
        hub.start()
        front = listener(hub.dir, port, hub)
        browser = chromium.Chromium({"%s:%d" % (HOST, port): "127.0.0.1:%d" % port})
        tab = browser.tab()
        tab.ask("WebAuthn.enable", {"enableUI": False})
        auth = tab.ask("WebAuthn.addVirtualAuthenticator", {"options": {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": False, "automaticPresenceSimulation": True}})["authenticatorId"]

        # ---- an invitation, taken up without a password ----
        link = hub.root("POST", "accounts", {"login": "staff@example.edu"}).json["link"]
        tab.go(link)
        title(tab, "You are invited")
        use(tab)
        said = tab.wait("document.getElementById('passkey-wrong').textContent")
        t.ok(said and "NotAllowedError" in said, "an authenticator that does not verify its user makes none", said)
        tab.ask("WebAuthn.setUserVerified", {"authenticatorId": auth, "isUserVerified": True})
        kept = keep(tab)
        t.ok(kept["attestation"] and kept["client"], "one that does, does", kept)
        tab.go(link)
        send(tab, kept)
        said = refused(tab)
        t.ok(said and "cannot be used here" in said, "but the answer to another page is none", said)
        tab.ask("WebAuthn.clearCredentials", {"authenticatorId": auth})
        use(tab)
        t.ok(title(tab, "Your account is there"), "a passkey is enough for an account", tab.text())
        a = hub.root("GET", "accounts").json["accounts"][0]
        t.is_((a["state"], a["password"], a["passkeys"]), ("active", False, 1), "which has no password")
        tab.go(link)
        t.ok(title(tab, "This link is over"), "and the link is over", tab.text())
        creds = tab.ask("WebAuthn.getCredentials", {"authenticatorId": auth})["credentials"]
        t.ok(len(creds) == 1 and creds[0]["isResidentCredential"] and creds[0]["rpId"] == HOST,
             "the passkey knows who it is for", creds)

        # ---- logins that are refused ----
        tab.go(url + "/idp/account")
        kept = keep(tab)
        t.ok("staff" not in tab.run("document.documentElement.outerHTML"), "nobody is named before")
        tab.go(url + "/idp/account")
        send(tab, kept)
        said = refused(tab)
        t.ok(said and "not right" in said, "another login's answer is refused", said)
        kept = keep(tab)
        last = kept["signature"][-4]
        kept["signature"] = kept["signature"][:-4] + ("A" if last != "A" else "B") + kept["signature"][-3:]
        send(tab, kept)
        said = refused(tab)
        t.ok(said and "not right" in said, "a changed signature is refused", said)
        kept = keep(tab)
        kept["user"] = "A" * 43
        send(tab, kept)
        said = refused(tab)
        t.ok(said and "not right" in said, "and so is another user's name on it", said)

        # ---- and one that is not ----
        tab.go(url + "/idp/account")
        use(tab)
        t.ok(title(tab, "How you log in"), "the page's own answer lets in", tab.text())
        t.ok("My passkey" in tab.text() and "Recovery" not in tab.text(), "to one's own account", tab.text())
        tab.press("document.querySelector('form[action$=add-passkey] button')")
        title(tab, "A new passkey")
        use(tab)
        said = tab.wait("document.getElementById('passkey-wrong').textContent")
        t.ok(said and "InvalidStateError" in said, "the same authenticator is not taken twice", said)

        # ---- a device's login ----
        loop = Loopback()
        dev = Device(hub, "laptop")
        ask = dev.prove(dev.start(loopback=loop.port).json).json
        tab.go(ask["url"])
        tab.wait("document.readyState == 'complete' && !!document.querySelector('form button')")
        tab.press("document.querySelector('form button')")
        title(tab, "Log in")
        use(tab)
        t.ok(title(tab, "Let this device act in your name?"), "a passkey at a device's login", tab.text())
        tab.press("document.querySelector('form[action$=approve] button')")
        t.ok(tab.wait("!!document.getElementById('done')"), "approved", tab.text())
        r = hub.public("POST", "/v1/enrol/finish", loop.got[0])
        s = r.json["node"].get("session", {}) if r.status == 200 else {}
        t.ok(r.status == 200 and r.json["node"]["user"]["login"] == "staff@example.edu", "the device has joined", r)
        t.ok({"hwk", "user", "mfa"} <= set(s.get("amr", [])) and s.get("acr") == "phr",
             "with two factors that cannot be phished, and says so", s)

        # ---- a copy of the key ----
        cred = tab.ask("WebAuthn.getCredentials", {"authenticatorId": auth})["credentials"][0]
        t.ok(cred["signCount"] > 2, "the counter has gone up", cred["signCount"])
        tab.ask("WebAuthn.clearCredentials", {"authenticatorId": auth})
        tab.ask("WebAuthn.addCredential", {"authenticatorId": auth, "credential": dict(
            {k: cred[k] for k in ("credentialId", "isResidentCredential", "rpId", "privateKey", "userHandle")}, signCount=1)})
        tab.go(url + "/idp/account")
        use(tab)
        said = refused(tab)
        t.ok(said and "not right" in said, "a copy whose counter is behind is refused", said)
        why = [e.get("how", "") for e in hub.audit() if e["event"] == "account-refused"][-1]
        t.ok("counter" in why, "and the audit says why", why)

        # ---- no password ever ----
        hub.root("POST", "accounts/staff@example.edu", {"disabled": True})
        tab.ask("WebAuthn.clearCredentials", {"authenticatorId": auth})
        tab.ask("WebAuthn.addCredential", {"authenticatorId": auth, "credential": dict(
            {k: cred[k] for k in ("credentialId", "isResidentCredential", "rpId", "privateKey", "userHandle")}, signCount=1000)})
        tab.go(url + "/idp/account")
        use(tab)
        said = refused(tab)
        t.ok(said and "not right" in said, "a disabled account's passkey is as wrong as any", said)
        hub.root("POST", "accounts/staff@example.edu", {"disabled": False})
        use(tab)
        t.ok(title(tab, "How you log in"), "until it is enabled again", tab.text())
        errors = [e for e in browser.events if e.get("method") == "Log.entryAdded" and
                  "Content Security Policy" in e["params"]["entry"].get("text", "")]
        t.is_(errors, [], "the pages kept to their own policy")
    finally:
        if browser:
            browser.close()
        if front:
            front.shutdown()
        hub.close()
    t.end()


if __name__ == "__main__":
    main()
