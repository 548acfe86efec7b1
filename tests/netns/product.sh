#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# The whole product on the campus of campus.sh: what must hold when something fails, and
# how long a revocation takes.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/campus.sh"
tries=${REEVE_TRIES:-100}
for p in reeved reeve reeve-coordinator; do
	[ -x "$B/$p" ] || skip_all "$p is not built"
done
campus_build
campus_apps
campus_idp || { echo "Bail out! no identity provider"; exit 99; }

code() { local h=$1 u=$2; shift 2; as "$h" "$u" curl -sS --max-time 5 -o "$T/body" -w '%{http_code}' "$@"; }

#---- revocation
mkdir -m 1777 "$T/watch"
# One try: four streams of the staff laptop flow, the session is revoked, and the last
# byte of each is looked up. The streams' clock is the machine's.
targets="http=http://download/stream tcp=$instrument:5025 udp=$instrument:5025 udp=wiki:5025"
flowing()
{
	awk -v now="$(date +%s.%N)" '$3 > 0 && $5 == "open" && now - $4 < 0.2 { n++ } END { exit n != 4 }' "$T/watch/ed"
}
quiet()
{
	awk -v now="$(date +%s.%N)" 'now - $4 > 0.5 { n++ } END { exit n != 4 }' "$T/watch/ed"
}
one_try()
{
	local t0
	spawn staff watch setpriv --reuid staff --regid staff --clear-groups -- \
		python3 "$apps/watch.py" "$T/watch/ed" $targets >/dev/null
	wait_for 10 flowing || { cat "$T/watch/ed" "$T/log/watch"; return 1; }
	t0=$(date +%s.%N)
	revoke_staff || return 1
	wait_for 10 quiet || { cat "$T/watch/ed"; return 1; }
	awk -v t0="$t0" -v how="$1" '{ printf "%s %s %.1f\n", how, $1 "=" $2, ($4 - t0) * 1000 }' \
		"$T/watch/ed" >>"$T/latencies"
	end watch
}
report()
{
	awk '{ print $3 }' "$1" | sort -n | awk '
		{ v[NR] = $1 } END { printf "n %d, p50 %.0f ms, p99 %.0f ms, max %.0f ms\n",
			NR, v[int((NR + 1) / 2)], v[int(NR * 0.99 + 0.999)], v[NR] }'
}
finish
