#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# contrib/try, with the build that is there: each thing that it shows is a test.
set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd)
B=$(cd "${top_builddir:-.}" && pwd)
skip_all() { echo "skip try: $*"; exit 77; }
[ "$(id -u)" = 0 ] || skip_all "needs root"
for p in apache2 wireguard-go jq; do
	PATH=$PATH:/usr/sbin:/sbin command -v $p >/dev/null || skip_all "$p is not installed"
done
# Here, for it runs on a copy of the tree.
REEVE_IDP_NODE=$(PYTHONPATH=$TOP/tests/idp python3 -c "import idp; print(idp.node_dir() or '')")
[ -n "$REEVE_IDP_NODE" ] || skip_all "oidc-provider is not installed (tests/idp/idp.py install)"
export REEVE_IDP_NODE REEVE_NO_APT=1
"$TOP/contrib/try" --build "$B" 2>&1 |
	sed -e 's/^ *\[as it should be\] /ok - /' -e 's/^ *\[WRONG\] /not ok - /'
exit "${PIPESTATUS[0]}"
