#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# Login at the device and verify: idp, whole: the laptops log in at the identity provider
# themselves, and the wiki believes nobody else. Then the coordinator lies, in every way that its
# database and its clients at the provider let it, and each lie is refused for its own reason.
#
#   ---- campus ----+-- hub (coordinator), idp, wiki (verify: idp), staff, student
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/campus.sh"
for p in reeved reeve reeve-coordinator; do
	[ -x "$B/$p" ] || skip_all "$p is not built"
done

state=$T/host/hub/lib/reeve-coordinator
campus_build
campus_idp || { echo "Bail out! no identity provider"; exit 99; }
spawn wiki download python3 "$apps/download.py" 127.0.0.1 8000

campus_hub_files_all()
{
	campus_hub_files
	campus_two_issuers
	cat >"$T/host/hub/etc/reeve/policy.hujson" <<-'END'
	{
		"groups":    { "group:lab": ["staff@example.edu"] },
		"tagOwners": { "tag:server": ["admin@example.edu"], "tag:other": ["admin@example.edu"] },
		"grants": [
			{ "src": ["idp:lab"], "dst": ["svc:download"] },
			{ "src": ["autogroup:member"], "dst": ["svc:open"], "auth": { "mfa": true } },
			{ "src": ["tag:other"], "dst": ["svc:open"] },
		],
	}
	END
}
wiki_conf()     # evidence-max-age
{
	cp "$idp/cert.pem" "$T/host/wiki/etc/reeve/idp.pem"
	cat >"$T/host/wiki/etc/reeve/owner.hujson" <<-'END'
	{ "grants": [ { "src": ["idp:lab"], "dst": ["svc:download"] },
	              { "src": ["autogroup:member", "tag:other"], "dst": ["svc:open"] } ] }
	END
	cat >"$T/host/wiki/etc/reeve/reeved.hujson" <<-END
	{
		"policy": "owner.hujson", "audit": "/var/log/reeve-audit.json",
		"verify": "idp", "evidence-max-age": "$1", "key-overlap": "0",
		"issuers": { "uni": {
			"issuer": "$idp_issuer", "client-id": "reeve", "auth-method": "none",
			"device-client-id": "reeve-device", "domains": ["example.edu"], "ca": "idp.pem",
			"mfa-amr": ["pwd+otp"], "leeway": "0s" } },
		"services": {
			"download": { "listen": ["80"], "upstream": ["http://127.0.0.1:8000"], "profiles": ["remote-user"] },
			"open":     { "listen": ["80"], "upstream": ["http://127.0.0.1:8000"], "profiles": ["remote-user"] },
		},
	}
	END
}
campus_hub_files_all
on hub reeve-coordinator init --policy /etc/reeve/policy.hujson --user reeve-coordinator >/dev/null
coordinator_start && reeved_start hub && wait_for 20 hub_pin || { echo "Bail out! no hub"; exit 99; }
pin=$(cat "$T/pin")
wiki_conf 12h
install -o 60100 -m 600 /dev/null "$T/host/wiki/log/reeve-audit.json"
server_up wiki tag:server || { echo "Bail out! no wiki"; exit 99; }
for h in staff student; do
	campus_laptop_files $h
	reeved_start $h || { echo "Bail out! no reeved on $h"; exit 99; }
done

code() { local h=$1 u=$2; shift 2; as "$h" "$u" curl -sS --max-time 3 -o "$T/body" -w '%{http_code}' "$@"; }
says() { [ "$(code "$1" "$1" "http://$2/headers" ${4-})" = "$3" ]; }
why() { at wiki reeve --json status | jq -r --arg n "$1" '.peers[] | select(.node.name == $n) | .evidence // .refused // ""'; }
why_is() { why "$1" | grep -q "$2"; }
seen_at_hub() { at hub reeve --control "$control" node show "$1" | grep '^refused_by' | grep -q "wiki.*$2"; }

# What the hub remembers, changed behind its back, or asked: SQL on stdin.
sql()
{
	at hub setpriv --reuid reeve-coordinator --regid reeve-coordinator --clear-groups -- /usr/bin/python3 -c '
import sqlite3, sys
db = sqlite3.connect("/var/lib/reeve-coordinator/coordinator.db")
for row in db.executescript(sys.stdin.read()) if len(sys.argv) < 2 else db.execute(sys.argv[1]):
    print(*row)
db.commit()' "$@"
}
# keep_truth: what the hub remembers now. lie SQL: it remembers that, but for this, and tells it.
keep_truth() { end coordinator; cp "$state/coordinator.db" "$T/truth"; coordinator_start; }
lies=0
lie()
{
	lies=$((lies + 1))
	end coordinator
	at hub sh -c 'cat "$1" >/var/lib/reeve-coordinator/coordinator.db' sh "$T/truth"
	echo "BEGIN; $1; UPDATE mesh SET seq = seq + $((lies * 1000)); COMMIT;" | sql &&
		coordinator_start && wait_for 30 at_seq
}
at_seq() { at wiki reeve --json status | jq -e --argjson seq $((lies * 1000)) '.map.connected and .map.seq >= $seq'; }
evidence() { echo "id_token = '$(jq -r .id_token "$1")', opening = x'$(jq -r .opening "$1")'"; }
# refused NAME REASON WHAT: nothing is served, and all three say why.
refused()
{
	ok "$3: refused, and reeve status says why" wait_for 30 why_is "$1" "$2"
	fails "$3: nothing is served" says "$1" open 200 ${4-}
	ok "$3: in the log" wait_for 30 grep -q "not believed: .*$2" "$T/log/reeved-wiki"
	ok "$3: in the coordinator's view" wait_for 30 seen_at_hub "$1" "$2"
}

#---- who logs in where
as staff staff reeve up "$hub_url" --pin "$pin" --no-browser >"$T/up-staff" 2>&1
fails "with several issuers, one is to be chosen" grep -q '^up' "$T/up-staff"
same "and they are named" 2 grep -c -- '--issuer [cp]' "$T/up-staff"
at_portal()
{
	: >"$T/up-student"
	as student student reeve up "$hub_url" --pin "$pin" --issuer portal --no-browser >"$T/up-student" 2>&1 </dev/null &
	login_through student student@example.edu $!
}
ok "student logs in at the portal" at_portal
refused student 'no evidence' "a login at the portal"
ok "staff logs in at the device" at_device staff staff@example.edu reeve up "$hub_url" --pin "$pin" --issuer campus
fails "and the hub's pages were not part of it" grep -q "$hub_url/login/" "$T/browser-staff"
ok "staff is served by name" wait_for 30 says staff download 200
ok "as the ID token names it" grep -qix 'Remote-User: staff@example.edu' "$T/body"
ok "student logs in at the device" at_device student student@example.edu reeve login --issuer campus
ok "and is served" wait_for 30 says student open 200
ok "but not what the token's groups do not open" wait_for 30 says student download 403

#---- step-up
auth_time() { at wiki reeve --json status | jq '.peers[] | select(.node.name == "staff") | .session.auth_time'; }
fails "a provider that does not do what was asked of it is refused" \
	at_device staff staff@example.edu reeve login --issuer campus --acr urn:example:acr:stronger
ok "in words that say what is missing" grep -q 'acr' "$T/up-staff"
ok "and what was there goes on" wait_for 30 says staff download 200
before=$(auth_time)
later() { [ "$(auth_time)" -gt "$before" ]; }
sleep 1.1
ok "a fresher login on request" at_device staff staff@example.edu reeve login --issuer campus --max-age 0
ok "is what the wiki knows of then" wait_for 30 later
ok "and staff is served" wait_for 30 says staff download 200

reload() { kill -HUP "$(pid_of reeved-wiki)"; }

#---- renewal: the wiki, which verifies alone, drops nothing that is open
mkdir -m 1777 "$T/watch"
ed=$T/watch/ed
flowing() { awk -v now="$(date +%s.%N)" '$3 > 0 && $5 == "open" && now - $4 < 1 { n++ } END { exit n != 1 }' "$ed"; }
stopped() { awk -v now="$(date +%s.%N)" 'now - $4 > 1 || $5 != "open" { n++ } END { exit n != 1 }' "$ed"; }
went_on() { awk '$5 == "open" { n++ } END { exit n != 1 }' "$ed"; }
# The connection of before, with a byte that came after this.
still_flowing() { local since; since=$(date +%s.%N); wait_for 30 came_since "$since" && went_on; }
came_since() { awk -v since="$1" '$4 > since && $5 == "open" { n++ } END { exit n != 1 }' "$ed"; }
session() { at wiki reeve --json status | jq -r '.peers[] | select(.node.name == "staff") | .session.id // empty'; }
another() { [ -n "$(session)" ] && [ "$(session)" != "$1" ]; }
verified_now() { jq -r '[.[].evidence] | sort | join(" ")' "$T/host/wiki/lib/reeve/verified.json"; }
verified_anew() { [ "$(verified_now)" != "$1" ]; }
nsenter -t "$(cat "$T/pid/host-staff")" -n -m -u -- setpriv --reuid staff --regid staff --clear-groups -- \
	python3 "$apps/watch.py" "$ed" http4=http://download/stream >>"$T/log/watch" 2>&1 </dev/null &
watching=$!
ok "staff downloads" wait_for 30 flowing
first=$(session) proved=$(auth_time) evidence_before=$(verified_now)
ok "a silent renewal" at_device staff staff@example.edu reeve login --silent
same "in the browser that the provider knows: without a page" 0 stat -c %s "$T/pages-staff"
ok "the session is another one at the wiki" wait_for 30 another "$first"
ok "with evidence that the wiki checked anew" wait_for 30 verified_anew "$evidence_before"
ok "which is no fresher a proof" [ "$(auth_time)" = "$proved" ]
ok "and the download goes on, on its connection" still_flowing
first=$(session)
rm -f "$T/jar-staff"
ok "where the provider knows nobody, a silent renewal asks the person" \
	at_device staff staff@example.edu reeve login --silent
fails "on the provider's page" [ "$(stat -c %s "$T/pages-staff")" = 0 ]
ok "the session is another one" wait_for 30 another "$first"
ok "with a fresher proof" later
ok "and the download goes on" still_flowing

#---- another device key: the old one's word carries the login over
before=$(auth_time) old6=$(at staff reeve --json status | jq -r .self.node.v6)
nobody_at() { at wiki reeve whois "$1"; [ $? = 5 ]; }
own4=$(at wiki reeve --json status | jq -r .self.node.v4)
ok "a host's own address is nobody's there: who it acts for is the coordinator's word alone" nobody_at "$own4"
ok "staff's address is staff's" at wiki reeve whois "$old6"
ok "staff's laptop changes its device key" on staff reeve rotate
ok "its old address is nobody's then" wait_for 30 nobody_at "$old6"
ok "staff is served without another login" wait_for 30 says staff download 200 -4
ok "over the new address as well" wait_for 30 says staff download 200 -6
same "by the evidence that was there" "$before" auth_time
ok "and the download goes on, on its connection" still_flowing
same "which the coordinator knows to be the old key's" "1" \
	sql "SELECT evidence_key = was_key FROM session JOIN node ON node.id = node WHERE name = 'staff' AND ended = 0"

#---- what the coordinator itself does not take
student_hex=$(sql "SELECT hex(key) FROM node WHERE name = 'student'")
student_key=$(/usr/bin/python3 -c 'import base64, sys; print(base64.b64encode(bytes.fromhex(sys.argv[1])).decode())' "$student_hex")
mint() { at student python3 "$TOP/tests/idp/mint.py" "$idp" "$1" "$2" "$3" "$student_key"; }
control_post() { at student curl -sS --max-time 20 -d "$2" "http://100.64.0.1$1"; }
attempt() { control_post /v1/login/start '{"v":1,"loopback":9,"device":true,"issuer":"campus"}' | jq -r .attempt; }
bring() { control_post /v1/login/finish "$(jq -c --arg a "$1" '{attempt: $a, id_token: .id_token, opening: .as_sent}' "$2")"; }
answers() { printf '%s' "$2" | grep -qF "$1"; }
mint reeve-device http://127.0.0.1:9/callback student@example.edu >"$T/early"
sleep 1.1
ok "a token from before the login is none for it" answers '(iat)' "$(bring "$(attempt)" "$T/early")"
a=$(attempt)
mint reeve "$hub_url/login/callback" student@example.edu >"$T/portal"
ok "nor is the portal's" answers '(aud)' "$(bring "$a" "$T/portal")"
a=$(attempt)
mint reeve-device http://127.0.0.1:9/callback staff@example.edu >"$T/others"
ok "nor is somebody else's, on this device" answers "somebody else's" "$(bring "$a" "$T/others")"
a=$(attempt) b=$(attempt)
mint reeve-device http://127.0.0.1:9/callback student@example.edu >"$T/good"
ok "its own is" answers '"session"' "$(bring "$a" "$T/good")"
ok "once" answers 'made a session before' "$(bring "$b" "$T/good")"

keep_truth
student_id=$(sql "SELECT id FROM node WHERE name = 'student'")
staff_id=$(sql "SELECT id FROM node WHERE name = 'staff'")
staff_v4=$(sql "SELECT v4 FROM node WHERE name = 'staff'")
living="node = $student_id AND ended = 0"

#---- what the coordinator says of people counts for nothing
lie "UPDATE user SET login = 'director@example.edu', login_key = 'director@example.edu', name = 'Director'
	WHERE login = 'staff@example.edu'"
ok "an altered login name: staff is served" wait_for 30 says staff download 200
ok "as who the token says" grep -qix 'Remote-User: staff@example.edu' "$T/body"
fails "and nobody else" grep -qi director "$T/body"
lie "UPDATE session SET groups = 'lab' || char(10) || 'staff'; UPDATE user SET groups = 'lab'"
ok "an altered group opens nothing" wait_for 30 says student download 403
lie "UPDATE policy SET text = replace(text, 'idp:lab', 'autogroup:member')"
ok "an altered policy opens nothing that the owner's file does not" wait_for 30 says student download 403
lie "DELETE FROM session WHERE $living; UPDATE node SET user = NULL, tags = 'tag:other' WHERE id = $student_id"
refused student 'server-keys' "a tag for somebody's key"

#---- a session that was renewed without evidence: the proof of before counts while it lives, and no longer
lie "UPDATE session SET id = id + 1000, id_token = '', opening = NULL WHERE node = $staff_id AND ended = 0"
ok "a renewal without evidence: staff is served by the proof of before" wait_for 30 says staff download 200
ok "and the download goes on" still_flowing
staff_not_served() { ! says staff download 200; }
wiki_conf 1s
reload
ok "until that proof is too old" wait_for 30 why_is staff evidence-max-age
ok "then nothing is served" wait_for 30 staff_not_served
ok "and the download ends" wait_for 30 stopped
wiki_conf 12h
reload
kill "$watching" 2>/dev/null
wait "$watching" 2>/dev/null

#---- evidence of others
lie "UPDATE session SET (id_token, opening) =
	(SELECT id_token, opening FROM session WHERE node = $staff_id AND ended = 0) WHERE $living"
refused student 'nonce:' "another person's token"
mint reeve "$hub_url/login/callback" staff@example.edu >"$T/portal"
lie "UPDATE session SET $(evidence "$T/portal") WHERE $living"
refused student 'aud:' "a portal login with the coordinator's choice of nonce"
at idp python3 "$TOP/tests/idp/idp.py" admin "$idp" set '{"idTokenTtl":1}' >/dev/null
mint reeve-device http://127.0.0.1:9/callback staff@example.edu >"$T/late"
sleep 2
lie "UPDATE session SET $(evidence "$T/late") WHERE $living"
refused student 'exp:' "a token that has expired"
at idp python3 "$TOP/tests/idp/idp.py" admin "$idp" set '{"idTokenTtl":3600}' >/dev/null

#---- an old address
lie "UPDATE node SET v4 = v4 + 100 WHERE id = $staff_id; UPDATE node SET v4 = $staff_v4 WHERE id = $student_id"
refused student "another key's" "an IPv4 address moved to another node" -4
# Staff's own device must not hear this: a map that names another key for it takes its mesh away, and so the
# way to hear anything else, should it ask before the hub itself has that map.
end reeved-staff
lie "DELETE FROM session WHERE node = $staff_id; UPDATE session SET node = $staff_id WHERE $living;
	UPDATE node SET user = (SELECT user FROM node WHERE id = $student_id) WHERE id = $staff_id;
	DELETE FROM node WHERE id = $student_id; UPDATE node SET key = x'$student_hex' WHERE id = $staff_id"
refused staff "another key's" "an IPv4 address moved to another person's key under the same id" -4

#---- a change of key that nobody made: the coordinator's device, which is the student's, as staff's next key
vouches=$(sql "SELECT was_vouches FROM node WHERE id = $staff_id")
student_v6=$(at student reeve --json status | jq -r .self.node.v6)
gone="DELETE FROM session WHERE node = $student_id; DELETE FROM node WHERE id = $student_id"
lie "$gone; UPDATE node SET next_key = x'$student_hex', next_until = 1 << 40, next_vouches = '$vouches' WHERE id = $staff_id"
reeved_start staff
ok "a key that is announced with another one's word: the true one is served" wait_for 30 says staff download 200
ok "and the address that follows from it is nobody's" nobody_at "$student_v6"
fails "nothing is served there" says student open 200 -6
end reeved-staff
lie "$gone; UPDATE session SET evidence_key = (SELECT key FROM node WHERE id = $staff_id) WHERE node = $staff_id;
	UPDATE node SET was_key = key, key = x'$student_hex', was_until = 1 << 40, was_vouches = '$vouches' WHERE id = $staff_id"
refused staff 'nonce:' "a key that is in use, with another one's word"
fails "the device of that key is served nothing" says student open 200 -6
fails "nor at the IPv4 address" says student open 200 -4

#---- a revocation that is taken back
both_served() { says staff download 200 && says student open 200; }
lie "SELECT 1"
reeved_start staff
ok "the truth again: both are served" wait_for 30 both_served
ok "the administrator ends a session" at hub reeve --control "$control" user revoke student@example.edu
not_served() { ! says student open 200; }
ok "and nothing is served" wait_for 30 not_served
lie "SELECT 1"
ok "a coordinator that withholds it is believed while the login is young" wait_for 30 both_served
wiki_conf 1s
reload
refused student 'evidence-max-age' "a withheld revocation, after evidence-max-age"
wiki_conf 12h
reload

#---- keys turn, provider and coordinator go, core starts anew: who was verified stays
ok "with a longer evidence-max-age both are served" wait_for 30 both_served
at idp python3 "$TOP/tests/idp/idp.py" admin "$idp" rotate '{"keep":false}' >/dev/null
end idp
end coordinator
core=$(for pid in $(pgrep -P "$(pid_of reeved-wiki)"); do
	[ "$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status")" != 60100 ] || echo "$pid"; done)
kill -KILL "$core"
ok "new keys, no provider, no coordinator, another core: who was verified is served" wait_for 30 both_served
same "and is verified by what was kept" 2 sh -c "jq '[.[] | select(.client == \"reeve-device\")] | length' '$T/host/wiki/lib/reeve/verified.json'"

#---- break-glass: the lease ends, and only the owner's own key goes on
v4_of() { at wiki reeve --json status | jq -r --arg n "$1" '.peers[] | select(.node.name == $n) | .node.v4'; }
key_of() { at "$1" /usr/bin/python3 -c '
import json, subprocess, sys
print(next(json.loads(l)["node"]["key"] for l in open("/var/lib/reeve/map.ndjson") if "\"name\":\"%s\"" % sys.argv[1] in l))' "$2"; }
wiki_key=$(key_of student wiki)
sed -i 's|"verify": "idp",|"break-glass": { "ops": { "key": "'"$student_key"'", "services": ["open"] } }, &|' \
	"$T/host/wiki/etc/reeve/reeved.hujson"
sed -i 's|{ "mesh"|{ "break-glass": { "wiki": { "key": "'"$wiki_key"'" } }, "mesh"|' "$T/host/student/etc/reeve/reeved.hujson"
reload
kill -HUP "$(pid_of reeved-student)"
tagged() { at wiki reeve --json status | jq -e '.peers[] | select(.node.name == "student") | .node.tags == ["tag:break-glass-ops"]'; }
ok "the key is the owner's own now" wait_for 30 tagged
ok "which the audit says before it is used" wait_for 30 grep -q \
	'"event":"break-glass-listed","tag":"tag:break-glass-ops",.*"services":\["open"\].*"in_force":true' "$T/host/wiki/log/reeve-audit.json"
ok "and is served what its entry says" wait_for 30 says student open 200
fails "as nobody's login" grep -qi remote-user "$T/body"
ok "and nothing else" wait_for 30 says student download 403
# The coordinator was heard two days ago, before a reboot; a lease lasts one.
for h in wiki student; do
	end reeved-$h
	at $h sh -c 'sed -i "s/\"boot_id\":\"[^\"]*\"/\"boot_id\":\"00000000-0000-4000-8000-000000000000\"/
		s/\"wall\":[0-9]*/\"wall\":$(($(date +%s) - 172800))/" /var/lib/reeve/lease.json'
	reeved_start $h
done
ok "with the lease at its end the key is served" wait_for 30 says student open 200
fails "and nobody else" says staff open 200
localapi() { at wiki curl -sS -o "$T/localapi" -w '%{http_code}' --unix-socket /run/reeve/api.sock \
	"http://local-tailscaled.sock/localapi/v0/whois?addr=$1:1"; }
same "Tailscale-shaped whois names it, as what it is" '200 tag:break-glass-ops' \
	sh -c "echo $(localapi "$(v4_of student)") \$(jq -r '.Node.Tags | join(\",\")' $T/localapi)"
same "and nobody else" 404 localapi "$(v4_of staff)"
ok "its requests are in the audit, by name" wait_for 30 grep -q '"tags":\["tag:break-glass-ops"\]' "$T/host/wiki/log/reeve-audit.json"
ok "and so is that it was used at all" wait_for 30 grep -q '"event":"break-glass","tag":"tag:break-glass-ops"' \
	"$T/host/wiki/log/reeve-audit.json"
finish
