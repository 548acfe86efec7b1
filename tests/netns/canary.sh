#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# Nothing secret in any log, error page, ps, answer or core dump of reeved, nor where it need not be in memory: the hub
# and two service hosts with everything that has secrets, logs at debug, logins at the device and with only a browser,
# and what is refused with a secret in it; then a search for each of them (tests/canary.py), in every form.
# tests/coordinator/canary_test.py does the same to the coordinator.
#
#   ---- campus ----+-- hub, idp
#                   +-- wiki: basic-secret, forward-secret, assertions, people with only a browser
#                   +-- gateway: verify: idp
#                   +-- staff: logs in at the device
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/campus.sh"
for p in reeved reeve reeve-coordinator; do
	[ -x "$B/$p" ] || skip_all "$p is not built"
done
REEVE_IDP_NODE=$(PYTHONPATH=$TOP/tests/idp PYTHONDONTWRITEBYTECODE=1 python3 -c "import idp; print(idp.node_dir() or '')")
[ -n "$REEVE_IDP_NODE" ] || skip_all "oidc-provider is not installed (tests/idp/idp.py install)"
export REEVE_IDP_NODE

C=$T/canaries answers=$T/answers n=0
mkdir -m 700 "$C" "$T/ps"
mkdir -m 777 "$answers"
canaries() { local what=$1; shift; python3 "$TOP/tests/canary.py" "$what" "$C" "$@"; }
# made NAME: $new is a new secret of that name.
made() { new=canary-$(od -An -N18 -tx1 /dev/urandom | tr -d ' \n'); printf %s "$new" >"$C/$1"; }
# Of every process of Reeve's that there is now, what ps could say.
look_at_ps()
{
	local p exe
	for p in /proc/[0-9]*; do
		exe=$(readlink "$p/exe" 2>/dev/null) || continue
		case ${exe##*/} in
		reeved | reeve | reeve-coordinator | wireguard-go | lt-*)
			cat "$p/cmdline" >"$T/ps/${p#/proc/}-${exe##*/}-cmdline" 2>/dev/null
			cat "$p/environ" >"$T/ps/${p#/proc/}-${exe##*/}-environ" 2>/dev/null ;;
		esac
	done
	true
}

#---- first that the search finds what is there
made planted
planted=$new
printf 'Authorization: Basic %s\n' "$(printf 'staff@example.edu:%s' "$planted" | base64 -w0)" >"$T/leaky"
same "the search finds a secret in base64, behind a name" "planted: $T/leaky" canaries text "$T/leaky"
printf %s "$planted" | od -An -v -tx1 | tr -d ' \n' >"$T/leaky"
same "and in hex" "planted: $T/leaky" canaries text "$T/leaky"
same "and not where it is not" "" canaries text "$0"
LEAK=$planted sleep 600 &
leaky=$!
leaks() { canaries memory "$leaky" planted | grep -qx planted; }
in_environ() { cat "/proc/$leaky/environ" >"$T/leaky" && canaries text "$T/leaky" | grep -q planted; }
ok "in a process's environment" wait_for 30 in_environ
ok "and in its memory" wait_for 30 leaks
kill $leaky
rm "$C/planted" "$T/leaky"

#---- the campus
campus_build
campus_idp || { echo "Bail out! no identity provider"; exit 99; }
spawn wiki told python3 "$apps/told.py" 127.0.0.1 8000
spawn gateway told-gateway python3 "$apps/told.py" 127.0.0.1 8000
campus_hub_files
campus_two_issuers
cat >"$T/host/hub/etc/reeve/policy.hujson" <<-'END'
	{ "tagOwners": { "tag:server": [] },
	  "grants": [ { "src": ["staff@example.edu", "idp:lab"], "dst": ["svc:download", "svc:gone", "svc:books"], "ip": ["tcp:*"] } ] }
END
for h in hub wiki gateway staff; do
	install -o 60100 -m 600 /dev/null "$T/host/$h/log/reeve-audit.json"
done
debug='"log-level": "debug", "audit": "/var/log/reeve-audit.json",'
sed -i "0,/{/s|{|{ $debug|" "$T/host/hub/etc/reeve/reeved.hujson"
sed -i '0,/{/s|{|{ "log-level": "debug",|' "$T/host/hub/etc/reeve/coordinator.hujson"
etc=$T/host/wiki/etc/reeve
for secret in basic forward; do
	made "the $secret-secret"
	install -m 600 -o 60100 "$C/the $secret-secret" "$etc/$secret-secret"
done
cat >"$etc/reeved.hujson" <<-END
	{
		$debug "metrics": "127.0.0.1:9464", "fronts": 1,
		"services": {
			"download": { "listen": ["80"], "upstream": ["http://127.0.0.1:8000"], "profiles": ["remote-user", "assertion"],
			              "basic-secret": "basic-secret" },
			"gone":     { "listen": ["80"], "upstream": ["http://127.0.0.1:9"] },
			"closed":   { "listen": ["80"], "upstream": ["http://127.0.0.1:8000"] },
			"asked":    { "forward-auth": "nginx", "listen": ["127.0.0.1:9091"], "forward-secret": "forward-secret",
			              "hosts": ["asked.example.edu"], "profiles": ["remote-user"] },
		},
		"public": {
			"download": { "listen": ["192.0.2.20:443"], "tls": true, "hosts": ["download.example.edu"],
			              "browser": "https://download.example.edu", "upstream": ["http://127.0.0.1:8000"] },
		},
	}
END
cp "$idp/cert.pem" "$T/host/gateway/etc/reeve/idp.pem"
cat >"$T/host/gateway/etc/reeve/reeved.hujson" <<-END
	{
		$debug "verify": "idp", "fronts": 1, "metrics": "127.0.0.1:9464",
		"issuers": { "uni": { "issuer": "$idp_issuer", "client-id": "reeve", "auth-method": "none", "leeway": "0s",
			"device-client-id": "reeve-device", "domains": ["example.edu"], "ca": "idp.pem", "mfa-amr": ["pwd+otp"] } },
		"services": { "books": { "listen": ["80"], "upstream": ["http://127.0.0.1:8000"], "profiles": ["remote-user"] } },
	}
END
cat >"$T/host/staff/etc/reeve/reeved.hujson" <<-END
	{ $debug "mesh": { "users": ["staff"] }, "admins": ["staff"] }
END
on hub reeve-coordinator init --policy /etc/reeve/policy.hujson --user reeve-coordinator >/dev/null
coordinator_start && reeved_start hub && wait_for 20 hub_pin || { echo "Bail out! no hub"; exit 99; }
pin=$(cat "$T/pin")
echo "192.0.2.20 download.example.edu" >>"$T/host/staff/etc/hosts"

#---- enrolment, the wrong key first
for h in wiki gateway staff; do
	reeved_start $h || { echo "Bail out! no reeved on $h"; exit 99; }
done
for h in wiki gateway; do
	at hub reeve-coordinator key --tag tag:server >"$T/host/$h/etc/reeve/enrol.key"
	cut -d. -f3 "$T/host/$h/etc/reeve/enrol.key" | tr -d '\n' >"$C/the enrolment key of $h"
done
wrong=$(head -c 32 /dev/urandom | base64 -w0 | tr '+/' '-_' | tr -d =)
printf %s "$wrong" >"$C/an enrolment key that nobody gave"
sed "s/^\(rk1\.[^.]*\.\)[^.]*/\1$wrong/" "$T/host/wiki/etc/reeve/enrol.key" >"$T/host/wiki/etc/reeve/wrong.key"
wrong_key() { at wiki reeve up --key-file /etc/reeve/wrong.key >"$answers/wrong-key" 2>&1; }
fails "a wrong enrolment key is refused" wrong_key
for h in wiki gateway; do
	at $h reeve up --key-file /etc/reeve/enrol.key >"$answers/up-$h" 2>&1 || { echo "Bail out! no $h"; exit 99; }
done

#---- a person at a device, the wrong code first
go_wrong()      # a code that nobody gave comes to the loopback, with the state that belongs there
{
	local pid
	made "a code that nobody gave"
	: >"$T/up-staff"
	as staff staff timeout 60 reeve up "$hub_url" --pin "$pin" --issuer campus --no-browser >"$T/up-staff" 2>&1 </dev/null &
	pid=$!
	wait_for 20 grep -qo "$idp_issuer/[^ ]*" "$T/up-staff" || return 1
	look_at_ps
	at staff python3 "$TOP/tests/idp/idp.py" login "$idp" staff@example.edu "$(grep -om1 "$idp_issuer/[^ ]*" "$T/up-staff")" \
		--stop http://127.0.0.1: -v >"$T/back" 2>&1
	canaries keep-urls <"$T/back"
	at staff curl -sS --max-time 60 -o "$answers/back" "$(sed -n "s/\([?&]code=\)[^&]*/\1$new/; /^http:/p" "$T/back")"
	! wait $pid
}
ok "a code that nobody gave is refused" go_wrong
cp "$T/up-staff" "$answers/wrong-code"
ok "staff logs in at the device" at_device staff staff@example.edu reeve up "$hub_url" --pin "$pin" --issuer campus
canaries keep-urls <"$T/browser-staff"
get() { as staff staff curl -sS --max-time 60 -o "$T/body" -w '%{http_code}' "$@"; }
books() { [ "$(get http://books/)" = 200 ]; }
ok "and is served by who checked that alone" wait_for 30 books
map=$T/host/gateway/lib/reeve/map.ndjson
evidence() { jq -r "select(.op == \"node\") | .node.evidence.$1 // empty" "$map"; }
there() { [ -n "$(evidence id_token)" ] && [ -n "$(evidence opening)" ]; }
ok "whose map has what proves it" wait_for 30 there
evidence id_token | cut -d. -f2 | tr -d '\n' >"$C/the claims of an ID token"
evidence id_token | cut -d. -f3 | tr -d '\n' >"$C/the signature of an ID token"
evidence opening | jq -R '{o: .}' | canaries keep-json "the opening of a nonce" /o

#---- a person with only a browser
cat >"$T/visit.py" <<-'END'
	import http.cookiejar, json, sys
	sys.dont_write_bytecode = True
	sys.path.insert(0, sys.argv[1] + "/tests/idp")
	import idp
	a = json.load(open(sys.argv[2] + "/accounts.json"))["staff@example.edu"]
	b = idp.Browser(insecure=True, verbose=True)
	b.jar = http.cookiejar.LWPCookieJar(sys.argv[3])
	here = "https://download.example.edu/"
	back = here + ".well-known/reeve/session"
	at = idp.login(here + "page", [back], "staff@example.edu", a["password"], a["totp"], b, want="portal")
	at, answer, text = b.go("GET", at)
	b.jar.save(ignore_discard=True)
	print(next(c.value for c in b.jar if c.name == "__Host-reeve"))
	sys.exit(answer.status != 200)
END
visit() { at staff python3 "$T/visit.py" "$TOP" "$idp" "$T/jar-visit" >"$T/cookie" 2>"$T/visit"; }
registered() { at staff curl -sk -o /dev/null -w '%{http_code} %{redirect_url}' -H 'Accept: text/html' \
	https://download.example.edu/ | grep -q '^303 https://hub.example.edu/login/service' &&
	at hub curl -sS --unix-socket "$control" http://hub/api/v1/nodes | grep -q '"browser"'; }
wait_for 30 registered
ok "staff comes with only a browser" visit
canaries keep-urls <"$T/visit"
canaries keep-cookies "$T/jar-visit"
cookie=$(cat "$T/cookie")
public() { at staff curl -sk --max-time 60 -o "$T/body" -w '%{http_code}' "$@"; }
same "and is known by a cookie" 200 public -H "Cookie: __Host-reeve=$cookie" https://download.example.edu/page

#---- what is served, and what is refused, with secrets in it
served() { [ "$(get -H "Authorization: Bearer $new" -H "Cookie: a=$new" "http://download/page?token=$new")" = 200 ]; }
made "what came with a request that was served"
ok "staff is served" wait_for 30 served
ok "with the service's secret" grep -q "$(printf 'staff@example.edu:%s' "$(cat "$C/the basic-secret")" | base64 -w0)" "$T/body"
# refused STATUS WHAT COMMAND [ARGUMENT...]: the command with headers and a query that have a secret; keeps the answer.
refused()
{
	local want=$1 what=$2
	shift 2
	n=$((n + 1))
	made "what was refused with $want: $what"
	same "refused with $want: $what" "$want" "$@" -D "$answers/$n-head" -o "$answers/$n" -H "Authorization: Bearer $new" \
		-H "Cookie: a=$new; __Host-reeve=$new; __Host-reeve-begin=$new" -H "Referer: http://closed/?r=$new" -H "X-Api-Key: $new" \
		--data "password=$new"
}
ask() { at wiki curl -sS --max-time 60 -w '%{http_code}' -H 'X-Original-Method: GET' -H 'X-Original-Proto: https' \
	-H 'X-Original-Host: asked.example.edu' "$@"; }
here() { at wiki curl -sS --max-time 60 -w '%{http_code}' --unix-socket /run/reeve/api.sock "$@"; }
with_query() { local f=$1 u=$2; shift 2; "$f" "$u?token=$new" "$@"; }
refused 403 "not granted" with_query get http://closed/page
refused 502 "nobody there" with_query get http://gone/page
refused 421 "another host" with_query get http://download/page -H "Host: nobody"
refused 501 "no coding" get -H "Transfer-Encoding: $(cat "$C/the forward-secret")x" http://download/page
refused 400 "no field" get -H "Bad Field: x" http://download/page
refused 400 "no request of a stranger" public --http1.1 -H "Bad Field: x" https://download.example.edu/page
session_code() { public "https://download.example.edu/.well-known/reeve/session?code=$new.$new" "$@"; }
refused 403 "a code that nobody gave" session_code -X GET
with_secret() { ask -H "X-Reeve-Secret: $1$new" -H "X-Original-URI: /page?token=$new" "${@:2}" http://127.0.0.1:9091/; }
refused 403 "a wrong forward-secret" with_secret "" -X GET -H 'X-Real-IP: 100.64.0.1'
secret=$(cat "$C/the forward-secret")
right_secret() { ask -H "X-Reeve-Secret: $secret" -H "X-Original-URI: /page?token=$new" "$@" http://127.0.0.1:9091/; }
refused 403 "an address of nobody" right_secret -X GET -H 'X-Real-IP: 203.0.113.9'
api() { local path=$1 data=$2; shift 2; here "http://reeve/v1/$path" "$@" --data "$(echo "$data" | sed "s/SECRET/$new/g")"; }
refused 400 "a login's end without a login" api login/finish '{"attempt":"SECRET","query":"code=SECRET&state=SECRET"}'
refused 400 "what is no JSON" api login/finish '{"query":"SECRET",nonsense'

#---- where the secrets are that were made by themselves
for h in hub wiki gateway staff; do
	state=$T/host/$h/lib/reeve
	tr -d '\n' <"$state/device.key" >"$C/device key of $h, as text"
	base64 -d "$state/device.key" >"$C/device key of $h"
	[ ! -e "$state/tls.key" ] || canaries keep-key "TLS key of $h" "$state/tls.key"
done
jq -c . "$T/host/wiki/lib/reeve/assertion.json" | canaries keep-json "assertion key of wiki" /keys/0/d
enough() { [ "$(ls "$C" | wc -l)" -gt 40 ]; }
ok "enough is looked for" enough

#---- the search
for h in wiki gateway staff; do
	at $h reeve --json status >"$answers/status-$h"
	at $h reeve status >"$answers/status-$h-text"
done
at wiki curl -sS http://127.0.0.1:9464/metrics >"$answers/metrics"
v4=$(jq -r '.peers[] | select(.node.name == "staff") | .node.v4' "$answers/status-gateway")
at gateway reeve whois "$v4" >"$answers/whois"
at gateway curl -sS --unix-socket /run/reeve/api.sock "http://reeve/v1/whois?addr=$v4" >"$answers/whois-json"
at gateway curl -sS --unix-socket /run/reeve/api.sock "http://reeve/localapi/v0/whois?addr=$v4:1" >"$answers/whois-localapi"
at hub reeve --control "$control" --json node list >"$answers/nodes"
look_at_ps
ok "whois says who it is" grep -q staff@example.edu "$answers/whois-json"
ok "metrics are metrics" grep -q '^reeve_' "$answers/metrics"
lines() { [ "$(cat "$T/host/$1/log/reeve-audit.json" | wc -l)" -ge "$2" ]; }
ok "and the audit has its lines" wait_for 30 lines wiki 5
ps_complete() { [ "$(ls "$T/ps" | grep -c 'reeved-cmdline$')" -ge 12 ] && [ "$(ls "$T/ps" | grep -c 'reeve-cmdline$')" -ge 1 ]; }
ok "and ps was looked at, also while a login was under way" ps_complete
same "nothing secret in a log" "" canaries text "$T"/log/reeved-* "$T/log/coordinator"
same "nor in the audit or another file of a log's folder" "" canaries text "$T"/host/*/log
same "nor in ps" "" canaries text "$T/ps"
same "nor in an error page, an answer, status, whois or metrics" "" canaries text "$answers"
same "nor in a run folder" "" canaries text "$T"/host/*/run

# What must have it, has it, and is its user's alone; nothing else has.
kept() { canaries text "$T"/host/*/lib | sed "s|$T/host/||" | sort; }
{
	for h in gateway hub staff wiki; do
		printf '%s: %s\n' "device key of $h" $h/lib/reeve/device.key "device key of $h, as text" $h/lib/reeve/device.key
	done
	for h in hub wiki; do
		printf '%s: %s\n' "TLS key of $h, a line of it" $h/lib/reeve/tls.key
		canaries text "$T/host/$h/lib/reeve/tls.key" | sed "s|$T/host/||" | grep "^TLS key of $h:"
	done
	echo "assertion key of wiki: wiki/lib/reeve/assertion.json"
	for what in "the claims of an ID token" "the signature of an ID token" "the opening of a nonce"; do
		echo "$what: gateway/lib/reeve/map.ndjson"
	done
} | sort >"$T/wanted"
kept | grep -v ": hub/lib/reeve-coordinator/coordinator.db" >"$T/kept"
same "in the state folders of reeved it is where it must be" "" diff "$T/wanted" "$T/kept"
private() { find "$T"/host/*/lib/reeve -type f ! -name tls.crt \( ! -perm 600 -o ! -user 60100 \); }
same "and each file there is its user's alone" "" private

#---- what is where in memory: a front never holds the device key or the assertion key
child() { local p; for p in $(pgrep -P "$(pid_of "reeved-$1")"); do
	! grep -qz "^reeved\[$2\]$" "/proc/$p/cmdline" || echo "$p"; done; }
device="device key of wiki" text="device key of wiki, as text" assertion="assertion key of wiki"
tls="TLS key of wiki" basic="the basic-secret" evidence="the signature of an ID token"
holds() { canaries memory "$@"; }
core_has() { holds "$(child wiki core)" "$assertion" | grep -qx "$assertion"; }
ok "core has the assertion key: it would be found" core_has
same "the front that asks with it has the service's secret: it would be found there" "$basic" \
	holds "$(child wiki front0)" "$device" "$text" "$assertion" "$tls" "$basic"
same "a public front has no device key, no assertion key and no service's secret" "" \
	holds "$(child wiki public0)" "$device" "$text" "$assertion" "$basic"
same "net has no assertion key, TLS key or service's secret" "" holds "$(child wiki net)" "$assertion" "$tls" "$basic"
same "the parent has none of them" "" holds "$(pid_of reeved-wiki)" "$device" "$text" "$assertion" "$tls" "$basic"
same "no front has evidence or the device key where that is checked" "" \
	holds "$(child gateway front0)" "$evidence" "the claims of an ID token" "the opening of a nonce" "device key of gateway"

#---- a crash
for p in net core front0 public0; do
	same "$p: no core file may be written" "0 0" awk '/^Max core file size/ { print $5, $6 }' "/proc/$(child wiki $p)/limits"
done
tunnel=$(for p in $(pgrep -x wireguard-go); do echo "$p"; done)
for p in $tunnel; do
	same "nor of a tunnel" "0 0" awk '/^Max core file size/ { print $5, $6 }' "/proc/$p/limits"
done
# What is not to be dumped is root's in /proc, whoever's process it is.
owner() { stat -c %u "/proc/$(child wiki "$1")/environ"; }
if grep -q -- '-fsanitize=address' "$B/config.status" 2>/dev/null; then
	skip "no process can be dumped or looked into" "built with a sanitizer, whose leak checker looks into its own"
else
	for p in core front0 public0; do
		same "$p: the kernel dumps it to nobody, and nobody of its user looks into it" 0 owner $p
	done
fi
old=$(child wiki core)
kill -ABRT "$old"
another() { local now; now=$(child wiki core); [ -n "$now" ] && [ "$now" != "$old" ]; }
ok "core crashes, and there is another" wait_for 30 another
ok "which is served by" wait_for 30 served
ok "the log of all that was one of a debug run" wait_for 30 grep -q 'net\]: debug: core: ' "$T/log/reeved-wiki"
fails "no file was left by the crash" sh -c "find '$T'/host/*/lib '$T'/host/*/run '$T'/host/*/log -name '*core*' -type f | grep -v audit | grep ."
same "and nothing secret was said of it" "" canaries text "$T"/log/reeved-* "$T/log/coordinator" "$T"/host/*/log
finish
