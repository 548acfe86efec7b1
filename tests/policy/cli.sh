#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# What `reeve policy` prints, against files; `UPDATE=1 tests/policy/cli.sh` writes them anew.
top_srcdir=${top_srcdir:-.} top_builddir=${top_builddir:-.}
reeve=$(cd "$top_builddir" && pwd)/reeve
cd "$top_srcdir/tests/policy/cli" || exit 1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
failed=0

# expect NAME STATUS ARGUMENTS...
expect()
{
	name=$1 want=$2
	shift 2
	"$reeve" policy "$@" >"$tmp/out" 2>&1
	status=$?
	[ -z "$UPDATE" ] || cp "$tmp/out" "$name.out"
	if [ $status != "$want" ]; then
		echo "not ok - $name: status $status, want $want"
		failed=1
	elif ! diff -u "$name.out" "$tmp/out"; then
		echo "not ok - $name"
		failed=1
	else
		echo "ok $name"
	fi
}

at="--at 2026-09-21T13:00:00Z"
ask="--policy campus.hujson --topology campus.json $at"
expect check 0 check campus.hujson --topology campus.json $at
expect check-faults 1 check faulty.hujson
expect check-faults-json 1 check faulty.hujson --json
expect check-tests 1 check next-tests.hujson --topology campus.json $at
expect matrix 0 matrix $ask
expect matrix-json 0 matrix $ask --src laptop --dst web --json
expect explain-allowed 0 explain $ask --src laptop --dst web:22
expect explain-routed 0 explain $ask --src staff@example.edu --dst 10.9.0.7:443
expect explain-port 1 explain $ask --src laptop --dst web:23
expect explain-request 0 explain $ask --src laptop --dst svc:wiki --method POST --path /edit
expect explain-old 1 explain --policy campus.hujson --topology campus.json --at 2026-09-21T20:00:00Z --src laptop --dst svc:wiki --path /edit
expect explain-stale 1 explain $ask --src laptop --dst svc:wiki --path /edit --silent 9h
expect explain-session 1 explain $ask --src desk --dst svc:wiki --path /public/a
expect explain-owner 1 explain $ask --owner owner.hujson --src laptop --dst svc:wiki --method POST --path /edit
expect explain-nobody 1 explain $ask --src gw --dst web:22
expect explain-json 1 explain $ask --src gw --dst web:22 --json
expect diff 0 diff campus.hujson next.hujson --topology campus.json $at
expect diff-json 0 diff campus.hujson next.hujson --topology campus.json $at --json
expect diff-none 0 diff campus.hujson campus.hujson --topology campus.json $at
expect fmt 0 fmt ragged.hujson
expect fmt-campus 0 fmt campus.hujson
expect fmt-broken 1 fmt fmt-broken.hujson
expect usage 2 nonsense

# Laid out twice is laid out once, and means the same.
for f in campus ragged next; do
	"$reeve" policy fmt $f.hujson >"$tmp/once"
	if "$reeve" policy fmt "$tmp/once" | cmp -s - "$tmp/once"; then
		echo "ok fmt twice: $f"
	else
		echo "not ok - fmt twice: $f"
		failed=1
	fi
done
"$reeve" policy fmt campus.hujson >"$tmp/campus.hujson"
if [ "$("$reeve" policy diff campus.hujson "$tmp/campus.hujson" --topology campus.json $at)" = "nothing opens, nothing closes" ]; then
	echo "ok fmt changes no meaning"
else
	echo "not ok - fmt changes no meaning"
	failed=1
fi
exit $failed
