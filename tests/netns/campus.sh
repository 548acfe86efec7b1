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

apps=$TOP/tests/apps
hub_url=https://hub.example.edu
idp_issuer=https://idp.example.edu
instrument=10.9.0.50

campus_build()
{
	local h n
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
	idp=$T/idp
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
