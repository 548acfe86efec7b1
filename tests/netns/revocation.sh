#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# How long a revocation takes, on the campus of campus.sh: from the administrator's command
# to the last byte of
#
#   http  a download through the wiki host's front
#   tcp   a stream from the laboratory, through the gateway
#   udp   datagrams that the laboratory pushes, unasked, through the gateway
#   udp   datagrams that the wiki host itself pushes
#
# over REEVE_TRIES (100) tries, each with a new login. In every second one somebody flushes
# connection tracking on both hosts all the while, and has begun before: that itself cuts
# what flowed (a negative time), and must neither let anything flow on nor keep the
# hosts from being told. The bound is one second.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/campus.sh"
for p in reeved reeve reeve-coordinator; do
	[ -x "$B/$p" ] || skip_all "$p is not built"
done
command -v conntrack >/dev/null || skip_all "conntrack is not installed"
tries=${REEVE_TRIES:-100}
campus_up
mkdir -m 1777 "$T/watch"
ed=$T/watch/ed

flowing()
{
	awk -v now="$(date +%s.%N)" '$3 > 0 && $5 == "open" && now - $4 < 0.2 { n++ } END { exit n != 4 }' "$ed"
}
quiet()
{
	awk -v now="$(date +%s.%N)" 'now - $4 > 0.4 { n++ } END { exit n != 4 }' "$ed"
}
# The service host's own word, which its next packet is judged by.
told()
{
	at wiki reeve --json whois "$ip" | jq -e '.why == "revoked"' >/dev/null
}
granted()
{
	in_group && in_lab
}

one_try()
{
	local how=$1 t0 flusher= w
	rm -f "$ed"
	nsenter -t "$(cat "$T/pid/host-staff")" -n -m -u -- setpriv --reuid staff --regid staff --clear-groups -- \
		python3 "$apps/watch.py" "$ed" http=http://download/stream tcp=$instrument:5025 \
		udp=$instrument:5025 udp=wiki:5025 >>"$T/log/watch" 2>&1 </dev/null &
	w=$!
	wait_for 10 flowing || { cat "$ed"; kill $w; return 1; }
	if [ "$how" = flush ]; then
		(while :; do
			at wiki conntrack -F
			at gateway conntrack -F
			sleep 0.01
		done) >/dev/null 2>&1 &
		flusher=$!
		sleep 0.3       # the revocation must find a host whose tables were empty for a while
	fi
	t0=$(date +%s.%N)
	at hub reeve --control "$control" user revoke staff@example.edu >"$T/log/revoke" 2>&1 || return 1
	wait_for 1 told || { echo "# the wiki host was not told within a second"; return 1; }
	wait_for 10 quiet
	[ -z "$flusher" ] || { kill $flusher; wait $flusher 2>/dev/null; }
	awk -v t0="$t0" -v how="$how" '{ printf "%s %s=%s %.1f\n", how, $1, $2, ($4 - t0) * 1000 }' "$ed" >>"$T/latencies"
	kill $w
	wait $w 2>/dev/null
	quiet
}

# report WHICH: median, 99th percentile and maximum of these lines of latencies.
report()
{
	grep -E "^$1" "$T/latencies" | awk '{ print $3 }' | sort -n | awk -v what="$1" '
		{ v[NR] = $1 }
		END {
			p = int(NR * 0.99); if (p < NR * 0.99) p++
			printf "%-32s %4d  p50 %5.0f ms  p99 %5.0f ms  max %5.0f ms\n", what, NR, v[int((NR + 1) / 2)], v[p], v[NR]
		}'
}

ip=$(at staff reeve --json status | jq -r .self.node.v4)
done_tries=0
for i in $(seq "$tries"); do
	if [ "$i" != 1 ]; then
		login_person staff staff@example.edu || break
		wait_for 10 granted || { echo "# try $i: not granted after the login"; break; }
	fi
	how=calm
	[ $((i % 2)) = 1 ] || how=flush
	one_try $how || { echo "# try $i ($how): the streams did not flow, or did not end"; break; }
	done_tries=$((done_tries + 1))
done
same "$tries revocations, each followed by a login that opened everything again" "$tries" echo $done_tries
echo "# from the command to the last byte:"
for what in "calm http" "flush http" "calm tcp" "flush tcp" "calm udp=$instrument" "flush udp=$instrument" \
	"calm udp=wiki" "flush udp=wiki"; do
	echo "#   $(report "$what")"
done
# Of a try's four streams each is late where the machine stood still for a second: told are p99
# and the maximum, and wrong is what happens more often than that.
late()
{
	grep -E "^$1" "$T/latencies" | awk '$3 >= 1000 { n++ } END { exit NR == 0 || n * 20 > NR }'
}
for how in calm flush; do
	ok "$how: at least 19 of 20 last bytes come within a second" late "$how "
done
finish
