# SPDX-License-Identifier: AGPL-3.0-or-later
# What contrib/check and contrib/try have in common; sourced, by bash. They set
# SRC (the source tree) and T (their folder for everything they write).

export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

die()
{
	echo "$0: $*" >&2
	exit 2
}

say()
{
	printf '%s %s\n' "$(date +%H:%M:%S)" "$*"
}

need_root()
{
	[ "$(id -u)" = 0 ] || die "needs root (network namespaces, packages): sudo $0"
}

# packages_missing KIND...: what contrib/packages lists for these kinds and this
# machine lacks. Node may have come from elsewhere than Debian.
packages_missing()
{
	local name kinds kind want
	while read -r name kinds; do
		case $name in '' | '#'*) continue ;; esac
		want=
		for kind in "$@"; do
			case " $kinds " in *" $kind "*) want=yes ;; esac
		done
		[ -n "$want" ] || continue
		case $name in
		nodejs) node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' \
			2>/dev/null && continue ;;
		npm) npm --version >/dev/null 2>&1 && continue ;;
		esac
		dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null | grep -q '^.i' && continue
		echo "$name"
	done <"$SRC/contrib/packages"
}

# packages_install KIND...: brings them; quick when they are there.
packages_install()
{
	local missing name answer
	command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
		die "this is not Debian: install what contrib/packages lists, then run it with REEVE_NO_APT=1"
	missing=$(packages_missing "$@")
	[ -n "$missing" ] || return 0
	say "packages: installing $(echo $missing)"
	dpkg-query -W -f '${Package}\n' | sort >"$T/packages-before"
	services_hold
	sed -n 's/^# debconf: //p' "$SRC/contrib/packages" | while read -r name answer; do
		! echo "$missing" | grep -qxF -- "$name" || echo "$name $answer" | debconf-set-selections
	done
	apt-get -o DPkg::Lock::Timeout=300 -qq update </dev/null >"$T/log/apt" 2>&1 &&
		apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends $missing \
			</dev/null >>"$T/log/apt" 2>&1
	local rc=$?
	services_release
	services_off
	[ $rc = 0 ] || tail -20 "$T/log/apt"
	return $rc
}

# Servers that the tests run by hand must not start by themselves because they
# were installed: policy-rc.d is how Debian lets an administrator say so.
policy_rc_d=
services_hold()
{
	[ -e /usr/sbin/policy-rc.d ] && return
	policy_rc_d=/usr/sbin/policy-rc.d
	printf '#!/bin/sh\nexit 101\n' >$policy_rc_d
	chmod 755 $policy_rc_d
}

# Nor at the next boot.
services_off()
{
	local unit
	command -v systemctl >/dev/null || return 0
	dpkg-query -W -f '${Package}\n' | sort | comm -13 "$T/packages-before" - | xargs -r dpkg -L 2>/dev/null |
		sed -nE 's,^(/usr)?/lib/systemd/system/([^@/]*\.(service|socket|timer))$,\2,p' |
		while read -r unit; do
			systemctl --quiet disable "$unit" >>"$T/log/apt" 2>&1
		done
}

services_release()
{
	[ -z "$policy_rc_d" ] || rm -f "$policy_rc_d"
	policy_rc_d=
}

# package_unpack NAME TO: a package's files without installing it: nothing is
# started, enabled or configured.
package_unpack()
{
	mkdir -p "$2.deb" &&
		(cd "$2.deb" && apt-get -qq download "$1" </dev/null >>"$T/log/apt" 2>&1) &&
		dpkg -x "$2.deb/$1"_*.deb "$2"
}

# source_copy TO: the tree as it stands, without what was built in it; builds
# and npm never write into the tree itself.
source_copy()
{
	mkdir -p "$1"
	if [ -e "$SRC/.git" ] && command -v git >/dev/null &&
		git -c safe.directory='*' -C "$SRC" ls-files -z -co --exclude-standard >"$T/files" 2>/dev/null; then
		(cd "$SRC" && tar -cf - --null --no-recursion --ignore-failed-read -T "$T/files" 2>/dev/null) |
			tar -xf - --no-same-owner -C "$1"
	else
		tar -cf - -C "$SRC" --exclude=./.git --exclude=node_modules --exclude=autom4te.cache \
			--exclude='*.o' --exclude='*.a' . | tar -xf - --no-same-owner -C "$1"
	fi
}

# npm_install TREE: every package-lock.json of the tree, exactly as it says.
npm_install()
{
	local lock dir
	find "$1" -name node_modules -prune -o -name package-lock.json -print | while read -r lock; do
		dir=$(dirname "$lock")
		say "npm ci: ${dir#"$1"/}"
		(cd "$dir" && timeout 300 npm ci --no-audit --no-fund --ignore-scripts --loglevel=error \
			</dev/null >"$T/log/npm" 2>&1) || { tail -20 "$T/log/npm"; exit 1; }
	done
}
