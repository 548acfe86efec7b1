# SPDX-License-Identifier: AGPL-3.0-or-later
"""The policy language a second time, written from doc/policy and not from the C
code: no indexes, no classes, no tables. For every question it walks the rules."""
import ipaddress
import json
import re

PROTOS = {"icmp": 1, "igmp": 2, "ipv4": 4, "ip-in-ip": 4, "tcp": 6, "egp": 8, "igp": 9, "udp": 17, "gre": 47,
          "esp": 50, "ah": 51, "ipv6-icmp": 58, "sctp": 132, "fc": 133}
WITH_PORTS = {6, 17, 132}
DEFAULT = [6, 17, 1, 58]
NEVER = 2**63 - 1
FACTORS = {"pwd": 1, "pin": 1, "kba": 1, "otp": 2, "hwk": 2, "swk": 2, "sms": 2, "tel": 2, "sc": 2, "pop": 2,
           "fpt": 4, "face": 4, "iris": 4, "retina": 4, "vbm": 4, "mfa": 7}
ROLES = {"admin", "owner", "it-admin", "network-admin", "billing-admin", "auditor"}


def plain(text):
    """HuJSON to JSON: comments and trailing commas go, strings stay."""
    out, i = [], 0
    while i < len(text):
        if text[i] == '"':
            k = i + 1
            while text[k] != '"':
                k += 2 if text[k] == "\\" else 1
            out.append(text[i:k + 1])
            i = k + 1
        elif text.startswith("//", i):
            i = text.find("\n", i) if "\n" in text[i:] else len(text)
        elif text.startswith("/*", i):
            i = text.index("*/", i) + 2
        else:
            out.append(text[i])
            i += 1
    return json.loads(re.sub(r",(\s*[\]}])", r"\1", "".join(out)))


# ---- addresses: (family, lo, hi) ----

def remembered(read):
    """What a text means does not change, nor that it means nothing: each is read once."""
    known = {}

    def again(text):
        if text not in known:
            if len(known) > 100000:
                known.clear()
            try:
                known[text] = read(text)
            except ValueError:
                known[text] = None
        if known[text] is None:
            raise ValueError(text)
        return known[text]
    return again


@remembered
def ip(text):
    a = ipaddress.ip_address(text)
    if a.version == 6 and a.ipv4_mapped:
        a = a.ipv4_mapped
    return a.version, int(a)


@remembered
def span(text):
    if "/" not in text:
        v, n = ip(text)
        return v, n, n
    base, bits = text.split("/")
    bits = int(bits)
    v, n = ip(base)
    if v == 4 and ":" in base:
        bits -= 96
    width = 32 if v == 4 else 128
    mask = (1 << (width - bits)) - 1
    return v, n & ~mask, n | mask


def inside(ranges, v, n):
    return any(r[0] == v and r[1] <= n <= r[2] for r in ranges)


def minus(ranges, cut):
    out = []
    for v, lo, hi in ranges:
        if v != cut[0] or hi < cut[1] or lo > cut[2]:
            out.append((v, lo, hi))
            continue
        if lo < cut[1]:
            out.append((v, lo, cut[1] - 1))
        if hi > cut[2]:
            out.append((v, cut[2] + 1, hi))
    return out


INTERNET = [span("0.0.0.0/0"), span("2000::/3")]
for _p in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"):
    INTERNET = minus(INTERNET, span(_p))


def duration(v):
    if isinstance(v, int):
        return v
    return int(v[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[v[-1]] if v[-1].isalpha() else int(v)


def ports(text):
    if text == "*":
        return [(0, 65535)]
    return [(int(a), int(b or a)) for a, _, b in (p.partition("-") for p in text.split(","))]


def proto_list(text):
    if text in ("", None):
        return DEFAULT
    text = str(text)
    return [PROTOS[text.lower()] if text.lower() in PROTOS else int(text)]


class Rule:
    """One acl or grant: who, to what with which (protos, ports), on which terms."""

    def __init__(self, policy, raw, acl):
        self.policy = policy
        self.src = raw.get("src", [])
        self.ip_given = acl or bool(raw.get("ip"))
        if acl:
            self.dst = []
            for d in raw.get("dst", []):
                name, _, p = d.rpartition(":")
                if name.startswith("["):
                    name = name.replace("[", "").replace("]", "")
                self.dst.append((name, [(proto_list(raw.get("proto")), ports(p))]))
        else:
            ips = []
            for e in raw.get("ip", []):
                pr, _, po = e.rpartition(":")
                ips.append((proto_list(pr), ports(po)))
            self.dst = [(d, ips) for d in raw.get("dst", [])]
        self.via = raw.get("via", [])
        self.http = raw.get("http")
        self.auth = raw.get("auth")
        st = raw.get("stale")
        self.stale = None if st is None else 60 if st == "deny" else max(60, duration(st))
        names = raw["srcPosture"] if "srcPosture" in raw else policy.raw.get("defaultSrcPosture", [])
        self.postures = [policy.raw["postures"][n] for n in names]


class Policy:
    def __init__(self, text, owner=False):
        self.raw = plain(text) if isinstance(text, str) else text
        self.owner = owner
        self.hosts = {k: span(v) for k, v in self.raw.get("hosts", {}).items()}
        self.groups = self.raw.get("groups", {})
        self.rules = [Rule(self, r, True) for r in self.raw.get("acls", [])]
        self.rules += [Rule(self, r, False) for r in self.raw.get("grants", [])]

    def ipset(self, name):
        out = []
        for e in self.raw["ipsets"][name]:
            word, _, rest = e.partition(" ")
            what = rest if word in ("add", "remove") else e
            parts = self.ipset(what) if what.startswith("ipset:") else [self.hosts[what]] if what in self.hosts \
                else [span(what)]
            if word == "remove":
                for p in parts:
                    out = minus(out, p)
            else:
                out = out + parts
        return out

    def addresses(self, name):
        """The ranges of an address, prefix, host or ipset; None for every other name."""
        if name.startswith("ipset:"):
            return self.ipset(name)
        if name in self.hosts:
            return [self.hosts[name]]
        if name.startswith("host:"):
            return [self.hosts[name[5:]]]
        try:
            return [span(name)]
        except ValueError:
            return None


class World:
    def __init__(self, policy, owner, topology, idp_only=False):
        self.policies = [Policy(policy)] + ([Policy(owner, True)] if owner is not None else [])
        self.idp_only = idp_only
        self.users = {}
        claims = {}
        for i, u in enumerate(topology["users"]):
            u = dict(u, key=i)
            for name in {u.get("name", "").rstrip("@") if u.get("name", "").endswith("@") else u.get("name", ""),
                         u.get("email", "")}:
                if name:
                    claims.setdefault(name, []).append(u)
        # A name that two people claim is nobody's.
        self.named = {k: v[0] for k, v in claims.items() if len(v) == 1}
        self.nodes = {}
        for name, n in topology["nodes"].items():
            tags = n.get("tags") or []
            offered = [span(r) for r in n.get("routable_ips") or []]
            routes = [span(r) for r in n.get("approved_routes") or [] if span(r) in offered]
            ses = n.get("session", {"expires": "never"})
            if ses is None:
                ses = {"expires": 0}
            exp = ses.get("expires", "never")
            self.nodes[name] = {
                "name": name, "tags": tags, "user": None if tags else self.named.get(n.get("user", "")),
                "own": [ip(n[k]) for k in ("ipv4", "ipv6") if n.get(k)],
                "subnets": [r for r in routes if r[2] - r[1] + 1 not in (2**32, 2**128)],
                "exit": [r for r in routes if r[2] - r[1] + 1 in (2**32, 2**128)],
                "expires": NEVER if exp == "never" else exp, "auth_time": ses.get("auth_time", 0),
                "acr": ses.get("acr", ""), "amr": ses.get("amr", []), "idp": ses.get("groups", []),
                "cross": ses.get("cross_device", False), "posture": n.get("posture", {})}
        self.services = topology.get("services", {})

    # ---- names ----

    def logins(self, u):
        return {x.rstrip("@") if x.endswith("@") else x for x in (u.get("name", ""), u.get("email", "")) if x}

    def person(self, policy, u, name, src):
        """Is u one of those that this name of people means?"""
        mine = [x for x in self.logins(u) if self.named.get(x) is u]
        if name.startswith("user:*@"):
            address = u.get("name", "").removesuffix("@")
            if "@" not in address:
                address = u.get("email", "") if u.get("email") in mine else ""
            return "@" in address and address.rpartition("@")[2] == name[7:]
        if name.startswith("group:"):
            if src and self.idp_only:
                return False
            defined = name in policy.groups
            if policy.owner and not defined:
                policy, defined = self.policies[0], name in self.policies[0].groups
            if defined and any((m[:-1] if m.endswith("@") else m) in mine for m in policy.groups[name]):
                return True
            return not (self.policies[-1].owner and name in self.policies[-1].groups and policy.owner) and \
                name in u.get("groups", [])
        if name == "autogroup:member":
            return not u.get("shared")
        if name == "autogroup:shared":
            return src and bool(u.get("shared"))
        if name.startswith("autogroup:") and name[10:] in ROLES:
            return name[10:] in u.get("roles", [])
        if "@" in name and not name.startswith(("tag:", "idp:", "svc:", "autogroup:")):
            return (name[:-1] if name.endswith("@") else name) in mine
        return False

    def is_src(self, rule, node, v, n, now):
        """Does a packet from this address of (or behind) node come from one of the rule's sources?"""
        behind = (v, n) not in node["own"]
        u = node["user"]
        if not node["tags"] and not (u and now < node["expires"]):
            return False
        if behind:
            if rule.auth or rule.postures or any(d[0] == "autogroup:self" for d in rule.dst) and \
                    all(d[0] == "autogroup:self" for d in rule.dst):
                return False
            if not inside(node["subnets"], v, n):
                return False
        for s in rule.src:
            if s in ("*", "autogroup:danger-all"):
                return True
            ranges = rule.policy.addresses(s)
            if ranges is not None:
                if inside(ranges, v, n):
                    return True
            elif behind:
                continue
            elif s.startswith("tag:"):
                if s in node["tags"]:
                    return True
            elif s == "autogroup:tagged":
                if node["tags"]:
                    return True
            elif s.startswith("idp:"):
                if u and s[4:] in node["idp"]:
                    return True
            elif u and self.person(rule.policy, u, s, True):
                return True
        return False

    def covers(self, rule, dst, self_node, src, v, n):
        """Does dst mean this address at self_node, for a caller src?"""
        own = (v, n) in self_node["own"]
        u = self_node["user"]
        subnet = not own and inside(self_node["subnets"], v, n)
        public = not own and not subnet and inside(INTERNET, v, n) and inside(self_node["exit"], v, n)
        ranges = rule.policy.addresses(dst)
        if rule.via:
            if not set(rule.via) & set(self_node["tags"]):
                return False
            if ranges is not None:
                return subnet and inside(ranges, v, n)
            if dst == "*":
                return subnet
            return dst == "autogroup:internet" and public
        if dst == "*":
            return own or subnet or public
        if ranges is not None:
            return inside(ranges, v, n) and (own or subnet or public)
        if dst == "autogroup:internet":
            return public
        if not own:
            return False
        if dst.startswith("svc:"):
            return self.serves(self_node, dst[4:])
        if dst.startswith("tag:"):
            return dst in self_node["tags"]
        if dst == "autogroup:tagged":
            return bool(self_node["tags"])
        if dst == "autogroup:self":
            return bool(u) and src["user"] is u
        return bool(u) and self.person(rule.policy, u, dst, False)

    def serves(self, node, name):
        s = self.services.get(name)
        return bool(s) and node["name"] in ([s["node"]] if "node" in s else s["nodes"])

    def opens(self, rule, dst, ips, proto, port):
        def listed():
            return any(proto in ps and (proto not in WITH_PORTS or any(a <= port <= b for a, b in po))
                       for ps, po in ips)
        if dst.startswith("svc:"):
            if proto != 6 or port not in self.services[dst[4:]]["ports"]:
                return False
            return listed() if rule.ip_given else True
        return listed()

    # ---- logins ----

    def strong(self, rule, node):
        a = rule.auth
        if a is None:
            return True
        if node["cross"]:
            return False
        if a.get("mfa"):
            kinds = 0
            for m in node["amr"]:
                kinds |= FACTORS.get(m, 0)
            if bin(kinds).count("1") < 2:
                return False
        acr = a.get("acr", [])
        acr = [acr] if isinstance(acr, str) else acr
        amr = a.get("amr", [])
        amr = [amr] if isinstance(amr, str) else amr
        return (not acr or node["acr"] in acr) and all(m in node["amr"] for m in amr)

    def fresh(self, rule, node, now):
        a = rule.auth
        if a is None or "maxAge" not in a:
            return True
        return node["auth_time"] > 0 and now - node["auth_time"] < duration(a["maxAge"])

    @staticmethod
    def order(a, b):
        """Runs of digits as numbers, the rest byte by byte."""
        split = lambda s: [(0, int(x)) if x.isdigit() else (1, x) for x in re.findall(r"\d+|\D", s)]
        for x, y in zip(split(a), split(b)):
            if x == y:
                continue
            if x[0] == y[0]:
                return -1 if x[1] < y[1] else 1
            xs, ys = (str(x[1]), str(y[1]))
            return -1 if xs[0] < ys[0] else 1
        return (len(split(a)) > len(split(b))) - (len(split(a)) < len(split(b)))

    def posture(self, rule, node):
        def holds(text):
            m = re.match(r"^(\S+?)\s*(==|!=|<=|>=|<|>|\bNOT IN\b|\bIN\b|\bIS SET\b|\bNOT SET\b)\s*(.*)$", text)
            attr, op, value = m.groups()
            have = node["posture"].get(attr)
            if isinstance(have, bool):
                have = "true" if have else "false"
            if have is None:
                return op == "NOT SET"
            have = str(have)
            if op in ("IS SET", "NOT SET"):
                return op == "IS SET"
            values = [x.strip().strip("'\"") for x in value.strip("[]").split(",")] if "IN" in op \
                else [value.strip().strip("'\"")]
            if op in ("==", "IN"):
                return have in values
            if op in ("!=", "NOT IN"):
                return have not in values
            c = self.order(have, values[0])
            return {"<": c < 0, "<=": c <= 0, ">": c > 0, ">=": c >= 0}[op]
        return not rule.postures or any(all(holds(t) for t in p) for p in rule.postures)

    def front_ports(self, node):
        return {p for name, s in self.services.items() if s.get("http", True) and self.serves(node, name)
                for p in s["ports"]}

    # ---- verdicts ----

    def candidates(self, policy, src, self_node, sv, sn, now):
        """Rules whose sources mean the caller, whatever its login is like."""
        node = self.nodes[src]
        for rule in policy.rules:
            if not self.is_src(rule, node, sv, sn, now):
                continue
            if rule.auth is not None and node["tags"]:
                continue
            if not self.posture(rule, node):
                continue
            yield rule

    def packet(self, src, self_name, source, dest, proto, port, silent, now):
        node, me = self.nodes[src], self.nodes[self_name]
        sv, sn = ip(source)
        dv, dn = ip(dest)
        front = proto == 6 and (dv, dn) in me["own"] and port in self.front_ports(me)
        for policy in self.policies:
            ok = False
            for rule in self.candidates(policy, src, me, sv, sn, now):
                if rule.stale is not None and silent >= 0 and silent >= rule.stale:
                    continue
                if not front and not (self.strong(rule, node) and self.fresh(rule, node, now)):
                    continue
                behind = (sv, sn) not in node["own"]
                # A rule with http opens fronted ports alone, where requests are judged.
                if rule.http is not None and not front:
                    continue
                if any(self.covers(rule, d, me, node, dv, dn) and self.opens(rule, d, ips, proto, port) and
                       not (behind and d == "autogroup:self") for d, ips in rule.dst):
                    ok = True
                    break
            if not ok:
                return False
        return True

    def http(self, src, self_name, service, family, port, method, host, path, silent, now):
        """(allowed, why): why is "session", "weak", "old", "stale" or "" """
        node, me = self.nodes[src], self.nodes[self_name]
        if not self.serves(me, service):
            return False, ""
        own = [a for a in me["own"] if a[0] == family]
        mine = [a for a in node["own"] if a[0] == family]
        if not mine or not own:
            return False, ""
        if not node["tags"] and now >= node["expires"]:
            return False, "session"
        for policy in self.policies:
            best = 0
            for rule in self.candidates(policy, src, me, *mine[0], now):
                if not any(self.covers(rule, d, me, node, *own[0]) and self.opens(rule, d, ips, 6, port)
                           for d, ips in rule.dst):
                    continue
                if rule.http is not None and not any(self.entry(e, method, host, path) for e in rule.http):
                    continue
                if not self.strong(rule, node):
                    best = max(best, 12)
                elif not self.fresh(rule, node, now):
                    best = max(best, 11)
                elif rule.stale is not None and silent >= 0 and silent >= rule.stale:
                    best = max(best, 8)
                else:
                    best = 13
                    break
            if best != 13:
                return False, {12: "weak", 11: "old", 8: "stale"}.get(best, "")
        return True, ""

    @staticmethod
    def entry(e, method, host, path):
        return ("methods" not in e or method in e["methods"]) and \
            ("hosts" not in e or host in [h.lower() for h in e["hosts"]]) and \
            ("paths" not in e or any(matches(p, path) for p in e["paths"]))


def matches(pattern, path):
    if len(pattern) > 3 and pattern.endswith("/**") and matches(pattern[:-3], path):
        return True
    regex = "".join(".*" if p == "**" else "[^/]*" if p == "*" else re.escape(p)
                    for p in re.findall(r"\*\*|\*|[^*]+", pattern))
    return re.fullmatch(regex, path, re.S) is not None
