# SPDX-License-Identifier: AGPL-3.0-or-later
#
# A small university in the lab of lib.sh; sourced after it by tests/netns/product.sh
# and contrib/try.
#
#                        campus 192.0.2.0/24, 2001:db8::/64
#   ----+----------+-----------+------------+--------------+--------------+----
#     hub .2     idp .10    wiki .20     gateway .30    staff .101    student .102
#   coordinator  oidc-      radicale      | lab 10.9.0.0/24, fd00:9::/64
#   + reeved     provider   Apache CGI    +---- instrument 10.9.0.50, fd00:9::50
#                           download            plain TCP and UDP on 5025
#
# The instrument's own way back to the mesh is the gateway; nothing else knows the lab.

apps=$T/apps                    # where every user of the lab can read them
hub_url=https://hub.example.edu
idp_issuer=https://idp.example.edu
instrument=10.9.0.50
idp=$T/idp

campus_build()
{
	local h n
	cp -r "$TOP/tests/apps" "$apps"
	: >"$T/body"
	chmod 666 "$T/body"             # what an application said to anybody
	switch campus
	switch lab
	while read -r h n; do
		host "$h"
		plug "$h" campus eth0 "192.0.2.$n/24" "2001:db8::$n/64"
	done <<-END
	hub 2
	idp 10
	wiki 20
	gateway 30
	staff 101
	student 102
	END
	host instrument
	plug gateway lab lab0 10.9.0.1/24 fd00:9::1/64
	plug instrument lab eth0 10.9.0.50/24 fd00:9::50/64
	ip -n instrument route add default via 10.9.0.1
	ip -n instrument route add default via fd00:9::1
	for h in hub idp wiki gateway staff student; do
		cat >>"$T/host/$h/etc/hosts" <<-END
		192.0.2.2 hub.example.edu
		192.0.2.10 idp.example.edu
		END
	done
}

campus_apps()
{
	mkdir -p "$T/radicale" "$T/apache"
	spawn wiki radicale "$apps/radicale.sh" "$T/radicale" 127.0.0.1:5232
	spawn wiki apache "$apps/apache.sh" "$T/apache" 127.0.0.1:8080
	spawn wiki download python3 "$apps/download.py" 127.0.0.1 8000
	spawn instrument instrument python3 "$apps/instrument.py" 5025
}

campus_idp()
{

	python3 "$TOP/tests/idp/idp.py" new "$idp" --listen 192.0.2.10:443 --name idp.example.edu \
		--redirect "$hub_url/login/callback" >/dev/null || return 1
	spawn idp idp python3 "$TOP/tests/idp/idp.py" serve "$idp"
	wait_for 20 grep -q '^ready ' "$T/log/idp"
}

# browser HOST ACCOUNT URL: logs in on that host as a browser would, with password and
# TOTP, to the page on the host's loopback at the end.
browser()
{
	at "$1" python3 "$TOP/tests/idp/idp.py" login "$idp" "$2" "$3" --stop http://127.0.0.1: \
		--follow --insecure --pages "$T/log/pages"
}

# as HOST USER COMMAND...: on that host, as that user.
as()
{
	local h=$1 user=$2
	shift 2
	at "$h" setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"
}

# reeved_start HOST: and wait until it answers. What it has to say is another matter.
reeved_answers()
{
	at "$1" reeve status
	[ $? != 3 ]
}
# With the capabilities that its unit leaves it.
reeved_caps=-all$(sed -n 's/^CapabilityBoundingSet=//p' "$TOP/contrib/systemd/reeved.service" |
	tr ' ' '\n' | sed 's/^CAP_/,+/' | tr 'A-Z' 'a-z' | tr -d '\n')
reeved_start()
{
	spawn "$1" "reeved-$1" setpriv --bounding-set "$reeved_caps" -- reeved
	wait_for 10 reeved_answers "$1"
}

# What the hub needs: its reeved's configuration, the coordinator's, and the first policy.
campus_hub_files()
{
	local etc=$T/host/hub/etc/reeve
	local who
	if [ -n "${own_accounts:-}" ]; then
		who='"accounts": { "enabled": true, "title": "Example University", "domains": ["example.edu"] },'
	else
		cp "$idp/cert.pem" "$etc/idp.pem"
		install -m 600 -o 60105 -g 60105 "$idp/client-secret" "$etc/client-secret"
		who='"issuers": {
			"campus": {
				"issuer": "'$idp_issuer'", "title": "Example University", "client-id": "reeve",
				"client-secret-file": "client-secret", "ca": "idp.pem",
				"scopes": ["openid", "profile", "email", "groups"],
				"domains": ["example.edu"], "mfa-amr": ["pwd+otp"], "require-mfa": true,
			},
		},'
	fi
	cat >"$etc/reeved.hujson" <<-'END'
	{
		"public": {
			// Enrolment and login, for whom nobody knows yet.
			"login": { "listen": ["192.0.2.2:443", "[2001:db8::2]:443"], "tls": true,
			           "hosts": ["hub.example.edu"],
			           "upstream": ["unix:/run/reeve-coordinator/public.sock"] },
		},
		"services": {
			// Map, login and administration, for every node of the mesh.
			"coordinator": { "listen": ["80"], "hosts": ["hub"], "enrolled": true,
			                 "upstream": ["unix:/run/reeve-coordinator/mesh.sock"] },
		},
	}
	END
	cat >"$etc/coordinator.hujson" <<-END
	{
		"url": "$hub_url", "mesh-name": "campus",
		"admins": ["admin@example.edu"],
		"hub-endpoints": ["192.0.2.2:51820", "[2001:db8::2]:51820"],
		"attempts-per-minute": 100000,
		$who
	}
	END
	cat >"$etc/policy.hujson" <<-'END'
	{
		"groups":    { "group:lab": ["staff@example.edu"] },
		"hosts":     { "lab": "10.9.0.0/24", "lab6": "fd00:9::/64" },
		"tagOwners": { "tag:server": ["admin@example.edu"], "tag:gateway": ["admin@example.edu"] },
		"autoApprovers": { "routes": { "10.9.0.0/24": ["tag:gateway"], "fd00:9::/64": ["tag:gateway"] } },
		"grants": [
			// The calendar and the CGI script: whoever is logged in, with a second factor.
			{ "src": ["autogroup:member"], "dst": ["svc:wiki", "svc:who"], "auth": { "mfa": true } },
			{ "src": ["group:lab"], "dst": ["svc:download"] },
			// The laboratory: the named staff alone.
			{ "src": ["group:lab"], "dst": ["lab", "lab6"], "ip": ["tcp:5025", "udp:5025"] },
			{ "src": ["group:lab"], "dst": ["tag:server"], "ip": ["tcp:5025", "udp:5025"] },
		],
	}
	END
}

# Issuers of the hub, after campus_hub_files: "campus" has its logins at the device, "portal" at the coordinator's pages.
campus_two_issuers()
{
	python3 - "$T/host/hub/etc/reeve" <<-'END'
	import re, sys
	path = sys.argv[1] + "/coordinator.hujson"
	text = open(path).read()
	row = re.search(r'"campus": \{(.*?)\n\t*\},', text, re.S).group(1)
	text = text.replace('"issuers": {', '"issuers": {\n"portal": {' + row + '},', 1)
	text = re.sub(r'("campus": \{)', r'\1 "login": "device", "leeway": "0s", "device-client-id": "reeve-device",', text, 1)
	open(path, "w").write(text)
	END
}

campus_wiki_files()
{
	cat >"$T/host/wiki/etc/reeve/reeved.hujson" <<-'END'
	{
		"services": {
			// Debian's radicale with http_x_remote_user.
			"wiki": { "listen": ["80"], "upstream": ["http://127.0.0.1:5232"],
			          "headers": [{ "name": "X-Remote-User", "value": "{login}", "encoding": "ascii" }] },
			// A CGI script under Apache, that believes REMOTE_USER.
			"who":  { "listen": ["80"], "upstream": ["http://127.0.0.1:8080"], "profiles": ["remote-user"] },
			"download": { "listen": ["80"], "upstream": ["http://127.0.0.1:8000"], "profiles": ["remote-user"] },
		},
	}
	END
}

campus_gateway_files()
{
	echo '{ "mesh": { "routes": ["10.9.0.0/24", "fd00:9::/64"] } }' >"$T/host/gateway/etc/reeve/reeved.hujson"
}

# A person's computer: that person and root may send into the mesh.
campus_laptop_files()
{
	cat >"$T/host/$1/etc/reeve/reeved.hujson" <<-END
	{ "mesh": { "users": ["$1"] }, "admins": ["$1"] }
	END
}

control=/run/reeve-coordinator/mesh.sock
# As its unit starts it: a user of its own, in a folder that is there.
coordinator_start()
{
	at hub install -d -m 755 -o reeve-coordinator -g reeve-coordinator /run/reeve-coordinator
	spawn hub coordinator setpriv --reuid reeve-coordinator --regid reeve-coordinator --clear-groups \
		--bounding-set=-all -- reeve-coordinator
	wait_for 10 at hub test -S "$control"
}

# up HOST ACCOUNT: `reeve up` on a laptop as its person, who logs in; the output is in $T/up-HOST.
up_person()
{
	local h=$1
	: >"$T/up-$h"
	as "$h" "$h" reeve up "$hub_url" --pin "$pin" --no-browser >"$T/up-$h" 2>&1 </dev/null &
	login_through "$h" "$2" $!
}

login_person()
{
	local h=$1
	: >"$T/up-$h"
	as "$h" "$h" reeve login --no-browser >"$T/up-$h" 2>&1 </dev/null &
	login_through "$h" "$2" $!
}

# The page that the command names, opened in a browser on the same host.
login_through()
{
	local h=$1 account=$2 pid=$3 url
	wait_for 15 grep -qo "$hub_url/login/[^ ]*" "$T/up-$h" || { cat "$T/up-$h"; kill "$pid" 2>/dev/null; return 1; }
	url=$(grep -om1 "$hub_url/login/[A-Za-z0-9_-]*" "$T/up-$h")
	browser "$h" "$account" "$url" >"$T/browser-$h" 2>&1 || { cat "$T/browser-$h"; kill "$pid" 2>/dev/null; return 1; }
	wait "$pid"
}

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
	: >"$T/pages-$h"
	at "$h" python3 "$TOP/tests/idp/idp.py" login "$idp" "$account" "$url" --stop http://127.0.0.1: --follow \
		--pages "$T/pages-$h" --jar "$T/jar-$h" -v >"$T/browser-$h" 2>&1 || cat "$T/browser-$h"
	wait "$pid"
}

# The hub, whole: coordinator, its reeved, and the pin of its TLS key.
campus_hub()
{
	campus_hub_files
	on hub reeve-coordinator init --policy /etc/reeve/policy.hujson --user reeve-coordinator || return 1
	coordinator_start || return 1
	reeved_start hub || return 1
	wait_for 10 hub_pin || return 1
	pin=$(cat "$T/pin")
}

# What an administrator would compare: SHA-256 of the key that the hub's TLS shows.
hub_pin()
{
	at hub openssl s_client -connect 192.0.2.2:443 -servername hub.example.edu </dev/null 2>/dev/null |
		openssl x509 -noout -pubkey >"$T/hub-key" 2>/dev/null
	[ -s "$T/hub-key" ] || return 1
	openssl pkey -pubin -in "$T/hub-key" -outform DER | openssl dgst -sha256 -binary | openssl base64 |
		tr "+/" "-_" | tr -d "=\n" >"$T/pin"
	[ "$(wc -c <"$T/pin")" = 43 ]
}

# server_up HOST TAG: enrols it with a key that the administrator made.
server_up()
{
	reeved_start "$1" || return 1
	at hub reeve-coordinator key --tag "$2" >"$T/host/$1/etc/reeve/enrol.key" || return 1
	on "$1" reeve up --key-file /etc/reeve/enrol.key
}

connected()
{
	at "$1" reeve --json status | jq -e .map.connected >/dev/null
}

# campus_up: everything, with staff and student logged in. Ends the script if it does not come up.
campus_up()
{
	local h
	campus_build
	campus_apps
	spawn wiki instrument-wiki python3 "$apps/instrument.py" 5025
	campus_idp || { echo "Bail out! no identity provider"; exit 99; }
	campus_hub || { echo "Bail out! no hub"; exit 99; }
	campus_wiki_files
	campus_gateway_files
	server_up wiki tag:server && server_up gateway tag:gateway ||
		{ echo "Bail out! a server did not come up"; exit 99; }
	for h in staff student; do
		campus_laptop_files $h
		reeved_start $h && up_person $h $h@example.edu && wait_for 15 connected $h ||
			{ echo "Bail out! $h's laptop did not come up"; exit 99; }
	done
	wait_for 15 in_group && wait_for 15 in_lab || { echo "Bail out! staff reaches nothing"; exit 99; }
}

# What is granted, as the granted see it.
in_group()
{
	[ "$(as staff staff curl -sS --max-time 3 -o "$T/body" -w '%{http_code}' http://download/headers)" = 200 ]
}

# asks_instrument HOST USER: whether that person gets an answer in the laboratory.
asks_instrument()
{
	as "$1" "$2" timeout 4 bash -c \
		'exec 3<>/dev/tcp/10.9.0.50/5025; echo "*IDN?" >&3; read -t 3 line <&3; [[ $line == *Spectrometer* ]]'
}
in_lab()
{
	asks_instrument staff staff
}
