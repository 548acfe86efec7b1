#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Prints every #include "..." that tests/layers.txt does not allow.
set -eu
cd "$(dirname "$0")/.."
bad=$(awk '
	FNR == NR { if ($0 !~ /^#/ && NF) { may[$1] = " " $1; for (i = 2; i <= NF; i++) may[$1] = may[$1] " " $i; may[$1] = may[$1] " " } ; next }
	/^[ \t]*#[ \t]*include[ \t]*"/ {
		split($0, q, "\"")
		inc = q[2]
		from = FILENAME; sub(/\/[^\/]*$/, "", from)
		to = inc; if (!sub(/\/[^\/]*$/, "", to)) { if (inc == "config.h") next; to = "(no folder)" }
		while (!(from in may) && sub(/\/[^\/]*$/, "", from)) ;
		while (!(to in may) && sub(/\/[^\/]*$/, "", to)) ;
		if (index(may[from], " " to " ") == 0)
			print FILENAME ":" FNR ": " inc ": " from " may not include it"
	}' tests/layers.txt $(find base lib policy idp daemon web -name '*.[ch]'))
if [ -n "$bad" ]; then
	printf '%s\n' "$bad"
	exit 1
fi
echo "layers: every include is allowed"
