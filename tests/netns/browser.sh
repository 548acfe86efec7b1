#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# People with only a browser: the campus of campus.sh without their laptops in the mesh. The wiki host's
# applications are public there, by TLS, for whoever has logged in; staff's computer has no Reeve.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/campus.sh"
for p in reeved reeve reeve-coordinator; do
	[ -x "$B/$p" ] || skip_all "$p is not built"
done
# Found here, where the build is what top_builddir says; the hosts have other folders to be in.
REEVE_IDP_NODE=$(PYTHONPATH=$TOP/tests/idp python3 -c "import idp; print(idp.node_dir() or '')")
[ -n "$REEVE_IDP_NODE" ] || skip_all "oidc-provider is not installed (tests/idp/idp.py install)"
export REEVE_IDP_NODE
campus_build
campus_apps
campus_idp || { echo "Bail out! no identity provider"; exit 99; }
campus_hub || { echo "Bail out! no hub"; exit 99; }
conf=$T/host/wiki/etc/reeve/reeved.hujson
cat >"$conf" <<-'END'
	{
		"services": {
			"download": { "listen": ["80"], "upstream": ["http://127.0.0.1:8000"], "profiles": ["remote-user"] },
		},
		"public": {
			"download": { "listen": ["192.0.2.20:443"], "tls": true, "hosts": ["download.example.edu"],
			              "browser": "https://download.example.edu",
			              "upstream": ["http://127.0.0.1:8000"], "profiles": ["remote-user"] },
			"who": { "listen": ["192.0.2.20:8443"], "tls": true, "hosts": ["who.example.edu"],
			         "browser": "https://who.example.edu:8443",
			         "upstream": ["http://127.0.0.1:8080"], "profiles": ["remote-user"] },
		},
		"public-fronts": 2,
	}
END
server_up wiki tag:server || { echo "Bail out! the wiki did not come up"; exit 99; }
ok "the wiki host has its map" wait_for 20 connected wiki
echo "192.0.2.20 download.example.edu who.example.edu" >>"$T/host/staff/etc/hosts"

# What the browsers see is theirs to count.
people() { at staff env PART="$1" python3 "$TOP/tests/browser/people.py" "$idp" \
	nsenter -t "$(cat "$T/pid/host-hub")" -n -m -u -- curl -sS --unix-socket "$control"; }
count()
{
	local line
	while IFS= read -r line; do
		case $line in
		'ok - '*) result 0 "${line#ok - }" ;;
		'not ok - '*) result 1 "${line#not ok - }" ;;
		'skip - '*) skip "${line#skip - }" "" ;;
		*) echo "$line" ;;
		esac
	done <"$1"
}
registered() { at staff curl -sk -o /dev/null -w '%{http_code} %{redirect_url}' -H 'Accept: text/html' \
	https://download.example.edu/ | grep -q '^303 https://hub.example.edu/login/service' &&
	at hub curl -sS --unix-socket "$control" http://hub/api/v1/nodes | grep -q '"browser"'; }
ok "nobody is let in, and the hub knows where people come back to" wait_for 20 registered
people all >"$T/people" 2>&1
ok "the browsers came to their end" grep -q '^# .* passed' "$T/people"
count "$T/people"

# ---- what is away
people begin >"$T/people" 2>&1
count "$T/people"
cookie=$(sed -n 's/^cookie //p' "$T/people")
page() { at staff curl -sk --max-time 5 -H "Cookie: __Host-reeve=$cookie" https://download.example.edu/headers; }
named() { page | grep -q '^Remote-User: staff@example.edu'; }
ok "the person is served" named
used() { at hub curl -sS --unix-socket "$control" http://hub/api/v1/sessions |
	jq -e '[.sessions[] | select(.name | startswith("browser")) | .used] | max > 0' >/dev/null; }
ok "and the hub knows that the session is used" wait_for 90 used
kill -KILL "$(pid_of coordinator)"
wait "$(pid_of coordinator)" 2>/dev/null
ok "without the coordinator, too" named
end reeved-wiki
reeved_start wiki
ok "and after the host's reeved was started anew, from its last map" wait_for 30 named
refused() { at staff curl -sk -o /dev/null -w '%{http_code}' "$@"; }
same "nobody logs in meanwhile" 403 refused -H "Cookie: __Host-reeve-begin=$cookie.Lw" \
	"https://download.example.edu/.well-known/reeve/session?code=abcdefghijklmnopqrstuv.x"
coordinator_start
again() { people begin >"$T/people" 2>&1; }
ok "with it again, people log in" wait_for 40 again
ok "and the first one still is who they are" named
grep -q "$cookie" "$T"/log/* && leaked=1 || leaked=0
same "the cookie is in no log" 0 echo $leaked

# ---- renewed without a page: the hub is told that time has passed, or goes, when the browsers ask for that
age()
{
	at hub setpriv --reuid reeve-coordinator --regid reeve-coordinator --clear-groups -- /usr/bin/python3 -c '
import sqlite3, time
db, now = sqlite3.connect("/var/lib/reeve-coordinator/coordinator.db"), int(time.time())
# checked: no question with a refresh token is under way when the coordinator goes. tests/coordinator/refresh_test.py
# asks for logins that share a browser, as these do
db.execute("UPDATE session SET created = ?, expires = ?, checked = ? WHERE ended = 0", (now - 42610, now + 590, now))
db.execute("UPDATE mesh SET seq = seq + 1000")
db.commit()'
}
meet=$T/meet
mkdir -m 777 "$meet"
at staff env MEET="$meet" python3 "$TOP/tests/browser/renewal.py" "$idp" \
	nsenter -t "$(cat "$T/pid/host-hub")" -n -m -u -- curl -sS --unix-socket "$control" >"$T/people" 2>&1 </dev/null &
browsers=$!
asked() { [ -e "$meet/$1" ] || ! kill -0 "$browsers" 2>/dev/null; }
for what in age away back; do
	wait_for 240 asked "$what"
	[ -e "$meet/$what" ] || break
	[ $what = back ] || end coordinator
	[ $what = age ] && age
	[ $what = away ] || coordinator_start
	: >"$meet/$what.done"
done
wait "$browsers"
ok "the browsers came to their end again" grep -q '^# .* passed' "$T/people"
count "$T/people"

# ---- what cannot be configured
try() { sed "$1" "$conf" >"$T/host/wiki/etc/reeve/try.hujson"; at wiki reeved -n -c /etc/reeve/try.hujson; }
ok "as it is, it is a configuration" try ''
fails "verify: idp cannot check a browser" try 's|"public-fronts"|"verify": "idp", "public-fronts"|'
fails "nor is there one without TLS" try 's|"tls": true, "hosts": \["who|"hosts": ["who|'
fails "or under another name than its own" try 's|"browser": "https://who|"browser": "https://wiki|'
finish
