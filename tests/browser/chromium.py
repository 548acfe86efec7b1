# SPDX-License-Identifier: AGPL-3.0-or-later
"""Chromium without a window, over its debugging pipe: standard library only."""

import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def find():
    return next((p for p in map(shutil.which, PROGRAMS) if p), None)


class Gone(RuntimeError):
    pass


class Chromium:
    def __init__(self, resolve=None, public=()):
        """public: ADDRESS:PORTs that count as the internet, from which a browser guards what is local."""
        self.dir = tempfile.mkdtemp(prefix="reeve-chromium-")
        rules = ",".join("MAP %s %s" % kv for kv in (resolve or {}).items())
        out_r, out_w = os.pipe()
        in_r, in_w = os.pipe()
        # the pipe is descriptors 3 and 4; certificates are the tests' own
        self.p = subprocess.Popen(
            ["bash", "-c", 'exec "$@" 3<&%d 4>&%d 2>"%s/log"' % (in_r, out_w, self.dir), "bash", find(),
             "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--ip-address-space-overrides=" + ",".join(p + "=public" for p in public),
             "--ignore-certificate-errors", "--host-resolver-rules=" + rules,
             "--user-data-dir=" + self.dir + "/profile", "about:blank"],
            pass_fds=(in_r, out_w), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        os.close(in_r)
        os.close(out_w)
        self.r, self.w, self.buf, self.id, self.events = out_r, in_w, b"", 0, []

    def send(self, method, params=None, session=None):
        self.id += 1
        msg = {"id": self.id, "method": method, "params": params or {}}
        if session:
            msg["sessionId"] = session
        os.write(self.w, json.dumps(msg).encode() + b"\0")
        return self.id

    def message(self, until):
        while b"\0" not in self.buf:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.r], [], [], left)[0]:
                raise Gone("chromium does not answer")
            part = os.read(self.r, 1 << 16)
            if not part:
                raise Gone("chromium ended")
            self.buf += part
        one, self.buf = self.buf.split(b"\0", 1)
        return json.loads(one)

    def ask(self, method, params=None, session=None, timeout=60):
        n, until = self.send(method, params, session), time.monotonic() + timeout
        while True:
            m = self.message(until)
            if m.get("id") == n:
                if "error" in m:
                    raise Gone("%s: %s" % (method, m["error"].get("message")))
                return m["result"]
            self.events.append(m)

    def tab(self, beside=None):
        """A tab in a browser context of its own: cookies of no other tab but the one that it is beside."""
        context = beside.context if beside else self.ask("Target.createBrowserContext")["browserContextId"]
        target = self.ask("Target.createTarget", {"url": "about:blank", "browserContextId": context})["targetId"]
        return Tab(self, self.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"], context)

    def close(self):
        self.p.terminate()
        try:
            self.p.wait(10)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait(10)
        os.close(self.r)
        os.close(self.w)
        shutil.rmtree(self.dir, ignore_errors=True)


class Tab:
    def __init__(self, browser, session, context):
        self.b, self.s, self.context = browser, session, context
        for what in ("Page", "Runtime", "Log", "Accessibility"):
            self.ask(what + ".enable")

    def ask(self, method, params=None):
        return self.b.ask(method, params, self.s)

    def go(self, url):
        """Navigates, and waits until something has loaded (or the browser says why nothing did)."""
        error = self.ask("Page.navigate", {"url": url}).get("errorText")
        self.settle()
        return error

    def run(self, script):
        r = self.ask("Runtime.evaluate", {"expression": script, "returnByValue": True})
        return r["result"].get("value")

    def settle(self, timeout=60):
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            try:
                if self.run("document.readyState") == "complete":
                    return
            except Gone:
                pass        # between two documents
            time.sleep(0.05)

    def url(self):
        return self.run("location.href")

    def text(self):
        return self.run("document.body ? document.body.innerText : ''")

    def wait(self, script, timeout=60):
        """Until the expression is true; its last value."""
        until, value = time.monotonic() + timeout, None
        while time.monotonic() < until:
            try:
                value = self.run(script)
            except Gone:
                value = None
            if value:
                return value
            time.sleep(0.05)
        return value

    def type(self, name, value):
        """As a person types: focus, then characters."""
        self.run("document.querySelector('input[name=%s]').focus()" % name)
        self.ask("Input.insertText", {"text": value})

    def press(self, script):
        """Clicks where the element is, with the mouse, as a person would."""
        box = self.run("(() => { const e = %s; e.scrollIntoView(); const r = e.getBoundingClientRect(); "
                       "return [r.x + r.width / 2, r.y + r.height / 2] })()" % script)
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", {"type": kind, "x": box[0], "y": box[1], "button": "left",
                                                  "clickCount": 1})

    def key(self, name):
        code = {"Tab": 9, "Enter": 13}[name]
        text = {"text": "\r"} if name == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", dict({
                "type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code},
                **(text if kind == "keyDown" else {})))

    def press_by_keyboard(self, script, most=10):
        """Tab until the element has the focus, then Enter; how many tabs it took, or None."""
        for n in range(1, most + 1):
            self.key("Tab")
            if self.run("document.activeElement === %s" % script):
                self.key("Enter")
                return n
        return None

    def overflow(self, width):
        """How far the page is wider than a window of that width, in pixels."""
        self.ask("Emulation.setDeviceMetricsOverride", {"width": width, "height": 700, "deviceScaleFactor": 1,
                                                        "mobile": False})
        over = self.run("document.documentElement.scrollWidth") - width
        self.ask("Emulation.clearDeviceMetricsOverride")
        return max(over, 0)

    def complaints(self):
        """What the console and the browser's log said: policies broken, files refused."""
        self.run("1")
        out = []
        for m in self.b.events:
            if m.get("sessionId") != self.s:
                continue
            if m["method"] == "Log.entryAdded":
                entry = m["params"]["entry"]
                out.append("%s %s" % (entry["text"], entry.get("url", "")))
            elif m["method"] in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
                out.append(json.dumps(m["params"])[:300])
        return out

    def frame(self, url):
        """What a page that frames another site's shows in the frame: address and text."""
        self.go("about:blank")
        self.go(url)
        for _ in range(1200):
            found = self.b.ask("Target.getTargets", {"filter": [{"type": "iframe"}]})["targetInfos"]
            if found:
                s = self.b.ask("Target.attachToTarget", {"targetId": found[0]["targetId"], "flatten": True})
                inner = Tab(self.b, s["sessionId"], self.context)
                inner.settle()
                return "%s %s" % (inner.url(), inner.text())
            time.sleep(0.05)
        return "(no frame)"

    def roles(self):
        """The accessibility tree as (role, name) of what is not ignored."""
        nodes = self.ask("Accessibility.getFullAXTree")["nodes"]
        return [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
