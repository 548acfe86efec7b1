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

campus_build
campus_idp || { echo "Bail out! no identity provider"; exit 99; }
spawn wiki download python3 "$apps/download.py" 127.0.0.1 8000

# Issuers of the hub: "campus" has its logins at the device, "portal" at the coordinator's pages.
campus_hub_files_all()
{
	campus_hub_files
	python3 - "$T/host/hub/etc/reeve" <<-'END'
	import re, sys
	path = sys.argv[1] + "/coordinator.hujson"
	text = open(path).read()
	row = re.search(r'"campus": \{(.*?)\n\t*\},', text, re.S).group(1)
	text = text.replace('"issuers": {', '"issuers": {\n"portal": {' + row + '},', 1)
	text = re.sub(r'("campus": \{)', r'\1 "login": "device", "device-client-id": "reeve-device",', text, 1)
	open(path, "w").write(text)
	END
	cat >"$T/host/hub/etc/reeve/policy.hujson" <<-'END'
	{
		"groups":    { "group:lab": ["staff@example.edu"] },
		"tagOwners": { "tag:server": ["admin@example.edu"], "tag:other": ["admin@example.edu"] },
		"grants": [
			{ "src": ["idp:lab"], "dst": ["svc:download"] },
			{ "src": ["autogroup:member", "tag:other"], "dst": ["svc:open"], "auth": { "mfa": true } },
		],
	}
	END
}
wiki_conf()     # evidence-max-age
{
	cp "$idp/cert.pem" "$T/host/wiki/etc/reeve/idp.pem"
	cat >"$T/host/wiki/etc/reeve/reeved.hujson" <<-END
	{
		"verify": "idp", "evidence-max-age": "$1",
		"issuers": { "uni": {
			"issuer": "$idp_issuer", "client-id": "reeve", "auth-method": "none",
			"device-client-id": "reeve-device", "domains": ["example.edu"], "ca": "idp.pem",
			"mfa-amr": ["pwd+otp"] } },
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
server_up wiki tag:server || { echo "Bail out! no wiki"; exit 99; }
for h in staff student; do
	campus_laptop_files $h
	reeved_start $h || { echo "Bail out! no reeved on $h"; exit 99; }
done

# at_device HOST ACCOUNT COMMAND...: the command, and the browser on that host that goes where it says.
at_device()
{
	local h=$1 account=$2 pid url
	shift 2
	: >"$T/up-$h"
	as "$h" "$h" "$@" --no-browser >"$T/up-$h" 2>&1 </dev/null &
	pid=$!
	wait_for 20 grep -qo "$idp_issuer/[^ ]*" "$T/up-$h" || { cat "$T/up-$h"; kill "$pid" 2>/dev/null; return 1; }
	url=$(grep -om1 "$idp_issuer/[^ ]*" "$T/up-$h")
	browser "$h" "$account" "$url" >"$T/browser-$h" 2>&1 || cat "$T/browser-$h"
	wait "$pid"
}
code() { local h=$1 u=$2; shift 2; as "$h" "$u" curl -sS --max-time 5 -o "$T/body" -w '%{http_code}' "$@"; }
says() { [ "$(code "$1" "$1" "http://$2/headers")" = "$3" ]; }
peer() { at wiki reeve --json status | jq -r --arg n "$1" '.peers[] | select(.node.name == $n)'; }
why() { peer "$1" | jq -r '.evidence // .refused // ""'; }
why_is() { why "$1" | grep -q "$2"; }

#---- who logs in where
as staff staff reeve up "$hub_url" --pin "$pin" --no-browser >"$T/up-staff" 2>&1
fails "with several issuers, one is to be chosen" grep -q '^up' "$T/up-staff"
same "and they are named" 2 grep -c -- '--issuer [cp]' "$T/up-staff"
ok "staff logs in at the device" at_device staff staff@example.edu reeve up "$hub_url" --pin "$pin" --issuer campus
fails "and the hub's pages were not part of it" grep -q "$hub_url/login/" "$T/browser-staff"
ok "staff is served by name" wait_for 30 says staff download 200
ok "as the ID token names it" grep -qix 'Remote-User: staff@example.edu' "$T/body"
finish
