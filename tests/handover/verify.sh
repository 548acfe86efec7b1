#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# The verifiers of contrib/verify against assertions that core's own code
# signed, and against what somebody made of them: the refused ones first.
set -u
src=${top_srcdir:-.} bin=${top_builddir:-.}
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
ok=0 bad=0

"$bin/tests/unit/test_assertion" make "$dir" || exit 99
# shellcheck disable=SC2046
${CC:-cc} -o "$dir/verify" "$src/contrib/verify/verify.c" \
	$(pkg-config --cflags --libs libcrypto jansson) || exit 99

try() { # name, want (0 or 1), assertion, arguments
	name=$1 want=$2 file=$3
	shift 3
	"$run" $how "$dir/jwks" https://wiki wiki "$@" <"$dir/$file" >"$dir/out" 2>"$dir/why"
	got=$?
	case $want in
	0) grep -q '"login": *"staff@example.edu"' "$dir/out" || got="$got, without the login" ;;
	1) grep -q '^refused: ' "$dir/why" || got="$got, without words" ;;
	esac
	if [ "$got" = "$want" ]; then
		ok=$((ok + 1))
		echo "ok - $name $file $* ($(head -n 1 "$dir/why"))"
	else
		bad=$((bad + 1))
		echo "not ok - $name $file $*: exit $got: $(head -c 300 "$dir/why")"
	fi
}

all() {
	for f in "$dir"/bad-*; do
		try "$1" 1 "${f##*/}"
	done
	try "$1" 1 good GET /page
	try "$1" 1 bound-GET-page POST /page
	try "$1" 1 bound-GET-page GET /other
	try "$1" 0 bound-GET-page GET /page
	try "$1" 0 good
}

run=$dir/verify how=; all C
py=
for p in /usr/bin/python3 python3; do
	[ -z "$py" ] && "$p" -c 'import cryptography' 2>/dev/null && py=$p
done
if [ -n "$py" ]; then
	run=$py how=$src/contrib/verify/verify.py; all Python
else
	echo "skip - Python: python3-cryptography is not installed"
fi
for w in node:Node:verify.mjs php:PHP:verify.php; do
	IFS=: read -r cmd name file <<-END
		$w
	END
	if command -v "$cmd" >/dev/null; then
		run=$(command -v "$cmd") how=$src/contrib/verify/$file; all "$name"
	else
		echo "skip - $name: $cmd is not installed"
	fi
done
echo "$ok passed, $bad failed"
[ "$bad" = 0 ]
