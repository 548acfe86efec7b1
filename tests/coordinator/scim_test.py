#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""SCIM 2.0: a client after the examples of RFC 7644, and with the habits of Entra and Okta. What
it writes changes groups and ends sessions."""
import os
import sys
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub import *   # noqa: E402,F403
import directory    # noqa: E402

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"

t = Test()
hub = Hub()
staff, student, admin = "staff@example.edu", "student@example.edu", "admin@example.edu"
directory.add(hub, staff, student, admin)
token = None


def scim(method, path, body=None, auth=None, **headers):
    h = {"X-Forwarded-For": "192.0.2.9", "Content-Type": "application/scim+json"}
    if auth is None:
        auth = token
    if auth:
        h["Authorization"] = "Bearer " + auth
    h.update({k.replace("_", "-"): v for k, v in headers.items()})
    return hub.public(method, "/scim/v2/" + path, body, h)


def patch(path, *ops, **headers):
    return scim("PATCH", path, {"schemas": [PATCH], "Operations": list(ops)}, **headers)


def find(kind, text, more=""):
    return scim("GET", kind + "?filter=" + urllib.parse.quote(text) + more)


def refused(r, status, kind, what):
    good = r.status == status and r.headers["Content-Type"] == "application/scim+json"
    if good:
        e = r.json
        good = e["schemas"] == [ERROR] and e["status"] == str(status) and e.get("scimType") == kind and e["detail"]
    t.ok(good, what, r)


try:
    hub.start()
    # ---- who may ----
    refused(scim("GET", "Users", auth=""), 401, None, "nobody without a token")
    r = scim("GET", "Users", auth="")
    t.is_(r.headers["WWW-Authenticate"], "Bearer", "and is told what is wanted")
    for what, bad in (("a word", "x"), ("a key that is not there", "rs1.k99." + "A" * 43), ("an empty one", "rs1.."),
                      ("no base64", "rs1.k1.####"), ("a JWT of nobody's", "eyJhbGciOiJub25lIn0.e30.")):
        refused(scim("GET", "Users", auth=bad), 401, None, "nor with " + what)
    enrol_key = hub.root("POST", "keys", {"tags": ["tag:a"]}).json
    made = hub.root("POST", "keys", {"scim": True, "note": "the university", "expires": 3600})
    t.ok(made.status == 200 and made.json["url"] == "https://hub.example.edu/scim/v2", "a provisioning token is made", made)
    token = made.json["key"]
    listed = hub.root("GET", "keys/" + made.json["id"]).json
    t.ok(listed["scim"] and token.split(".")[2] not in json.dumps(listed), "its secret is shown once", listed)
    refused(scim("GET", "Users", auth=token.replace(made.json["id"], enrol_key["id"])), 401, None, "an enrolment key is none")
    refused(scim("GET", "Users", auth=token[:-2] + ("AA" if token[-2:] != "AA" else "BB")), 401, None, "one character is another")
    with open(hub.dir + "/state/coordinator.db", "rb") as f:
        t.ok(enrol.unb64url(token.split(".")[2]) not in f.read(), "the database holds its hash alone")
    t.is_(hub.mesh("GET", "/scim/v2/Users", headers={"Authorization": "Bearer " + token}).status, 404, "the mesh has no SCIM")
    t.is_(hub.public("GET", "/api/v1/users", headers={"Authorization": "Bearer " + token}).status in (403, 404), True,
          "and the token opens nothing else")

    # ---- what this provider is ----
    r = scim("GET", "ServiceProviderConfig").json
    t.ok(r["patch"]["supported"] and r["etag"]["supported"] and not r["bulk"]["supported"] and
         not r["sort"]["supported"], "ServiceProviderConfig", r)
    r = scim("GET", "ResourceTypes").json
    t.is_(sorted(x["id"] for x in r["Resources"]), ["Group", "User"], "ResourceTypes")
    t.is_(scim("GET", "Schemas/" + USER).json["id"], USER, "one schema")
    t.is_(sorted(x["id"] for x in scim("GET", "Schemas").json["Resources"]), sorted([USER, GROUP, ENTERPRISE]), "all schemas")
    t.is_(scim("GET", "ResourceTypes/User").json["schemaExtensions"], [{"schema": ENTERPRISE, "required": False}], "and what extends a user")
    refused(scim("GET", "Nothing"), 404, None, "nothing else")
    refused(scim("GET", "Me"), 501, None, "no Me")
    refused(scim("PATCH", "Users", {}), 405, None, "a list is not patched")
    refused(hub.public("OPTIONS", "/scim/v2/Users"), 400, "invalidValue", "a method that nobody uses")

    # ---- users, after RFC 7644 3.3 to 3.6 ----
    doc = {"schemas": [USER], "userName": "Staff@example.edu", "externalId": "ext-1", "displayName": "Staff Example",
           "name": {"formatted": "Staff Example", "familyName": "Example", "givenName": "Staff"},
           "emails": [{"value": staff, "type": "work", "primary": True}], "active": True, "password": "secret word"}
    r = scim("POST", "Users", doc)
    a = r.json
    t.ok(r.status == 201 and a["userName"] == "Staff@example.edu" and a["meta"]["resourceType"] == "User" and
         r.headers["Location"] == a["meta"]["location"] == "https://hub.example.edu/scim/v2/Users/" + a["id"] and
         r.headers["ETag"] == a["meta"]["version"] == 'W/"1"', "a user is made", r)
    t.ok("password" not in a, "a password is not kept")
    t.is_(scim("GET", "Users/" + a["id"]).json, a, "and read")
    t.is_(scim("GET", "Users/" + a["id"], If_None_Match='W/"1"').status, 304, "not when it is known")
    refused(scim("POST", "Users", dict(doc, userName="STAFF@EXAMPLE.EDU")), 409, "uniqueness", "a userName is one user's, whatever its case")
    refused(scim("POST", "Users", {"schemas": [USER]}), 400, "invalidValue", "a user has a userName")
    refused(scim("POST", "Users", {"schemas": [USER], "userName": "a\nb"}), 400, "invalidValue", "without controls")
    refused(scim("POST", "Users", "{"), 400, "invalidSyntax", "no JSON")
    refused(scim("POST", "Users", '{"userName":"a","userName":"b"}'), 400, "invalidSyntax", "a member twice")
    refused(scim("GET", "Users/p999"), 404, None, "a user who is not there")
    refused(scim("GET", "Users/" + a["id"][1:]), 404, None, "an id that is none")
    refused(scim("POST", "Users", "x" * (1 << 20 | 1)), 413, None, "more than a megabyte")
    r = scim("PUT", "Users/" + a["id"], dict(doc, displayName="S. Example", id="p999"), If_Match='W/"1"')
    t.ok(r.status == 200 and r.json["displayName"] == "S. Example" and r.json["id"] == a["id"] and r.headers["ETag"] == 'W/"2"',
         "replaced", r)
    refused(scim("PUT", "Users/" + a["id"], doc, If_Match='W/"1"'), 412, None, "not over another version")
    refused(patch("Users/" + a["id"], {"op": "replace", "path": "active", "value": False}, If_Match='W/"1"'), 412, None, "nor patched")
    t.is_(directory.sessions(hub), [admin, staff, student], "nobody's session has ended by all this")

    # ---- Entra's habits ----
    r = scim("POST", "Users", {"schemas": [USER, ENTERPRISE], "externalId": "0a21f0f2", "userName": student, "active": True,
                               "emails": [{"primary": True, "type": "work", "value": student}], "meta": {"resourceType": "User"},
                               ENTERPRISE: {"department": "Physics"}, "roles": []})
    b = r.json
    t.ok(r.status == 201 and b[ENTERPRISE]["department"] == "Physics" and ENTERPRISE in b["schemas"], "Entra makes a user", r)
    u = "Users/" + b["id"]
    t.is_(find("Users", 'userName eq "%s"' % student.upper()).json["Resources"][0]["id"], b["id"], "found by userName")
    t.is_([x["userName"] for x in find("Users", 'userName eq "%s"' % student, "&startIndex=1&count=100").json["Resources"]], [student],
          "Okta's form of it, with a page")
    t.is_(find("Users", 'userName eq "%s"' % student, "&startIndex=2&count=100").json["Resources"], [], "whose second one is empty")
    t.is_(find("Users", 'externalId eq "0a21f0f2"').json["totalResults"], 1, "by externalId")
    t.is_(find("Users", 'userName eq "%s" and active eq true' % student).json["totalResults"], 1, "by both")
    t.is_(find("Users", 'userName eq "%s" and externalId eq "x"' % student).json["totalResults"], 0, "both must hold")
    t.is_(find("Users", 'userName eq "nobody"').json, {"schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
          "totalResults": 0, "startIndex": 1, "itemsPerPage": 0, "Resources": []}, "nobody is an empty list")
    for bad in ('userName sw "s"', "userName eq", 'userName eq "x" or active eq true', 'password eq "x"', 'userName eq "x',
                'not (userName eq "x")', 'displayName eq "x"'):
        refused(find("Users", bad), 400, "invalidFilter", "no filter: " + bad)
    r = patch(u, {"op": "Add", "path": 'emails[type eq "home"].value', "value": "home@example.edu"},
              {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "work@example.edu"},
              {"op": "Replace", "path": "name.givenName", "value": "Student"},
              {"op": "Add", "path": ENTERPRISE + ":department", "value": "Chemistry"},
              {"op": "Add", "path": ENTERPRISE + ":manager", "value": {"value": a["id"]}})
    t.ok(r.status == 200 and sorted(e["value"] for e in r.json["emails"]) == ["home@example.edu", "work@example.edu"] and
         r.json["name"]["givenName"] == "Student" and r.json[ENTERPRISE]["department"] == "Chemistry", "Entra's paths", r)
    r = patch(u, {"op": "Replace", "value": {"name.familyName": "Example", ENTERPRISE + ":department": "Biology", "displayName": "S"}})
    t.ok(r.json["name"] == {"givenName": "Student", "familyName": "Example"} and r.json[ENTERPRISE]["department"] == "Biology" and
         r.json["displayName"] == "S", "paths as members of a value", r)
    r = patch(u, {"op": "Remove", "path": 'emails[type eq "home"]'}, {"op": "Remove", "path": ENTERPRISE + ":manager"})
    t.ok(len(r.json["emails"]) == 1 and "manager" not in r.json[ENTERPRISE], "removed", r)
    for what, op, kind in (("an unknown verb", {"op": "move", "path": "active"}, "invalidSyntax"),
                           ("a path that is none", {"op": "add", "path": "emails[", "value": 1}, "invalidPath"),
                           ("a bad path", {"op": "add", "path": "a b", "value": 1}, "invalidPath"),
                           ("nothing to remove", {"op": "remove"}, "noTarget"),
                           ("no such element", {"op": "remove", "path": 'emails[type eq "x"]'}, "noTarget"),
                           ("what is read only", {"op": "replace", "path": "groups", "value": []}, "mutability"),
                           ("userName away", {"op": "remove", "path": "userName"}, "invalidValue"),
                           ("active maybe", {"op": "replace", "path": "active", "value": "maybe"}, "invalidValue")):
        refused(patch(u, op), 400, kind, "refused: " + what)
    many = [{"type": "x", "value": "%d@example.edu" % i} for i in range(1000)]
    refused(patch(u, {"op": "add", "path": "emails", "value": many}, {"op": "remove", "path": "emails"}), 413, None,
            "a patch that is too large in between, by a path")
    refused(patch(u, {"op": "add", "value": {"emails": many}}, {"op": "remove", "path": "emails"}), 413, None, "and without one")
    refused(patch(u, {"op": "add", "path": "emails", "value": many[:200]},
                  *[{"op": "add", "path": "emails", "value": many[i:i + 200]} for i in range(200, 1000, 200)],
                  {"op": "remove", "path": "emails"}), 413, None, "and in several steps")
    refused(scim("PATCH", u, {"Operations": [{"op": "add", "path": "x", "value": 1}]}), 400, "invalidSyntax", "no PatchOp")
    before = scim("GET", u).json
    refused(patch(u, {"op": "replace", "path": "displayName", "value": "half"}, {"op": "remove", "path": "userName"}), 400, "invalidValue",
            "one bad operation")
    t.is_(scim("GET", u).json, before, "and none was done")

    # ---- groups ----
    r = scim("POST", "Groups", {"schemas": [GROUP], "displayName": "lab", "externalId": "g-1", "members": []})
    lab = r.json
    t.ok(r.status == 201 and lab["members"] == [] and lab["meta"]["resourceType"] == "Group", "a group is made", r)
    g = "Groups/" + lab["id"]
    r = patch(g, {"op": "Add", "path": "members", "value": [{"value": a["id"]}, {"value": b["id"]}]})
    t.is_((r.status, r.body), (204, b""), "Entra adds members")
    t.is_(directory.groups(hub, staff), {"idp:lab": ["scim"]}, "they are in it, and it is known why")
    t.is_(sorted(m["value"] for m in scim("GET", g).json["members"]), sorted([a["id"], b["id"]]), "its members are shown")
    t.is_([x["display"] for x in scim("GET", u).json["groups"]], ["lab"], "and the user's groups")
    r = find("Groups", 'displayName eq "lab"', "&excludedAttributes=members")
    t.ok(r.json["Resources"][0]["id"] == lab["id"] and "members" not in r.json["Resources"][0], "found, without its members", r)
    t.is_(find("Groups", 'id eq "%s" and members eq "%s"' % (lab["id"], b["id"])).json["totalResults"], 1, "is that one a member")
    t.is_(find("Groups", 'members[value eq "%s"] and displayName eq "lab"' % b["id"]).json["totalResults"], 1, "the same in brackets")
    t.is_(find("Groups", 'members[value eq "p999"]').json["totalResults"], 0, "of somebody who is not there, none")
    t.is_(find("Groups", 'externalId eq "g-1"').json["Resources"][0]["id"], lab["id"], "by externalId")
    for bad in ('members[value eq "p7"', 'members[value eq "p7"] or id eq "g1"', 'members[type eq "User"]', 'members[value sw "p"]'):
        refused(find("Groups", bad), 400, "invalidFilter", "no filter: " + bad)
    patch(g, {"op": "Remove", "path": "members", "value": [{"value": b["id"]}]})
    t.is_(find("Groups", 'id eq "%s" and members eq "%s"' % (lab["id"], b["id"])).json["totalResults"], 0, "removed by value, not any more")
    t.is_((directory.groups(hub, student), directory.groups(hub, staff)), ({}, {"idp:lab": ["scim"]}), "of the two the other one stays")
    patch(g, {"op": "add", "path": "members", "value": {"value": b["id"]}})
    patch(g, {"op": "remove", "path": 'members[value eq "%s"]' % a["id"]})
    t.is_((directory.groups(hub, student), directory.groups(hub, staff)), ({"idp:lab": ["scim"]}, {}), "removed by a filter")
    refused(patch(g, {"op": "add", "path": "members", "value": [{"value": "p999"}]}), 400, "invalidValue", "somebody who is not there")
    refused(patch(g, {"op": "add", "path": "members", "value": [{"value": lab["id"], "type": "Group"}]}), 400, "invalidValue", "a group in a group")
    # Okta's: a whole replacement in one value with the id in it; PUT
    r = patch(g, {"op": "replace", "value": {"id": lab["id"], "displayName": "laboratory"}})
    t.is_(directory.groups(hub, student), {"idp:laboratory": ["scim"]}, "Okta renames a group, its members stay")
    r = scim("PUT", g, {"schemas": [GROUP], "displayName": "laboratory", "members": [{"value": a["id"], "display": "x"}, {"value": b["id"]}]})
    t.ok(r.status == 200 and len(r.json["members"]) == 2, "Okta puts a group", r)
    refused(scim("POST", "Groups", {"schemas": [GROUP], "displayName": "laboratory"}), 409, "uniqueness", "its name is taken")
    refused(scim("PUT", g, {"displayName": "laboratory"}, If_Match='W/"1"'), 412, None, "not over another version")

    # ---- pages ----
    for i in range(25):
        scim("POST", "Users", {"schemas": [USER], "userName": "p%02d@example.edu" % i, "active": True})
    seen, start = [], 1
    while True:
        r = scim("GET", "Users?startIndex=%d&count=10&attributes=userName" % start).json
        if not r["Resources"]:
            break
        seen += [x["userName"] for x in r["Resources"]]
        start += r["itemsPerPage"]
    t.ok(len(seen) == len(set(seen)) == r["totalResults"] == 27 and start == 28, "pages, each user once", (start, seen))
    t.is_(sorted(scim("GET", "Users?count=1&attributes=userName").json["Resources"][0]), ["id", "schemas", "userName"], "only what was asked for")
    t.is_(scim("GET", "Users?count=0").json["totalResults"], 27, "a count alone")
    t.is_(scim("GET", "Users?startIndex=-3&count=-1").json["itemsPerPage"], 0, "numbers below their range")
    refused(scim("GET", "Users?count=many"), 400, "invalidValue", "a number that is none")

    # ---- the end of an account ----
    r = patch("Users/" + b["id"], {"op": "Replace", "path": "active", "value": "False"})
    t.ok(r.status == 200 and r.json["active"] is False, "Entra's \"False\"", r)
    t.is_(directory.sessions(hub), [admin, staff], "every session of that person has ended")
    t.is_(hub.root("GET", "users/" + student).json["disabled"], ["scim"], "and it is said by whose word")
    why = [x for x in hub.audit() if x["event"] == "scim-user-inactive"]
    t.ok(len(why) == 1 and why[0]["by"] == made.json["id"], "the audit has it", why)
    # What is not said lets nobody in again.
    r = scim("PUT", "Users/" + b["id"], {"schemas": [USER], "userName": student})
    t.ok(r.status == 200 and r.json["active"] is False, "replaced without a word of it, they are disabled still", r)
    refused(patch("Users/" + b["id"], {"op": "remove", "path": "active"}), 400, "invalidValue", "it is not taken away")
    refused(patch("Users/" + b["id"], {"op": "replace", "path": "active", "value": None}), 400, "invalidValue", "nor made nothing")
    refused(patch("Users/" + b["id"], {"op": "Replace", "value": {"active": None}}), 400, "invalidValue", "without a path either")
    t.is_(hub.root("GET", "users/" + student).json["disabled"], ["scim"], "disabled they are")
    r = scim("PUT", "Users/" + b["id"], {"schemas": [USER], "userName": student, "active": "True"})
    t.is_((r.json["active"], hub.root("GET", "users/" + student).json["disabled"]), (True, []), "said, it counts")
    r = patch("Users/" + b["id"], {"op": "Replace", "value": {"active": "False"}})
    t.is_((r.json["active"], hub.root("GET", "users/" + student).json["disabled"]), (False, ["scim"]), "\"False\" without a path")
    t.is_(scim("DELETE", "Users/" + a["id"]).status, 204, "deleted")
    t.is_(directory.sessions(hub), [admin], "ends sessions as well")
    refused(scim("GET", "Users/" + a["id"]), 404, None, "it is gone")
    refused(scim("DELETE", "Users/" + a["id"]), 404, None, "once")
    r = patch("Users/" + b["id"], {"op": "replace", "value": {"active": True}})
    t.is_(hub.root("GET", "users/" + student).json["disabled"], [], "Okta lets somebody in again")

    # ---- a group that suddenly empties ----
    ids = [x["id"] for x in scim("GET", "Users?count=20&startIndex=2").json["Resources"]]
    scim("POST", "Groups", {"schemas": [GROUP], "displayName": "big", "members": [{"value": x} for x in ids + [b["id"]]]})
    big = find("Groups", 'displayName eq "big"').json["Resources"][0]["id"]
    t.is_(patch("Groups/" + big, {"op": "replace", "path": "members", "value": []}).status, 204, "a client empties a group")
    t.is_(scim("GET", "Groups/" + big).json["members"], [], "it sees what it wrote")
    t.is_(directory.groups(hub, student).get("idp:big"), ["scim"], "but that is not believed yet")
    held = hub.root("GET", "groups/held").json["held"]
    t.ok([(x["source"], x["lost"]) for x in held] == [("scim", 21)], "held, and listed", held)
    t.is_(hub.root("GET", "status").json["held"], len(held), "the status says so")
    t.ok(any(x["event"] == "group-loss-held" for x in hub.audit()), "and the audit")
    hub.kill()
    hub.start()
    t.is_(hub.root("GET", "groups/held").json["held"], held, "over kill -9")
    p = subprocess.run([BUILD + "/reeve", "--control", hub.dir + "/run/mesh.sock", "group", "held"], capture_output=True, text=True, timeout=60)
    t.ok(held[0]["id"] in p.stdout and "scim" in p.stdout, "reeve group held", p.stdout + p.stderr)
    for h in held:
        p = subprocess.run([BUILD + "/reeve", "--control", hub.dir + "/run/mesh.sock", "group", "accept", h["id"]],
                           capture_output=True, text=True, timeout=60)
        t.is_((p.returncode, p.stdout), (0, "accepted\n"), "reeve group accept")
    t.ok("idp:big" not in directory.groups(hub, student), "now it counts", directory.groups(hub, student))
    t.is_(hub.root("GET", "groups/held").json["held"], [], "nothing is held any more")

    t.is_((scim("DELETE", "Groups/" + big).status, scim("GET", "Groups/" + big).status, scim("DELETE", "Groups/" + big).status),
          (204, 404, 404), "a group is deleted, once")

    # ---- the token's end ----
    t.is_(hub.root("DELETE", "keys/" + made.json["id"]).status, 200, "revoked")
    refused(scim("GET", "Users"), 401, None, "and is a token no more")
    with open(hub.dir + "/log") as f:
        log = f.read()
    with open(hub.dir + "/state/audit.json") as f:
        log += f.read()
    t.ok(token.split(".")[2] not in log and "secret word" not in log, "no secret is in a log")
finally:
    hub.close()
t.end()
