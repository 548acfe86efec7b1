#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""A front without a descriptor left for callers still hears core and net: a reload, a revocation and a
core that was killed reach it, and who is connected is served on."""
import os
import re
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import ADMIN, NOBODY, STAFF, Client, Ended, Origin, Reeved, Tests, free_port, main, wait

FILES = 320                             # of each process
ROOM = (FILES - 64) // 2                # connections of a front


class Reserve(Tests):
    def begin(self):
        self.origin, self.port = Origin(), free_port()
        self.conf = {
            "policy": {"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]},
            "identities": [{"address": STAFF + "/32", "login": "staff@example.edu"},
                           {"address": ADMIN + "/32", "login": "admin@example.edu"}],
            "services": {"wiki": {"listen": ["127.0.0.1:%d" % self.port], "hosts": ["wiki"], "upstream": [self.origin.url]}}}
        self.reeved = Reeved(self.conf, ["prlimit", "--nofile=%d:%d" % (FILES, FILES)])
        assert len(os.listdir("/proc/%d/fd" % self.reeved.proc.pid)) < FILES
        self.kept = [Client(self.port, src, timeout=60) for src in (STAFF, ADMIN, ADMIN)]
        self.served()
        self.flood = []
        for _ in range(2 * ROOM):       # those beyond its room wait in the kernel
            s = socket.socket()
            s.bind((NOBODY, 0))
            s.settimeout(60)
            s.connect(("127.0.0.1", self.port))
            self.flood.append(s)
        wait(lambda: self.reeved.fds() >= ROOM, self.reeved.said)
        assert self.reeved.fds() <= FILES - 32, self.reeved.fds()

    def end(self):
        for s in self.flood:
            s.close()
        c = Client(self.port, ADMIN, timeout=60)
        self.asks(c, 200)
        c.close()
        self.reeved.stop()
        assert "oo many open files" not in self.reeved.said(), self.reeved.said()

    def asks(self, c, status):
        c.send(b"GET / HTTP/1.1\r\nHost: wiki\r\n\r\n")
        m = c.message()
        assert m.status == status, m.head
        return m

    def served(self):
        for c in self.kept:
            self.asks(c, 200)

    def test_a_reload(self):
        for i in range(5):
            self.conf["services"]["wiki"]["profiles"] = ["remote-user"] if i % 2 == 0 else []
            self.reeved.command("reload")
            def new():
                self.origin.reset()
                self.served()
                return (self.origin.seen[-1].get(b"remote-user") == b"admin@example.edu") == (i % 2 == 0)
            wait(new, self.reeved.said)
        assert self.reeved.fds() <= FILES - 32, self.reeved.fds()

    def test_b_core_killed(self):
        """The channel to its next life needs a descriptor, and so does each snapshot."""
        for _ in range(3):
            n = self.reeved.said().count("core started")
            os.kill(self.core_pid(), signal.SIGKILL)
            wait(lambda: self.reeved.said().count("core started") > n, self.reeved.said)
            self.served()
        told = []

        def new():
            """A reload that came too early, while core began, is asked for again."""
            now = time.monotonic()
            if not told or now > told[-1] + 5:
                told.append(now)
                self.conf["services"]["wiki"]["profiles"] = ["webauth"]
                self.reeved.write()
                self.reeved.proc.send_signal(signal.SIGHUP)
            self.origin.reset()
            self.served()
            return self.origin.seen[-1].get(b"x-webauth-user") == b"admin@example.edu"
        wait(new, self.reeved.said, 60)

    def test_c_revocation(self):
        staff = self.kept.pop(0)
        self.reeved.command("revoke staff@example.edu")

        def ended():
            try:
                staff.send(b"GET / HTTP/1.1\r\nHost: wiki\r\n\r\n")
                return staff.message().status != 200
            except (OSError, Ended):
                return True
        wait(ended, self.reeved.said)
        self.served()
        self.reeved.command("restore staff@example.edu")

    def core_pid(self):
        return int(re.findall(r"core started, pid ([0-9]+)", self.reeved.said())[-1])


if __name__ == "__main__":
    main(Reserve, reeved=True)
