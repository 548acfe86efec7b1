#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""The access log: Common and Combined beside JSON, what nobody may write into
it, and that a line which is lost is counted."""
import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import NOBODY, STAFF, STUDENT, Client, Front, Origin, Reeved, Tests, free_port, main, wait

COMMON = r'^(\S+) - (\S+) \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d \+0000\] "(\S+) (\S+) HTTP/1\.[01]" (\d{3}) (\d+)'
QUOTED = r'"((?:[^"\\]|\\x[0-9a-f]{2})*)"'
SPACED = "a \"b\\\u00fc"


class Log(Tests):
    def begin(self):
        self.origin = Origin()

    def conf(self, **more):
        self.port = free_port()
        return dict({
            "policy": {"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]},
            "identities": [{"address": STAFF + "/32", "login": "staff@example.edu"},
                           {"address": STUDENT + "/32", "login": SPACED}],
            "services": {"wiki": {"listen": ["127.0.0.1:%d" % self.port], "hosts": ["wiki"], "upstream": [self.origin.url]}}}, **more)

    def get(self, target=b"/", fields=b"", src=STAFF):
        c = Client(self.port, src, timeout=30)
        c.send(b"GET " + target + b" HTTP/1.1\r\nHost: wiki\r\n" + fields + b"\r\n")
        m = c.message()
        c.close()
        return m.status

    def read(self, path, n):
        def look():
            with open(path, encoding="utf-8") as f:
                got = f.read().splitlines()
            return got if len(got) >= n else None
        return wait(look)

    def run_format(self, word, rx):
        f = Front(self.conf(**{"access-log": word}))
        fields = b"Referer: http://wiki/\"x\r\nUser-Agent: a\\b \xc3\xbc\r\n"
        assert self.get(b"/a%20b?c=d", fields) == 200
        assert self.get(b"/s", fields, STUDENT) == 200
        assert self.get(b"/no", fields, NOBODY) == 403
        lines = self.read(f.log, 3)
        f.stop()
        assert len(lines) == 3, lines
        m = [re.match(rx, l) for l in lines[:2]]
        assert all(m), lines
        assert m[0].groups()[:6] == (STAFF, "staff@example.edu", "GET", "/a%20b?c=d", "200", "2"), lines[0]
        assert m[1].group(2) == r"a\x20\x22b\x5c\xc3\xbc", lines[1]
        o = json.loads(lines[2])        # what was refused is told in full
        assert (o["verdict"], o["reason"], o["client"]) == ("deny", "unknown-address", NOBODY), o
        return m

    def test_common(self):
        self.run_format("common", COMMON + "$")

    def test_combined(self):
        m = self.run_format("combined", COMMON + " " + QUOTED + " " + QUOTED + "$")
        assert m[0].groups()[6:] == (r"http://wiki/\x22x", r"a\x5cb \xc3\xbc"), m[0].groups()

    def test_json(self):
        f = Front(self.conf())
        self.get(b"/\xc3\xbc%22?q=1", b"User-Agent: x\r\n", STUDENT)
        o = json.loads(self.read(f.log, 1)[0])
        f.stop()
        assert (o["login"], o["status"], o["method"], o["path"], o["end"]) == (SPACED, 200, "GET", "/%C3%BC%22", "ok"), o
        assert o["rule"] and len(o["id"]) == 32 and o["ms"] >= 0 and o["bytes_out"] == 2, o

    def test_none(self):
        f = Front(self.conf(**{"access-log": "none"}))
        assert self.get() == 200 and self.get(src=NOBODY) == 403
        lines = self.read(f.log, 1)
        f.stop()
        assert [json.loads(l)["verdict"] for l in lines] == ["deny"], lines

    def test_lost_lines_are_counted(self):
        """Requests go on, and the metrics say what nobody will read."""
        f = Front(self.conf(), log="/dev/full")
        for _ in range(10):
            assert self.get() == 200
        wait(lambda: f.stats()["log_lost"] == 10, f.stats)
        assert 'reeve_log_lost_total{front="test"} 10' in f.command("metrics")
        f.stop()

    def test_through_reeved(self):
        conf = self.conf(more={"access-log": "combined"})
        del conf["identities"][1]       # whose login the file's rules refuse
        r = Reeved(conf)
        wait(lambda: self.get(b"/x?y") == 200)
        lines = wait(lambda: [l for l in self.read(r.log, 0) if '"GET /x?y HTTP/1.1" 200' in l])
        assert re.match(COMMON + " " + QUOTED + " " + QUOTED + "$", lines[0]), lines
        r.stop()


if __name__ == "__main__":
    main(Log, reeved=True)
