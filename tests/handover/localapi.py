#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""whois in the shape of Tailscale's local API, asked as its Go client asks
(local.Client.WhoIs over a unix socket), and the capabilities of the policy's
"app" there and in Tailscale-App-Capabilities. Nobody and forgeries first.
"""
import datetime
import email.header
import http.server
import ipaddress
import json
import os
import re
import socket
import threading

from harness import STAFF, STUDENT, begin, check, configure, reeved, run, until

TMP = begin("localapi")
STALE = {"from": "127.0.0.4", "login": "admin@example.edu", "expires": 1500000000}
SERVER = {"from": "127.0.0.5", "tags": ["tag:server"]}
RANGE = {"from": "10.8.0.0/24", "login": "range@example.edu", "name": "Ränge"}
CAP = "example.edu/cap/wiki"


def get(path, host="local-tailscaled.sock"):
    """As net/http writes it: (status, fields, body)."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(f"{TMP}/run/api.sock")
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\nTailscale-Cap: 106\r\n"
              "Accept-Encoding: gzip\r\n\r\n".encode())
    f = s.makefile("rb")
    status = int(f.readline().split()[1])
    fields = {}
    while (line := f.readline()) != b"\r\n":
        name, _, value = line.decode().partition(":")
        fields[name.lower()] = value.strip()
    body = f.read(int(fields["content-length"]))
    s.close()
    return status, fields, json.loads(body)


def whois(addr):
    return get("/localapi/v0/whois?addr=" + addr.replace(":", "%3A").replace("[", "%5B").replace("]", "%5D"))


# What encoding/json takes for the types of tailcfg; a value of another type is an error there.
NODE = {"ID": int, "StableID": str, "Name": str, "User": int, "Key": str, "KeyExpiry": "time", "Addresses": ["prefix"],
        "AllowedIPs": ["prefix"], "Hostinfo": dict, "Created": "time", "MachineAuthorized": bool, "ComputedName": str,
        "ComputedNameWithHost": str, "Tags": [str]}
PROFILE = {"ID": int, "LoginName": str, "DisplayName": str, "ProfilePicURL": str, "Roles": [str], "Groups": [str]}


def fits(value, kind):
    if isinstance(kind, list):
        return isinstance(value, list) and all(fits(v, kind[0]) for v in value)
    if kind == "time":
        datetime.datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ")
        return True
    if kind == "prefix":
        return "/" in value and bool(ipaddress.ip_network(value))
    return type(value) is kind


def shape(what, answer):
    node, profile, caps = answer.get("Node"), answer.get("UserProfile"), answer.get("CapMap")
    bad = [k for k, v in node.items() if k not in NODE or not fits(v, NODE[k])]
    bad += [k for k, v in profile.items() if k not in PROFILE or not fits(v, PROFILE[k])]
    check(f"{what}: every member is one of Go's, of its type", not bad, (bad, answer))
    check(f"{what}: key and name are written as Go reads them", re.fullmatch("nodekey:[0-9a-f]{64}", node["Key"])
          and node["Name"].endswith(".") and node["User"] == profile["ID"] and node["ID"] > 0, answer)
    check(f"{what}: capabilities are lists by name", isinstance(caps, dict) and all(type(v) is list for v in caps.values()), caps)
    return node, profile, caps


class Application(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = json.dumps([[k, v] for k, v in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def fields_seen(source, headers=()):
    s = socket.create_connection(("127.0.0.1", 1301), timeout=60, source_address=(source, 0))
    s.sendall("\r\n".join(["GET / HTTP/1.1", "Host: app", *headers, "Connection: close"]).encode() + b"\r\n\r\n")
    data = b""
    while more := s.recv(65536):
        data += more
    s.close()
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.splitlines()[0]:
        return None
    return [v for k, v in json.loads(body) if re.sub("[^a-z]", "", k.lower()) == "tailscaleappcapabilities"]


def main():
    app = http.server.ThreadingHTTPServer(("127.0.0.1", 1302), Application)
    threading.Thread(target=app.serve_forever, daemon=True).start()
    services = {"app": {"listen": ["127.0.0.1:1301"], "upstream": ["http://127.0.0.1:1302"],
                        "profiles": ["tailscale", "tailscale-caps"]}}
    grants = [{"src": ["*"], "dst": ["svc:app"], "ip": ["*"]},
              {"src": ["staff@example.edu"], "dst": ["svc:app"], "app": {CAP: [{"role": "editor"}]}},
              {"src": ["idp:lab"], "dst": ["svc:app"], "app": {CAP: [{"area": "Lesesäle"}], "example.edu/cap/other": [1, "x"]}}]
    if not reeved(configure([STAFF, STUDENT, STALE, SERVER, RANGE], services, grants), 1301):
        return
    if not until(30, lambda: os.path.exists(f"{TMP}/run/api.sock") and fields_seen("127.0.0.1") is not None):
        check("reeved serves", False)
        return
    for what, addr in (("nobody", "127.0.0.3:1"), ("nobody, IPv6", "[fd00::1]:1"), ("a login that has ended", "127.0.0.4:1")):
        status, fields, body = whois(addr)
        check(f"{what} is a 404, which the client reads as \"no such peer\"", status == 404 and body.get("error"), (status, body))
    for addr in ("", "x", "127.0.0.1:99999", "127.0.0.1:1:2", "localhost:80"):
        check(f"addr={addr!r} is a 400", whois(addr)[0] == 400, whois(addr))
    check("without addr: 400", get("/localapi/v0/whois")[0] == 400)
    check("another of its paths: 404", get("/localapi/v0/status")[0] == 404)

    status, fields, body = whois("127.0.0.1:41641")
    check("staff is known", status == 200 and fields.get("content-type") == "application/json", (status, fields))
    node, profile, caps = shape("staff", body)
    check("staff: login, name, groups", (profile["LoginName"], profile["DisplayName"], profile["Groups"])
          == ("staff@example.edu", "Staff", ["lab"]), profile)
    check("staff: address", node["Addresses"] == ["127.0.0.1/32"], node)
    want = {CAP: [{"role": "editor"}, {"area": "Lesesäle"}], "example.edu/cap/other": [1, "x"]}
    check("staff: what both grants say", sorted(caps) == sorted(want) and all(
        sorted(map(repr, caps[k])) == sorted(map(repr, want[k])) for k in want), caps)
    check("without a port", whois("127.0.0.1")[2] == body)
    check("IPv4 in IPv6", whois("[::ffff:127.0.0.1]:1")[2] == body)
    check("/v1/whois says the same of capabilities", get("/v1/whois?addr=127.0.0.1")[2]["caps"] == caps)

    node, profile, caps = shape("student", whois("127.0.0.2:1")[2])
    check("a student is a student, without capabilities", profile["LoginName"] == "student@example.edu" and caps == {}, caps)
    check("without a name the login is shown", profile["DisplayName"] == "student@example.edu", profile)
    node, profile, caps = shape("a server", whois("127.0.0.5:1")[2])
    check("a server is its tags, and nobody's", node["Tags"] == ["tag:server"] and profile["LoginName"] == "tagged-devices",
          (node, profile))
    node, profile, caps = shape("a range", whois("10.8.0.77:1")[2])
    check("somebody of a range", profile["DisplayName"] == "Ränge" and profile["LoginName"] == "range@example.edu", profile)
    ids = [whois(a)[2]["UserProfile"]["ID"] for a in ("127.0.0.1", "127.0.0.2", "127.0.0.5", "10.8.0.77")]
    check("each has an id of their own", len(set(ids)) == 4, ids)

    forged = ["Tailscale-App-Capabilities: {}", "Tailscale_App_Capabilities: {}", "tailscale-app-capabilities: {\"x\":[1]}"]
    check("a student's own capabilities do not arrive", fields_seen("127.0.0.2", forged) == [], fields_seen("127.0.0.2", forged))
    seen = fields_seen("127.0.0.1", forged)
    text = str(email.header.make_header(email.header.decode_header(seen[0]))) if seen and len(seen) == 1 else "null"
    got = json.loads(text)
    check("staff's are in one header, as encoded words", got and sorted(got) == sorted(want)
          and all(sorted(map(repr, got[k])) == sorted(map(repr, want[k])) for k in want), seen)


run(main)
