# SPDX-License-Identifier: AGPL-3.0-or-later
"""Random worlds: policies, topologies and questions that reach every construct."""
import copy
import json
import random

BASE = 1_790_000_000
DOMAINS = ["example.edu", "lab.example.edu"]
METHODS = ["GET", "HEAD", "POST", "DELETE"]
PATHS = ["/", "/public", "/public/", "/public/a", "/public/a/b.txt", "/wiki/x", "/wiki/x/edit", "/admin",
         "/admin/users/7", "/a.b", "/publicity"]
PATTERNS = ["/**", "/public/**", "/public/*", "/wiki/*/edit", "/admin", "/admin/**", "/*", "/**/edit", "/a*b",
            "/public/a/**", "/wiki/**", "/p*/**", "/**.txt", "/publi*"]
NETS = ["10.1.0.0/16", "10.1.2.0/24", "10.1.2.128/25", "10.2.0.0/16", "192.168.7.0/24", "fd99:1::/48",
        "fd99:1:0:7::/64"]
AMR = [[], ["pwd"], ["pwd", "otp"], ["mfa"], ["hwk"], ["pwd", "pin"], ["face", "hwk"]]
ACR = ["", "gold", "silver"]
STALE = ["deny", "5m", "8h", 3600, 30]


def topology(r):
    users = []
    for i in range(r.randint(2, 5)):
        u = {"id": i, "name": f"user{i}@{r.choice(DOMAINS)}"}
        if r.random() < .5:
            u["email"] = r.choice([u["name"], f"mail{i}@{r.choice(DOMAINS)}", "shared@example.edu"])
        if r.random() < .2:
            u["name"] = f"short{i}"
        if r.random() < .3:
            u["roles"] = r.sample(["admin", "owner", "auditor"], r.randint(1, 2))
        if r.random() < .15:
            u["shared"] = True
        if r.random() < .2:
            u["groups"] = ["group:told"]
        users.append(u)
    nodes = {}
    for i in range(r.randint(4, 8)):
        n = {"ipv4": f"100.64.{r.randint(0, 1)}.{i + 1}", "ipv6": f"fd00::{r.randint(0, 1)}:{i + 1:x}", "tags": []}
        if r.random() < .45:
            n["tags"] = r.sample(["tag:web", "tag:gw", "tag:db", "tag:exit"], r.randint(1, 2))
        else:
            n["user"] = r.choice(users)["name"]
            session(r, n)
        if r.random() < .4:
            pool = NETS + (["0.0.0.0/0", "::/0"] if r.random() < .5 else [])
            n["routable_ips"] = r.sample(pool, r.randint(1, 3))
            n["approved_routes"] = [x for x in n["routable_ips"] if r.random() < .8]
        if r.random() < .5:
            n["posture"] = {"node:os": r.choice(["linux", "macos"]), "node:osVersion": r.choice(["9.2", "13.10", "13.9"])}
            if r.random() < .3:
                n["posture"]["custom:managed"] = r.random() < .5
        nodes[f"node{i}"] = n
    services = {}
    for name, ports in (("wiki", [80, 8080]), ("build", [443]), ("raw", [5432])):
        if r.random() < .8:
            services[name] = {"nodes": r.sample(sorted(nodes), r.randint(1, 2)), "ports": ports,
                              "http": name != "raw", "hosts": [name]}
    return {"users": users, "nodes": nodes, "services": services}


def session(r, n):
    x = r.random()
    if x < .1:
        n["session"] = None
    elif x < .9:
        n["session"] = {"expires": r.choice(["never", BASE + 1800, BASE + 3600, BASE - 1, BASE, BASE + 1, BASE + 86400]),
                        "auth_time": r.choice([0, BASE - 3600, BASE - 3599, BASE - 3601, BASE - 60, BASE, BASE - 14400]),
                        "acr": r.choice(ACR), "amr": r.choice(AMR), "groups": r.sample(["lab", "guests", "x"], r.randint(0, 2)),
                        "cross_device": r.random() < .1}
    else:
        n.pop("session", None)


class Names:
    def __init__(self, r, topo, services):
        self.r, self.topo, self.services = r, topo, services
        self.hosts = {"printer": "10.1.2.3", "lab": "10.1.0.0/16", "six": "fd99:1::/48",
                      "mapped": "::ffff:" + topo["nodes"]["node0"]["ipv4"]}
        self.ipsets = {"ipset:a": ["10.1.0.0/16", "remove 10.1.2.0/25", "add printer"],
                       "ipset:b": ["ipset:a", "100.64.0.0/23", "remove " + topo["nodes"]["node1"]["ipv4"], "fd00::/64"]}
        self.users = [u["name"] if "@" in u["name"] else u["name"] + "@" for u in topo["users"]] + \
            [u["email"] for u in topo["users"] if u.get("email")] + ["nobody@example.edu"]
        self.groups = {f"group:g{i}": r.sample(self.users, min(len(self.users), r.randint(0, 3))) for i in range(3)}
        self.groups["group:told"] = []
        self.postures = {"posture:new": ["node:os == 'linux'", "node:osVersion >= '13.9'"],
                         "posture:managed": ["custom:managed == 'true'"], "posture:any": ["node:os IN ['linux', 'macos']"],
                         "posture:odd": ["custom:managed NOT SET", "node:os != 'macos'"],
                         "posture:old": ["node:osVersion < '13.9'"], "posture:le": ["node:osVersion <= '13.9'"],
                         "posture:gt": ["node:osVersion > '9.2'", "custom:managed IS SET"],
                         "posture:not": ["node:os NOT IN ['macos', 'windows']"]}

    def address(self):
        n = self.r.choice(list(self.topo["nodes"].values()))
        return self.r.choice([n["ipv4"], n["ipv6"], n["ipv4"] + "/32", "100.64.0.0/24", "100.64.0.0/10", "fd00::/64",
                              "10.1.0.0/16", "10.0.0.0/8", "10.1.2.64/26", "8.8.8.0/24", "::ffff:" + n["ipv4"],
                              "2001:db8::/32", "fd99:1:0:7::1"])

    def src(self, people=False):
        r = self.r
        kinds = ["user", "group", "group", "member", "role", "idp", "domain"]
        if not people:
            kinds += ["*", "tag", "tag", "tagged", "shared", "danger", "addr", "host", "ipset"]
        k = r.choice(kinds)
        return {"user": lambda: r.choice(self.users), "group": lambda: r.choice(sorted(self.groups)),
                "member": lambda: "autogroup:member", "role": lambda: "autogroup:" + r.choice(["admin", "owner"]),
                "idp": lambda: "idp:" + r.choice(["lab", "guests"]), "domain": lambda: "user:*@" + r.choice(DOMAINS),
                "*": lambda: "*", "tag": lambda: r.choice(["tag:web", "tag:gw", "tag:db"]),
                "tagged": lambda: "autogroup:tagged", "shared": lambda: "autogroup:shared",
                "danger": lambda: "autogroup:danger-all", "addr": self.address,
                "host": lambda: r.choice(sorted(self.hosts)), "ipset": lambda: r.choice(sorted(self.ipsets))}[k]()

    def dst(self, acl, people=False):
        r = self.r
        kinds = ["*", "user", "group", "tag", "tag", "tagged", "member", "role", "addr", "addr", "host", "ipset",
                 "internet", "svc", "svc", "svc", "domain"] + (["self"] * 4 if people else [])
        k = r.choice(kinds)
        if k == "svc" and not self.services:
            k = "tag"
        name = {"*": lambda: "*", "user": lambda: r.choice(self.users), "group": lambda: r.choice(sorted(self.groups)),
                "tag": lambda: r.choice(["tag:web", "tag:gw", "tag:db"]), "tagged": lambda: "autogroup:tagged",
                "member": lambda: "autogroup:member", "role": lambda: "autogroup:admin", "addr": self.address,
                "host": lambda: r.choice(sorted(self.hosts)), "ipset": lambda: r.choice(sorted(self.ipsets)),
                "internet": lambda: "autogroup:internet", "domain": lambda: "user:*@" + r.choice(DOMAINS), "self": lambda: "autogroup:self",
                "svc": lambda: "svc:" + r.choice(sorted(self.services))}[k]()
        return name


PORTS = ["*", "80", "443", "22,80", "8000-8100", "1-1024", "80,443,8080", "0-65535", "5432"]


def auth(r):
    a = {}
    if r.random() < .5:
        a["mfa"] = True
    if r.random() < .7:
        a["maxAge"] = r.choice(["1h", "4h", 60, "3600s"])
    if r.random() < .3:
        a["acr"] = r.choice(["gold", ["gold", "silver"]])
    if r.random() < .2:
        a["amr"] = r.choice(["pwd", ["pwd", "otp"]])
    return a or {"maxAge": "1h"}


def http(r):
    out = []
    for _ in range(r.choice([1, 1, 2, 3, 12])):
        e = {}
        if r.random() < .5:
            e["methods"] = r.sample(METHODS, r.randint(1, 3))
        if r.random() < .3:
            e["hosts"] = r.sample(["wiki", "build", "other.example.edu"], r.randint(1, 2))
        if r.random() < .8:
            e["paths"] = r.sample(PATTERNS, r.randint(1, 4))
        out.append(e)
    return out


def rule(r, names, acl, owner):
    people = r.random() < .2
    g = {"src": [names.src(people) for _ in range(r.randint(1, 3))]}
    if acl:
        g["action"] = "accept"
        proto = r.choice([None, None, None, "tcp", "udp", "icmp", "sctp", 6, "47"])
        dst = [names.dst(True, people) for _ in range(r.randint(1, 3))]
        any_ports = proto in ("icmp", "47")
        g["dst"] = [d + ":" + ("*" if any_ports else r.choice(PORTS)) for d in dst]
        if proto is not None:
            g["proto"] = proto
    else:
        g["dst"] = [names.dst(False, people) for _ in range(r.randint(1, 3))]
        svc = all(d.startswith("svc:") for d in g["dst"])
        if not svc or r.random() < .3:
            g["ip"] = [r.choice(["", "tcp:", "udp:", "sctp:"]) + r.choice(PORTS) for _ in range(r.randint(1, 2))]
            if r.random() < .1:
                g["ip"].append("icmp:*")
        if r.random() < .15:
            g["via"] = r.sample(["tag:gw", "tag:exit"], r.randint(1, 2))
        elif r.random() < .4 and "autogroup:internet" not in g["dst"]:
            g["http"] = http(r)
        if r.random() < .3:
            g["auth"] = auth(r)
        if r.random() < .25:
            g["stale"] = r.choice(STALE)
        if r.random() < .1 and "autogroup:internet" not in g["dst"]:
            g["app"] = {"example.edu/cap": [{"x": 1}]}
    if r.random() < .12:
        g["srcPosture"] = r.sample(sorted(names.postures), r.randint(1, 2))
    return g


def policy(r, names, owner=False):
    p = {"hosts": names.hosts, "ipsets": names.ipsets, "postures": names.postures,
         "acls": [rule(r, names, True, owner) for _ in range(r.randint(0, 5))],
         "grants": [rule(r, names, False, owner) for _ in range(r.randint(2, 9) if r.random() < .9 else 30)]}
    if not owner:
        p["tagOwners"] = {"tag:web": ["autogroup:admin"], "tag:gw": [], "tag:db": ["tag:web"], "tag:exit": []}
        p["groups"] = names.groups
        if r.random() < .05:
            p["defaultSrcPosture"] = ["posture:any"]
    elif r.random() < .5:
        p["groups"] = {"group:g0": r.sample(names.users, min(2, len(names.users)))}
        p["grants"].append({"src": ["*"], "dst": ["*"], "ip": ["*"]})
    return p


def questions(r, topo, count):
    nodes = sorted(topo["nodes"])
    outside = ["10.1.2.3", "10.1.2.200", "10.1.9.9", "10.2.0.1", "192.168.7.7", "8.8.8.8", "9.9.9.9", "2001:db8::1",
               "fd99:1::1", "fd99:1:0:7::1", "172.16.0.1"]
    out = []
    for _ in range(count):
        src, me = r.choice(nodes), r.choice(nodes)
        s, m = topo["nodes"][src], topo["nodes"][me]
        silent = r.choice([-1, -1, 0, 29, 59, 60, 299, 300, 3599, 3600, 28800, 28799])
        if topo["services"] and r.random() < .5:
            name = r.choice(sorted(topo["services"]))
            svc = topo["services"][name]
            if r.random() < .9:
                me = r.choice(svc["nodes"])
            if not svc["http"] or me == src:
                continue
            out.append(["h", src, me, name, r.choice([4, 4, 6]), r.choice(svc["ports"]), r.choice(METHODS),
                        r.choice([name, name, "other.example.edu", "wiki"]), r.choice(PATHS), silent])
            continue
        if me == src:
            continue
        fam = r.choice(["ipv4", "ipv6"])
        frm, to = s[fam], m[fam]
        if r.random() < .3:
            to = r.choice(outside)
        if s.get("approved_routes") and r.random() < .3:
            frm = r.choice(outside)
        out.append(["p", src, me, frm, to, *r.choice([(6, 80), (6, 443), (6, 22), (17, 53), (6, 8080), (6, 8050), (1, 0),
                    (58, 0), (132, 80), (6, 5432), (47, 0), (17, 80), (6, 65535), (6, 1)]), silent])
    return out


def edit(r, topo):
    """Another topology with the same nodes, and the names of those that changed."""
    t = copy.deepcopy(topo)
    changed = []
    for name in r.sample(sorted(t["nodes"]), r.randint(1, 2)):
        n = t["nodes"][name]
        if n["tags"]:
            n["tags"] = r.sample(["tag:web", "tag:gw", "tag:db", "tag:exit"], r.randint(1, 2))
        else:
            session(r, n)
            if r.random() < .3:
                n["user"] = r.choice(t["users"])["name"]
        if r.random() < .3:
            n["ipv4"] = f"100.64.{r.randint(2, 3)}.{r.randint(1, 250)}"
        if r.random() < .3:
            n["routable_ips"] = r.sample(NETS, r.randint(0, 2))
            n["approved_routes"] = list(n["routable_ips"])
        changed.append(name)
    return t, changed


def change(r, names, pol):
    """The same policy but for a rule less, a rule more, or somebody in a group: often one that names few."""
    pol = copy.deepcopy(pol)
    kind = r.random()
    few = [i for i, g in enumerate(pol["grants"]) if all(s.startswith(("group:", "tag:")) or
           "@" in s and not s.startswith("user:") for s in g["src"])]
    if kind < .35:
        g = r.choice(sorted(pol["groups"]))
        pol["groups"][g] = r.sample(names.users, min(len(names.users), r.randint(0, 3)))
    if .25 < kind < .7 and few:
        del pol["grants"][r.choice(few)]
    if kind > .55:
        g = rule(r, names, False, False)
        if r.random() < .7 and "autogroup:self" not in g["dst"]:
            g["src"] = [r.choice([r.choice(names.users), r.choice(sorted(names.groups)), "tag:web"])]
        pol["grants"].insert(r.randint(0, len(pol["grants"])), g)
    if kind > .95:
        pol["grants"].append(rule(r, names, False, False))
    return pol


def world(seed, count):
    r = random.Random(seed)
    topo = topology(r)
    names = Names(r, topo, topo["services"])
    pol = first = policy(r, names)
    own = policy(r, names, True) if r.random() < .35 else None
    steps, now, changed = [], BASE + r.choice([-1, 0, 1]), []
    for i in range(3):
        more = {}
        if i and r.random() < .5:
            pol = change(r, names, pol)
            more = {"policy": json.dumps(pol)}
        steps.append({**more, "now": now, "topology": json.dumps(topo), "changed": changed,
                      "queries": questions(r, topo, count // 3)})
        now += r.choice([0, 1, 59, 60, 1799, 1800, 3600])
        topo, changed = edit(r, topo)
    return {"name": f"seed {seed}", "policy": json.dumps(first), "owner": json.dumps(own) if own else None,
            "idp_only": r.random() < .1, "steps": steps}
