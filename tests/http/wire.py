# SPDX-License-Identifier: AGPL-3.0-or-later
"""Raw bytes against the engine: an origin that records what it was sent, a
front, clients at chosen source addresses. Used by test_wire*.py."""
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from ports import free_port  # noqa: E402

BUILD = os.environ.get("top_builddir", ".")
SOURCE = os.environ.get("top_srcdir", ".")
STAFF, STUDENT, ADMIN, NOBODY = "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.9"


def wait(until, words=lambda: "", seconds=60):
    """What until() said when it first said something true; a slow machine is no failure."""
    end = time.monotonic() + seconds
    while True:
        got = until()
        if got:
            return got
        assert time.monotonic() < end, "waited %d s: %s" % (seconds, words())
        time.sleep(0.02)


def comes_to_rest(sent):
    """Whether the number in the list has stopped growing."""
    before = sent[0]
    time.sleep(0.5)
    return before and sent[0] == before


def lines(path, has):
    """The records of a log, once one of them is what has() looks for."""
    def read():
        with open(path) as f:
            got = [json.loads(l) for l in f if l.endswith("\n")]
        return got if any(has(l) for l in got) else None
    return wait(read, lambda: path)


class Ended(Exception):
    pass


class Reader:
    """HTTP messages out of a socket, as bytes."""

    def __init__(self, sock):
        self.sock, self.buf, self.eof = sock, b"", False

    def more(self):
        try:
            d = self.sock.recv(1 << 20)
        except ConnectionError:
            d = b""
        if not d:
            self.eof = True
            raise Ended()
        self.buf += d

    def take(self, n):
        while len(self.buf) < n:
            self.more()
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    def until(self, mark):
        while mark not in self.buf:
            self.more()
        i = self.buf.index(mark) + len(mark)
        return self.take(i)

    def rest(self):
        try:
            while True:
                self.more()
        except Ended:
            out, self.buf = self.buf, b""
            return out

    def message(self, no_body=False, request=False):
        m = Message(self.until(b"\r\n\r\n"))
        if no_body or (not request and (m.status in (204, 304) or m.status < 200)):
            return m
        te, cl = m.get(b"transfer-encoding"), m.get(b"content-length")
        if te == b"chunked":
            while True:
                line = self.until(b"\r\n")
                n = int(line.split(b";")[0], 16)
                if n == 0:
                    while True:
                        line = self.until(b"\r\n")
                        if line == b"\r\n":
                            break
                        m.trailers.append(line)
                    break
                m.body += self.take(n)
                assert self.take(2) == b"\r\n"
        elif cl is not None:
            m.body = self.take(int(cl))
        elif not request:
            m.body = self.rest()
        return m


class Message:
    def __init__(self, head):
        self.head = head
        lines = head.split(b"\r\n")[:-2]
        self.line, self.body, self.trailers = lines[0], b"", []
        self.fields = [(l.split(b":", 1)[0], l.split(b":", 1)[1].strip()) for l in lines[1:]]
        self.status = int(self.line.split(b" ")[1]) if self.line.startswith(b"HTTP/") else 0

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def get(self, name):
        v = self.all(name)
        return v[0] if v else None


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Origin:
    """Answers every request through self.reply(conn, request) and keeps what came."""

    def __init__(self, path=None, tls=None):
        if path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(path)
            self.url = "unix:" + path
        else:
            self.sock = socket.socket()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind(("127.0.0.1", 0))
            self.url = "%s://127.0.0.1:%d" % ("https" if tls else "http", self.sock.getsockname()[1])
        self.tls = tls
        self.sock.listen(512)
        self.reset()
        threading.Thread(target=self.accept, daemon=True).start()

    def reset(self):
        self.seen, self.conns, self.errors, self.reply = [], 0, [], None

    def accept(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            self.conns += 1
            if c.family == socket.AF_INET:      # what was sent is there, and does not wait for an acknowledgement
                c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        try:
            if self.tls:
                c = self.tls.wrap_socket(c, server_side=True)
            r = Reader(c)
            while True:
                head = r.until(b"\r\n\r\n")
                m = Message(head)
                self.seen.append(m)
                te, cl = m.get(b"transfer-encoding"), m.get(b"content-length")
                if self.reply and getattr(self.reply, "early", False):
                    m.early, r.buf = r.buf, b""
                    if self.reply(c, m) is False:
                        return
                    continue
                if te == b"chunked" or cl:
                    r.buf = head + r.buf
                    full = r.message(request=True)
                    m.body, m.trailers = full.body, full.trailers
                if self.reply:
                    if self.reply(c, m) is False:
                        return
                else:
                    c.sendall(OK)
        except (Ended, OSError, ssl.SSLError):
            pass
        except Exception as e:  # what the front sent was not a request
            self.errors.append(repr(e))
        finally:
            try:
                c.close()
            except OSError:
                pass

    def close(self):
        self.sock.close()


class Front:
    def __init__(self, conf, program=None, log=None):
        self.dir = tempfile.mkdtemp(prefix="reeve-wire.")
        self.conf, self.path, self.log = conf, self.dir + "/conf", log or self.dir + "/log"
        self.write()
        self.proc = subprocess.Popen([program or BUILD + "/front_test_server", self.path, self.log],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        line = self.proc.stdout.readline()
        assert line == "ready\n", line

    def write(self):
        with open(self.path, "w") as f:
            json.dump(self.conf, f)

    def command(self, text):
        self.proc.stdin.write(text + "\n")
        self.proc.stdin.flush()
        out = []
        while True:
            line = self.proc.stdout.readline()
            assert line, "the front has ended"
            if line == "ok\n":
                return out
            out.append(line.rstrip("\n"))

    def stats(self):
        return json.loads(self.command("stats")[0])

    def fds(self):
        return len(os.listdir("/proc/%d/fd" % self.proc.pid))

    def rss(self):
        """Memory in use; a sanitizer's shadow says nothing of ours."""
        with open("/proc/%d/exe" % self.proc.pid, "rb") as f:       # gcc's is a library, clang's is inside
            if b"__asan_init" in f.read():
                return 0
        with open("/proc/%d/statm" % self.proc.pid) as f:
            return int(f.read().split()[1]) * 4096

    def lines(self, has):
        return lines(self.log, has)

    def stop(self):
        self.proc.stdin.close()
        code = self.proc.wait(timeout=60)
        assert code == 0, "the front exited with %d" % code


class Reeved:
    """The same, by the whole of reeved in standalone mode, as the caller."""

    def __init__(self, conf, under=()):
        self.dir = tempfile.mkdtemp(prefix="reeve-wire.")
        for d, mode in (("", 0o755), ("/state", 0o777), ("/run", 0o777)):    # it changes its user where it can
            os.makedirs(self.dir + d, exist_ok=True)
            os.chmod(self.dir + d, mode)
        self.conf, self.gone, self.log = conf, set(), self.dir + "/state/log"
        self.ports = {l.rsplit(":", 1)[1] for v in conf["services"].values() for l in v["listen"]}
        self.write()
        self.err = open(self.dir + "/stderr", "w+")
        self.proc = subprocess.Popen([*under, BUILD + "/reeved", "-c", self.dir + "/conf"], stderr=self.err, stdin=subprocess.DEVNULL)
        for _ in range(1200):
            try:
                for p in self.ports:
                    socket.create_connection(("127.0.0.1", int(p)), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(self.said())

    def said(self):
        with open(self.dir + "/stderr") as f:
            return f.read()

    def write(self):
        keys = ("listen", "hosts", "upstream", "profiles", "origins", "upgrades", "tls", "enrolled", "body-max",
                "per-identity-max", "in-flight-max", "upstream-name")
        services = {}
        for name, v in self.conf["services"].items():
            row = {k: v[k] for k in keys if k in v}
            for mine, theirs in (("encoded-slashes", "encoded-slashes"), ("keep-request-id", "keep-request-id"),
                                 ("forwarded", "forwarded"), ("lax", "upstream-lax")):
                if mine in v:
                    row[theirs] = v[mine]
            for mine, theirs in (("first-byte-ms", "first-byte-timeout"), ("idle-ms", "idle-timeout")):
                if mine in v:
                    row[theirs] = -(-v[mine] // 1000)
            if "headers" in v:
                row["headers"] = [{"name": n, "value": t} for n, t in v["headers"].items()]
            if not v.get("public") and not v.get("enrolled"):
                services[name] = row
        with open(self.dir + "/policy", "w") as f:
            json.dump(self.conf["policy"], f)
        rows = []
        for i in self.conf["identities"]:
            if "why" in i or i["login"] in self.gone:
                continue
            row = {"from": i["address"], "login": i["login"]}
            for k in ("name", "email", "groups", "amr"):
                if i.get(k):
                    row[k] = i[k]
            if "expires-ms" in i:
                row["expires"] = int(time.time() + i["expires-ms"] / 1000 + 0.999)
            rows.append(row)
        with open(self.dir + "/identities", "w") as f:
            json.dump(rows, f)
        with open(self.dir + "/conf", "w") as f:
            json.dump({"identities": "identities", "policy": "policy", "state-dir": self.dir + "/state",
                       "run-dir": self.dir + "/run", "unprivileged": True, "fronts": 1, "services": services,
                       "audit": self.log, "login-url": self.conf.get("login-url", ""),
                       **self.conf.get("more", {})}, f)

    def command(self, text):
        word, _, rest = text.partition(" ")
        before = set(self.gone)
        if word == "revoke":
            self.gone.add(rest)
        elif word == "restore":
            self.gone.discard(rest)
        if word == "reload" or before != self.gone:
            n = self.said().count("serving, configuration ")
            self.write()
            self.proc.send_signal(1)
            wait(lambda: self.said().count("serving, configuration ") > n, self.said)
        return []

    def stats(self):
        return {"conns": 0, "in_flight": 0}

    def front_pid(self):
        for p in os.listdir("/proc"):
            if p.isdigit():
                try:
                    with open("/proc/%s/stat" % p) as f:
                        ppid = int(f.read().rsplit(")", 1)[1].split()[1])
                    with open("/proc/%s/cmdline" % p, "rb") as f:
                        line = f.read()
                    with open("/proc/%s/comm" % p) as f:
                        comm = f.read()
                except OSError:
                    continue
                if ppid == self.proc.pid and (b"front" in line or "front" in comm):
                    return int(p)
        raise AssertionError("no front process")

    def fds(self):
        return len(os.listdir("/proc/%d/fd" % self.front_pid()))

    def rss(self):
        with open("/proc/%d/statm" % self.front_pid()) as f:
            return int(f.read().split()[1]) * 4096

    def lines(self, has):
        return lines(self.log, has)

    def stop(self):
        self.proc.terminate()
        code = self.proc.wait(timeout=90)
        assert code == 0, "reeved exited with %d: %s" % (code, self.said())


class Client:
    def __init__(self, port, src=STAFF, tls=None, name=None, timeout=60):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout, source_address=(src, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname=name)
        self.r = Reader(self.sock)

    def send(self, data, piece=0):
        if not piece:
            self.sock.sendall(data)
            return self
        for i in range(0, len(data), piece):
            self.sock.sendall(data[i:i + piece])
        return self

    def message(self, no_body=False):
        return self.r.message(no_body)

    def ended(self, timeout=60):
        """True if the other side closes without another byte."""
        self.sock.settimeout(timeout)
        try:
            d = self.sock.recv(65536)
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return d == b"" and not self.r.buf

    def rest(self):
        return self.r.rest()

    def close(self):
        self.sock.close()


class Tests:
    """Methods named test_*: each gets a fresh record at the origin."""

    def run(self):
        failed, n = 0, 0
        only = sys.argv[1:]
        names = [x for x in dir(self) if x.startswith("test_") and (not only or x in only) and self.wanted(x)]
        self.begin()
        for name in names:
            n += 1
            try:
                self.before()
                getattr(self, name)()
                print("ok %d - %s" % (n, name))
            except Exception as e:
                import traceback
                failed += 1
                print("not ok %d - %s: %r" % (n, name, e))
                traceback.print_exc(limit=-3)
        try:
            self.end()
        except Exception as e:
            failed += 1
            n += 1
            print("not ok %d - end: %r" % (n, e))
        print("1..%d" % n)
        print("%d passed, %d failed, 0 skipped" % (n - failed, failed))
        sys.stdout.flush()
        os._exit(1 if failed else 0)

    def wanted(self, name):
        return True

    def before(self):
        pass

    def end(self):
        pass


def main(tests, tools=(), package=None, reeved=False):
    """Runs a class of tests, or says what is missing: programs, a package of tests/http, the whole of reeved (and
    the users that root's needs)."""
    here = os.path.dirname(os.path.abspath(__file__))
    absent = ["%s is not installed" % t for t in tools if not shutil.which(t)]
    if package and not os.path.exists(here + "/node_modules/" + package):
        absent.append("%s is not installed (npm ci in tests/http)" % package)
    if reeved and not os.access(BUILD + "/reeved", os.X_OK):
        absent.append("reeved is not built")
    if absent:
        print("skip: " + absent[0])
        sys.exit(77)
    if reeved and "REEVE_USERS" not in os.environ:
        os.environ["REEVE_USERS"] = "there"
        os.execv(here + "/with_users.sh", ["with_users.sh", sys.executable, *sys.argv])
    tests().run()
