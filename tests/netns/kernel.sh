#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Boots Debian's kernel in software emulation and runs mesh.sh in it, over the
# kernel's own WireGuard: this machine's kernel may have none. The kernel's
# package is unpacked, not installed. The machine has no disk and no network;
# it says what it found on its serial line and ends itself.
#
# KERNEL_PACKAGE names another one; KERNEL_SECONDS is its whole time (900).
set -u
LC_ALL=C
export LC_ALL
name=$(basename "$0" .sh)
skip_all() { echo "skip $name: $*"; exit 77; }

here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${top_builddir:-.}" && pwd)
PATH=$PATH:/usr/sbin:/sbin
seconds=${KERNEL_SECONDS:-900}
for tool in qemu-system-x86_64 busybox cpio ip nft conntrack ping setpriv apt-get dpkg; do
	command -v $tool >/dev/null || skip_all "no $tool"
done
[ "$(uname -m)" = x86_64 ] || skip_all "for x86_64 only"
[ -x "$build/tests/netns/mesh_tool" ] || skip_all "mesh_tool is not built"

# ---- the kernel, once ----

cache=$build/tests/netns/kernel
mkdir -p "$cache"
if [ ! -e "$cache/done" ]; then
	package=${KERNEL_PACKAGE:-$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
		sed -n 's/.*Depends: \(linux-image-[^ ]*\).*/\1/p' | head -1)}
	[ -n "$package" ] || skip_all "apt knows no linux-image-cloud-amd64"
	(cd "$cache" && rm -rf root ./*.deb && timeout 300 apt-get download -q "$package") >"$cache/log" 2>&1 ||
		skip_all "$package cannot be had: $(tail -1 "$cache/log")"
	dpkg -x "$cache"/*.deb "$cache/root" || skip_all "$package does not unpack"
	rm -f "$cache"/*.deb
	: >"$cache/done"
fi
version=$(basename "$cache"/root/lib/modules/*)
[ -e "$cache/root/boot/vmlinuz-$version" ] || skip_all "no kernel in the package"

# ---- its file system ----

root=$(mktemp -d "${TMPDIR:-/tmp}/reeve-kernel-XXXXXX") || exit 99
qemu=
end() { rc=$?; [ -z "$qemu" ] || kill "$qemu" 2>/dev/null; rm -rf "$root"; exit $rc; }
trap end EXIT
trap 'exit 130' INT TERM HUP
fs=$root/fs
mkdir -p "$fs/bin" "$fs/sbin" "$fs/usr" "$fs/lib" "$fs/proc" "$fs/sys" "$fs/dev" "$fs/tmp" "$fs/run" \
	"$fs/var" "$fs/etc" "$fs/tests/netns" "$fs/tests/unit" "$fs/mods"
ln -s ../bin "$fs/usr/bin"; ln -s ../sbin "$fs/usr/sbin"; ln -s /run "$fs/var/run"
cp "$(command -v busybox)" "$fs/bin/busybox"
if ldd "$fs/bin/busybox" >/dev/null 2>&1; then skip_all "busybox is not the static one"; fi
for applet in $(busybox --list); do
	[ -e "$fs/bin/$applet" ] || ln -s busybox "$fs/bin/$applet"
done
ln -s ../bin/busybox "$fs/sbin/modprobe"
echo 'root:x:0:0::/:/bin/sh' >"$fs/etc/passwd"
echo 'root:x:0:' >"$fs/etc/group"
program()	# FROM TO: with the libraries it needs, where it looks for them
{
	rm -f "$fs$2"
	cp -L "$1" "$fs$2"
	for lib in $(ldd "$1" 2>/dev/null | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p'); do
		[ -e "$fs$lib" ] || { mkdir -p "$fs$(dirname "$lib")" && cp -L "$lib" "$fs$lib"; }
	done
}
for tool in ip nft conntrack ping setpriv; do
	program "$(command -v $tool)" /bin/$tool
done
# busybox's own shell prefers its applets to what PATH says.
program "$(readlink -f /bin/sh)" /bin/sh
for p in netns/mesh_tool netns/mesh_traffic unit/test_cut unit/test_filter unit/test_link unit/test_mesh; do
	[ ! -x "$build/tests/$p" ] || program "$build/tests/$p" "/tests/$p"
done
cp "$here/mesh.sh" "$fs/tests/netns/"

# Every module that networking may ask for; the kernel loads what it needs.
from=$cache/root/lib/modules/$version to=$fs/lib/modules/$version
mkdir -p "$to/kernel/drivers/net" "$to/kernel/arch/x86"
cp "$from"/modules.builtin* "$from"/modules.order "$to/" 2>/dev/null
for d in net/ipv4 net/ipv6 net/netfilter net/bridge net/llc net/802 net/core lib crypto arch/x86/crypto \
	drivers/net/wireguard drivers/net/veth.ko drivers/net/dummy.ko drivers/net/tun.ko; do
	[ ! -e "$from/kernel/$d" ] || { mkdir -p "$to/kernel/$(dirname "$d")" && cp -r "$from/kernel/$d" "$to/kernel/$(dirname "$d")/"; }
done
busybox depmod -b "$fs" "$version" || skip_all "depmod failed"

cat >"$fs/init" <<'INIT'
#!/bin/sh
export PATH=/bin:/sbin LC_ALL=C
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
[ -e /dev/null ] || { mknod /dev/null c 1 3; mknod /dev/zero c 1 5; mknod /dev/urandom c 1 9; }
for m in tun bridge veth nf_tables nf_conntrack_netlink wireguard; do
	modprobe $m || echo "no $m"
done
echo "BOOTED $(uname -r) after $(cut -d' ' -f1 /proc/uptime) s"
cd /
for t in /tests/unit/*; do
	[ -x "$t" ] || continue
	$t; echo "UNIT $(basename $t) $?"
done
top_builddir=/ MESH_NS=1 MESH_BACKEND=kernel sh /tests/netns/mesh.sh
echo "ENDED $?"
sleep 0.2
reboot -f
INIT
chmod +x "$fs/init"
(cd "$fs" && find . | cpio -o -H newc --quiet | gzip -1) >"$root/initrd" || exit 99

# ---- the machine ----

# Its modules live in memory twice while it unpacks them.
timeout -k 5 "$seconds" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 1024 \
	-nodefaults -no-user-config -no-reboot -display none -serial stdio \
	-kernel "$cache/root/boot/vmlinuz-$version" -initrd "$root/initrd" \
	-append "console=ttyS0 quiet loglevel=3 panic=-1 random.trust_cpu=on" </dev/null >"$root/out" 2>&1 &
qemu=$!
wait $qemu
rc=$?
qemu=
tr -d '\r' <"$root/out" >"$root/text"
sed -n '/^BOOTED/,$p' "$root/text" | grep -v -e '^ENDED' -e '^\[.*reboot:'
[ $rc != 124 ] || echo "not ok - the machine had to be stopped after $seconds s"
grep -q '^BOOTED' "$root/text" || { tail -30 "$root/text"; echo "not ok - the machine did not come up"; exit 1; }
grep '^UNIT' "$root/text" | while read -r _ test status; do
	[ "$status" = 0 ] || [ "$status" = 77 ] || echo "not ok - $test: $status"
done | { ! grep .; } || exit 1
grep -q '^ENDED 0$' "$root/text"
