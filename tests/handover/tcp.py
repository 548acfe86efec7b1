#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""TCP services: reeved in standalone mode before real programs that read the
PROXY protocol. Nobody and another person first, then the right one.

  staff  127.0.0.1 --+             +-- an origin that speaks first (v2, v1, none)
  student 127.0.0.2 -+-- reeved ---+-- Dovecot: the login is the user, no password
  nobody 127.0.0.3 --+             +-- HAProxy: accept-proxy
                                   +-- nginx: stream, proxy_protocol
"""
import hashlib
import os
import pwd
import signal
import socket
import struct
import threading
import time

from harness import (STAFF, STUDENT, begin, check, configure, listening, program, read_file, reeved, run, skip, start,
                     until, write)

TMP = begin("tcp")


class Origin(threading.Thread):
    """Speaks first, records what comes, gives it back."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", port))
        self.seen = []
        self.start()

    def run(self):
        while True:
            c, _ = self.socket.accept()
            self.seen.append(bytearray())
            threading.Thread(target=self.serve, args=(c, self.seen[-1]), daemon=True).start()

    def serve(self, c, log):
        try:
            c.sendall(b"220 ready\r\n")
            while data := c.recv(65536):
                if len(log) < 1 << 20:
                    log += data
                c.sendall(data)
        except OSError:
            pass
        c.close()


def call(source, port):
    s = socket.socket()
    s.settimeout(60)
    s.bind((source, 0))
    s.connect(("127.0.0.1", port))
    return s


def read(s, n=65536):
    try:
        return s.recv(n)
    except OSError as e:
        return str(e).encode()


def read_until(s, mark):
    data = b""
    while mark not in data:
        more = read(s)
        if not more:
            break
        data += more
    return data


def vectors(data):
    out = {}
    while len(data) >= 3:
        kind, n = struct.unpack(">BH", data[:3])
        out.setdefault(kind, []).append(bytes(data[3:3 + n]))
        data = data[3 + n:]
    return out


def header_v2(log):
    """(vectors of the header, what follows it)"""
    if bytes(log[:12]) != b"\r\n\r\n\0\r\nQUIT\n":
        return None, bytes(log)
    n = struct.unpack(">H", log[14:16])[0]
    return vectors(log[28:16 + n]), bytes(log[16 + n:])


def service(listen, upstream, **more):
    return {"listen": [f"127.0.0.1:{listen}"], "tcp": True, "upstream": [f"tcp://127.0.0.1:{upstream}"], **more}


SERVICES = {
    "echo2": service(1001, 2001, **{"proxy-protocol": "v2"}),
    "echo1": service(1002, 2002, **{"proxy-protocol": "v1"}),
    "echo0": service(1003, 2003),
    "gone": service(1004, 2999),
    "imap": service(1005, 2005, **{"proxy-protocol": "v2", "proxy-login-cn": True}),
    "haproxy": service(1006, 2006, **{"proxy-protocol": "v2"}),
    # nginx 1.22 takes headers of at most 107 bytes, which the identity's vectors exceed
    "nginx": service(1007, 2007, **{"proxy-protocol": "v1"}),
    "web-only": service(1008, 2003),
}
GRANTS = [
    {"src": ["staff@example.edu"], "dst": [f"svc:{n}" for n in SERVICES if n != "web-only"], "ip": ["*"]},
    # HTTP rules cannot be shown to hold for what is no HTTP
    {"src": ["staff@example.edu"], "dst": ["svc:web-only"], "ip": ["*"], "http": [{"methods": ["GET"], "paths": ["/**"]}]},
]

def test_dovecot():
    dovecot = program("dovecot")
    if not dovecot:
        return skip("Dovecot", "dovecot-imapd is not installed")
    os.makedirs(f"{TMP}/mail", exist_ok=True)
    os.chmod(f"{TMP}/mail", 0o777)
    nobody = pwd.getpwnam("nobody")
    conf = write("dovecot.conf", f"""
base_dir = {TMP}/dovecot
state_dir = {TMP}/dovecot
log_path = {TMP}/dovecot.err
protocols = imap
ssl = no
disable_plaintext_auth = no
haproxy_trusted_networks = 127.0.0.1
auth_ssl_username_from_cert = yes
auth_mechanisms = external
first_valid_uid = 1
mail_location = maildir:{TMP}/mail/%u
passdb {{
  driver = static
  args = nopassword
}}
userdb {{
  driver = static
  args = uid={nobody.pw_uid} gid={nobody.pw_gid} home={TMP}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    address = 127.0.0.1
    port = 2005
    haproxy = yes
  }}
}}
""")
    start(dovecot, "-F", "-c", conf, name="dovecot")
    if not until(30, lambda: listening(2005)):
        return check("Dovecot starts", False, read_file("dovecot.err")[-500:])
    check("Dovecot: a student gets no banner", read(call("127.0.0.2", 1005)) == b"")
    s = call("127.0.0.1", 1005)
    banner = read_until(s, b"\r\n")
    check("Dovecot: staff gets the banner", banner.startswith(b"* OK"), banner)
    s.sendall(b"a AUTHENTICATE EXTERNAL =\r\n")
    answer = read_until(s, b"\r\n")
    check("Dovecot: logged in without a password", answer.startswith(b"a OK"), answer)
    s.sendall(b"b CREATE lab\r\nc LOGOUT\r\n")
    read_until(s, b"c OK")
    check("Dovecot: as the login that Reeve said", os.path.isdir(f"{TMP}/mail/staff@example.edu"),
          os.listdir(f"{TMP}/mail"))


def test_haproxy():
    haproxy = program("haproxy")
    if not haproxy:
        return skip("HAProxy", "haproxy is not installed")
    conf = write("haproxy.cfg", """
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend f
  bind 127.0.0.1:2006 accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port] %[fc_pp_unique_id]"
""")
    start(haproxy, "-db", "-f", conf, name="haproxy")
    if not until(30, lambda: listening(2006)):
        return check("HAProxy starts", False, read_file("haproxy.log")[-500:])
    check("HAProxy: a student reaches nothing", read(call("127.0.0.2", 1006)) == b"")
    s = call("127.0.0.1", 1006)
    s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    body = read_until(s, b"never").partition(b"\r\n\r\n")[2].decode()
    want = "127.0.0.1:%d" % s.getsockname()[1]
    check("HAProxy: takes the header, its checksum and the id", body.startswith(want + " ") and len(body) > 40, body)


def test_nginx():
    nginx = program("nginx")
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    if not nginx or not os.path.exists(module):
        return skip("nginx", "nginx-light or libnginx-mod-stream is not installed")
    conf = write("nginx.conf", f"""
load_module {module};
daemon off;
pid {TMP}/nginx.pid;
error_log {TMP}/nginx.err;
events {{ }}
stream {{
  server {{
    listen 127.0.0.1:2007 proxy_protocol;
    return "$proxy_protocol_addr:$proxy_protocol_port";
  }}
}}
""")
    start(nginx, "-p", TMP, "-c", conf, name="nginx")
    if not until(30, lambda: listening(2007)):
        return check("nginx starts", False, read_file("nginx.err")[-500:])
    check("nginx: a student reaches nothing", read(call("127.0.0.2", 1007)) == b"")
    s = call("127.0.0.1", 1007)
    body = read_until(s, b"never").decode()
    check("nginx: takes the header", body == "127.0.0.1:%d" % s.getsockname()[1], body)


def test_transfer():
    s = call("127.0.0.1", 1003)
    read_until(s, b"\r\n")
    total, block = 64 << 20, os.urandom(1 << 16)
    sent, got = hashlib.sha256(), hashlib.sha256()

    def push():
        for _ in range(total // len(block)):
            sent.update(block)
            s.sendall(block)
        s.shutdown(socket.SHUT_WR)

    t = threading.Thread(target=push)
    t.start()
    n = 0
    while data := read(s):
        got.update(data)
        n += len(data)
    t.join()
    check("64 MiB go both ways unharmed, and the end is passed on", n == total and got.digest() == sent.digest(), n)


def main():
    origins = {p: Origin(p) for p in (2001, 2002, 2003)}
    # looked for where no origin is: one of these would see it, and at any time
    daemon = reeved(configure([STAFF, STUDENT], SERVICES, GRANTS), 1004)
    if not daemon:
        return
    check("nobody is refused", read(call("127.0.0.3", 1001)) == b"")
    check("another person is refused", read(call("127.0.0.2", 1001)) == b"")
    check("neither reached the application", not origins[2001].seen)
    check("a grant for HTTP paths opens no TCP", read(call("127.0.0.1", 1008)) == b"")

    s = call("127.0.0.1", 1001)
    banner = read_until(s, b"\r\n")
    check("the right person hears a server that speaks first", banner.startswith(b"220 ready"), banner)
    spoof = b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"
    s.sendall(spoof)
    until(30, lambda: origins[2001].seen[-1].endswith(spoof))
    tlv, rest = header_v2(origins[2001].seen[-1])
    own = vectors(tlv[0xE7][0][1:]) if tlv else {}
    check("version 2 says who", own.get(1) == [b"staff@example.edu"] and own.get(9) is not None, own)
    check("without a certificate that nobody asked for", tlv is not None and 0x20 not in tlv)
    check("a client's own header is bytes behind ours", rest == spoof, rest)

    t = call("127.0.0.1", 1002)
    read_until(t, b"\r\n")
    want = b"PROXY TCP4 127.0.0.1 127.0.0.1 %d 1002\r\n" % t.getsockname()[1]
    until(30, lambda: len(origins[2002].seen[-1]) >= len(want))
    check("version 1 says from where", bytes(origins[2002].seen[-1]) == want, origins[2002].seen[-1])
    check("an application that is not there: closed, not hung", read(call("127.0.0.1", 1004)) == b"")

    test_transfer()
    test_dovecot()
    test_haproxy()
    test_nginx()

    # The session ends while the first connection is open.
    s.sendall(b"still here")
    check("before its end the session's connection works", read_until(s, b"still here").endswith(b"still here"))
    configure([STUDENT], SERVICES, GRANTS)
    daemon.send_signal(signal.SIGHUP)
    s.settimeout(60)
    began = time.monotonic()
    end = read(s)
    while end and b"timed out" not in end:
        end = read(s)
    check("when the session ends its connection ends", end == b"" or b"reset" in end, end)
    print(f"# it took {time.monotonic() - began:.3f} s from the signal")
    check("and no new one begins", read(call("127.0.0.1", 1001)) == b"")
    check("the audit says who was cut off", until(30, lambda: '"end":"revoked"' in read_file("reeved.log")),
          read_file("reeved.log")[-2000:])
    daemon.terminate()
    check("reeved ends by itself", daemon.wait(40) == 0)


run(main)
