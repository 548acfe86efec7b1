#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""reeved's metrics: what two fronts did, asked of core, as Prometheus reads it."""
import os
import re
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import NOBODY, STAFF, Client, Origin, Reader, Reeved, Tests, free_port, main, wait

SAMPLE = re.compile(r'^([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)$')


def ask(at, path="/metrics", method="GET"):
    if at.startswith("unix:"):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(30)
        s.connect(at[5:])
    else:
        host, port = at.rsplit(":", 1)
        s = socket.create_connection((host, int(port)), timeout=30)
    s.sendall(("%s %s HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n" % (method, path)).encode())
    m = Reader(s).message()
    s.close()
    return m


def parse(text):
    """{name: {labels: value}}; every rule of the format that scrapers insist on."""
    out, types, helps, last = {}, {}, set(), None
    for line in text.splitlines():
        if line.startswith("# "):
            kind, name = line.split(" ")[1:3]
            assert kind in ("HELP", "TYPE"), line
            if kind == "HELP":
                assert name not in helps, "twice: " + line
                helps.add(name)
                last = name
            else:
                assert name == last and name not in types, line
                types[name] = line.split(" ")[3]
            continue
        m = SAMPLE.match(line)
        assert m, line
        name, labels, value = m.groups()
        assert name == last or (types[last] == "histogram" and re.sub("_(bucket|sum|count)$", "", name) == last), line
        assert labels not in out.setdefault(name, {}), "twice: " + line
        out[name][labels] = float(value)
    for name, kind in types.items():
        if kind == "histogram":
            for labels, n in out.get(name + "_count", {}).items():
                steps = [v for k, v in out[name + "_bucket"].items() if k.startswith(labels + ",le=")]
                assert steps == sorted(steps) and steps[-1] == n, name
    return out


class Metrics(Tests):
    def begin(self):
        self.origin = Origin()
        self.port, self.at, self.dead = free_port(), free_port(), free_port()
        self.where = "127.0.0.1:%d" % self.at
        service = {"listen": ["127.0.0.1:%d" % self.port], "profiles": ["remote-user"]}
        self.reeved = Reeved({
            "policy": {"grants": [{"src": ["staff@example.edu"], "dst": ["*"], "ip": ["*"]}]},
            "identities": [{"address": STAFF + "/32", "login": "staff@example.edu"}],
            "services": {"wiki": dict(service, hosts=["wiki"], upstream=[self.origin.url]),
                         "dead": dict(service, hosts=["dead"], upstream=["http://127.0.0.1:%d" % self.dead])},
            "more": {"metrics": self.where, "fronts": 2}})

        def there():    # services are listened at before core has its configuration
            try:
                return ask(self.where).status == 200
            except OSError:
                return False
        assert wait(there), self.reeved.said()

    def end(self):
        self.reeved.stop()

    def get(self, host="wiki", src=STAFF, n=1):
        for _ in range(n):
            c = Client(self.port, src, timeout=30)
            c.send(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode())
            status = c.message().status
            c.close()
        return status

    def metrics(self):
        m = ask(self.where)
        assert m.status == 200 and m.get(b"content-type").startswith(b"text/plain; version=0.0.4"), m.head
        return parse(m.body.decode())

    def total(self, name, *labels):
        return sum(v for k, v in self.metrics().get(name, {}).items() if all(l in k for l in labels))

    def test_a_two_fronts(self):
        """What a front counts is there by the next question, since it answers that itself."""
        assert wait(lambda: list(self.metrics()["reeve_front_up"].values()) == [1, 1])
        assert self.total("reeve_requests_total") == 0
        assert self.get(n=20) == 200 and self.get(src=NOBODY, n=3) == 403 and self.get("dead") == 502
        assert wait(lambda: self.total("reeve_requests_total", 'service="wiki"', 'code="2xx"') == 20), self.metrics()
        assert self.total("reeve_requests_total", 'service="wiki"', 'code="4xx"') == 3
        assert self.total("reeve_requests_total", 'service="dead"', 'code="5xx"') == 1
        assert self.total("reeve_verdicts_total", 'verdict="deny"') == 3
        assert self.total("reeve_verdicts_total", 'verdict="allow"') == 21
        assert self.total("reeve_request_duration_seconds_count", 'service="wiki"') == 20
        assert self.total("reeve_upstream_errors_total", 'service="dead"') == 1
        m = self.metrics()
        assert m["reeve_net_up"] == {None: 1} and m["reeve_identities"] == {None: 1}, m
        assert {k.split(",")[0] for k in m["reeve_connections"]} == {'front="front0"', 'front="front1"'}
        assert "staff" not in ask(self.where).body.decode()

    def test_manual(self):
        """doc/http lists every metric there is, and no other; what is scraped is among them."""
        top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
        made = set()
        for name in ("daemon/proxy/metrics.c", "daemon/endpoint/metrics.c"):
            with open(os.path.join(top, name)) as f:
                made |= set(re.findall(r"\breeve_[a-z_]+", f.read()))
        with open(os.path.join(top, "doc/http")) as f:
            told = re.findall(r"^    (reeve_[a-z_]+) ", f.read(), re.M)
        parts = {"reeve_request_duration_seconds_" + p for p in ("bucket", "sum", "count")}
        assert len(told) == len(set(told)) and set(told) == made - parts, set(told) ^ (made - parts)
        got = set(self.metrics())
        assert len(got) > 20 and got <= set(told) | parts, got - set(told)

    def test_many_at_once(self):
        got = []
        threads = [threading.Thread(target=lambda: got.append(ask(self.where).status)) for _ in range(20)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert got == [200] * 20, got

    def test_other_questions(self):
        assert ask(self.where, "/").status == 404
        assert ask(self.where, "/metrics", "POST").status == 405
        assert ask(self.where, "/metrics", "GET").status == 200

    def test_z_moves(self):
        """To a unix socket and away, by a reload; a place that is taken keeps the old one."""
        taken = socket.socket()
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        conf = self.reeved.conf["more"]
        conf["metrics"] = "127.0.0.1:%d" % taken.getsockname()[1]
        self.reeved.command("reload")
        assert wait(lambda: "metrics" in self.reeved.said()), self.reeved.said()
        assert ask(self.where).status == 200
        old, conf["metrics"] = self.where, "unix:" + self.reeved.dir + "/run/metrics.sock"
        self.reeved.command("reload")
        self.where = conf["metrics"]
        assert wait(lambda: os.path.exists(self.where[5:]))
        assert wait(lambda: self.total("reeve_requests_total") > 0)
        def gone():
            try:
                ask(old)
                return False
            except OSError:
                return True
        assert wait(gone)


if __name__ == "__main__":
    main(Metrics, reeved=True)
