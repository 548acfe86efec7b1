# SPDX-License-Identifier: AGPL-3.0-or-later
"""The front and what it is measured beside, each doing the same work: who
calls by a map of 10,000 addresses (or by its own way to know people), a spoofed
header stripped, two headers written, others refused, an access log. Used by
tests/bench/front."""
import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse

BUILD = os.environ.get("top_builddir", ".")
TICK = os.sysconf("SC_CLK_TCK")
APACHE_MODULES = "/usr/lib/apache2/modules"
# Where idle connections come from: the front gives one identity a quarter of its places.
IDLE_FROM = ["127.0.1.%d" % i for i in range(1, 21)]


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def addresses(few=False):
    """10,000 of them, where the load comes from among them. Few: what was read and freed at the
    beginning would hide what connections cost later."""
    if few:
        return ["127.0.0.1"] + IDLE_FROM
    return ["127.0.0.1"] + IDLE_FROM + ["10.%d.%d.%d" % (1 + i // 65536, i // 256 % 256, i % 256) for i in range(9979)]


def login(i):
    return "staff@example.edu" if i == 0 else "%s%d@example.edu" % ("idle" if i <= len(IDLE_FROM) else "user", i)


class Place:
    """What all of a run have in common: a folder, the application behind, a certificate."""

    def __init__(self, folder, size, tls=False, h2=False, unix=False, idle=False):
        self.dir, self.size, self.tls, self.h2, self.unix, self.idle = folder, size, tls, h2, unix, idle
        self.cert = os.path.join(folder, "cert.pem")
        if tls:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-days", "2", "-subj", "/CN=wiki", "-addext", "subjectAltName=DNS:wiki,IP:127.0.0.1",
                            "-keyout", folder + "/key.pem", "-out", folder + "/chain.pem"], check=True, capture_output=True)
            with open(self.cert, "w") as f:
                f.write(open(folder + "/chain.pem").read() + open(folder + "/key.pem").read())
        self.origin_port, self.origin_path = port(), os.path.join(folder, "origin.sock")
        with open(os.path.join(folder, "body"), "wb") as f:
            f.write(b"x" * size)
        self.write("origin.conf", """worker_processes 1; daemon off; pid %(dir)s/origin.pid; error_log /dev/null; user root;
worker_rlimit_nofile 65536; events { worker_connections 16384; }
http { access_log off; keepalive_requests 100000000; keepalive_timeout 600; sendfile on; open_file_cache max=10;
server { listen 127.0.0.1:%(port)d backlog=4096; listen unix:%(path)s;
  location = /auth { add_header Remote-User staff@example.edu; return 204; }
  location / { root %(dir)s; try_files /body =404; } } }
""" % {"dir": folder, "port": self.origin_port, "path": self.origin_path})
        self.proc = subprocess.Popen(["taskset", "-c", "1", "nginx", "-c", self.path("origin.conf"), "-e", "/dev/null",
                                      "-p", folder])
        wait_port(self.origin_port)

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)


class Peer:
    cookie = ""

    def __init__(self, name, p, argv, stdin=None, env=None):
        self.name, self.port, self.err = name, p, tempfile.TemporaryFile("w+")
        self.proc = subprocess.Popen(["taskset", "-c", "0"] + argv, stdin=stdin or subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=self.err,
                                     env=dict(os.environ, **(env or {})))

    def wait(self):
        """Until it answers at its port; what it says if it does not."""
        for _ in range(400):
            if self.proc.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.05)
        self.err.seek(0)
        raise SystemExit("%s does not begin: %s" % (self.name, self.err.read()[-1000:]))

    def pids(self):
        """The process and its children: a master that only waits costs nothing."""
        out = [self.proc.pid]
        try:
            with open("/proc/%d/task/%d/children" % (self.proc.pid, self.proc.pid)) as f:
                out += [int(x) for x in f.read().split()]
        except OSError:
            pass
        return out

    def cpu(self):
        total = user = 0
        for p in self.pids():
            try:
                with open("/proc/%d/stat" % p) as f:
                    v = f.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            user += int(v[11])
            total += int(v[11]) + int(v[12])
        return total / TICK, user / TICK

    def memory(self):
        """Bytes of its own, in user space."""
        total = 0
        for p in self.pids():
            with open("/proc/%d/status" % p) as f:
                total += int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1)) * 1024
        return total


def wait_port(p):
    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", p), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("nothing listens on %d" % p)


def reeve(place):
    p = port()
    grants = [{"src": ["user%d@example.edu" % i], "dst": ["svc:other%d" % (i % 50)],
            "ip": ["*"]} for i in range(20 if place.idle else 999)]
    grants.append({"src": [login(i) for i in range(len(IDLE_FROM) + 1)], "dst": ["svc:wiki"], "ip": ["*"],
                   "http": [{"methods": ["GET"], "paths": ["/**"]}]})
    ids = [{"address": a + "/32", "login": login(i), "email": login(i) if i == 0 else "", "node": "n%d" % i}
           for i, a in enumerate(addresses(place.idle))]
    up = "unix:" + place.origin_path if place.unix else "http://127.0.0.1:%d" % place.origin_port
    conf = {"policy": {"grants": grants}, "identities": ids, "services": {
        "wiki": {"listen": ["127.0.0.1:%d" % p], "hosts": ["wiki", "127.0.0.1"], "upstream": [up], "tls": place.tls,
                 "headers": {"Remote-User": "{login}", "Remote-Email": "{email}"}}}}
    if place.tls:
        conf["certificates"] = [{"certificate": place.path("chain.pem"), "key": place.path("key.pem")}]
    return Peer("reeve", p, [BUILD + "/front_test_server", place.write("reeve.conf", json.dumps(conf)),
                             place.path("reeve.log")], stdin=subprocess.PIPE)


def haproxy(place, name="haproxy", log=True, tune="", options=""):
    p = port()
    place.write("map", "".join("%s %s\n" % (a, login(i)) for i, a in enumerate(addresses(place.idle))))
    sink = place.path(name + ".sock")
    if log:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.bind(sink)
        if os.fork() == 0:      # somebody who takes the lines
            os.sched_setaffinity(0, {1})
            while True:
                s.recv(65536)
        s.close()
    bind = (" ssl crt " + place.cert if place.tls else "") + (" proto h2" if place.h2 else "")
    conf = place.write(name + ".cfg", """global
  nbthread 1
  maxconn 11000
  no strict-limits
  %s
  %s
defaults
  mode http
  %s
  %s
  timeout connect 5s
  timeout client 600s
  timeout server 60s
  option http-keep-alive
  http-reuse always
frontend f
  bind 127.0.0.1:%d%s
  http-request set-var(txn.who) src,map_ip(%s)
  http-request deny unless { var(txn.who) -m found }
  http-request deny unless { hdr(host) -i wiki } or { hdr(host),field(1,:) 127.0.0.1 }
  http-request deny unless { method GET }
  http-request del-header remote-user
  http-request del-header remote-email
  http-request del-header x-forwarded-user
  http-request set-header Remote-User %%[var(txn.who)]
  http-request set-header Remote-Email %%[var(txn.who)]
  default_backend b
backend b
  server o %s
""" % ("log %s len 2048 format rfc5424 local0" % sink if log else "", tune, "log global\n  option httplog" if log else "",
       options, p, bind, place.path("map"),
       "unix@" + place.origin_path if place.unix else "127.0.0.1:%d" % place.origin_port))
    return Peer(name, p, ["haproxy", "-db", "-f", conf])


def haproxy_nolog(place):
    return haproxy(place, "haproxy-nolog", log=False)


def haproxy_splice(place):
    return haproxy(place, "haproxy-splice", tune="maxpipes 1024", options="option splice-response")


def haproxy_64k(place):
    return haproxy(place, "haproxy-64k", tune="tune.bufsize 65536")


NGINX = """worker_processes 1; daemon off; pid %(dir)s/%(name)s.pid; error_log /dev/null; user root; worker_rlimit_nofile 65536;
events { worker_connections 32768; }
http { access_log %(dir)s/%(name)s.log combined buffer=64k flush=1s; keepalive_requests 100000000; keepalive_timeout 600;
map_hash_max_size 65536; proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 128k;
%(map)s
upstream o { server %(up)s; keepalive 128; keepalive_requests 100000000; }
server { listen 127.0.0.1:%(port)d backlog=4096%(listen)s; server_name wiki 127.0.0.1; %(certificate)s
  %(auth)s
  location / { %(ask)s proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
    proxy_set_header Remote-User $who; proxy_set_header Remote-Email $who; proxy_set_header X-Forwarded-User ""; } } }
"""


def nginx(place, name="nginx", auth="if ($who = \"\") { return 403; }", ask="", ipmap=True):
    p = port()
    who = "map $remote_addr $who { default \"\"; %s }" % " ".join(
        "%s %s;" % (a, login(i)) for i, a in enumerate(addresses(place.idle))) if ipmap else ""
    conf = place.write(name + ".conf", NGINX % {
        "dir": place.dir, "name": name, "map": who, "port": p, "auth": auth, "ask": ask,
        "up": "unix:" + place.origin_path if place.unix else "127.0.0.1:%d" % place.origin_port,
        "listen": (" ssl" if place.tls else "") + (" http2" if place.h2 else ""),
        "certificate": "ssl_certificate %s; ssl_certificate_key %s;" % (place.cert, place.cert) if place.tls else ""})
    return Peer(name, p, ["nginx", "-c", conf, "-e", "/dev/null", "-p", place.dir])


def nginx_auth(place):
    """Asks the application's machine who it is: that one's work is not counted."""
    return nginx(place, "nginx-auth", ipmap=False,
            ask="auth_request /auth; auth_request_set $who $upstream_http_remote_user;",
                 auth="location = /auth { internal; proxy_pass http://o; proxy_pass_request_body off; proxy_http_version 1.1;"
                      " proxy_set_header Content-Length \"\"; proxy_set_header Connection \"\"; }")


def caddy(place):
    p = port()
    conf = place.write("Caddyfile", """{
	admin off
	auto_https off
}
http://:%(p)d {
	log {
		output file %(dir)s/caddy.log
	}
	forward_auth 127.0.0.1:%(o)d {
		uri /auth
		copy_headers Remote-User
	}
	reverse_proxy 127.0.0.1:%(o)d {
		header_up -X-Forwarded-User
		header_up Remote-Email {http.request.header.Remote-User}
	}
}
""" % {"p": p, "dir": place.dir, "o": place.origin_port})
    return Peer("caddy-auth", p, ["caddy", "run", "--adapter", "caddyfile", "--config", conf],
                env={"HOME": place.dir, "XDG_DATA_HOME": place.dir, "XDG_CONFIG_HOME": place.dir, "GOMAXPROCS": "1"})


def id_token(secret, nonce):
    """What an identity provider would say of the one who logs in for the measurement."""
    def b64(b):
        return base64.urlsafe_b64encode(b).rstrip(b"=")
    now = int(time.time())
    text = b64(b'{"alg":"HS256","typ":"JWT"}') + b"." + b64(json.dumps({
        "iss": "https://idp.example", "sub": "staff", "aud": "bench", "exp": now + 3600, "iat": now, "nonce": nonce,
        "email": "staff@example.edu"}).encode())
    return (text + b"." + b64(hmac.new(secret, text, hashlib.sha256).digest())).decode()


def ask(p, path, cookie="", body=None):
    """(status, cookies, where to) of one request."""
    raw = "%s %s HTTP/1.1\r\nHost: wiki\r\nConnection: close\r\nAccept: text/html\r\nCookie: %s\r\n" % (
        "GET" if body is None else "POST", path, cookie)
    if body is not None:
        raw += "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", p), timeout=20) as s:
        s.sendall((raw + "\r\n" + (body or "")).encode())
        out = b""
        while True:
            d = s.recv(65536)
            if not d:
                break
            out += d
    head = out.split(b"\r\n\r\n")[0].decode("latin1")
    return (int(head.split(" ")[1]), re.findall(r"(?im)^set-cookie: ([^;=]+=[^;]+)", head),
            (re.findall(r"(?im)^location: (\S+)", head) + [""])[0])


def apache(place):
    """mod_auth_openidc with its session of one login in its cache, the cookie sent with each request."""
    p = port()
    secret = b"a secret of the measurement, 32 b"
    modules = ["mpm_event", "authn_core", "authz_core", "authz_user", "unixd", "log_config", "headers", "proxy",
            "proxy_http",
               "auth_openidc"]
    built_in = subprocess.run(["/usr/sbin/apache2", "-l"], capture_output=True, text=True).stdout
    loads = "".join("LoadModule %s_module %s/mod_%s.so\n" % (m, APACHE_MODULES, m) for m in modules
                    if "mod_%s.c" % m not in built_in)
    conf = place.write("apache.conf", loads + """ServerRoot %(dir)s
PidFile %(dir)s/apache.pid
ServerName wiki
Listen 127.0.0.1:%(p)d
User www-data
Group www-data
ErrorLog %(dir)s/apache.err
LogFormat "%%h %%l %%u %%t \\"%%r\\" %%>s %%b" common
CustomLog %(dir)s/apache.log common
StartServers 1
ServerLimit 1
ThreadLimit 256
ThreadsPerChild 256
MaxRequestWorkers 256
MaxKeepAliveRequests 0
KeepAliveTimeout 600
OIDCProviderIssuer https://idp.example
OIDCProviderAuthorizationEndpoint https://idp.example/authorize
OIDCResponseType id_token
OIDCResponseMode form_post
OIDCIDTokenSignedResponseAlg HS256
OIDCClientID bench
OIDCClientSecret "%(secret)s"
OIDCRedirectURI http://wiki/callback
OIDCCryptoPassphrase bench-bench-bench
OIDCRemoteUserClaim email
OIDCSessionInactivityTimeout 3600
ProxyPass / http://127.0.0.1:%(o)d/ keepalive=On
<Location />
  AuthType openid-connect
  Require valid-user
  RequestHeader unset X-Forwarded-User
  RequestHeader set Remote-User expr=%%{REMOTE_USER}
  RequestHeader set Remote-Email expr=%%{REMOTE_USER}
</Location>
""" % {"dir": place.dir, "p": p, "secret": secret.decode(), "o": place.origin_port})
    peer = Peer("apache-oidc", p, ["/usr/sbin/apache2", "-DFOREGROUND", "-f", conf])
    peer.wait()
    status, cookies, to = ask(p, "/")
    q = urllib.parse.parse_qs(urllib.parse.urlsplit(to).query)
    if status != 302 or "nonce" not in q:
        raise SystemExit("mod_auth_openidc does not send to its provider: %d %s" % (status, to))
    status, more, to = ask(p, "/callback", "; ".join(cookies), urllib.parse.urlencode(
        {"id_token": id_token(secret, q["nonce"][0]), "state": q["state"][0]}))
    if status != 302 or not more:
        raise SystemExit("mod_auth_openidc: the login failed: %d" % status)
    peer.cookie = "; ".join(c for c in more if "session" in c)
    return peer


# name: (what starts it, the programs and files it needs)
PEERS = {
    "reeve": (reeve, []),
    "haproxy": (haproxy, ["haproxy"]),
    "haproxy-nolog": (haproxy_nolog, ["haproxy"]),
    "haproxy-splice": (haproxy_splice, ["haproxy"]),
    "haproxy-64k": (haproxy_64k, ["haproxy"]),
    "nginx": (nginx, ["nginx"]),
    "nginx-auth": (nginx_auth, ["nginx"]),
    "caddy-auth": (caddy, ["caddy"]),
    "apache-oidc": (apache, ["/usr/sbin/apache2", APACHE_MODULES + "/mod_auth_openidc.so"]),
}


def missing(name):
    """The first thing that this peer needs and that is not here, or None."""
    return next((x for x in PEERS[name][1] if not (os.path.exists(x) if x[0] == "/" else shutil.which(x))), None)
