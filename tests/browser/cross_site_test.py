#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Another site's page against a service whose people are known by their address, in Chromium:
everything that such a page can make a browser send, first where its origin is listed, so
that it is seen to arrive, then where it is not.

  chromium --wiki.example.edu, secure.example.edu--> front --> a recording origin
     |  \\--evil.example.net, evil.example.edu--> pages of somebody else
     \\--rebind.example.net: a page of somebody else's, then the address of the front
"""

import base64
import hashlib
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

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
for folder in (HERE, HERE + "/../http"):
    sys.path.insert(0, folder)
import chromium  # noqa: E402
import wire  # noqa: E402

PATIENCE = 60
PERSON = "127.0.0.1"
passed = failed = 0


def check(what, holds, saw=""):
    global passed, failed
    if holds:
        passed += 1
        print("ok - " + what, flush=True)
    else:
        failed += 1
        print("not ok - %s: saw %r" % (what, saw), flush=True)


def until(ask, patience=PATIENCE):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        got = ask()
        if got:
            return got
        time.sleep(0.02)
    return None


def certificate(where):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=DNS:*.example.edu,DNS:*.example.net",
                    "-keyout", where + "/key.pem", "-out", where + "/cert.pem"], check=True, capture_output=True)


# What a hostile page does, each an expression that calls done(word) when the browser is through
# with it. T is the service's origin, P the path that names the try. The one that changes its page is the last.
ACTS = {
    "form": """
        const f = document.createElement('iframe'), o = document.createElement('form');
        f.name = P; document.body.append(f);
        o.method = 'post'; o.action = T + P; o.target = P; document.body.append(o);
        f.onload = () => { let at = 'elsewhere'; try { at = f.contentWindow.location.href } catch (e) {}
                           if (at != 'about:blank') done(at) };
        o.submit()""",
    "form of a sandboxed frame": """
        const f = document.createElement('iframe'); let n = 0;
        f.sandbox = 'allow-scripts allow-forms';
        f.srcdoc = '<form method=post action="' + T + P + '"></form><script>document.forms[0].submit()<\\/script>';
        f.onload = () => { if (++n == 2) done('loaded') };
        document.body.append(f)""",
    "fetch with credentials": """
        fetch(T + P, {method: 'POST', mode: 'no-cors', credentials: 'include', body: 'x=1'})
            .then(r => done(r.type), e => done('refused'))""",
    "beacon": "done(String(navigator.sendBeacon(T + P, 'x=1')))",
    "websocket": """
        const s = new WebSocket(T.replace('http', 'ws') + P);
        s.onopen = () => done('open'); s.onerror = () => done('refused')""",
    "form without a referrer": """
        const m = document.createElement('meta'); m.name = 'referrer'; m.content = 'no-referrer';
        document.head.append(m);
        const f = document.createElement('iframe'), o = document.createElement('form');
        f.name = P; document.body.append(f);
        o.method = 'post'; o.action = T + P; o.target = P; document.body.append(o);
        f.onload = () => { let at = 'elsewhere'; try { at = f.contentWindow.location.href } catch (e) {}
                           if (at != 'about:blank') done(at) };
        o.submit()""",
}
# allowed everywhere, since they change nothing; what comes back is not the page's to read
LOOKS = {
    "image": "const i = new Image(); i.onload = i.onerror = e => done(e.type); i.src = T + P; document.body.append(i)",
    "frame": """
        const f = document.createElement('iframe'); f.src = T + P;
        f.onload = () => { let text = 'out of reach'; try { text = f.contentWindow.document.body.innerText }
                           catch (e) {} done(text) };
        document.body.append(f)""",
    "reading": """fetch(T + P, {credentials: 'include'}).then(r => r.text()).then(done, e => done('out of reach'))""",
}
# a method that the browser asks about first: the question may arrive, the method must not
ASKING = {
    "delete": """fetch(T + P, {method: 'DELETE', credentials: 'include'}).then(r => done('sent'), e => done('refused'))""",
}


def pages(name, tls=None):
    """Somebody else's site; its origin."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b"<!DOCTYPE html><html><head><title>win a prize</title></head><body></body></html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer((PERSON, 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return "%s://%s:%d" % ("https" if tls else "http", name, server.server_address[1])


class World:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="reeve-crosssite.")
        certificate(self.dir)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.dir + "/cert.pem", self.dir + "/key.pem")
        self.app = wire.Origin()
        self.app.reply = self.answer
        self.ports = {"wiki": wire.free_port(), "secure": wire.free_port()}
        self.at = {"wiki": "http://wiki.example.edu:%d" % self.ports["wiki"],
                   "secure": "https://secure.example.edu:%d" % self.ports["secure"]}
        # (whose page, which service): without TLS browsers say Origin alone, with it Sec-Fetch-Site
        self.sides = [(pages("evil.example.net"), "wiki"), (pages("evil.example.net", tls), "secure"),
                      (pages("evil.example.edu", tls), "secure")]
        self.conf = {
            "policy": {"grants": [{"src": ["staff@example.edu"], "dst": ["*"], "ip": ["*"]}]},
            "identities": [{"address": PERSON + "/32", "login": "staff@example.edu"}],
            "certificates": [{"certificate": self.dir + "/cert.pem", "key": self.dir + "/key.pem"}],
            "services": {name: {"listen": ["%s:%d" % (PERSON, port)], "tls": name == "secure",
                                "hosts": [name + ".example.edu"], "upstream": [self.app.url],
                                "profiles": ["remote-user"]} for name, port in self.ports.items()}}
        self.front = wire.Front(self.conf)
        names = ["wiki.example.edu", "secure.example.edu", "evil.example.net", "evil.example.edu", "rebind.example.net"]
        # a browser that guards the local from the public must not be the one that refuses
        self.browser = chromium.Chromium({n: PERSON for n in names}, ["%s:%d" % (PERSON, p) for p in self.ports.values()])
        self.tries = 0

    @staticmethod
    def answer(c, m):
        """An application that believes whoever comes, and says who that is."""
        key = m.get(b"sec-websocket-key")
        if key:
            proof = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n")
            return True
        body = b"<!DOCTYPE html><title>wiki</title><p>secret of " + (m.get(b"remote-user") or b"nobody")
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        return True

    def allow(self, origins):
        for service in self.conf["services"].values():
            service["origins"] = origins
        self.front.write()
        self.front.command("reload")

    def records(self, path):
        with open(self.front.log, encoding="utf-8") as f:
            lines = [line for line in f.read().split("\n")[:-1] if '"' + path + '"' in line]
        return [json.loads(line) for line in lines]

    def arrived(self, path):
        return [m for m in self.app.seen if m.line.split(b" ")[1] == path.encode()]

    def act(self, page, service, acts):
        """All of them on one fresh page of that site: (what, the path of the try, what the page saw)."""
        tab, out = self.browser.tab(), []
        tab.go(page + "/")
        for what, script in acts.items():
            self.tries += 1
            path = "/try%d" % self.tries
            tab.run("window.words = window.words || {}; ((T, P) => { const done = w => { words[P] = String(w) }; %s })"
                    "(%s, %s); 0" % (script, json.dumps(self.at[service]), json.dumps(path)))
            out.append((what, path, lambda p=path: tab.wait("words['%s']" % p, PATIENCE)))
        return tab, out

    def close(self):
        self.browser.close()
        self.front.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


def acts(w):
    for page, service in w.sides:
        way = "%s -> %s" % (page.rsplit(":", 1)[0], service)
        w.allow([page, "null"])
        for what, path, _ in w.act(page, service, ACTS)[1]:
            came = until(lambda: w.arrived(path))
            check("%s: a %s arrives where its origin is listed, as the person's" % (way, what),
                  came and came[0].get(b"remote-user") == b"staff@example.edu", w.records(path))
        w.allow([])
        for what, path, _ in w.act(page, service, ACTS)[1]:
            refused = until(lambda: w.records(path))
            check("%s: a %s is refused where it is not" % (way, what),
                  refused and all(r.get("status") == 403 and "cross-site" in json.dumps(r) for r in refused), refused)
            check("%s: nothing of a %s has arrived" % (way, what), not w.arrived(path))


def looks(w):
    for page, service in w.sides:
        way = "%s -> %s" % (page.rsplit(":", 1)[0], service)
        for what, path, word in w.act(page, service, LOOKS)[1]:
            came, said = until(lambda: w.arrived(path)), word()
            check("%s: %s: changes nothing, and arrives" % (way, what), came and
                  all(m.line.startswith(b"GET ") for m in came), (said, w.records(path)))
            check("%s: %s: shows that page nothing" % (way, what), said in ("out of reach", "error"), said)
        for what, path, word in w.act(page, service, ASKING)[1]:
            said = word()
            check("%s: a %s is asked about and not sent" % (way, what), said == "refused" and
                  all(m.line.startswith(b"OPTIONS ") for m in w.arrived(path)), (said, w.records(path)))


def own(w):
    """The same acts by the service's own page go on."""
    for service, origin in w.at.items():
        tab, tries = w.act(origin, service, {k: ACTS[k] for k in ("form", "fetch with credentials", "websocket")})
        check("%s: the person's own visit is served" % service, "secret of staff@example.edu" in tab.text(), tab.text())
        for what, path, _ in tries:
            check("%s: a %s of its own page arrives" % (service, what), until(lambda: w.arrived(path)), w.records(path))


def refusal_in_a_frame(w):
    """What the front says itself cannot be framed: nobody is led to click in it."""
    tab, tries = w.act(w.sides[0][0], w.sides[0][1], {"form": ACTS["form"]})
    tries[0][2]()
    blocked = until(lambda: [c for c in tab.complaints() if "frame-ancestors" in c])
    check("a refusal is not shown inside another site's frame", blocked, tab.complaints())


def rebinding(w):
    """The name showed somebody else's page, and now has the service's address: to the browser both are one origin."""
    port = w.ports["wiki"]
    url = "http://rebind.example.net:%d" % port
    tab = w.browser.tab()
    page = b"<!DOCTYPE html><title>rebind</title><p>somebody else's"

    def load():
        tab.ask("Fetch.enable", {"patterns": [{"urlPattern": url + "/page"}]})
        n = w.browser.send("Page.navigate", {"url": url + "/page"}, tab.s)
        end, answered = time.monotonic() + PATIENCE, False
        while time.monotonic() < end:
            m = w.browser.message(end)
            if m.get("method") == "Fetch.requestPaused" and not answered:
                answered = True
                w.browser.send("Fetch.fulfillRequest", {
                    "requestId": m["params"]["requestId"], "responseCode": 200,
                    "responseHeaders": [{"name": "Content-Type", "value": "text/html"}],
                    "body": base64.b64encode(page).decode()}, tab.s)
            elif m.get("id") == n:
                break
            else:
                w.browser.events.append(m)
        tab.ask("Fetch.disable")
        return tab.wait("document.body && document.body.innerText.includes('somebody else') && 1", PATIENCE)

    def steal(path, method):
        tab.run("window.word = ''; fetch(%s, {method: %s}).then(r => r.text().then(t => window.word = r.status + ' ' + t),"
                " e => window.word = 'error'); 0" % (json.dumps(path), json.dumps(method)))
        return tab.wait("window.word", PATIENCE) or ""

    check("rebinding: the hostile page is shown", load(), tab.text())
    w.conf["services"]["wiki"]["hosts"].append("rebind.example.net")
    w.allow([])
    said = steal("/steal1", "GET")
    check("rebinding: a service that answers to any name would be read", said.startswith("200 ") and
          "secret of staff@example.edu" in said, said)
    said = steal("/steal2", "POST")
    check("rebinding: and be written to, since it is one origin to the browser", w.arrived("/steal2"), said)
    w.conf["services"]["wiki"]["hosts"].remove("rebind.example.net")
    w.allow([])
    for n, method in enumerate(("GET", "POST", "OPTIONS")):
        path = "/steal%d" % (n + 3)
        said = steal(path, method)
        check("rebinding: %s is refused with 421" % method, said.startswith("421 ") and "secret of" not in said, said)
        check("rebinding: nothing of it has arrived", not w.arrived(path))
    tab.run("window.word = ''; const s = new WebSocket('ws://' + location.host + '/steal6');"
            "s.onopen = () => window.word = 'open'; s.onerror = () => window.word = 'refused'; 0")
    said = tab.wait("window.word", PATIENCE)
    check("rebinding: a websocket is refused", said == "refused" and not w.arrived("/steal6"), said)


def main():
    if not chromium.find():
        print("1..0 # SKIP chromium is not installed")
        sys.exit(77)
    w = World()
    try:
        acts(w)
        looks(w)
        own(w)
        refusal_in_a_frame(w)
        rebinding(w)
        check("what the front sent the application was HTTP", w.app.errors == [], w.app.errors)
    finally:
        w.close()
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
