# SPDX-License-Identifier: AGPL-3.0-or-later
"""The front with a service for each rule, and an application that answers as it
is told: for test_wire.py (requests) and test_wire_answers.py (answers)."""
import os

from wire import ADMIN, STAFF, STUDENT, Client, Front, Origin, Reeved, Tests, free_port

# The engine alone, or the whole of reeved in standalone mode.
REEVED = os.environ.get("REEVE_WIRE") == "reeved"

H = b" HTTP/1.1\r\nHost: wiki\r\n"
GET = b"GET /" + H + b"\r\n"


class Services(Tests):
    def begin(self):
        self.origin = Origin()
        self.second = Origin()
        self.unix = Origin(path=__import__("tempfile").mkdtemp(prefix="reeve-wire.") + "/app")
        self.port, self.dead = free_port(), free_port()
        up = [self.origin.url]

        def service(hosts, **more):
            return dict({"listen": ["127.0.0.1:%d" % self.port], "hosts": hosts, "upstream": up}, **more)

        self.front = (Reeved if REEVED else Front)({
            "login-url": "https://hub.example/login",
            "policy": {
                "grants": [
                    {"src": ["staff@example.edu", "admin@example.edu", "guest@example.edu"], "dst": ["svc:" + s], "ip": ["*"]}
                    for s in ("wiki", "slash", "small", "dead", "two", "unix", "slow", "busy", "listed", "groups")
                ] + [
                    {"src": ["student@example.edu"], "dst": ["svc:wiki"], "ip": ["*"],
                     "http": [{"methods": ["GET"], "paths": ["/public/**", "/style/*.css"]}]},
                    {"src": ["student@example.edu"], "dst": ["svc:slash"], "ip": ["*"],
                     "http": [{"paths": ["/public/**"]}]},
                ]},
            "identities": [
                {"address": STAFF + "/32", "login": "staff@example.edu", "name": "Stäff", "email": "staff@example.edu",
                 "groups": ["lab", "it"], "node": "n2", "node-name": "laptop", "user": "u2", "session": "s2"},
                {"address": STUDENT + "/32", "login": "student@example.edu", "name": "Student", "node": "n3",
                 "user": "u3", "session": "s3"},
                {"address": ADMIN + "/32", "login": "admin@example.edu", "node": "n4"},
                {"address": "127.0.0.6/32", "login": "guest@example.edu", "node": "n6", "groups": ["a,b"]},
                {"address": "127.0.0.5/32", "login": "student@example.edu", "why": "never", "node": "n5",
                 "user": "u3", "node-name": "phone"},
            ],
            "services": {
                "wiki": service(["wiki", "wiki.example.edu"], profiles=["remote-user"],
                                headers={"X-Who": "{short-login} at {email}"}),
                "slash": service(["slash"], **{"encoded-slashes": True}),
                "small": service(["small"], **{"body-max": 10}),
                "dead": service(["dead"], upstream=["http://127.0.0.1:%d" % self.dead]),
                "two": service(["two"], upstream=["http://127.0.0.1:%d" % self.dead, self.second.url]),
                "unix": service(["unix"], upstream=[self.unix.url]),
                "slow": service(["slow"], **{"first-byte-ms": 600, "idle-ms": 700}),
                "busy": service(["busy"], **{"per-identity-max": 2, "in-flight-max": 3}),
                "listed": service(["listed"], origins=["https://friend.example"], upgrades=["chat"],
                                  **{"keep-request-id": True, "forwarded": False}),
                "groups": service(["groups"], profiles=["webauth"]),
                "public": service(["public"], public=True),
                "hub": service(["hub"], enrolled=True),
            }})

    def before(self):
        self.origin.reset()
        self.second.reset()
        self.unix.reset()
        self.front.command("restore staff@example.edu")
        self.forever()

    def end(self):
        self.front.stop()

    def client(self, src=STAFF, **more):
        return Client(self.port, src, **more)

    def ask(self, data, src=STAFF, piece=0):
        c = self.client(src)
        c.send(data, piece)
        m = c.message()
        c.close()
        return m

    def get(self, path=b"/", host=b"wiki", fields=b"", src=STAFF, method=b"GET", body=b""):
        return self.ask(method + b" " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + fields + b"\r\n" + body, src)

    def last(self):
        assert self.origin.seen, "nothing reached the application"
        return self.origin.seen[-1]

    # what standalone mode does not have: nodes without a session, a lease, the test server's words
    not_in_reeved = ("test_no_session_gets_a_login_link", "test_pages_escape", "test_enrolled_service", "test_lease",
                     "test_metrics", "test_reload", "test_public_service")

    def wanted(self, name):
        return not (REEVED and name in self.not_in_reeved)

    def forever(self):
        if self.front.conf["identities"][0].pop("expires-ms", None):
            self.front.write()
            self.front.command("reload")
