# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real slapd on loopback, with a folder and a user of its own. $REEVE_SLAPD: where the Debian package
was unpacked, where it is not installed."""

import os
import shutil
import signal
import socket
import subprocess
import time

PLAIN, TLS = 3389, 6636         # in a network namespace of the test's own
ROOT = "dc=example,dc=edu"
ADMIN = "cn=admin," + ROOT
PASSWORD = "a password of the tests"


def why():
    """What is missing; None: nothing."""
    root = os.environ.get("REEVE_SLAPD", "")
    for need in (root + "/usr/sbin/slapd", root + "/usr/lib/ldap", root + "/etc/ldap/schema/core.schema"):
        if not os.path.exists(need):
            return "slapd is not installed"
    for tool in ("ldapadd", "ldapmodify", "openssl", "unshare", "ip"):
        if not shutil.which(tool):
            return tool + " is not installed"
    return None


def namespace():
    """The process again, in a network namespace where loopback is up."""
    import sys
    if os.environ.get("REEVE_NS"):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode != 0:
        print("1..0 # SKIP no network namespace can be made here")
        sys.exit(77)
    os.execvpe("unshare", ["unshare", "-n", sys.executable] + sys.argv, dict(os.environ, REEVE_NS="1"))


def certificate(where, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=" + name, "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
                    "-keyout", where + "/%s.key" % name, "-out", where + "/%s.pem" % name], check=True, capture_output=True)
    return where + "/%s.pem" % name


class Slapd:
    def __init__(self, where):
        self.root = os.environ.get("REEVE_SLAPD", "")
        self.dir = where + "/slapd"
        os.mkdir(self.dir, 0o755)
        shutil.chown(self.dir, "nobody")
        self.ca = certificate(self.dir, "ldap")
        shutil.chown(self.dir + "/ldap.key", "nobody")
        with open(self.dir + "/password", "w") as f:
            f.write(PASSWORD + "\n")
        os.chmod(self.dir + "/password", 0o600)
        self.proc = None

    def tool(self, name, text, *args):
        p = subprocess.run([name, "-x", "-H", "ldap://127.0.0.1:%d" % PLAIN, "-D", ADMIN, "-w", PASSWORD] + list(args),
                           input=text, capture_output=True, text=True, timeout=60, env=dict(os.environ, LDAPNOINIT="1"))
        if p.returncode != 0:
            raise RuntimeError("%s: %s\n%s" % (name, p.stderr, text))

    def add(self, text):
        self.tool("ldapadd", text)

    def modify(self, text):
        self.tool("ldapmodify", text)

    def conf(self, sync, hint):
        schema = self.root + "/etc/ldap/schema/"
        lines = ["include %s%s.schema" % (schema, s) for s in ("core", "cosine", "nis", "inetorgperson")]
        lines += ["modulepath " + self.root + "/usr/lib/ldap", "moduleload back_mdb", "moduleload syncprov",
                  "pidfile %s/pid" % self.dir, "TLSCertificateFile %s/ldap.pem" % self.dir,
                  "TLSCertificateKeyFile %s/ldap.key" % self.dir, "sizelimit unlimited",
                  "database mdb", 'suffix "%s"' % ROOT, 'rootdn "%s"' % ADMIN, 'rootpw "%s"' % PASSWORD,
                  "directory %s/db" % self.dir, "maxsize 67108864", "index objectClass,entryUUID,entryCSN eq"]
        if sync:
            lines.append("overlay syncprov")
        if sync and hint:
            lines.append("syncprov-reloadhint TRUE")
        with open(self.dir + "/conf", "w") as f:
            f.write("\n".join(lines) + "\n")

    def empty(self):
        shutil.rmtree(self.dir + "/db", ignore_errors=True)
        os.mkdir(self.dir + "/db", 0o700)
        shutil.chown(self.dir + "/db", "nobody")

    def start(self, sync=True, level=256, hint=False):
        """level 768: each entry that is sent has a line in the log."""
        self.conf(sync, hint)
        if not os.path.exists(self.dir + "/db"):
            self.empty()
        env = dict(os.environ)
        if self.root:
            env["LD_LIBRARY_PATH"] = self.root + "/usr/lib:" + self.root + "/usr/lib/x86_64-linux-gnu"
        self.log = open(self.dir + "/log", "a")
        self.proc = subprocess.Popen([self.root + "/usr/sbin/slapd", "-f", self.dir + "/conf", "-d", str(level),
                                      "-h", "ldap://127.0.0.1:%d ldaps://127.0.0.1:%d" % (PLAIN, TLS)],
                                     stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env,
                                     user="nobody", group="nogroup", extra_groups=[])
        limit = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", PLAIN), 5).close()
                return
            except OSError:
                if self.proc.poll() is not None or time.monotonic() > limit:
                    with open(self.dir + "/log") as f:
                        raise RuntimeError("slapd does not start: " + f.read()[-2000:])
                time.sleep(0.02)

    def stop(self):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait(timeout=60)
