#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many logins a minute one relying party carries, thirty at once, against mutate.mjs in its
honest mood: description and keys once, then one code exchange and one signature each.
The bound is a thousand a minute; what was measured is printed."""

import concurrent.futures
import http.client
import os
import shutil
import ssl
import sys
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import flow  # noqa: E402
import mutate  # noqa: E402

LOGINS, AT_ONCE, BOUND = 600, 30, 1000


def main():
    if not shutil.which("node") or not shutil.which("openssl"):
        print("1..0 # SKIP node or openssl is not installed")
        sys.exit(77)
    w = mutate.Liar()
    tls = ssl.create_default_context(cafile=os.path.join(w.dir, "cert.pem"))

    def visit(r):
        u = urllib.parse.urlsplit(r["url"])
        c = http.client.HTTPSConnection("127.0.0.1", w.port, context=tls)
        c.request("GET", u.path + "?" + u.query)
        to = c.getresponse().headers["Location"]
        c.close()
        return r["id"], urllib.parse.urlsplit(to).query

    try:
        rp = w.rp(timeout="20s")
        began, good, fds = time.monotonic(), 0, []
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for _ in range(LOGINS // AT_ONCE):
                for _ in range(AT_ONCE):
                    rp.send(do="start", provider="uni", redirect=flow.REDIRECT, login_hint="honest")
                started = [rp.read() for _ in range(AT_ONCE)]
                for n, query in pool.map(visit, started):
                    rp.send(do="finish", id=n, query=query)
                good += sum("identity" in rp.read() for _ in range(AT_ONCE))
                fds.append(len(os.listdir("/proc/%d/fd" % rp.p.pid)))
        took = time.monotonic() - began
        stat = open("/proc/%d/stat" % rp.p.pid).read().rsplit(")", 1)[1].split()
        cpu = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        rate = good / took * 60
        print("# %d logins in %.1f s: %.0f a minute, %.2f ms of CPU each" %
              (good, took, rate, cpu / max(good, 1) * 1000))
        flow.check("every login goes well", good == LOGINS, good)
        flow.check("at least %d a minute" % BOUND, rate >= BOUND, rate)
        # kept connections come and go with the load; one descriptor a login would be hundreds
        flow.check("descriptors do not grow with logins", fds[-1] < fds[0] + AT_ONCE, fds)
        flow.check("the relying party ends cleanly", rp.close() == 0)
    finally:
        w.close()
    flow.summary()


if __name__ == "__main__":
    main()
