#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# The applications of tests/apps without Reeve: they believe whatever a client claims,
# and whoever comes. What Reeve must put right.
#
#   client 192.0.2.1 ---- [net] ---- server 192.0.2.2: radicale, Apache, download; instrument
. "$(dirname "$0")/lib.sh"
apps=$TOP/tests/apps

switch net
host client
host server
plug client net eth0 192.0.2.1/24
plug server net eth0 192.0.2.2/24
mkdir -p "$T/radicale" "$T/apache"
spawn server radicale "$apps/radicale.sh" "$T/radicale" 192.0.2.2:5232
spawn server apache "$apps/apache.sh" "$T/apache" 192.0.2.2:8080
spawn server download python3 "$apps/download.py" 192.0.2.2 8000
spawn server instrument python3 "$apps/instrument.py" 5025

get() { at client curl -sS --max-time 5 "$@"; }

ok "radicale answers" wait_for 10 get -o /dev/null http://192.0.2.2:5232/.web/
same "and refuses who is nobody" 403 \
	get -o "$T/out" -w '%{http_code}' -X PROPFIND http://192.0.2.2:5232/mallory/
same "but believes X-Remote-User of anybody" 207 \
	get -o "$T/out" -w '%{http_code}' -X PROPFIND -H 'X-Remote-User: mallory' http://192.0.2.2:5232/mallory/
ok "Apache answers" wait_for 10 get -f http://192.0.2.2:8080/who
same "and its CGI sees nobody" REMOTE_USER= \
	sh -c "nsenter -t $(cat "$T/pid/host-client") -n curl -sS http://192.0.2.2:8080/who | grep ^REMOTE_USER"
same "but believes Remote-User of anybody" REMOTE_USER=mallory \
	sh -c "nsenter -t $(cat "$T/pid/host-client") -n curl -sS -H 'Remote-User: mallory' http://192.0.2.2:8080/who | grep ^REMOTE_USER"
ok "the download application answers" wait_for 10 get -f http://192.0.2.2:8000/headers

spawn client watch python3 "$apps/watch.py" "$T/watched" tcp=192.0.2.2:5025 udp=192.0.2.2:5025 \
	http=http://192.0.2.2:8000/stream
streams() { [ "$(awk '$3 > 200 && $5 == "open"' "$T/watched" | wc -l)" = "$1" ]; }
ok "instrument and download stream to anybody" wait_for 5 streams 3
end instrument
tcp_ended() { grep -q '^tcp .* closed$' "$T/watched"; }
ok "a stream that ends is seen to end" wait_for 5 tcp_ended
fails "the others are still open" grep -q '^http .* closed$' "$T/watched"
end watch
finish
