#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# The lab itself: what the other tests take for granted.
#
#   a 192.0.2.1, 2001:db8::1 ---- [net] ---- b 192.0.2.2, 2001:db8::2
. "$(dirname "$0")/lib.sh"

switch net
host a
host b
plug a net eth0 192.0.2.1/24 2001:db8::1/64

fails "no way to a host that is not plugged in" at a ping -c1 -W1 192.0.2.2
plug b net eth0 192.0.2.2/24 2001:db8::2/64
ok "IPv4 between two hosts" wait_for 5 at a ping -c1 -W1 192.0.2.2
ok "IPv6 between two hosts" wait_for 5 at a ping -c1 -W1 2001:db8::2

same "a host has its own name" b at b hostname
on b sh -c 'echo hers >/etc/reeve/x; echo hers >/run/x; echo hers >/var/lib/x'
fails "and its own /etc" at a test -e /etc/reeve/x
fails "and its own /run" at a test -e /run/x
fails "and its own /var/lib" at a test -e /var/lib/x
fails "and none of it is the machine's" test -e /etc/reeve/x -o -e /run/x -o -e /var/lib/x

spawn b sleeper sleep 1000
ok "what is started runs" kill -0 "$(pid_of sleeper)"
end sleeper
fails "what is ended does not" kill -0 "$(pid_of sleeper)"
finish
